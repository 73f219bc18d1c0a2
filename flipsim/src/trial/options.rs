//! How trials are run.
//!
//! Invariant: no option changes an outcome but those that a campaign keeps.

use std::time::Duration;

use crate::trial::restore::RestoreMethod;

/// How trials are run.
#[derive(Clone, Debug)]
pub struct TrialOptions {
    /// How the guest is restored.
    pub restore: RestoreMethod,
    /// A guest hangs that is not done after so many times the golden run's length.
    pub hang_factor: f64,
    /// How long a stretch between two looks may take on the host's clock.
    pub wall: Duration,
    /// After how many rewinds the state is checked again; the first one of a process always is.
    pub check_every: u32,
    /// Whether a state that is the golden run's ends the trial.
    pub early_stop: bool,
    /// Whether it is measured when a byte in RAM is first used, where recorded accesses leave that open.
    pub first_use: bool,
    /// Asked often; when it says yes, everything is given up.
    pub interrupted: fn() -> bool,
}

impl Default for TrialOptions {
    fn default() -> Self {
        TrialOptions {
            restore: RestoreMethod::Rewind,
            hang_factor: 3.0,
            wall: Duration::from_secs(60),
            check_every: 1000,
            early_stop: true,
            first_use: false,
            interrupted: || false,
        }
    }
}
