//! What was found in a console: the findings, the one that decided, and the outcome as far as a console shows it.
//!
//! Invariant: what only a comparison with a golden run can show is not claimed here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::console::classify::kind::Kind;
use crate::console::marker::Done;

/// The outcome of the run, as far as its console shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleVerdict {
    /// Panic, reset, power-off before the workload ended, exception storm.
    Crash,
    /// The guest noticed something and went on.
    Detected,
    /// The workload's result is wrong, and nothing was noticed.
    Sdc,
    /// The result is right and nothing was noticed: masked or latent, which only a golden run can distinguish.
    Clean,
    /// Nothing was noticed, and the workload did not end: a hang, or a console that was cut.
    Incomplete,
}

impl fmt::Display for ConsoleVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One report on the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// A name that is the same for the same crash in every run.
    pub title: String,
    /// The function that its title names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The line that begins it, from 1.
    pub line: u64,
    /// That line, shortened.
    pub text: String,
}

/// All that a console says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Classification {
    /// The outcome of the run.
    pub outcome: ConsoleVerdict,
    /// The place in `findings` of what decided, if anything was found.
    pub cause: Option<usize>,
    /// The reports in the console's order.
    pub findings: Vec<Finding>,
    /// How many reports more there were.
    pub unlisted: u64,
    /// How the workload ended; of several, the first that did not end well.
    pub done: Option<Done>,
}

impl Classification {
    /// The finding that decided.
    #[must_use]
    pub fn deciding(&self) -> Option<&Finding> {
        self.findings.get(self.cause?)
    }
}
