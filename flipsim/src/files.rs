//! Files that are there whole or not at all, locks that are waited for a moment, digests of files; and files that a user
//! has named: opened without a wait, and read without a wait that has no end.
//!
//! A named pipe (FIFO) keeps whoever opens it until another process opens its other end, which may be never. So what is
//! at a path is looked at first, it is opened so that nothing can make it wait, and it is looked at again.
//!
//! Invariants: **no reader sees half a file; nothing here waits for another process to open what it opens, and what waits
//! for bytes asks again and again whether to go on**.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::text::{hex, without_mark};

/// Writes a file through a neighbour and a rename, so that a reader sees the old or the new text.
///
/// # Errors
/// The file cannot be written; what was there before still is.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    // Without it, a machine that loses its power may be left with the new name and none of the bytes.
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Locks a file, or says that another process has it locked. One that is just being started has, for the
/// moment between fork and exec, whatever its parent had open: that is waited for.
///
/// # Errors
/// As [`File::try_lock`].
pub fn lock_soon(file: &File) -> Result<(), fs::TryLockError> {
    let end = Instant::now() + Duration::from_millis(200);
    loop {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// A file that one process at a time has locked, with a text in it for the others. The lock is the kernel's, and
/// goes with the process.
#[derive(Debug)]
pub struct LockFile(File);

impl LockFile {
    /// Opens the file, which is made when missing; it is not locked yet.
    ///
    /// # Errors
    /// The system said no.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).open(path).map(LockFile)
    }

    /// Locks it, as [`lock_soon`].
    ///
    /// # Errors
    /// Another process has it locked, or the system said no.
    pub fn lock(&self) -> Result<(), fs::TryLockError> {
        lock_soon(&self.0)
    }

    /// Device and inode, by which a path that leads to another file by now is noticed.
    ///
    /// # Errors
    /// The system said no.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        self.0.metadata().map(|file| (file.dev(), file.ino()))
    }

    /// All that is in it.
    ///
    /// # Errors
    /// The system said no.
    pub fn read(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.0.rewind()?;
        self.0.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Writes a text in the place of what is in it.
    ///
    /// # Errors
    /// The system said no.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(text.as_bytes())
    }

    /// Writes the number of this process into it, for messages of those that wait.
    ///
    /// # Errors
    /// The system said no.
    pub fn sign(&mut self) -> io::Result<()> {
        self.write(&format!("{}\n", std::process::id()))
    }

    /// The process that signed it last, where that can be read.
    #[must_use]
    pub fn signer(&mut self) -> Option<u32> {
        self.read().ok()?.trim().parse().ok()
    }

    /// The process that has a file locked now, which is not made when missing; 0 for one that did not sign.
    #[must_use]
    pub fn locked_by(path: &Path) -> Option<u32> {
        let mut file = LockFile(open_plain(path).ok()?);
        match file.0.try_lock_shared() {
            Err(fs::TryLockError::WouldBlock) => Some(file.signer().unwrap_or(0)),
            _ => None,
        }
    }
}

/// The SHA-256 of a file, in hexadecimal; an image of gigabytes takes its time, and `interrupted` is asked often.
///
/// # Errors
/// The file cannot be read, or [`given_up`].
pub fn file_digest(path: &Path, interrupted: fn() -> bool) -> io::Result<String> {
    stream_digest(open_plain(path)?, |error| error, || go_on(interrupted)).map(|(digest, _)| digest)
}

/// An error once the caller wants to stop: what reads or writes much calls it before each piece.
///
/// # Errors
/// [`given_up`].
pub fn go_on(interrupted: fn() -> bool) -> io::Result<()> {
    if interrupted() { Err(given_up()) } else { Ok(()) }
}

/// The error of work on a file that was given up because the caller wants to stop. No call to the system says it.
#[must_use]
pub fn given_up() -> io::Error {
    io::Error::other(GivenUp)
}

/// Whether an error is [`given_up`].
#[must_use]
pub fn is_given_up(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<GivenUp>())
}

/// The caller wants to stop.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted")]
struct GivenUp;

/// The SHA-256 of all that can be read, in hexadecimal, and how many bytes that is. `go_on` is asked before each
/// piece.
///
/// # Errors
/// What `go_on` said, or that it cannot be read.
pub fn stream_digest<E>(
    mut from: impl Read,
    error: impl Fn(io::Error) -> E,
    go_on: impl Fn() -> Result<(), E>,
) -> Result<(String, u64), E> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        go_on()?;
        match from.read(&mut buffer).map_err(&error)? {
            0 => return Ok((hex(&hasher.finalize()), size)),
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}

/// A path with something added to its name.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// It cannot be removed.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it; one that is not there is no error.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

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
fn open_at_once(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
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

/// Opens a file to write it from its beginning; it is made when missing. A pipe or a device is taken as it is.
///
/// # Errors
/// What the system says, or that no process reads from the pipe.
pub fn create_output(path: &Path) -> io::Result<File> {
    let Some(kind) = fs::metadata(path).ok().map(|meta| meta.file_type()).filter(|kind| !kind.is_file())
    else {
        return File::create(path);
    };
    let file = open_at_once(OpenOptions::new().write(true), path).map_err(|error| {
        let unread = kind.is_fifo() && error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
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

/// Whether a pipe has no name in any folder: then a process has opened its other end.
fn is_nameless(path: &Path) -> io::Result<bool> {
    /// The file system of such pipes (`include/uapi/linux/magic.h`).
    const PIPEFS_MAGIC: u64 = 0x5049_5045;
    let system = rustix::fs::statfs(path)?;
    Ok(system.f_type as u64 == PIPEFS_MAGIC)
}

#[cfg(test)]
mod tests;
