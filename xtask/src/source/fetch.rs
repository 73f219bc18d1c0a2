//! Downloads: from a pinned address to a file whose digest has been checked.
//!
//! Invariants: **a file gets its final name only when its digest is the pinned one**; what arrived
//! before a break is kept and continued; a host that cannot be reached costs seconds, not minutes,
//! because another source may be next.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use flipsim::files::{append, beside, remove_file, stream_digest, write_readable};
use flipsim::units::format_size;
use reqwest::StatusCode;
use reqwest::blocking::Client;
use reqwest::header::{ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE};

use super::http::{FetchError, Policy, Wanted, acceptable, client, content_range, start, wait_for};
use crate::interrupt;
use crate::progress::{self, ProgressStep};

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
        beside(&self.place, ".part")
    }

    /// What the server called the version that `.part` is the beginning of.
    fn validator(&self) -> PathBuf {
        beside(&self.place, ".part.version")
    }

    fn forget(&self) -> Result<(), FetchError> {
        for path in [self.part(), self.validator()] {
            remove_file(&path).map_err(disk(&path))?;
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
            Some(version) => write_readable(&path, version.as_bytes()).map_err(disk(&path)),
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
        let mut file = append(&path).map_err(disk(&path))?;
        let end = self.wanted.size.or(total);
        let verb = if start_at > 0 { "downloading the rest of" } else { "downloading" };
        let step = ProgressStep::bytes(format!("{verb} {}", self.wanted.file_name), end);
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
        step.done_with(&format_size(got));
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
            let aside = beside(&self.place, ".bad");
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
        FetchError::Broken { url: self.wanted.url.to_owned(), got: format_size(got), why: why.to_owned() }
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
    let file = File::open(path).map_err(disk(path))?;
    let (digest, size) = stream_digest(file, disk(path), || Ok(interrupt::check()?))?;
    Ok((size, digest))
}

fn part_size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

fn disk(path: &Path) -> impl Fn(io::Error) -> FetchError + '_ {
    |source| FetchError::Disk { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
