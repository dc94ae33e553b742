//! Hears from the kernel at once that an interface or an address changed, or that the machine woke: nothing has to
//! look again and again for it.
//!
//! Both are hints to look. What really changed is found by comparing; where the kernel does not tell (a sandbox
//! without netlink), the driver's own slow look remains.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::{Errno, read};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// Groups of `linux/rtnetlink.h`: links, and addresses of both families.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// A change comes as several messages (link, route, address); one look after the last is enough. A guess: below
/// what a person notices.
const SETTLE: Duration = Duration::from_millis(100);

/// A timer that never ends by itself: seconds since 1970, in the year 2128.
const NEVER_S: i64 = 5_000_000_000;

/// The kernel's two bells.
pub(crate) struct Bells {
    network: Option<AsyncFd<OwnedFd>>,
    clock: Option<AsyncFd<OwnedFd>>,
    /// A change was heard; look then.
    due: Option<Instant>,
}

impl Bells {
    /// Starts listening. What cannot be listened to is silent.
    pub(crate) fn new() -> Self {
        let told = |what: &'static str, bell: io::Result<AsyncFd<OwnedFd>>| {
            bell.inspect_err(|error| tracing::info!(%error, what, "not told by the kernel"))
                .ok()
        };
        Self {
            network: told("network changes", network_bell()),
            clock: told("waking up", clock_bell()),
            due: None,
        }
    }

    /// Something may have changed. May be dropped and called again without loss.
    pub(crate) async fn stirred(&mut self) {
        loop {
            if let Some(due) = self.due {
                sleep_until(due).await;
                self.due = None;
                return;
            }
            tokio::select! {
                () = rung(self.network.as_ref(), drain) => {}
                () = rung(self.clock.as_ref(), wind_up) => {}
            }
            self.due = Some(Instant::now() + SETTLE);
        }
    }
}

fn network_bell() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // No protocol is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    heard_of(socket)
}

/// A timer on the wall clock is cancelled when that clock jumps, and waking up makes it jump.
fn clock_bell() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
    set(&timer)?;
    heard_of(timer)
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe; it can only be misused with a type that changes its descriptor"
)]
fn heard_of(bell: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(bell)
}

fn set(timer: &OwnedFd) -> io::Result<()> {
    let at = |tv_sec| Timespec { tv_sec, tv_nsec: 0 };
    let never = Itimerspec {
        it_interval: at(0),
        it_value: at(NEVER_S),
    };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(timer, flags, &never)?;
    Ok(())
}

/// Waits for a bell, then silences it. A bell that is not there, or is broken, never rings.
async fn rung(bell: Option<&AsyncFd<OwnedFd>>, silence: fn(&OwnedFd) -> io::Result<()>) {
    let Some(bell) = bell else {
        return std::future::pending().await;
    };
    loop {
        let Ok(mut ready) = bell.readable().await else {
            return std::future::pending().await;
        };
        match ready.try_io(|bell| silence(bell.get_ref())) {
            Ok(Ok(())) => return,
            // It had rung for something already heard.
            Err(_) => {}
            Ok(Err(error)) => {
                tracing::info!(%error, "the kernel tells no more");
                return std::future::pending().await;
            }
        }
    }
}

/// Reads everything there is. A full queue has lost messages, which is a message too.
fn drain(socket: &OwnedFd) -> io::Result<()> {
    let mut message = [0; 8_192];
    let mut heard = false;
    loop {
        match recv(socket, &mut message, RecvFlags::DONTWAIT) {
            Ok(_) | Err(Errno::NOBUFS) => heard = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if heard => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn wind_up(timer: &OwnedFd) -> io::Result<()> {
    match read(timer, &mut [0; 8]) {
        Ok(_) | Err(Errno::CANCELED) => set(timer),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_lets_this_program_listen_to_both_bells() {
        // Both are there for every user; a kernel that refuses them would leave the slow look alone.
        let bells = Bells::new();
        assert!(bells.network.is_some() && bells.clock.is_some());
        // Silent until something happens.
        assert!(drain(bells.network.as_ref().expect("there").get_ref()).is_err());
        assert!(wind_up(bells.clock.as_ref().expect("there").get_ref()).is_err());
    }
}
