//! Signals: what a batch system sends when time is short.
//!
//! Invariant: the first one ends in order; a handler does nothing but note its number.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

/// Each, with its name and the exit code of a run that it ended. USR1 is what a batch system is asked to send before the
/// time is over (`--signal`): the run is to be begun again.
const SIGNALS: [(i32, &str, u8); 4] =
    [(SIGUSR1, "SIGUSR1", 75), (SIGTERM, "SIGTERM", 143), (SIGINT, "Ctrl-C", 130), (SIGHUP, "SIGHUP", 129)];

static RAISED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// A run that a signal ended.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("ended by {}; what was finished is home, and the same command goes on", name(*.0))]
pub struct Ended(i32);

impl Ended {
    /// The exit code.
    pub fn code(self) -> u8 {
        SIGNALS.iter().find(|(known, ..)| *known == self.0).map_or(1, |(.., code)| *code)
    }
}

/// Has signals noted.
pub fn install() -> std::io::Result<()> {
    for (number, ..) in SIGNALS {
        let value = usize::try_from(number).unwrap_or_default();
        signal_hook::flag::register_usize(number, Arc::clone(&RAISED), value)?;
    }
    Ok(())
}

/// Whether one has come.
pub fn raised() -> bool {
    which().is_some()
}

/// Which one has come last.
fn which() -> Option<i32> {
    let number = i32::try_from(RAISED.load(Ordering::SeqCst)).ok()?;
    (number != 0).then_some(number)
}

/// An error once one has come.
pub fn check() -> Result<(), Ended> {
    which().map_or(Ok(()), |number| Err(Ended(number)))
}

fn name(number: i32) -> &'static str {
    SIGNALS.iter().find(|(known, ..)| *known == number).map_or("a signal", |(_, name, _)| name)
}
