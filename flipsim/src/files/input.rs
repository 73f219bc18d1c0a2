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

/// What stands at a path in the place of a plain file, and what to do then: a row each.
const NOT_PLAIN: &[(fn(&FileType) -> bool, &str)] = &[
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
        "it is a disk of this host (a block device), which changes under its user; copy it to a file, and name that",
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
pub fn check(path: &Path) -> io::Result<Metadata> {
    let meta = fs::metadata(path)?;
    plain(&meta)?;
    Ok(meta)
}

/// Opens a plain file to read it.
///
/// # Errors
/// As [`check`], and what the system says.
pub fn open(path: &Path) -> io::Result<File> {
    check(path)?;
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
/// As [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file to write it from its beginning; it is made when missing. A pipe or a device is taken as it is.
///
/// # Errors
/// What the system says, or that no process reads from the pipe.
pub fn create(path: &Path) -> io::Result<File> {
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
    /// As [`open`], but for pipes without a name and devices such as `/dev/stdin`.
    pub fn open(path: &Path, go_on: GoOn) -> io::Result<Stream> {
        let kind = fs::metadata(path)?.file_type();
        let taken = kind.is_char_device() || (kind.is_fifo() && is_nameless(path)?);
        let file = if taken { open_at_once(OpenOptions::new().read(true), path)? } else { open(path)? };
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
        Ok(crate::text::without_mark(&text).to_owned())
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
    #[expect(clippy::unnecessary_cast, reason = "its width depends on the host")]
    Ok(system.f_type as u64 == PIPEFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    fn fifo(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        path
    }

    fn always() -> io::Result<()> {
        Ok(())
    }

    fn never() -> io::Result<()> {
        Err(io::Error::other("stop"))
    }

    #[test]
    fn what_is_no_plain_file_is_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let socket = at("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let pipe = fifo(folder.path());
        symlink(&pipe, at("link")).unwrap();
        for (path, word) in [
            (folder.path(), "a folder"),
            (&pipe, "a named pipe (FIFO)"),
            (&at("link"), "a named pipe (FIFO)"),
            (&socket, "a socket"),
            (Path::new("/dev/zero"), "a character device"),
        ] {
            for error in [open(path).unwrap_err(), check(path).unwrap_err(), read(path).unwrap_err()] {
                assert!(error.to_string().contains(word), "{}: {error}", path.display());
            }
        }
        assert!(Stream::open(&pipe, always).unwrap_err().to_string().contains("FIFO"));
        assert_eq!(open(&at("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("good")).unwrap();
        assert_eq!(read(&at("good")).unwrap(), b"text");
    }

    #[test]
    fn a_pipe_that_is_open_at_its_other_end_is_read_until_the_caller_says_stop() {
        let (out, mut into) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&out));
        into.write_all("\u{feff}a console\r\n".as_bytes()).unwrap();
        let stream = Stream::open(Path::new(&path), always).unwrap();
        let stopped = Stream::open(Path::new(&path), never).unwrap();
        assert_eq!(stopped.text(100).unwrap_err().to_string(), "stop");
        drop(into);
        assert_eq!(stream.text(100).unwrap(), "a console\r\n");
    }

    #[test]
    fn a_text_has_an_end_and_is_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let text = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Stream::open(&path, always).unwrap().text(8).map_err(|error| error.to_string())
        };
        assert_eq!(text(b"12345678").unwrap(), "12345678");
        assert!(text(b"123456789").unwrap_err().contains("longer than 8 bytes"));
        assert!(text(b"\xff\xfea\0").unwrap_err().contains("UTF-16"));
        assert!(text(b"a\xff").unwrap_err().contains("no UTF-8"));
        assert!(Stream::open(Path::new("/dev/zero"), always).unwrap().text(8).is_err());
    }

    #[test]
    fn an_output_that_no_process_reads_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = fifo(folder.path());
        assert!(create(&pipe).unwrap_err().to_string().contains("no process reads"));
        let mut reader = open_at_once(OpenOptions::new().read(true), &pipe).unwrap();
        create(&pipe).unwrap().write_all(b"x").unwrap();
        let mut seen = Vec::new();
        reader.read_to_end(&mut seen).unwrap();
        assert_eq!(seen, b"x");
        create(&folder.path().join("new")).unwrap();
    }
}
