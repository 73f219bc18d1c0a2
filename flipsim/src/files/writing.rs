//! Files that are there whole or not at all, locks that are waited for a moment, digests of files.
//!
//! All that the lab writes is made here: `cargo xtask tidy` finds a file that is made elsewhere. A file that is ours by
//! its name, such as a lock or a log, may have been put there by another: a link would have us empty what it leads to.
//!
//! Invariants: **no reader sees half a file**. **No file of ours is opened through a link, and what is no plain file
//! with one name is left as it is.** What a user names is theirs: a link that they made is replaced, as `mv` does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::files::reading::{self, open_plain};
use crate::text::hex;

/// Opens a file of ours with these options: not through a link, and only a plain file that has no second name.
fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Without waiting: a FIFO of that name would have us wait for its reader.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = options.custom_flags(flags).open(path).map_err(|error| {
        match error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            true => not_ours(path, "a symbolic link"),
            false => error,
        }
    })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(not_ours(path, "no plain file"));
    }
    if found.nlink() > 1 {
        return Err(not_ours(path, "a second name of another file"));
    }
    Ok(file)
}

fn not_ours(path: &Path, what: &str) -> io::Error {
    let text = format!("{} is {what}, which is not written through; remove it", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Opens a file of ours to read and to write, which is made when missing; what is in it stays.
///
/// # Errors
/// A link or another thing is in its place, or the system said no.
pub fn open_or_make(path: &Path) -> io::Result<File> {
    open_own(path, File::options().read(true).write(true).create(true).truncate(false))
}

/// Opens a file of ours to read and to add to, which is made when missing.
///
/// # Errors
/// As [`open_or_make`].
pub fn append(path: &Path) -> io::Result<File> {
    open_own(path, File::options().read(true).append(true).create(true))
}

/// As [`append`], for what only the user is to read.
///
/// # Errors
/// As [`open_or_make`].
pub fn append_private(path: &Path) -> io::Result<File> {
    open_own(path, File::options().read(true).append(true).create(true).mode(0o600))
}

/// Opens a file of ours, such as a log, and empties it; it is made when missing.
///
/// # Errors
/// As [`open_or_make`]; what was there is as it was then.
pub fn start_again(path: &Path) -> io::Result<File> {
    // Emptied only when it is known to be ours.
    let file = open_own(path, File::options().write(true).create(true).truncate(false))?;
    file.set_len(0)?;
    Ok(file)
}

/// Makes a file whose name is free.
///
/// # Errors
/// The name is taken, by a link as well, or the system said no.
pub fn make_new(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).open(path)
}

/// Opens what a clone's QEMU writes in its private folder, to read and to empty it: the console, which is a link that the
/// lab made to memory, and recorded accesses.
///
/// # Errors
/// The system said no.
pub fn open_to_empty(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Copies a file whole, through a neighbour and a rename, with its permissions.
///
/// # Errors
/// One cannot be read, or the other not written; what was there before still is.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut file = tempfile::NamedTempFile::new_in(folder_of(to))?;
    io::copy(&mut source, file.as_file_mut())?;
    file.as_file().set_permissions(source.metadata()?.permissions())?;
    file.persist(to)?;
    Ok(())
}

/// The folder in which a path is; the current one for a bare name.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that has no name yet, and is given one when it is whole ([`Unnamed::put_in_place`]).
#[derive(Debug)]
pub struct Unnamed(tempfile::NamedTempFile);

impl Unnamed {
    /// A file beside `path`, as readable as any other new file.
    ///
    /// # Errors
    /// The system said no.
    pub fn beside(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(0o666);
        let mut builder = tempfile::Builder::new();
        builder.prefix(".flipsim").permissions(mode).tempfile_in(folder_of(path)).map(Unnamed)
    }

    /// Where to write.
    #[must_use]
    pub fn file(&self) -> &File {
        self.0.as_file()
    }

    /// Gives it its name; what had that name is gone then, also where it was a link.
    ///
    /// # Errors
    /// The system said no; what was there before still is.
    pub fn put_in_place(self, path: &Path) -> io::Result<()> {
        self.0.persist(path)?;
        Ok(())
    }
}

/// What a user has named to be written.
#[derive(Debug)]
pub enum Output {
    /// A file, which has its name when it is whole. A link of that name is replaced.
    Whole(Unnamed, PathBuf),
    /// A pipe or a device, such as /dev/stderr, which is written to as it is.
    There(File),
}

impl Output {
    /// Finds out that it can be written.
    ///
    /// # Errors
    /// The system said no.
    pub fn new(path: &Path) -> io::Result<Self> {
        // What is no plain file cannot be put in place by its name.
        match path.exists() && !path.is_file() {
            true => reading::open_output(path).map(Output::There),
            false => Ok(Output::Whole(Unnamed::beside(path)?, path.to_owned())),
        }
    }

    /// Where to write.
    #[must_use]
    pub fn file(&self) -> &File {
        match self {
            Output::Whole(file, _) => file.file(),
            Output::There(file) => file,
        }
    }

    /// All is written.
    ///
    /// # Errors
    /// The system said no; what was there before still is.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Output::Whole(file, path) => file.put_in_place(&path),
            Output::There(_) => Ok(()),
        }
    }
}

/// As [`write_atomically`], as readable as any other new file.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_readable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = Unnamed::beside(path)?;
    file.file().write_all(bytes)?;
    file.put_in_place(path)
}

/// A folder in another one that is this user's alone, and is removed when it is dropped.
///
/// # Errors
/// The system said no.
pub fn private_folder_in(folder: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(".flipsim").tempdir_in(folder)
}

/// Writes a file through a neighbour and a rename, so that a reader sees the old or the new text.
///
/// # Errors
/// The file cannot be written; what was there before still is.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder_of(path))?;
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

/// How much of the text in a lock is read, in bytes.
const NOTE: u64 = 1 << 20;

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
        open_or_make(path).map(LockFile)
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
        self.0.rewind()?;
        // What another has put there may be of any length, and no text.
        let mut bytes = Vec::new();
        Read::by_ref(&mut self.0).take(NOTE).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
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

    /// Writes a text over the beginning of what is in it, in one write: one that is killed there leaves the old or the
    /// new one, where both are of one length.
    ///
    /// # Errors
    /// The system said no.
    pub fn overwrite(&self, text: &str) -> io::Result<()> {
        self.0.write_all_at(text.as_bytes(), 0)
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
        self.read().ok()?.lines().next()?.trim().parse().ok()
    }

    /// The process that has a file locked now, which is not made when missing; 0 for one that did not sign.
    #[must_use]
    pub fn locked_by(path: &Path) -> Option<u32> {
        let mut file = LockFile(open_own(path, File::options().read(true)).ok()?);
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
