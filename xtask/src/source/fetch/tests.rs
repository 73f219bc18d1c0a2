//! Downloads from servers that stop, resume, send too much, or lie.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;
use crate::lab::digest;

const FILE: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A server that handles one connection after the other, each with the next function.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

type Handler = Box<dyn FnOnce(&mut TcpStream, &str) + Send>;

fn serve(script: Vec<Handler>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file.tar.xz", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    std::thread::spawn(move || {
        for handler in script {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
            seen.lock().unwrap().push(head.to_ascii_lowercase());
            handler(&mut stream, &head);
        }
    });
    Server { url, requests }
}

fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Handler {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    Box::new(move |stream, _| drop(stream.write_all(&bytes)))
}

fn policy() -> Policy {
    Policy {
        stall: Duration::from_millis(300),
        connect: Duration::from_millis(300),
        pause: Duration::from_millis(5),
        plain_http_from_loopback: true,
        ..Policy::default()
    }
}

fn get(server: &Server, dir: &Path) -> Result<PathBuf, FetchError> {
    get_sized(server, dir, None)
}

fn get_sized(server: &Server, dir: &Path, size: Option<u64>) -> Result<PathBuf, FetchError> {
    let sha256 = digest::of_bytes(FILE);
    let wanted = Wanted { url: &server.url, file_name: "file.tar.xz", sha256: &sha256, size };
    fetch(dir, &wanted, &policy())
}

fn leftovers(dir: &Path) -> Vec<String> {
    let folder = dir.join(digest::of_bytes(FILE));
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_arrives_read_only_under_its_digest_and_is_not_asked_for_twice() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![answer("200 OK", "", FILE.len(), FILE)]);
    let path = get(&server, dir.path()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), FILE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(get(&server, dir.path()).unwrap(), path);
    assert_eq!(server.requests.lock().unwrap().len(), 1);
    assert_eq!(leftovers(dir.path()), ["file.tar.xz"]);
}

#[test]
fn a_download_cut_in_the_middle_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![
        answer("200 OK", "ETag: \"v1\"\r\n", FILE.len(), &FILE[..10]),
        answer("206 Partial Content", "Content-Range: bytes 10-35/36\r\n", 26, &FILE[10..]),
    ]);
    let path = get(&server, dir.path()).unwrap();
    assert_eq!(fs::read(path).unwrap(), FILE);
    let second = server.requests.lock().unwrap()[1].clone();
    assert!(second.contains("range: bytes=10-") && second.contains("if-range: \"v1\""), "{second}");
}

#[test]
fn a_server_without_ranges_makes_it_start_afresh() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        serve(vec![answer("200 OK", "", FILE.len(), &FILE[..10]), answer("200 OK", "", FILE.len(), FILE)]);
    assert_eq!(fs::read(get(&server, dir.path()).unwrap()).unwrap(), FILE);
}

#[test]
fn a_range_that_starts_elsewhere_is_not_glued_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![
        answer("200 OK", "", FILE.len(), &FILE[..10]),
        answer("206 Partial Content", "Content-Range: bytes 12-35/36\r\n", 24, &FILE[12..]),
        answer("200 OK", "", FILE.len(), FILE),
    ]);
    assert_eq!(fs::read(get(&server, dir.path()).unwrap()).unwrap(), FILE);
}

#[test]
fn a_complete_part_is_recognised_when_the_server_has_no_more_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(digest::of_bytes(FILE));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file.tar.xz.part"), FILE).unwrap();
    let server = serve(vec![answer("416 Range Not Satisfiable", "Content-Range: bytes */36\r\n", 0, b"")]);
    assert_eq!(fs::read(get(&server, dir.path()).unwrap()).unwrap(), FILE);
}

#[test]
fn a_part_longer_than_the_file_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(digest::of_bytes(FILE));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file.tar.xz.part"), [FILE, b"more"].concat()).unwrap();
    let server = serve(vec![
        answer("416 Range Not Satisfiable", "Content-Range: bytes */36\r\n", 0, b""),
        answer("200 OK", "", FILE.len(), FILE),
    ]);
    assert_eq!(fs::read(get(&server, dir.path()).unwrap()).unwrap(), FILE);
}

