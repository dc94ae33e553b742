//! Every call into the kernel that the standard library does not offer, and the only unsafe code.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What the scheduler holds about one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheduling {
    /// `SCHED_OTHER` is 0, `SCHED_BATCH` is 3.
    pub(super) policy: u32,
    /// Its nice.
    pub(super) nice: i32,
    /// Its slice in nanoseconds, for the fair policies.
    pub(super) slice_ns: u64,
    /// Whether its children begin with the usual policy.
    pub(super) resets_on_fork: bool,
}

/// The first version of the kernel's `struct sched_attr` (48 bytes): all that this crate needs, and
/// understood by every kernel since 3.14.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// What the kernel may be told about memory. Neither changes what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Advice {
    /// `MADV_COLD`: the first to be taken when memory runs short.
    Cold = 20,
    /// `MADV_PAGEOUT`: taken now.
    PageOut = 21,
}

/// `UIO_MAXIOV`: more ranges in one call are refused.
pub(super) const RANGES_MAX: usize = 1_024;

/// `IOPRIO_WHO_PROCESS`, which names a thread.
const IOPRIO_WHO_PROCESS: u32 = 1;

/// `SCHED_FLAG_RESET_ON_FORK`.
const RESET_ON_FORK: u64 = 0x01;

/// `SCHED_FLAG_KEEP_POLICY`: policy and reset-on-fork stay as they are.
const KEEP_POLICY: u64 = 0x08;

/// Most files that the scan keeps open: as many as a busy machine has processes (a guess). Each holds a page of kernel
/// memory: 4,096 of them cost 17 MB beside the 18 MB of the daemon, so these cost 8.
const FILES_MAX: u64 = 2_048;

#[cfg(target_env = "musl")]
type Resource = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Resource = libc::__rlimit_resource_t;

/// Microseconds since boot, suspended time included.
pub(super) fn boot_clock_us() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    #[expect(
        unsafe_code,
        reason = "the standard library does not read CLOCK_BOOTTIME"
    )]
    // SAFETY: `time` is a valid, writable timespec for the length of the call.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    if code != 0 {
        return 0;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000 + nanos / 1_000
}

/// Clock ticks per second, the unit of processor and start times in `/proc`.
pub(super) fn ticks_per_second() -> u64 {
    #[expect(unsafe_code, reason = "sysconf is a C function")]
    // SAFETY: sysconf takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks)
        .ok()
        .filter(|&ticks| ticks > 0)
        .unwrap_or(100)
}

/// Bytes of a page of memory.
pub(super) fn page_bytes() -> u64 {
    #[expect(unsafe_code, reason = "sysconf is a C function")]
    // SAFETY: sysconf takes no pointers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4_096)
}

/// The effective user id.
pub(super) fn own_uid() -> u32 {
    #[expect(unsafe_code, reason = "geteuid is a C function")]
    // SAFETY: geteuid takes no arguments and cannot fail.
    unsafe {
        libc::geteuid()
    }
}

/// The calling thread's id.
pub(super) fn own_tid() -> u32 {
    #[expect(unsafe_code, reason = "gettid is a C function")]
    // SAFETY: gettid takes no arguments and cannot fail.
    let tid = unsafe { libc::gettid() };
    u32::try_from(tid).unwrap_or(0)
}

/// The soft limit on how far nice may be lowered (20 reaches nice 0).
pub(super) fn nice_limit() -> u64 {
    limits(libc::RLIMIT_NICE).map_or(0, |limit| limit.rlim_cur)
}

/// How many files the scan may keep open: a quarter of what the whole process may, for it has other uses for them too,
/// and no more than there are processes on a busy machine.
pub(super) fn may_hold_open() -> usize {
    let quarter = limits(libc::RLIMIT_NOFILE).map_or(0, |limit| limit.rlim_cur / 4);
    usize::try_from(quarter.min(FILES_MAX)).unwrap_or(0)
}

fn limits(resource: Resource) -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    #[expect(unsafe_code, reason = "getrlimit is a C function")]
    // SAFETY: `limit` is a valid, writable rlimit for the length of the call.
    let code = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (code == 0).then_some(limit)
}

/// Reads what the scheduler holds about a thread.
pub(super) fn scheduling(tid: u32) -> io::Result<Scheduling> {
    let mut attr = SchedAttr::default();
    let size = mem::size_of::<SchedAttr>();
    #[expect(unsafe_code, reason = "sched_getattr has no wrapper")]
    // SAFETY: `attr` is writable and `size` is its exact size, which the kernel does not exceed.
    let code = unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut attr, size, 0_u32) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Scheduling {
        policy: attr.policy,
        nice: attr.nice,
        slice_ns: attr.runtime,
        resets_on_fork: attr.flags & RESET_ON_FORK != 0,
    })
}

/// Sets a thread's slice; 0 is the kernel's default. `nice` is the thread's present nice, which the
/// same call would overwrite.
pub(super) fn set_slice(tid: u32, nice: i32, slice_ns: u64) -> io::Result<()> {
    let attr = SchedAttr {
        size: u32::try_from(mem::size_of::<SchedAttr>()).expect("48 bytes"),
        flags: KEEP_POLICY,
        nice,
        runtime: slice_ns,
        ..SchedAttr::default()
    };
    #[expect(unsafe_code, reason = "sched_setattr has no wrapper")]
    // SAFETY: `attr` is readable and carries its own size.
    let code = unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const attr, 0_u32) };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets a thread's policy, one of the fair ones or `SCHED_IDLE`; a fair one comes with its nice and its slice in
