//! Downloads: from a pinned address to a file whose digest has been checked.
//!
//! Invariants: **a file gets its final name only when its digest is the pinned one**; what arrived
//! before a break is kept and continued; a host that cannot be reached costs seconds, not minutes,
//! because another source may be next.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::Client;
use reqwest::header::{ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE};
use sha2::{Digest, Sha256};

use super::http::{FetchError, Policy, Wanted, acceptable, client, content_range, start, wait_for};
use crate::interrupt;
use crate::progress;
use crate::progress::Step;

/// The file's place below `downloads`, whether it is there or not.
pub fn place(downloads: &Path, wanted: &Wanted<'_>) -> PathBuf {
    downloads.join(wanted.sha256).join(wanted.file_name)
}

/// Makes sure that the file is in `downloads/<sha256>/<name>`, and says where.
pub fn fetch(downloads: &Path, wanted: &Wanted<'_>, policy: &Policy) -> Result<PathBuf, FetchError> {
    let place = place(downloads, wanted);
    if place.exists() {
        // Checked when it came; a disk may have changed it since.
        if size_and_digest(&place)?.1 == wanted.sha256 {
            return Ok(place);
        }
        eprintln!("  {} has been damaged since it was downloaded; getting it again", place.display());
        fs::remove_file(&place).map_err(disk(&place))?;
    }
    let client = client(policy)?;
    let mut download = Download { wanted, policy, place, client };
    download.run()
}

struct Download<'a> {
    wanted: &'a Wanted<'a>,
    policy: &'a Policy,
    place: PathBuf,
    client: Client,
}

/// What one try came to, when it is no error.
enum Try {
    Complete,
    /// What was kept does not fit what the server has now: start afresh.
    Stale,
}

