//! What the targets share: inputs of several parts, files in memory, and a server that speaks the fuzzer's bytes.
//!
//! Invariant: **the input alone decides what happens**; what one input left is gone when the next one comes.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};

use flipsim::wire::net::Endpoint;

/// The parts of an input, which end with a zero byte; the last one takes what is left, and may have more of them.
pub fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// As [`parts`], of an input that is text.
pub fn texts<const N: usize>(data: &str) -> [&str; N] {
    let mut parts = data.splitn(N, '\0');
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// The folder of this process. Point `TMPDIR` to a file system in memory: that is some times faster.
pub fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = std::env::temp_dir().join(format!("flipsim-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the target's files");
        folder
    });
    &FOLDER
}

/// A file of [`folder`] with this content, in place of the one before.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, content).expect("a file of the target's");
    path
}

/// A server on a socket that says one thing to each client, hears it out, and says no more.
///
/// What it says is there before the client asks: the clients read one answer a question, so that it comes to the same.
pub struct Server {
    endpoint: Endpoint,
    to_say: Sender<Vec<u8>>,
}

impl Server {
    /// Starts it; it ends with this process.
    pub fn start() -> Server {
        let path = folder().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket for the server");
        let (to_say, said) = channel::<Vec<u8>>();
        std::thread::spawn(move || {
            let mut heard = [0; 1 << 16];
            while let (Ok(bytes), Ok((mut client, _))) = (said.recv(), listener.accept()) {
                // A client that has gone already is one of the cases.
                let _ = client.write_all(&bytes).and_then(|()| client.shutdown(Shutdown::Write));
                while client.read(&mut heard).is_ok_and(|count| count > 0) {}
            }
        });
        Server { endpoint: Endpoint::Unix(path), to_say }
    }

    /// Where the next client will hear these bytes, and then the end.
    pub fn that_says(&self, bytes: Vec<u8>) -> &Endpoint {
        self.to_say.send(bytes).expect("the server lives as long as the process");
        &self.endpoint
    }
}
