//! Exit codes: each means one thing, for all commands.
//!
//! Invariant: an error without its own code exits with 1; nothing else maps errors to codes, but
//! for `main`, which turns an interruption into 130. An answer that is no error (10, 11) prints no `error:`.

use std::fmt;
use std::process::ExitCode;

/// The text that `--help` shows.
pub const HELP: &str = "\
Exit codes:
  0    it worked
  1    it failed; the message says what, on what, and what to do next
  2    the command line or the input is wrong
  3    something is missing: the lab is not set up, or no such guest is running
  4    the guest crashed, or was lost
  5    a flip did not take (it is in the records, and counted as none)
  10   `report gate`: the campaign is worse than the baseline
  11   `report gate`, `report compare`: nothing can be said; the message says why
  130  interrupted";

/// What a command ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The command line or the input is wrong.
    Usage = 2,
    /// The lab is not set up, or no such guest is running.
    Missing = 3,
    /// The guest crashed or was lost.
    GuestLost = 4,
    /// A flip did not take.
    NotFlipped = 5,
    /// A campaign is worse than its baseline.
    Worse = 10,
    /// Two campaigns have nothing to compare, or too little to decide.
    Open = 11,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// An error that chooses its exit code.
#[derive(Debug)]
pub struct Exit {
    /// The code.
    pub code: Code,
    source: anyhow::Error,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole chain in one line: it is the only line that the user sees.
        write!(f, "{:#}", self.source)
    }
}

impl std::error::Error for Exit {}

/// Gives an error its exit code.
pub trait ExitWith<T> {
    /// The same result, with the exit code for its error.
    fn exit_with(self, code: Code) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> ExitWith<T> for Result<T, E> {
    fn exit_with(self, code: Code) -> anyhow::Result<T> {
        self.map_err(|error| Exit { code, source: error.into() }.into())
    }
}

/// An error with its own text and exit code.
pub fn exit_error(code: Code, text: impl Into<String>) -> anyhow::Error {
    Exit { code, source: anyhow::anyhow!(text.into()) }.into()
}

/// The code for an error that is no interruption.
pub fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Exit>().map_or(1, |exit| exit.code as u8)
}
