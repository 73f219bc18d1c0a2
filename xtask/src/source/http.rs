//! Requests over HTTP that end: what is wanted, how long is waited, and what went wrong.
//!
//! Invariant: **no answer is waited for without a limit**, and Ctrl-C ends every wait.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{CONTENT_RANGE, HeaderMap};

use crate::interrupt::{self, Interrupted};
use crate::lab::cache;

/// What is to be downloaded.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The address.
    pub url: &'a str,
    /// The name of the file that it becomes.
    pub file_name: &'a str,
    /// Its digest.
    pub sha256: &'a str,
    /// Its size in bytes, where it is pinned.
    pub size: Option<u64>,
}

/// How patient a download is.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// Without a single byte, before and between the parts of the body.
    pub stall: Duration,
    /// How many tries in a row may end without any progress.
    pub tries: u32,
    /// The pause before the second try; it doubles each time.
    pub pause: Duration,
    /// Where no size is pinned, no more than this is taken.
    pub largest: u64,
    /// Takes `http://` from this very machine; only tests do.
    pub plain_http_from_loopback: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            tries: 4,
            pause: Duration::from_secs(1),
            largest: 4 << 30,
            plain_http_from_loopback: false,
        }
    }
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A signal came.
    #[error("interrupted")]
    Interrupted(#[from] Interrupted),
    /// No connection: the name, the route, the proxy or the certificate.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The address.
        url: String,
        /// What the layers below say.
        why: String,
    },
    /// The server's answer is no file.
    #[error("{url}: the server answers {status}")]
    Status {
        /// The address.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// The connection broke, or nothing came any more.
    #[error("{url}: broke off after {got}: {why}; what has arrived is kept, run the command again to go on")]
    Broken {
        /// The address.
        url: String,
        /// What has arrived.
        got: String,
        /// What the layers below say.
        why: String,
    },
    /// All of it came, and it is something else.
    #[error(
        "{url}: wrong sha256\n  expected {expected}\n  found    {found}\nIt is not used; it was put aside \
         as {aside}. Either the file was changed on the way, or the pin in lab.toml is out of date."
    )]
    WrongDigest {
        /// The address.
        url: String,
        /// The pinned digest.
        expected: String,
        /// The digest of what came.
        found: String,
        /// Where it can be looked at.
        aside: String,
    },
    /// The server announces or sends another size than the pinned one.
    #[error("{url}: {found} bytes where {expected} are expected; it is not used")]
    WrongSize {
        /// The address.
        url: String,
        /// The pinned size, or the limit.
        expected: String,
        /// What is announced, or has come already.
        found: u64,
    },
    /// The address is not one that is taken.
    #[error("{url}: only https addresses are taken")]
    NotHttps {
        /// The address.
        url: String,
    },
    /// The server sends us somewhere we do not go.
    #[error("{url}: {why}")]
    Redirect {
        /// The address.
        url: String,
        /// Where, or why not.
        why: String,
    },
    /// The client could not be made, for want of root certificates most likely.
    #[error(
        "cannot set up TLS: {why}; install your system's CA certificates, or set SSL_CERT_FILE to a \
         file that holds them"
    )]
    Tls {
        /// What rustls says.
        why: String,
    },
    /// Our own disk.
    #[error("{}: {source}{}", path.display(), cache::full_disk_hint(source))]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl FetchError {
    /// Whether another try may end better.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            FetchError::Broken { .. } => true,
            FetchError::Status { status, .. } => {
                status.is_server_error()
                    || *status == StatusCode::REQUEST_TIMEOUT
                    || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

/// The head of the server's answer.
pub struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) length: Option<u64>,
}

type Body = Receiver<Result<Vec<u8>, String>>;

/// Sends the request from a separate thread: so waiting can be ended by a signal or by the stall
/// clock, neither of which reaches a blocking read.
pub(super) fn start(
    request: reqwest::blocking::RequestBuilder,
) -> (Receiver<Result<HttpAnswer, FetchError>>, Body) {
    let (answer_to, answer) = sync_channel(1);
    let (body_to, body) = sync_channel(16);
    std::thread::spawn(move || {
        let mut response: Response = match request.send() {
            Ok(response) => response,
            Err(error) => {
                let why = root_causes(&error);
                let (url, got) = (String::new(), String::new());
                let error = if error.is_redirect() {
                    FetchError::Redirect { url, why }
                } else if error.is_connect() || error.is_builder() {
                    FetchError::Unreachable { url, why }
                } else {
                    FetchError::Broken { url, got, why }
                };
                // There is no receiver any more once the download was given up.
                let _given_up = answer_to.send(Err(error));
                return;
            }
        };
        let head = HttpAnswer {
            status: response.status(),
            headers: response.headers().clone(),
            length: response.content_length(),
        };
        if answer_to.send(Ok(head)).is_err() {
            return;
        }
        let mut buffer = vec![0; 1 << 16];
        loop {
            let part = match response.read(&mut buffer) {
                Ok(n) => Ok(buffer[..n].to_vec()),
                Err(error) => Err(root_causes(&error)),
            };
            let last = part.as_ref().map_or(true, Vec::is_empty);
            if body_to.send(part).is_err() || last {
                return;
            }
        }
    });
    (answer, body)
}

/// The next message, or nothing once the deadline has passed.
pub(super) fn wait_for<T>(from: &Receiver<T>, deadline: Instant) -> Result<Option<T>, Interrupted> {
    loop {
        interrupt::check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        match from.recv_timeout(left.min(Duration::from_millis(100))) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => return Ok(None),
        }
    }
}

pub(super) fn client(policy: &Policy) -> Result<Client, FetchError> {
    // rustls comes without a provider here. A second call finds it installed: no error.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let policy_for_redirects = *policy;
    let mut builder = Client::builder()
        .user_agent(concat!("flipsim/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(policy.connect)
        // The default ends a whole download after 30 s; the stall clock is ours.
        .timeout(None)
        .redirect(reqwest::redirect::Policy::custom(move |hop| {
            if hop.previous().len() > 10 {
                hop.error("too many redirects")
            } else if acceptable(hop.url().as_str(), &policy_for_redirects) {
                hop.follow()
            } else {
                hop.error("redirected to an address that is not https")
            }
        }));
    if policy.plain_http_from_loopback {
        builder = builder.no_proxy();
    }
    // The roots are the system's: rustls-platform-verifier reads SSL_CERT_FILE, SSL_CERT_DIR, or
    // the places where distributions keep them.
    builder.build().map_err(|error| FetchError::Tls { why: root_causes(&error) })
}

pub(super) fn acceptable(url: &str, policy: &Policy) -> bool {
    url.starts_with("https://") || (policy.plain_http_from_loopback && url.starts_with("http://127.0.0.1:"))
}

/// `bytes 5-9/10` is (Some(5), Some(10)); `bytes */10` is (None, Some(10)).
pub(super) fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let first = range.split_once('-').and_then(|(first, _)| first.parse().ok());
    Some((first, total.parse().ok()))
}

/// An error's causes in one line; reqwest's own text names only the outermost.
fn root_causes(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    // The first text repeats the address, which our own message names already.
    if texts.len() > 1 {
        texts.remove(0);
    }
    texts.join(": ")
}
