//! Asks a guest for a sign of life at its console.
//!
//! Invariant: **a person who sits at the console is not taken for a silent guest.**

use std::io::Write;
use std::time::Duration;

use flipsim::console::ConsoleTail;
use flipsim::machine::folder::RunDir;
use flipsim::machine::spec::{CONSOLE_LOG, CONSOLE_SOCKET};
use flipsim::wire::net::Endpoint;
use flipsim::wire::qmp::QmpClient;

/// The answer of a guest that was asked at its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It said something.
    Yes,
    /// It said nothing.
    No,
    /// It could not be asked: a person sits at its console.
    CannotAsk,
}

/// Asks a guest with a shell for a sign of life: a line's end is sent to its console, and anything
/// that comes back within `timeout` is an answer. The monitor, which serves one client at a time and is the caller's,
/// knows whether another client sits at the console.
pub fn console_answers(run: &RunDir, timeout: Duration, qmp: Option<&mut QmpClient>) -> Answer {
    let mut tail = ConsoleTail::from_end(&run.file(CONSOLE_LOG));
    let start = tail.offset();
    let endpoint = Endpoint::Unix(run.file(CONSOLE_SOCKET));
    let Ok(mut stream) = endpoint.connect(Duration::from_secs(1)) else { return Answer::CannotAsk };
    // What the console sends is read, too: QEMU waits for a client that does not.
    let quick = stream.set_read_timeout(Some(Duration::from_millis(20)));
    if quick.is_err() || stream.write_all(b"\n").is_err() {
        return Answer::CannotAsk;
    }
    let mut sink = [0; 4096];
    let mut heard = false;
    let deadline = std::time::Instant::now() + timeout;
    while std::time::Instant::now() < deadline {
        heard |= matches!(std::io::Read::read(&mut stream, &mut sink), Ok(count) if count > 0);
        if tail.poll().is_ok() && tail.offset() > start {
            return Answer::Yes;
        }
    }
    drop(stream);
    std::thread::sleep(Duration::from_millis(100));
    // QEMU serves one client at a time: a second one is connected, and then nothing comes.
    if heard || !qmp.is_some_and(other_client) { Answer::No } else { Answer::CannotAsk }
}

/// Whether another client is connected to the guest's console.
fn other_client(qmp: &mut QmpClient) -> bool {
    let Ok(chardevs) = qmp.execute("query-chardev", serde_json::Value::Null) else { return false };
    let console = chardevs.as_array().into_iter().flatten().find(|device| device["label"] == "console0");
    // Our own connection is closed by now; QEMU's text for one without a client says so.
    console
        .and_then(|device| device["filename"].as_str())
        .is_some_and(|text| !text.starts_with("disconnected"))
}
