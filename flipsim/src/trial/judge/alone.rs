//! How a guest fares that is not compared with a golden run: alive, crashed, or gone, from QEMU's run state, its events
//! and the console.
//!
//! Invariant: **a verdict carries its evidence**, and is never `masked`, `latent` or `sdc`: those take a comparison.

use std::fmt;

use crate::console::classify::Kind;
use crate::console::{Done, Marker};
use crate::machine::End;
use crate::machine::end::{EXIT, reason};
use crate::machine::watch::LoggedEvent;

/// What is known of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// QEMU runs it, and nothing speaks against it.
    Alive,
    /// It goes on, and its kernel or its workload has noticed something.
    Troubled(String),
    /// It panicked, reset itself, or is in an exception storm.
    Crashed(String),
    /// It was switched off in order, by the guest or by us.
    Off(String),
    /// QEMU ended in no order, or stopped the guest for a reason of the host's: ours to look into, not
    /// the guest's.
    Infra(String),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Alive => write!(f, "alive"),
            Health::Troubled(why) => write!(f, "alive, and noticed something: {why}"),
            Health::Crashed(why) => write!(f, "crashed: {why}"),
            Health::Off(why) => write!(f, "switched off: {why}"),
            Health::Infra(why) => write!(f, "no verdict on the guest: {why}"),
        }
    }
}

impl Health {
    /// Whether nothing more can come of the guest.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Health::Crashed(_) | Health::Off(_) | Health::Infra(_))
    }
}

/// The evidence of how a guest fares, gathered over a time.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The kernel's first bad news.
    pub trouble: Option<(Kind, String)>,
    /// The kernel's panic line.
    pub panic: Option<String>,
    /// The workload noticed damage itself.
    pub check: Option<String>,
    /// The workload ended.
    pub done: Option<Done>,
    /// QEMU's word for the run state, when it still answers.
    pub status: Option<String>,
    /// What QEMU reported.
    pub events: Vec<LoggedEvent>,
}

impl Evidence {
    /// Takes in one line of the console.
    pub fn line(&mut self, marker: Marker) {
        match marker {
            Marker::Trouble(kind, line) if kind.is_panic() => {
                self.panic.get_or_insert(line);
            }
            // A reset and a power-off are QEMU's to report.
            Marker::Trouble(kind, _) if kind.is_end() => {}
            Marker::Trouble(kind, line) => {
                self.trouble.get_or_insert((kind, line));
            }
            Marker::Check(text) => {
                self.check.get_or_insert(text);
            }
            Marker::Done(done) => self.done = Some(done),
            _ => {}
        }
    }

