//! What a failure with a guest means for the caller: its exit code, and whether another try may succeed.
//!
//! Invariant: **the library's words are kept**; what is added is the exit code, and for a full disk the way out.

use flipsim::machine::FolderError;
use flipsim::machine::boot::BootError;
use flipsim::target::TargetError;
use flipsim::trial::template::TemplateError;
use flipsim::trial::{RunError, STARTS};

use crate::exit::{Code, exit_error};
use crate::interrupt::Interrupted;

/// Errors about guests that are asked for and not there get the exit code for that.
pub fn lookup_error(error: FolderError) -> anyhow::Error {
    let code = match error {
        FolderError::Unknown { .. } | FolderError::None => Code::Missing,
        FolderError::Several(_) | FolderError::Taken(_) | FolderError::BadName(_) | FolderError::Held(_) => {
            Code::Usage
        }
        _ => return error.into(),
    };
    exit_error(code, error.to_string())
}

/// An error of a boot, with its exit code.
pub fn boot_error(error: BootError) -> anyhow::Error {
    let code = if error.is_wrong_use() { Code::Usage } else { Code::GuestLost };
    exit_error(code, error.to_string())
}

/// An error of a run, with its exit code.
pub fn run_error(error: RunError) -> anyhow::Error {
    match error {
        RunError::Target(TargetError::Interrupted) => Interrupted.into(),
        RunError::Template(error) if error.is_interrupted() => Interrupted.into(),
        RunError::NoEnd { .. } | RunError::Idle { .. } => exit_error(Code::Usage, error.to_string()),
        RunError::Template(error) if is_disk_full(&error) => {
            anyhow::anyhow!("{error}; the disk is full: make room and run it again; nothing is lost")
        }
        other => exit_error(Code::GuestLost, other.to_string()),
    }
}

/// The error of a guest that did not start, however often that was tried.
pub fn not_started(error: RunError) -> anyhow::Error {
    match error {
        RunError::Template(error) if !error.is_interrupted() && !is_disk_full(&error) => {
            exit_error(Code::GuestLost, format!("no guest starts, {STARTS} times in a row: {error}"))
        }
        other => run_error(other),
    }
}

fn is_disk_full(error: &TemplateError) -> bool {
    // It may be in the last words of a QEMU that found no room for its sockets.
    let text = error.to_string();
    ["No space left on device", "quota exceeded"].iter().any(|words| text.contains(words))
}

/// Whether it was an infrastructure failure, so that another try may succeed.
pub fn is_infra(error: &RunError) -> bool {
    match error {
        RunError::Target(error) => matches!(error, TargetError::Lost { .. }),
        RunError::Template(_) | RunError::Qmp(_) | RunError::Mark(_) | RunError::Console { .. } => true,
        RunError::NoEnd { .. }
        | RunError::Idle { .. }
        | RunError::Ended { .. }
        | RunError::NotRestored(_) => false,
    }
}
