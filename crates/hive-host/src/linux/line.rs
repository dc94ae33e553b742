//! A local socket that nobody is waited for at beyond one deadline, be it in connecting, reading or writing.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// The socket, also where each byte comes in time.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stream: UnixStream,
    pub(super) until: Instant,
}

impl Line {
    /// Connects. A listener whose queue is full, as that of one that hangs, is not waited for: it is an error at once.
    pub(super) fn connect(socket: &Path, patience: Duration) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let ours = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&ours, &SocketAddrUnix::new(socket)?)?;
        let stream = UnixStream::from(ours);
        stream.set_nonblocking(false)?;
        Ok(Self::over(stream, patience))
    }

    /// Over a connection that is there.
    pub(super) fn over(stream: UnixStream, patience: Duration) -> Self {
        let until = Instant::now() + patience;
        Self { stream, until }
    }

    /// Waits no longer than what is left.
    fn limit(&self) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.set_write_timeout(Some(left))
    }
}

impl Read for Line {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.limit()?;
        self.stream.read(into)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limit()?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_listener_that_hangs_is_an_error_and_keeps_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let patience = Duration::from_secs(20);
        assert!(Line::connect(&path, patience).is_err(), "nobody is there");
        let listener = UnixListener::bind(&path).expect("bound");
        rustix::net::listen(&listener, 1).expect("a short queue");
        // Nobody accepts: the queue is full after some, and then there is no waiting.
        let mut held = Vec::new();
        let full = loop {
            match Line::connect(&path, patience) {
                Ok(line) => held.push(line),
                Err(error) => break error,
            }
            assert!(held.len() < 10);
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
