//! The outcomes of a trial.

use serde::{Deserialize, Serialize};

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The end state is the golden run's.
    Masked,
    /// The output is the golden run's, the state is not.
    Latent,
    /// The output is wrong, and nothing was noticed.
    Sdc,
    /// The guest noticed, and went on.
    Detected,
    /// Panic, reset, power-off, exception storm.
    Crash,
    /// It is not done long after the golden run was.
    Hang,
    /// Ours: QEMU died, a socket was lost. No rate counts it.
    Infra,
}

impl Outcome {
    /// All of them, from the best to the worst.
    pub const ALL: [Outcome; 7] = [
        Outcome::Masked,
        Outcome::Latent,
        Outcome::Sdc,
        Outcome::Detected,
        Outcome::Crash,
        Outcome::Hang,
        Outcome::Infra,
    ];

    /// The word in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Masked => "masked",
            Outcome::Latent => "latent",
            Outcome::Sdc => "sdc",
            Outcome::Detected => "detected",
            Outcome::Crash => "crash",
            Outcome::Hang => "hang",
            Outcome::Infra => "infra",
        }
    }
}
