//! Where a guest's sockets are, and a stream to one of them.
//!
//! Invariant: every wait here ends. A connection is made within the time it was given, reads and
//! writes carry time-outs, and an error names the endpoint and what to do about it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};

/// The host when an endpoint names only a port.
const DEFAULT_HOST: &str = "localhost";

/// The longest path that fits `sun_path` beside its terminating zero, in bytes (unix(7)).
const SUN_PATH_MAX: usize = 107;

/// Where a socket of a guest is: QMP, HMP, gdb stub or console.
///
/// As text: `unix:/path` or a path with a slash in it, `tcp:host:port`, `tcp:port`, `host:port`,
/// with the host in brackets when it is an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A unix socket, by its path in the file system.
    Unix(PathBuf),
    /// A TCP port: host name or address, and port.
    Tcp(String, u16),
}

impl Endpoint {
    /// Connects, and sets `timeout` for the reads and writes that follow as well.
    ///
    /// A unix path longer than `sun_path` is reached through the directory that holds it.
    ///
    /// # Errors
    /// [`NetError`], each variant one cause with its own remedy.
    pub fn connect(&self, timeout: Duration) -> Result<Stream, NetError> {
        let socket = match self {
            Endpoint::Unix(path) => Socket::Unix(self.connect_unix(path, timeout)?),
            Endpoint::Tcp(host, port) => Socket::Tcp(self.connect_tcp(host, *port, timeout)?),
        };
        let mut stream = Stream { socket, read_timeout: None };
        let set =
            stream.set_read_timeout(Some(timeout)).and_then(|()| stream.set_write_timeout(Some(timeout)));
        set.map_err(|error| self.classify(error))?;
        Ok(stream)
    }

    fn connect_unix(&self, path: &Path, timeout: Duration) -> Result<UnixStream, NetError> {
        let connect = || -> io::Result<UnixStream> {
            let flags = SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            // A full backlog blocks connect(2) on a unix socket; the send time-out bounds that wait.
            set_socket_timeout(&socket, Timeout::Send, Some(timeout.max(Duration::from_micros(1))))?;
            if path.as_os_str().as_bytes().len() <= SUN_PATH_MAX {
                rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            } else {
                let (folder, name) = split_path(path)?;
                let folder = rustix::fs::open(
                    folder,
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
                rustix::net::connect(&socket, &SocketAddrUnix::new(&short)?)?;
            }
            Ok(UnixStream::from(socket))
        };
        connect().map_err(|error| self.classify(error))
    }

    fn connect_tcp(&self, host: &str, port: u16, timeout: Duration) -> Result<TcpStream, NetError> {
        let deadline = Instant::now() + timeout;
        let addresses = (host, port)
            .to_socket_addrs()
            .map_err(|source| NetError::UnknownHost { endpoint: self.clone(), source })?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        // `localhost` is two addresses, and QEMU listens on one of them.
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|error| self.classify(error))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(self.classify(last))
    }

    fn classify(&self, source: io::Error) -> NetError {
        let endpoint = self.clone();
        match source.kind() {
            io::ErrorKind::NotFound => NetError::Missing { endpoint },
            io::ErrorKind::ConnectionRefused => NetError::Refused { endpoint },
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => NetError::TimedOut { endpoint },
            io::ErrorKind::PermissionDenied => NetError::Denied { endpoint },
            _ if source.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => {
                NetError::NameTooLong { endpoint }
            }
            _ => NetError::Io { endpoint, source },
        }
    }
}

/// The folder and the name of a socket whose path is too long for `sun_path`.
fn split_path(path: &Path) -> io::Result<(&Path, &Path)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if folder != Path::new("") => Ok((folder, Path::new(name))),
        _ => Err(Errno::NAMETOOLONG.into()),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Endpoint::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
        }
    }
}