impl Download<'_> {
    fn run(&mut self) -> Result<PathBuf, FetchError> {
        let url = self.wanted.url;
        if !acceptable(url, self.policy) {
            return Err(FetchError::NotHttps { url: url.to_owned() });
        }
        let folder = self.place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(disk(folder))?;

        let mut failures = 0;
        let mut afresh = false;
        loop {
            interrupt::check()?;
            let kept = part_size(&self.part());
            let started = Instant::now();
            let error = match self.attempt() {
                Ok(Try::Complete) => match self.settle() {
                    // A file that was continued may have changed on the server in between: only a
                    // digest that is wrong after one unbroken download is final.
                    Err(FetchError::WrongDigest { .. }) if kept > 0 && !afresh => {
                        afresh = true;
                        continue;
                    }
                    settled => return settled,
                },
                Ok(Try::Stale) if !afresh => {
                    afresh = true;
                    self.forget()?;
                    continue;
                }
                Ok(Try::Stale) => FetchError::Broken {
                    url: url.to_owned(),
                    got: "nothing".to_owned(),
                    why: "the server refuses the range asked for, twice".to_owned(),
                },
                Err(error) => error,
            };
            if part_size(&self.part()) > kept {
                failures = 0;
            }
            failures += 1;
            // A name that cannot be resolved, a refused connection: once more after a second, and
            // not at all when the first try took its time already.
            let unreachable = matches!(error, FetchError::Unreachable { .. });
            let again = if unreachable {
                failures < 2 && started.elapsed() < Duration::from_secs(2)
            } else {
                error.is_transient() && failures < self.policy.tries
            };
            if !again {
                return Err(error);
            }
            let pause = self.policy.pause * 2u32.pow((failures - 1).min(6));
            if !unreachable {
                eprintln!("  {error}\n  trying again in {}", progress::seconds(pause));
            }
            interrupt::sleep(pause)?;
        }
    }

    fn part(&self) -> PathBuf {
        with_suffix(&self.place, ".part")
    }

    /// What the server called the version that `.part` is the beginning of.
    fn validator(&self) -> PathBuf {
        with_suffix(&self.place, ".part.version")
    }

    fn forget(&self) -> Result<(), FetchError> {
        for path in [self.part(), self.validator()] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(disk(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn attempt(&self) -> Result<Try, FetchError> {
        let kept = part_size(&self.part());
        let mut request = self.client.get(self.wanted.url);
        if kept > 0 {
            request = request.header(RANGE, format!("bytes={kept}-"));
            if let Ok(version) = fs::read_to_string(self.validator()) {
                request = request.header(IF_RANGE, version.trim());
            }
        }
        let (answer, body) = start(request);
        let deadline = Instant::now() + self.policy.connect + self.policy.stall;
        let answer = wait_for(&answer, deadline)?
            .unwrap_or_else(|| Err(self.broken(kept, "no answer within the time allowed")))
            .map_err(|error| self.locate(error))?;

        let mut start_at = kept;
        let total = match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                let (first, total) = content_range(&answer.headers).unwrap_or((None, None));
                if first != Some(kept) {
                    return Ok(Try::Stale);
                }
                total
            }
            StatusCode::OK => {
                // No support for ranges, or another version: from the start.
                start_at = 0;
                self.forget()?;
                answer.length
            }
            StatusCode::RANGE_NOT_SATISFIABLE if kept > 0 => {
                let total = content_range(&answer.headers).and_then(|(_, total)| total);
                return Ok(if total == Some(kept) { Try::Complete } else { Try::Stale });
            }
            status => return Err(FetchError::Status { url: self.wanted.url.to_owned(), status }),
        };
        self.check_size(total)?;
        self.remember(&answer.headers)?;
        self.receive(&body, start_at, total)
    }

    fn check_size(&self, total: Option<u64>) -> Result<(), FetchError> {
        let wrong = |expected: String, found| FetchError::WrongSize {
            url: self.wanted.url.to_owned(),
            expected,
            found,
        };
        match (self.wanted.size, total) {
            (Some(expected), Some(found)) if found != expected => Err(wrong(expected.to_string(), found)),
            (None, Some(found)) if found > self.policy.largest => {
                Err(wrong(format!("at most {}", self.policy.largest), found))
            }
            _ => Ok(()),
        }
    }

    fn remember(&self, headers: &HeaderMap) -> Result<(), FetchError> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        // RFC 9110, 13.1.5: If-Range takes no weak entity tag.
        let version = text(ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(LAST_MODIFIED));
        let path = self.validator();
        match version {
            Some(version) => fs::write(&path, version).map_err(disk(&path)),
            None => Ok(()),
        }
    }

    fn receive(
        &self,
        body: &Receiver<Result<Vec<u8>, String>>,
        start_at: u64,
        total: Option<u64>,
    ) -> Result<Try, FetchError> {
        let path = self.part();
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(disk(&path))?;
        let end = self.wanted.size.or(total);
        let verb = if start_at > 0 { "downloading the rest of" } else { "downloading" };
        let step = Step::bytes(format!("{verb} {}", self.wanted.file_name), end);
        let mut got = start_at;
        let limit = end.unwrap_or(self.policy.largest);
        loop {
            step.set(got);
            let deadline = Instant::now() + self.policy.stall;
            match wait_for(body, deadline)? {
                None => return Err(self.broken(got, "nothing came for too long")),
                Some(Err(why)) => return Err(self.broken(got, &why)),
                // An empty part is the end.
                Some(Ok(bytes)) if bytes.is_empty() => break,
                Some(Ok(bytes)) => {
                    got += bytes.len() as u64;
                    if got > limit {
                        self.forget()?;
                        self.check_size(Some(got))?;
                    }
                    file.write_all(&bytes).map_err(disk(&path))?;
                }
            }
        }
        if end.is_some_and(|end| got < end) {
            return Err(self.broken(got, "the connection was closed early"));
        }
        file.sync_all().map_err(disk(&path))?;
        step.done_with(&progress::size(got));
        Ok(Try::Complete)
    }

    /// Checks the digest of what came, and gives the file its name.
    fn settle(&self) -> Result<PathBuf, FetchError> {
        let part = self.part();
        let (size, found) = size_and_digest(&part)?;
        if self.wanted.size.is_some_and(|expected| expected != size) {
            self.forget()?;
            self.check_size(Some(size))?;
        }
        if found != self.wanted.sha256 {
            let aside = with_suffix(&self.place, ".bad");
            fs::rename(&part, &aside).map_err(disk(&aside))?;
            self.forget()?;
            return Err(FetchError::WrongDigest {
                url: self.wanted.url.to_owned(),
                expected: self.wanted.sha256.to_owned(),
                found,
                aside: aside.display().to_string(),
            });
        }
        fs::set_permissions(&part, fs::Permissions::from_mode(0o444)).map_err(disk(&part))?;
        fs::rename(&part, &self.place).map_err(disk(&self.place))?;
        self.forget()?;
        Ok(self.place.clone())
    }

    fn broken(&self, got: u64, why: &str) -> FetchError {
        FetchError::Broken { url: self.wanted.url.to_owned(), got: progress::size(got), why: why.to_owned() }
    }

    /// The thread that talks to the server does not know which address it is about.
    fn locate(&self, error: FetchError) -> FetchError {
        match error {
            FetchError::Unreachable { why, .. } => {
                FetchError::Unreachable { url: self.wanted.url.to_owned(), why }
            }
            FetchError::Redirect { why, .. } => FetchError::Redirect { url: self.wanted.url.to_owned(), why },
            FetchError::Broken { why, .. } => self.broken(part_size(&self.part()), &why),
            other => other,
        }
    }
}

