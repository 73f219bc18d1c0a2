//! Tests of `files`.

use super::*;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

#[test]
fn a_file_is_replaced_as_a_whole_and_a_failure_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_atomically(&path, b"first").unwrap();
    write_atomically(&path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert!(write_atomically(&folder.path().join("no/such/folder"), b"third").is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
}

#[test]
fn a_locked_file_says_who_has_it_and_is_free_when_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    assert_eq!(LockFile::locked_by(&path), None);
    assert!(!path.exists(), "a look makes nothing");
    let mut mine = LockFile::open(&path).unwrap();
    mine.lock().unwrap();
    assert_eq!(LockFile::locked_by(&path), Some(0));
    mine.write("a longer text than the number").unwrap();
    mine.sign().unwrap();
    assert_eq!(LockFile::locked_by(&path), Some(std::process::id()));
    let mut other = LockFile::open(&path).unwrap();
    assert!(matches!(other.lock(), Err(fs::TryLockError::WouldBlock)));
    assert_eq!((other.signer(), other.identity().unwrap()), (mine.signer(), mine.identity().unwrap()));
    drop(mine);
    assert_eq!(LockFile::locked_by(&path), None);
    other.lock().unwrap();
    assert_eq!(other.read().unwrap(), format!("{}\n", std::process::id()));
}

#[test]
fn what_is_not_there_is_removed_already() {
    let folder = tempfile::tempdir().unwrap();
    let file = beside(&folder.path().join("a"), ".part");
    assert_eq!(file.file_name().unwrap(), "a.part");
    fs::write(&file, "x").unwrap();
    for _ in 0..2 {
        remove_file(&file).unwrap();
        remove_tree(folder.path()).unwrap();
    }
    assert!(!folder.path().exists());
}

#[test]
fn the_digest_of_abc_is_the_one_in_the_standard() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let digest = |go_on: fn() -> io::Result<()>| stream_digest(&b"abc"[..], |error| error, go_on);
    assert_eq!(digest(|| Ok(())).unwrap(), (abc.to_owned(), 3));
    assert_eq!(digest(|| Err(io::ErrorKind::Other.into())).unwrap_err().kind(), io::ErrorKind::Other);
}

fn fifo(folder: &Path) -> PathBuf {
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
        for error in
            [open_plain(path).unwrap_err(), check_plain(path).unwrap_err(), read_plain(path).unwrap_err()]
        {
            assert!(error.to_string().contains(word), "{}: {error}", path.display());
        }
    }
    assert!(Stream::open(&pipe, always).unwrap_err().to_string().contains("FIFO"));
    assert_eq!(open_plain(&at("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::write(at("file"), "text").unwrap();
    symlink(at("file"), at("good")).unwrap();
    assert_eq!(read_plain(&at("good")).unwrap(), b"text");
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
    assert!(open_output(&pipe).unwrap_err().to_string().contains("no process reads"));
    let mut reader = reading::open_at_once(OpenOptions::new().read(true), &pipe).unwrap();
    open_output(&pipe).unwrap().write_all(b"x").unwrap();
    let mut seen = Vec::new();
    reader.read_to_end(&mut seen).unwrap();
    assert_eq!(seen, b"x");
    Output::new(&folder.path().join("new")).unwrap().finish().unwrap();
}

#[test]
fn the_digest_of_a_file_is_given_up_when_the_caller_wants_to_stop() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(is_given_up(&file_digest(file.path(), || true).unwrap_err()));
    file_digest(file.path(), || false).unwrap();
    assert!(!is_given_up(&file_digest(Path::new("/nonexistent"), || true).unwrap_err()));
}

#[test]
fn what_is_not_ours_is_neither_written_through_nor_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    fs::write(&theirs, "precious").unwrap();
    let (link, second, fifo) = ("link", "second", "fifo");
    let at = |name: &str| folder.path().join(name);
    symlink(&theirs, at(link)).unwrap();
    fs::hard_link(&theirs, at(second)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at(fifo),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();
    for name in [link, second, fifo, "dangling"] {
        for open in [open_or_make, append, append_private, start_again] {
            assert!(open(&at(name)).is_err(), "{name}");
        }
        assert!(make_new(&at(name)).is_err(), "{name}");
        assert!(LockFile::open(&at(name)).is_err(), "{name}");
        assert_eq!(LockFile::locked_by(&at(name)), None);
    }
    let said = open_or_make(&at(link)).unwrap_err().to_string();
    assert!(said.ends_with("link is a symbolic link, which is not written through; remove it"), "{said}");
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
    assert!(!at("nothing").exists());
    // What is put in place takes the name of a link, and leaves alone what that leads to.
    write_atomically(&at(link), b"mine").unwrap();
    copy(&at(link), &at(second)).unwrap();
    Unnamed::beside(&at("dangling")).unwrap().put_in_place(&at("dangling")).unwrap();
    assert_eq!(
        (fs::read(&theirs).unwrap(), fs::read(at(second)).unwrap()),
        (b"precious".to_vec(), b"mine".to_vec())
    );
    assert!(!at("nothing").exists() && at("dangling").is_file());
}