/// Text that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no socket; write unix:/path, tcp:host:port, host:port, or tcp:port for this host")]
pub struct EndpointError(String);

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let bad = || EndpointError(text.to_owned());
        let text_in = text.trim();
        if let Some(path) = text_in.strip_prefix("unix:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Endpoint::Unix(path.into())) };
        }
        let (address, only_port_may_follow) = match text_in.strip_prefix("tcp:") {
            Some(rest) => (rest, true),
            None if text_in.contains('/') => return Ok(Endpoint::Unix(text_in.into())),
            None => (text_in, false),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None if only_port_may_follow => ("", address),
            None => return Err(bad()),
        };
        // `parse` takes a sign, a port has none; nothing can listen on port 0.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match (bare, host) {
            // Brackets are for an IPv6 address alone, which may name its interface.
            (Some(inside), _) => {
                let address = inside.split_once('%').map_or(inside, |(address, _)| address);
                address.parse::<Ipv6Addr>().map_err(|_| bad())?;
                inside
            }
            (None, "") => DEFAULT_HOST,
            (None, plain) if plain.contains([':', '[', ']', '/', ' ']) => return Err(bad()),
            (None, plain) => plain,
        };
        Ok(Endpoint::Tcp(host.to_owned(), port))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The socket's file does not exist.
    #[error("{endpoint} does not exist; is the guest running, and was it started with this socket?")]
    Missing {
        /// Where the connection was to go.
        endpoint: Endpoint,
    },
    /// Nothing listens there.
    #[error("nothing listens on {endpoint}; the guest has ended, or was started without this socket")]
    Refused {
        /// Where the connection was to go.
        endpoint: Endpoint,
    },
    /// The connection was not accepted in time. On a unix socket that means a full backlog.
    #[error("{endpoint} took no connection in time; another client may hold it, or QEMU is stuck")]
    TimedOut {
        /// Where the connection was to go.
        endpoint: Endpoint,
    },
    /// The file's permissions forbid it.
    #[error("permission denied on {endpoint}; the guest belongs to another user, run this as that user")]
    Denied {
        /// Where the connection was to go.
        endpoint: Endpoint,
    },
    /// Too long even when reached through its folder.
    #[error("the name of {endpoint} is too long for a socket; use a shorter file name and an absolute path")]
    NameTooLong {
        /// Where the connection was to go.
        endpoint: Endpoint,
    },
    /// The host's name has no address.
    #[error("the host of {endpoint} was not found ({source}); check its name, or give an address")]
    UnknownHost {
        /// Where the connection was to go.
        endpoint: Endpoint,
        /// What the resolver said.
        source: io::Error,
    },
    /// Any other cause; it has no specific remedy.
    #[error("cannot connect to {endpoint}: {source}")]
    Io {
        /// Where the connection was to go.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
}

/// How long a client waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection itself.
    pub connect: Duration,
    /// For each answer, and for the greeting.
    pub reply: Duration,
}

impl Default for Timeouts {
    /// Five seconds to connect, ten for an answer: a loaded host stalls QEMU for seconds, and a stop
    /// flushes its disks before QEMU answers anything else.
    fn default() -> Self {
        Timeouts { connect: Duration::from_secs(5), reply: Duration::from_secs(10) }
    }
}

/// A connection to an [`Endpoint`]. TCP goes without Nagle's delay.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    /// The read time-out that the socket has now, so that it is set only when it changes.
    read_timeout: Option<Duration>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// How long an answer is looked for before this thread goes to sleep for it.
const SPIN: Duration = Duration::from_micros(50);

impl Stream {
    /// Bounds each read from now on; `None` waits for ever.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // The system reads zero as "for ever", and std refuses it.
        let timeout = timeout.map(|time| time.max(Duration::from_micros(1)));
        match &self.socket {
            Socket::Unix(stream) => stream.set_read_timeout(timeout)?,
            Socket::Tcp(stream) => stream.set_read_timeout(timeout)?,
        }
        self.read_timeout = timeout;
        Ok(())
    }

    /// Bounds each write from now on; `None` waits for ever.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|time| time.max(Duration::from_micros(1)));
        match &self.socket {
            Socket::Unix(stream) => stream.set_write_timeout(timeout),
            Socket::Tcp(stream) => stream.set_write_timeout(timeout),
        }
    }

    /// Reads what has arrived already, without waiting. `None`: nothing has. `Some(0)`: the end.
    ///
    /// # Errors
    /// Those of recv(2), without "would block".
    pub fn read_ready(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match rustix::net::recv(self.as_fd(), &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => return Ok(Some(count)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads at least one byte until `deadline`. `None`: the deadline came first. `Some(0)`: the end.
    ///
    /// The wait may be longer by a sixteenth: a time-out that fits nearly enough is not set again,
    /// which saves a system call on each read of a long series.
    ///
    /// # Errors
    /// Those of read(2), without "would block" and "interrupted".
    pub fn read_until(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<Option<usize>> {
        // QEMU answers within some tens of microseconds, and waking up takes as long. Other threads go first.
        let patience = Instant::now() + SPIN.min(deadline.saturating_duration_since(Instant::now()));
        while Instant::now() < patience {
            if let Some(count) = self.read_ready(buffer)? {
                return Ok(Some(count));
            }
            std::thread::yield_now();
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // What has arrived counts even when the deadline has passed.
                return self.read_ready(buffer);
            }
            let fits = self.read_timeout.is_some_and(|set| set >= left && set - left <= left / 16);
            if !fits {
                self.set_read_timeout(Some(left))?;
            }
            match self.read(buffer) {
                Ok(count) => return Ok(Some(count)),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(stream) => stream.as_fd(),
            Socket::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Unix(stream) => stream.read(buffer),
            Socket::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Unix(stream) => stream.write(buffer),
            Socket::Tcp(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
