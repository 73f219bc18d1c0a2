//! Why a trial has its outcome: the rule that decided, its limit and its evidence.
//!
//! Invariant: **an outcome follows from its rule**, so that a record cannot say one thing and its reason another. What is
//! here is the guest's: it is the same however the guest was restored, and by whichever worker.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::machine::End;
use crate::trial::outcome::Outcome;

/// The rule that decided on a trial. Lines are the console's, without the kernel's time stamps, and shortened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum Because {
    /// The state was equal to the golden run's at a checkpoint before the end.
    Converged {
        /// The first such checkpoint.
        checkpoint_ns: u64,
    },
    /// The state was equal to the golden run's at its end.
    EqualAtEnd,
    /// The output is equal to the golden run's, and states could not be compared.
    OutputEqual,
    /// Error-correcting memory corrects it: no reader ever gets it. Not run.
    EccCorrected,
    /// Error-correcting memory cannot correct it, and says so. Not run.
    EccDetected,
    /// The output is equal to the golden run's, and the state is not.
    StateDiffers,
    /// The output differs, and nothing was noticed.
    OutputDiffers {
        /// Which line is the first that differs, from 1.
        number: u64,
        /// That line; absent where the output ends before it.
        line: Option<String>,
        /// The golden run's; absent where its output ends before it.
        golden: Option<String>,
    },
    /// The guest reported something that the golden run does not, and went on.
    Noticed {
        /// The report.
        line: String,
    },
    /// QEMU reported the guest's own end.
    Ended {
        /// Which.
        end: End,
        /// What the guest reported of it.
        line: Option<String>,
    },
    /// The console reports the guest's end, and QEMU does not.
    ReportedEnd {
        /// The report.
        line: Option<String>,
    },
    /// The workload was not done by the hang limit.
    NotDone {
        /// The limit, on the guest's clock.
        limit_ns: u64,
        /// The last checkpoint of the golden run that the guest reached.
        last_checkpoint_ns: Option<u64>,
    },
    /// The guest noticed something, and the workload was not done by the hang limit all the same.
    NoticedNotDone {
        /// The limit, on the guest's clock.
        limit_ns: u64,
        /// The last checkpoint of the golden run that the guest reached.
        last_checkpoint_ns: Option<u64>,
        /// The report.
        line: String,
    },
    /// The guest used up the host's time, which is its own time where times are approximate.
    HostTime {
        /// The limit, on the host's clock.
        limit_ns: u64,
        /// The last checkpoint of the golden run that the guest reached.
        last_checkpoint_ns: Option<u64>,
    },
    /// The host held the guest up: no time passed for it within the limit on the host's clock.
    HeldUp {
        /// The limit, on the host's clock.
        limit_ns: u64,
    },
    /// QEMU or the host stopped the guest.
    Stopped {
        /// How.
        end: End,
    },
}

impl Because {
    /// The outcome that follows.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Because::Converged { .. } | Because::EqualAtEnd | Because::OutputEqual => Outcome::Masked,
            Because::EccCorrected => Outcome::EccCorrected,
            Because::EccDetected => Outcome::EccDetected,
            Because::StateDiffers => Outcome::Latent,
            Because::OutputDiffers { .. } => Outcome::Sdc,
            Because::Noticed { .. } => Outcome::Detected,
            Because::Ended { .. } | Because::ReportedEnd { .. } => Outcome::Crash,
            Because::NotDone { .. } | Because::NoticedNotDone { .. } | Because::HostTime { .. } => {
                Outcome::Hang
            }
            Because::HeldUp { .. } | Because::Stopped { .. } => Outcome::Infra,
        }
    }
}

