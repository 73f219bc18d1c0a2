//! A question to the user, on the terminal.
//!
//! Invariant: **where there is no terminal there is no answer**, and a signal ends the wait.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::interrupt;

/// What the user types after the question; nothing where no user is there to be asked.
pub fn ask(question: &str) -> Result<Option<String>> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    eprint!("{question} ");
    std::io::stderr().flush().context("cannot write to the terminal")?;
    // A blocking read does not end when a signal comes: a thread reads, and we look for both.
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        // An unreadable answer is an empty one; after a signal it is not read.
        let _read = std::io::stdin().lock().read_line(&mut answer);
        let _heard = send.send(answer);
    });
    loop {
        interrupt::check()?;
        match receive.recv_timeout(Duration::from_millis(100)) {
            Ok(answer) => return Ok(Some(answer.trim().to_owned())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// Whether an answer is a yes.
pub fn is_yes(answer: Option<&str>) -> bool {
    matches!(answer, Some("y" | "Y" | "yes" | "Yes"))
}