#[test]
fn a_wrong_digest_is_an_error_and_the_file_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![answer("200 OK", "", 4, b"evil")]);
    let error = get(&server, dir.path()).unwrap_err();
    assert!(matches!(error, FetchError::WrongDigest { .. }), "{error}");
    assert!(error.to_string().contains(&digest::of_bytes(b"evil")));
    assert_eq!(leftovers(dir.path()), ["file.tar.xz.bad"]);
}

#[test]
fn a_wrong_digest_after_a_resumed_download_is_tried_once_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(digest::of_bytes(FILE));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file.tar.xz.part"), b"an older v").unwrap();
    let server = serve(vec![
        answer("206 Partial Content", "Content-Range: bytes 10-35/36\r\n", 26, &FILE[10..]),
        answer("200 OK", "", FILE.len(), FILE),
    ]);
    assert_eq!(fs::read(get(&server, dir.path()).unwrap()).unwrap(), FILE);
}

#[test]
fn a_file_damaged_on_disk_is_downloaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![answer("200 OK", "", FILE.len(), FILE), answer("200 OK", "", FILE.len(), FILE)]);
    let path = get(&server, dir.path()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, "damaged").unwrap();
    assert_eq!(fs::read(get(&server, dir.path()).unwrap()).unwrap(), FILE);
}

#[test]
fn not_found_is_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![answer("404 Not Found", "", 0, b"")]);
    let error = get(&server, dir.path()).unwrap_err();
    assert!(matches!(error, FetchError::Status { status: StatusCode::NOT_FOUND, .. }), "{error}");
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        serve(vec![answer("503 Service Unavailable", "", 0, b""), answer("200 OK", "", FILE.len(), FILE)]);
    assert!(get(&server, dir.path()).is_ok());
}

#[test]
fn a_stalled_server_is_given_up_and_what_came_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let stall = |first: &'static [u8], head: &'static str| -> Handler {
        Box::new(move |stream, _| {
            drop(stream.write_all(head.as_bytes()));
            drop(stream.write_all(first));
            let held = stream.try_clone().unwrap();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(5));
                drop(held);
            });
        })
    };
    let rest = "HTTP/1.1 206 Partial Content\r\nContent-Length: 26\r\nContent-Range: bytes 10-35/36\r\n\r\n";
    let server = serve(vec![
        stall(&FILE[..10], "HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n"),
        stall(b"", rest),
        stall(b"", rest),
        stall(b"", rest),
    ]);
    let started = Instant::now();
    let error = get(&server, dir.path()).unwrap_err();
    assert!(matches!(error, FetchError::Broken { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(leftovers(dir.path()).contains(&"file.tar.xz.part".to_owned()));
}

#[test]
fn another_size_than_the_pinned_one_is_refused_before_the_body() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![answer("200 OK", "", FILE.len(), FILE)]);
    let error = get_sized(&server, dir.path(), Some(35)).unwrap_err();
    assert!(matches!(error, FetchError::WrongSize { found: 36, .. }), "{error}");
}

#[test]
fn a_redirect_to_plain_http_elsewhere_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(vec![answer("302 Found", "Location: http://example.invalid/f\r\n", 0, b"")]);
    let error = get(&server, dir.path()).unwrap_err();
    assert!(error.to_string().contains("not https"), "{error}");
}

#[test]
fn a_refused_connection_is_given_up_quickly() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server { url: format!("http://127.0.0.1:{port}/f"), requests: Arc::default() };
    let started = Instant::now();
    let error = get(&server, dir.path()).unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn plain_http_is_refused_without_the_policy_for_tests() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = Wanted { url: "http://127.0.0.1:9/f", file_name: "f", sha256: "0", size: None };
    let error = fetch(dir.path(), &wanted, &Policy::default()).unwrap_err();
    assert!(matches!(error, FetchError::NotHttps { .. }), "{error}");
}
