//! Files that a user has named: opened without a wait, and read without a wait that has no end.
//!
//! A named pipe (FIFO) keeps whoever opens it until another process opens its other end, which may be never. So what is
//! at a path is looked at first, it is opened so that nothing can make it wait, and it is looked at again.
//!
//! Invariant: **nothing here waits for another process to open what it opens, and what waits for bytes asks again and
//! again whether to go on**.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::text::without_mark;

type IsKind = fn(&FileType) -> bool;

/// What stands at a path in the place of a plain file, and what to do then: a row each.
const NOT_PLAIN: &[(IsKind, &str)] = &[
    (|kind| kind.is_dir(), "it is a folder; name a file in it"),
    (
        |kind| kind.is_fifo(),
        "it is a named pipe (FIFO), which can be waited for without an end; save what it gives to a file, and name \
         that",
    ),
    (
        |kind| kind.is_socket(),
        "it is a socket, which is no file; save what it gives to a file, and name that",
    ),
    (
        |kind| kind.is_block_device(),
        "it is a disk of this host (a block device), which changes under its user; copy it to a file (`cargo xtask \
         image convert` does), and name that",
    ),
    (
        |kind| kind.is_char_device(),
        "it is a character device, which is no file; save what it gives to a file, and name that",
    ),
];

/// Refuses what is no plain file, with what it is.
fn plain(meta: &Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    let found = NOT_PLAIN.iter().find(|(is, _)| is(&kind));
    found.map_or(Ok(()), |(_, what)| Err(io::Error::new(io::ErrorKind::InvalidInput, *what)))
}

/// Makes sure that a path leads to a plain file, by way of symbolic links or not. Nothing is opened.
///
/// # Errors
/// There is nothing, or what is no plain file: the text says what, and what to do.
pub fn check_plain(path: &Path) -> io::Result<Metadata> {
    let meta = fs::metadata(path)?;
    plain(&meta)?;
    Ok(meta)
}

/// Opens a plain file to read it.
///
/// # Errors
/// As [`check_plain`], and what the system says.
pub fn open_plain(path: &Path) -> io::Result<File> {
    check_plain(path)?;
    let file = open_at_once(OpenOptions::new().read(true), path)?;
    // Something else may have got the name meanwhile.
    plain(&file.metadata()?)?;
    Ok(file)
}

/// Opens without a wait. A plain file takes no notice of the flag afterwards.
pub(super) fn open_at_once(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    options.custom_flags(flags).open(path)
}

/// All of a plain file.
///
/// # Errors
/// As [`open_plain`].
pub fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a pipe or a device that a user has named to be written, as it is.
///
/// # Errors
/// What the system says, or that no process reads from the pipe.
pub fn open_output(path: &Path) -> io::Result<File> {
    let is_pipe = fs::metadata(path)?.file_type().is_fifo();
    let file = open_at_once(OpenOptions::new().write(true), path).map_err(|error| {
        let unread = is_pipe && error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
        match unread {
            true => io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is a named pipe (FIFO) that no process reads from; start its reader first, or name a file",
            ),
            false => error,
        }
    })?;
    // From here on a reader that is slow is waited for.
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Whether to go on waiting: an error ends the read, and is what it says.
pub type GoOn = fn() -> io::Result<()>;

/// What is read once, from its beginning to its end: a plain file, standard input, or a pipe whose other end a shell
/// has opened already, as in `<(zcat a.gz)`. A pipe that has a name in a folder is refused.
#[derive(Debug)]
pub struct Stream {
    file: File,
    go_on: GoOn,
}

impl Stream {
    /// Opens what is at a path.
    ///
    /// # Errors
    /// As [`open_plain`], but for pipes without a name and devices such as `/dev/stdin`.
    pub fn open(path: &Path, go_on: GoOn) -> io::Result<Stream> {
        let kind = fs::metadata(path)?.file_type();
        let taken = kind.is_char_device() || (kind.is_fifo() && is_nameless(path)?);
        let file = if taken { open_at_once(OpenOptions::new().read(true), path)? } else { open_plain(path)? };
        Ok(Stream { file, go_on })
    }

    /// Standard input.
    ///
    /// # Errors
    /// It is closed.
    pub fn stdin(go_on: GoOn) -> io::Result<Stream> {
        let own = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Stream { file: own.into(), go_on })
    }

    /// All of it as text, which may have `limit` bytes. A mark of the byte order at its beginning, as some editors
    /// write it, is no part of the text.
    ///
    /// # Errors
    /// It cannot be read, is longer, or is no text.
    pub fn text(self, limit: u64) -> io::Result<String> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut bytes = Vec::new();
        self.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(invalid(format!("it is longer than {limit} bytes; is it the file that was meant?")));
        }
        if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes[..] {
            return Err(invalid("it is UTF-16 text; save it as UTF-8".to_owned()));
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| invalid(format!("it is no UTF-8 text: {}", error.utf8_error())))?;
        Ok(without_mark(&text).to_owned())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            (self.go_on)()?;
            // A signal does not end a read that waits; so it is only read where there is something to read.
            let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let ready = poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&wait));
            match ready {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// Fills a buffer as far as there is anything to read; how many bytes that were.
///
/// # Errors
/// The system said no.
pub fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Whether a pipe has no name in any folder: then a process has opened its other end.
fn is_nameless(path: &Path) -> io::Result<bool> {
    /// The file system of such pipes (`include/uapi/linux/magic.h`).
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    let system = rustix::fs::statfs(path)?;
    Ok(system.f_type as u64 == PIPEFS_MAGIC)
}