fn size_and_digest(path: &Path) -> Result<(u64, String), FetchError> {
    let mut file = File::open(path).map_err(disk(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        interrupt::check()?;
        let n = file.read(&mut buffer).map_err(disk(path))?;
        if n == 0 {
            return Ok((size, crate::lab::digest::hex(&hasher.finalize())));
        }
        hasher.update(&buffer[..n]);
        size += n as u64;
    }
}

fn part_size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn disk(path: &Path) -> impl Fn(io::Error) -> FetchError + '_ {
    |source| FetchError::Disk { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use super::*;

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
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
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
        let sha256 = crate::lab::digest::of_bytes(FILE);
        let wanted = Wanted { url: &server.url, file_name: "file.tar.xz", sha256: &sha256, size };
        fetch(dir, &wanted, &policy())
    }

    fn leftovers(dir: &Path) -> Vec<String> {
        let folder = dir.join(crate::lab::digest::of_bytes(FILE));
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
        let server = serve(vec![
            answer("200 OK", "", FILE.len(), &FILE[..10]),
            answer("200 OK", "", FILE.len(), FILE),
        ]);
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
        let folder = dir.path().join(crate::lab::digest::of_bytes(FILE));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file.tar.xz.part"), FILE).unwrap();
        let server =
            serve(vec![answer("416 Range Not Satisfiable", "Content-Range: bytes */36\r\n", 0, b"")]);
        assert_eq!(fs::read(get(&server, dir.path()).unwrap()).unwrap(), FILE);
    }

    #[test]
    fn a_part_longer_than_the_file_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(crate::lab::digest::of_bytes(FILE));
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
        assert!(error.to_string().contains(&crate::lab::digest::of_bytes(b"evil")));
        assert_eq!(leftovers(dir.path()), ["file.tar.xz.bad"]);
    }

    #[test]
    fn a_wrong_digest_after_a_resumed_download_is_tried_once_from_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(crate::lab::digest::of_bytes(FILE));
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
        let server =
            serve(vec![answer("200 OK", "", FILE.len(), FILE), answer("200 OK", "", FILE.len(), FILE)]);
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
        let server = serve(vec![
            answer("503 Service Unavailable", "", 0, b""),
            answer("200 OK", "", FILE.len(), FILE),
        ]);
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
        let rest =
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 26\r\nContent-Range: bytes 10-35/36\r\n\r\n";
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
}
