//! What both fakes share: a socket in a private folder, served by one thread, one client at a time.
//!
//! Invariant: when a server is dropped its thread has ended and its folder is gone.

use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::wire::net::Endpoint;

/// Whether a server goes on listening after a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterClient {
    Listen,
    Die,
}

pub(super) struct Server {
    path: PathBuf,
    closing: Arc<AtomicBool>,
    client: Arc<Mutex<Option<UnixStream>>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Serves clients one after another, as QEMU's sockets do: a second one connects and waits.
    pub(super) fn spawn(
        name: &str,
        mut serve: impl FnMut(UnixStream) -> AfterClient + Send + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the fake's socket");
        let path = folder.path().join(name);
        let listener = UnixListener::bind(&path).expect("a socket for the fake");
        let closing = Arc::new(AtomicBool::new(false));
        let client = Arc::new(Mutex::new(None));
        let (closing_inside, client_inside, path_inside) = (closing.clone(), client.clone(), path.clone());
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // Under the lock, so that a drop either sees this client or is seen here.
                let mut current = lock(&client_inside);
                if closing_inside.load(Ordering::SeqCst) {
                    break;
                }
                *current = stream.try_clone().ok();
                drop(current);
                let next = serve(stream);
                if let Some(stream) = lock(&client_inside).take() {
                    let _ = stream.shutdown(Shutdown::Both);
                }
                if next == AfterClient::Die {
                    break;
                }
            }
            // The file goes with the listener, as it does when QEMU ends in order.
            let _ = std::fs::remove_file(path_inside);
        });
        Server { path, closing, client, thread: Some(thread), _folder: folder }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        if let Some(stream) = lock(&self.client).take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread when it waits for a client; when it has ended there is nothing to wake.
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A fake that panicked in one test thread must not hide that by a second panic in the next.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
