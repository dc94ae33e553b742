//! The socket: one user's connections, one request after the other, nothing kept but [`REQUEST_BYTES`] of each.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use hive_host::helper::{LINGER, REQUEST_BYTES};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;

use crate::kernel::Kernel;
use crate::service::{LEASES, Lease, Service};

/// Requests of one connection before the others have their turn. A guess.
const TURN: usize = 64;

/// Who made the socket: whoever did also ends the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// The helper itself: it runs until it is told to end.
    ByHand,
    /// Something that starts it anew with the next connection: it ends when nothing is to do for [`LINGER`].
    BySocket,
}

/// What the helper listens on.
#[derive(Debug)]
pub struct Ears {
    /// The socket.
    pub listener: UnixListener,
    /// The signals that ask it to end.
    pub endings: OwnedFd,
    /// Who made the socket.
    pub started: Started,
    /// The one user that may speak.
    pub uid: u32,
}

struct Connection {
    stream: UnixStream,
    lease: Lease,
    bytes: [u8; REQUEST_BYTES],
    filled: usize,
}

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
enum After {
    Stays,
    Ends,
}

/// Serves until it is told to end, or nobody needs it; puts everything back, also where it cannot go on.
pub fn serve<K: Kernel>(ears: &Ears, service: &mut Service<K>, began: Instant) -> io::Result<()> {
    let ended = turn(ears, service, began);
    service.end(began.elapsed());
    ended
}

fn turn<K: Kernel>(ears: &Ears, service: &mut Service<K>, began: Instant) -> io::Result<()> {
    ears.listener.set_nonblocking(true)?;
    let mut connections: [Option<Connection>; LEASES] = [const { None }; LEASES];
    let mut quiet_since = began.elapsed();
    loop {
        let now = began.elapsed();
        let is_idle = connections.iter().all(Option::is_none) && service.held() == 0;
        if !is_idle {
            quiet_since = now;
        }
        let leaves = (is_idle && ears.started == Started::BySocket).then(|| quiet_since + LINGER);
        if leaves.is_some_and(|leaves| leaves <= now) {
            return Ok(());
        }
        let wake = [leaves, service.deadline()].into_iter().flatten().min();
        let heard = wait(
            ears,
            &connections,
            wake.map(|wake| wake.saturating_sub(now)),
        )?;
        if heard.ending {
            return Ok(());
        }
        for (slot, _) in connections.iter_mut().zip(heard.speak).filter(|it| it.1) {
            if let Some(connection) = slot
                && connection.hear(service, began) == After::Ends
            {
                service.hang_up(connection.lease, began.elapsed());
                *slot = None;
            }
        }
        if heard.knock {
            admit(ears, &mut connections, service, began);
        }
        let now = began.elapsed();
        service.tick(now);
        for slot in &mut connections {
            if let Some(silent) = slot.take_if(|it| service.has_ended(it.lease, now)) {
                service.hang_up(silent.lease, now);
            }
        }
    }
}

/// What there is to do.
struct Heard {
    ending: bool,
    knock: bool,
    speak: [bool; LEASES],
}

fn wait(
    ears: &Ears,
    connections: &[Option<Connection>; LEASES],
    within: Option<Duration>,
) -> io::Result<Heard> {
    // An empty place waits for nothing on the listener.
    let speak = connections.each_ref().map(|connection| match connection {
        Some(connection) => PollFd::new(&connection.stream, PollFlags::IN),
        None => PollFd::new(&ears.listener, PollFlags::empty()),
    });
    let [first, second, third, fourth] = speak;
    let mut watched = [
        PollFd::new(&ears.endings, PollFlags::IN),
        PollFd::new(&ears.listener, PollFlags::IN),
        first,
        second,
        third,
        fourth,
    ];
    let limit = within.map(Timespec::try_from).transpose();
    let limit = limit.map_err(io::Error::other)?;
    match poll(&mut watched, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(why) => return Err(why.into()),
    }
    let heard = watched.map(|it| !it.revents().is_empty());
    let mut speak = [false; LEASES];
    for ((speak, heard), connection) in speak.iter_mut().zip(&heard[2..]).zip(connections) {
        *speak = *heard && connection.is_some();
    }
    Ok(Heard {
        ending: heard[0],
        knock: heard[1],
        speak,
    })
}

/// Lets one in, if it is the user that is served; anybody else, and who comes when all places are taken, is shut out.
fn admit<K: Kernel>(
    ears: &Ears,
    connections: &mut [Option<Connection>; LEASES],
    service: &mut Service<K>,
    began: Instant,
) {
    let Ok((stream, _)) = ears.listener.accept() else {
        return;
    };
    let is_served = socket_peercred(&stream).is_ok_and(|peer| peer.uid.as_raw() == ears.uid);
    let Some(place) = connections.iter_mut().find(|place| place.is_none()) else {
        return;
    };
    if is_served
        && stream.set_nonblocking(true).is_ok()
        && let Some(lease) = service.connect(began.elapsed())
    {
        *place = Some(Connection {
            stream,
            lease,
            bytes: [0; REQUEST_BYTES],
            filled: 0,
        });
    }
}

impl Connection {
    /// Answers what has come in.
    fn hear<K: Kernel>(&mut self, service: &mut Service<K>, began: Instant) -> After {
        for _ in 0..TURN {
            match self.stream.read(&mut self.bytes[self.filled..]) {
                Ok(0) => return After::Ends,
                Ok(read) => self.filled += read,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return After::Stays,
                Err(_) => return After::Ends,
            }
            if self.filled < REQUEST_BYTES {
                continue;
            }
            self.filled = 0;
            let (number, answer) = service.request(self.lease, began.elapsed(), &self.bytes);
            // Who does not read its answers is hung up on: nothing is kept for it.
            if self.stream.write_all(&answer.encode(number)).is_err() {
                return After::Ends;
            }
        }
        After::Stays
    }
}