    /// How QEMU says that the guest ended, if it did.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        End::from_events(self.status.as_deref(), self.named())
    }

    fn named(&self) -> impl Iterator<Item = (&str, &serde_json::Value)> + Clone {
        self.events.iter().map(|event| (event.event.as_str(), &event.data))
    }

    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Health {
        if let Some(line) = &self.panic {
            return Health::Crashed(line.clone());
        }
        match self.end() {
            Some(end @ (End::Panic | End::Reset | End::ExceptionStorm)) => {
                Health::Crashed(end.words().to_owned())
            }
            Some(End::PowerOff) => Health::Off("by the guest".to_owned()),
            Some(end @ (End::Other | End::WallTime)) => self.not_the_guests(end),
            None => match (&self.trouble, &self.check) {
                (Some((kind, line)), _) => Health::Troubled(format!("{kind}: {line}")),
                (None, Some(check)) => Health::Troubled(format!("the workload: {check}")),
                (None, None) => Health::Alive,
            },
        }
    }

    /// The verdict on a guest with a workload after all `flips` (how many, in words), in words. It was `given` so
    /// long to get done, in words as well.
    #[must_use]
    pub fn workload_verdict(&self, flips: &str, given: &str) -> String {
        match (self.verdict(), &self.done) {
            (Health::Alive, None) => {
                format!("no result within {given}, after {flips}: a hang, perhaps")
            }
            (Health::Alive, Some(end)) if end.status == "ok" => format!(
                "nothing was noticed: {flips}, and the workload's result is right (digest {})",
                end.digest
            ),
            (Health::Alive, Some(end)) => format!(
                "wrong result: {flips}, nothing was noticed, and the workload's result is {} (digest {})",
                end.status, end.digest
            ),
            (Health::Troubled(why), Some(end)) => {
                format!("noticed after {flips}: {why}; the workload's result is {}", end.status)
            }
            (Health::Troubled(why), None) => format!(
                "no result: the guest reported {why}; then its workload was not done within {given} (after {flips})"
            ),
            (other, _) => format!("{other} (after {flips})"),
        }
    }

    /// The verdict on a run of a guest that `ended` before its time or not, by what its console said in it and in a
    /// run without flips. Only with an `exact` clock do two runs say the same.
    #[must_use]
    pub fn run_verdict(&self, ended: bool, heard: &[u8], reference: &[u8], exact: bool) -> RunVerdict {
        match (self.verdict(), self.end()) {
            (Health::Crashed(_), Some(End::Reset)) if self.panic.is_none() => RunVerdict::Reset,
            (Health::Crashed(_), Some(End::ExceptionStorm)) if self.panic.is_none() => RunVerdict::Storm,
            (Health::Crashed(_), _) => RunVerdict::Panic,
            (Health::Off(_), Some(End::PowerOff)) => RunVerdict::Off,
            (Health::Off(_) | Health::Infra(_), _) => RunVerdict::Infra,
            _ if ended => RunVerdict::Infra,
            (Health::Troubled(_), _) => RunVerdict::Noticed,
            (Health::Alive, _) if heard.is_empty() && !reference.is_empty() => RunVerdict::Silent,
            (Health::Alive, _) if exact && heard != reference => RunVerdict::Different,
            (Health::Alive, _) => RunVerdict::Same,
        }
    }

    /// What the host did to the guest.
    fn not_the_guests(&self, end: End) -> Health {
        if let Some(reason) = reason(self.named()) {
            return Health::Off(format!("by the host ({reason})"));
        }
        if let Some((_, exit)) = self.named().find(|(name, _)| *name == EXIT) {
            return Health::Infra(format!("QEMU died: {}", exit.as_str().unwrap_or("for no known reason")));
        }
        match self.status.as_deref() {
            Some(status @ ("io-error" | "internal-error")) => {
                Health::Infra(format!("QEMU stopped it with `{status}`; is the host's disk full?"))
            }
            _ => Health::Infra(end.words().to_owned()),
        }
    }
}

/// The verdict on a run of a guest beside one without flips. Consoles are compared, states are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunVerdict {
    /// The console says the same as without flips.
    Same,
    /// It says something else.
    Different,
    /// The guest noticed, and went on.
    Noticed,
    /// It says nothing where it says something without flips.
    Silent,
    /// It panicked.
    Panic,
    /// It took one exception after the other.
    Storm,
    /// It reset itself.
    Reset,
    /// It switched itself off.
    Off,
    /// QEMU stopped for a reason of the host's.
    Infra,
}

impl RunVerdict {
    /// The word in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// What it means.
    #[must_use]
    pub fn about(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            RunVerdict::Same => ("same", "the console says what it says without flips"),
            RunVerdict::Different => ("different", "the console says something else"),
            RunVerdict::Noticed => ("noticed", "the kernel or the workload noticed, and went on"),
            RunVerdict::Silent => {
                ("silent", "nothing on the console, where there is something without flips")
            }
            RunVerdict::Panic => ("panic", "the kernel panicked"),
            RunVerdict::Storm => ("storm", "it took one exception after the other, and did nothing else"),
            RunVerdict::Reset => ("reset", "the guest reset itself"),
            RunVerdict::Off => ("off", "the guest switched itself off"),
            RunVerdict::Infra => ("infra", "QEMU stopped for a reason of the host's; no verdict"),
        }
    }
}

/// How a guest fares by QEMU's run state alone, in a word.
#[must_use]
pub fn state_word(status: &str) -> &'static str {
    match End::of(Some(status), None, &[]) {
        None if status == "running" => "running",
        None => "stopped",
        Some(End::Panic) => "panicked",
        Some(End::PowerOff | End::Reset) => "off",
        Some(End::ExceptionStorm | End::WallTime | End::Other) => "broken",
    }
}

#[cfg(test)]
mod tests;