/// nanoseconds (0 is the kernel's default), which are passed over with the other.
pub(super) fn set_policy(tid: u32, to: Scheduling) -> io::Result<()> {
    let attr = SchedAttr {
        size: u32::try_from(mem::size_of::<SchedAttr>()).expect("48 bytes"),
        policy: to.policy,
        flags: if to.resets_on_fork { RESET_ON_FORK } else { 0 },
        nice: to.nice,
        runtime: to.slice_ns,
        ..SchedAttr::default()
    };
    #[expect(unsafe_code, reason = "sched_setattr has no wrapper")]
    // SAFETY: `attr` is readable and carries its own size.
    let code = unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const attr, 0_u32) };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A thread's class and level of input and output, as `ioprio_get(2)` packs them.
pub(super) fn io_class(tid: u32) -> io::Result<u16> {
    #[expect(unsafe_code, reason = "ioprio_get has no wrapper")]
    // SAFETY: ioprio_get takes no pointers.
    let found = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid) };
    u16::try_from(found).map_err(|_| io::Error::last_os_error())
}

/// Sets a thread's class and level of input and output.
pub(super) fn set_io_class(tid: u32, class: u16) -> io::Result<()> {
    let class = u32::from(class);
    #[expect(unsafe_code, reason = "ioprio_set has no wrapper")]
    // SAFETY: ioprio_set takes no pointers.
    let code = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid, class) };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A handle on a process: whoever gets its number later is not meant by it.
pub(super) fn process(pid: u32) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "pidfd_open has no wrapper")]
    // SAFETY: pidfd_open takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0_u32) };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "the kernel gave a bare descriptor")]
    // SAFETY: the descriptor is new, open, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Advises the kernel on ranges `(start, length)` of a process's memory; tells how many bytes it took the advice for.
/// At most [`RANGES_MAX`] ranges.
pub(super) fn advise(
    process: &OwnedFd,
    ranges: &[(usize, usize)],
    advice: Advice,
) -> io::Result<usize> {
    let vectors: Vec<libc::iovec> = ranges
        .iter()
        .take(RANGES_MAX)
        .map(|&(start, length)| libc::iovec {
            iov_base: start as *mut libc::c_void,
            iov_len: length,
        })
        .collect();
    #[expect(unsafe_code, reason = "process_madvise has no wrapper")]
    // SAFETY: `vectors` is readable and of that length; its addresses are the other process's and are not followed
    // here, and neither advice changes what that memory holds.
    let taken = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            process.as_raw_fd(),
            vectors.as_ptr(),
            vectors.len(),
            advice as libc::c_int,
            0_u32,
        )
    };
    usize::try_from(taken).map_err(|_| io::Error::last_os_error())
}

/// Sets the nice of one thread (on Linux `PRIO_PROCESS` names a thread, not a process).
pub(super) fn set_nice(tid: u32, nice: i32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "setpriority is a C function")]
    // SAFETY: setpriority takes no pointers.
    let code = unsafe { libc::setpriority(libc::PRIO_PROCESS, tid, nice) };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn checked(code: libc::c_long) -> io::Result<libc::c_long> {
    if code < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(code)
    }
}

/// From now on the signals that ask this process to end are read from this file, and end nothing by themselves. To be
/// called before any other thread is started.
pub(super) fn endings() -> io::Result<OwnedFd> {
    let mut set = mem::MaybeUninit::<libc::sigset_t>::uninit();
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    #[expect(unsafe_code, reason = "signalfd has no wrapper")]
    // SAFETY: sigemptyset fills `set` before anything reads it; the other calls take valid pointers to it.
    let code = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::signalfd(-1, set.as_ptr(), flags)
    };
    let fd = RawFd::try_from(checked(code.into())?).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "the kernel gives a bare number")]
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A file that the starter of this process handed to it under this number: a second name of it, which is ours.
pub(super) fn handed(number: RawFd) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "fcntl is a C function")]
    // SAFETY: F_DUPFD_CLOEXEC takes no pointers, and leaves the number as it is.
    let code = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    let fd = RawFd::try_from(checked(code.into())?).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "the kernel gives a bare number")]
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A stream to whoever listens at this path. Where too many wait there already this is an error at once: the standard
/// library's call would wait for ever.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let mut address = libc::sockaddr_un {
        sun_family: libc::sa_family_t::try_from(libc::AF_UNIX).map_err(io::Error::other)?,
        sun_path: [0; 108],
    };
    let path = path.as_os_str().as_bytes();
    if path.len() >= address.sun_path.len() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    #[expect(unsafe_code, reason = "socket is a C function")]
    // SAFETY: it takes no pointers.
    let code = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    let fd = RawFd::try_from(checked(code.into())?).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "the kernel gives a bare number")]
    // SAFETY: the kernel has just made this descriptor for us, and nobody else owns it.
    let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let bytes = libc::socklen_t::try_from(mem::size_of_val(&address)).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "connect is a C function")]
    // SAFETY: `address` is a whole `sockaddr_un` of that many bytes, and lives until the call is over.
    let code = unsafe { libc::connect(fd, (&raw const address).cast(), bytes) };
    checked(code.into())?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}