/// One sentence. What a guest printed is in it as it is: make it visible before it is shown.
impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Converged { checkpoint_ns } => {
                write!(
                    f,
                    "the state was the golden run's again at the checkpoint at {checkpoint_ns} ns of the guest's clock"
                )
            }
            Because::EqualAtEnd => f.write_str("the state at the end is the golden run's"),
            Because::OutputEqual => {
                f.write_str("the output is the golden run's, and states were not compared")
            }
            Because::EccCorrected => {
                f.write_str("error-correcting memory corrects it, so that it was not run")
            }
            Because::EccDetected => f.write_str("error-correcting memory detects it, so that it was not run"),
            Because::StateDiffers => {
                f.write_str("the output is the golden run's, and the state at the end is not")
            }
            Because::OutputDiffers { number, line, golden } => match (line, golden) {
                (Some(line), Some(golden)) => {
                    write!(f, "line {number} of the output is `{line}`, and `{golden}` in the golden run")
                }
                (None, Some(golden)) => {
                    write!(f, "the output ends before line {number}, which is `{golden}` in the golden run")
                }
                (Some(line), None) => {
                    write!(f, "the output goes on with line {number}, `{line}`, where the golden run's ends")
                }
                (None, None) => f.write_str("the output differs from the golden run's"),
            },
            Because::Noticed { line } => write!(f, "the guest noticed, and went on: `{line}`"),
            Because::Ended { end, line: None } => f.write_str(end.words()),
            Because::Ended { end, line: Some(line) } => write!(f, "{}: `{line}`", end.words()),
            Because::ReportedEnd { line: None } => f.write_str("the console reports the guest's end"),
            Because::ReportedEnd { line: Some(line) } => {
                write!(f, "the console reports the guest's end: `{line}`")
            }
            Because::NotDone { limit_ns, last_checkpoint_ns } => {
                write!(
                    f,
                    "not done by the hang limit, {limit_ns} ns of the guest's clock; {}",
                    Reached(*last_checkpoint_ns)
                )
            }
            Because::NoticedNotDone { limit_ns, last_checkpoint_ns, line } => write!(
                f,
                "the guest noticed (`{line}`), and was not done by the hang limit, {limit_ns} ns of the guest's clock; {}",
                Reached(*last_checkpoint_ns)
            ),
            Because::HostTime { limit_ns, last_checkpoint_ns } => write!(
                f,
                "the guest did not get on within {} s of the host's time; {}",
                seconds(*limit_ns),
                Reached(*last_checkpoint_ns)
            ),
            Because::HeldUp { limit_ns } => write!(
                f,
                "the guest did not get on for a long time on the host's clock ({} s); is the host overloaded, or was it paused?",
                seconds(*limit_ns)
            ),
            Because::Stopped { end } => write!(f, "{} ({end})", end.words()),
        }
    }
}

/// How far a guest got, in words.
struct Reached(Option<u64>);

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(at) => write!(f, "the last checkpoint that it reached is at {at} ns"),
            None => f.write_str("it reached no checkpoint"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a limit for people")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
pub(in crate::trial) mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// One of each.
    pub(in crate::trial) fn all() -> Vec<Because> {
        let line = || "a line".to_owned();
        let (limit_ns, last_checkpoint_ns) = (60_000_000_000, Some(2));
        vec![
            Because::Converged { checkpoint_ns: 1 },
            Because::EqualAtEnd,
            Because::OutputEqual,
            Because::EccCorrected,
            Because::EccDetected,
            Because::StateDiffers,
            Because::OutputDiffers { number: 1, line: Some(line()), golden: None },
            Because::Noticed { line: line() },
            Because::Ended { end: End::Reset, line: None },
            Because::ReportedEnd { line: Some(line()) },
            Because::NotDone { limit_ns, last_checkpoint_ns },
            Because::NoticedNotDone { limit_ns, last_checkpoint_ns, line: line() },
            Because::HostTime { limit_ns, last_checkpoint_ns },
            Because::HeldUp { limit_ns },
            Because::Stopped { end: End::Other },
        ]
    }

    #[test]
    fn each_rule_is_documented_with_its_outcome_and_its_keys() {
        let docs = include_str!("../../../docs/trials.md");
        for because in all() {
            let value = serde_json::to_value(&because).unwrap();
            let row = format!("| `{}` | `{}` |", value["rule"].as_str().unwrap(), because.outcome().name());
            let line = docs.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("docs/trials.md has no row {row}"));
            for key in value.as_object().unwrap().keys().filter(|key| *key != "rule") {
                let same = line.contains("the same");
                assert!(
                    line.contains(&format!("`{key}`")) || same,
                    "docs/trials.md, {row}: nothing of {key}"
                );
            }
        }
    }

    #[test]
    fn each_outcome_has_a_rule() {
        let outcomes: BTreeSet<Outcome> = all().iter().map(Because::outcome).collect();
        assert_eq!(outcomes, Outcome::ALL.into_iter().collect());
    }

    #[test]
    fn each_rule_is_a_sentence_and_is_read_back() {
        for because in all() {
            let text = serde_json::to_string(&because).unwrap();
            assert_eq!(serde_json::from_str::<Because>(&text).unwrap(), because, "{text}");
            let sentence = because.to_string();
            assert!(sentence.len() > 20 && !sentence.ends_with('.'), "{sentence}");
        }
    }
}
