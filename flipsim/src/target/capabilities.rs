//! What a QEMU can do of that which trials want, and what follows where it cannot.
//!
//! Invariant: **a QEMU is asked once**, by `setup`, which keeps it in `lab.json`, and by whatever attaches to a guest;
//! a template keeps what its own QEMU said, and is only ever used by that one.

use serde::{Deserialize, Serialize};

use crate::units::Timing;
use crate::wire::qmp::{QmpClient, QmpError};

/// What the lab's patches add to a QEMU (`qemu-patches/`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Capabilities {
    /// It stops at exactly the virtual time asked for.
    pub stop_at: bool,
    /// It marks a state, goes back to it, identifies it by a digest, and keeps what is written to the disk in
    /// memory.
    pub mark: bool,
    /// It keeps when the guest wrote each byte of its console, and when it idled.
    #[serde(default)]
    pub times: bool,
    /// It records which bytes of RAM a guest reads and overwrites.
    #[serde(default)]
    pub accesses: bool,
    /// It has bits of RAM and registers hold a value whatever is written to them.
    #[serde(default)]
    pub stuck: bool,
}

/// What a file that says nothing of them means: the first patches, which kept no times and recorded no accesses.
impl Default for Capabilities {
    fn default() -> Self {
        Capabilities { stop_at: true, mark: true, times: false, accesses: false, stuck: false }
    }
}

/// The commands that a QEMU must have to stop at a virtual time.
const STOP_AT: [&str; 2] = ["query-virtual-clock", "stop-at"];

/// The commands that it must have besides for marks.
const MARK: [&str; 4] = ["mark-state", "rewind-state", "query-state-digest", "set-exception-limit"];

/// The commands that it must have besides for times.
const TIMES: [&str; 2] = ["keep-write-times", "keep-idle-spans"];

/// The commands that it must have besides for recorded accesses.
const ACCESSES: [&str; 3] = ["record-accesses", "next-accesses", "query-section"];

/// The command that it must have besides for stuck bits.
const STUCK: [&str; 1] = ["set-stuck-bits"];

impl Capabilities {
    /// What a QEMU with all of the patches can do.
    pub const ALL: Capabilities =
        Capabilities { stop_at: true, mark: true, times: true, accesses: true, stuck: true };

    /// What one with none of them can do.
    pub const NONE: Capabilities =
        Capabilities { stop_at: false, mark: false, times: false, accesses: false, stuck: false };

    /// Asks a QEMU, whatever guest is in it.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn ask(qmp: &mut QmpClient) -> Result<Self, QmpError> {
        Ok(Capabilities::of_commands(qmp.query_commands()?))
    }

    /// What follows from the QMP commands that a QEMU has.
    #[must_use]
    pub fn of_commands(commands: &[String]) -> Self {
        let has = |wanted: &[&str]| wanted.iter().all(|name| commands.iter().any(|command| command == name));
        let stop_at = has(&STOP_AT);
        let mark = stop_at && has(&MARK);
        let (times, accesses, stuck) =
            (stop_at && has(&TIMES), mark && has(&ACCESSES), stop_at && has(&STUCK));
        Capabilities { stop_at, mark, times, accesses, stuck }
    }

    /// Whether they are those that a file need not name.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Capabilities::default()
    }

    /// How exactly the times of trials are known.
    #[must_use]
    pub fn timing(&self) -> Timing {
        if self.stop_at { Timing::Exact } else { Timing::Approximate }
    }

    /// What a comparison of states lacks and what that means, in words; `None` where it lacks nothing.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        match (self.stop_at, self.mark) {
            (true, true) => None,
            (true, false) => Some("this QEMU has no mark-state, so the state of a guest cannot be known"),
            (false, _) => Some(
                "this QEMU lacks the lab's patches, so guests are stopped at about the time asked for, and \
                 their state cannot be known",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_takes_all_of_its_commands() {
        let all: Vec<String> = [&STOP_AT[..], &MARK, &TIMES, &ACCESSES, &STUCK]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        assert_eq!(Capabilities::of_commands(&all), Capabilities::ALL);
        for missing in &all {
            let rest: Vec<String> = all.iter().filter(|name| *name != missing).cloned().collect();
            let lacks = |commands: &[&str]| commands.contains(&missing.as_str());
            let stop_at = !lacks(&STOP_AT);
            let mark = stop_at && !lacks(&MARK);
            let (times, accesses) = (stop_at && !lacks(&TIMES), mark && !lacks(&ACCESSES));
            let stuck = stop_at && !lacks(&STUCK);
            let expected = Capabilities { stop_at, mark, times, accesses, stuck };
            assert_eq!(Capabilities::of_commands(&rest), expected, "without {missing}");
        }
        assert_eq!(Capabilities::of_commands(&[]), Capabilities::NONE);
    }

    #[test]
    fn a_file_that_names_no_times_is_of_a_qemu_that_kept_none() {
        let read = |text: &str| serde_json::from_str::<Capabilities>(text).unwrap();
        assert_eq!(read(r#"{"stop-at":true,"mark":true}"#), Capabilities::default());
        let all = serde_json::to_string(&Capabilities::ALL).unwrap();
        assert_eq!(read(&all), Capabilities::ALL);
        assert!(!Capabilities::ALL.is_default() && !Capabilities::default().times);
    }

    #[test]
    fn what_is_missing_is_reported_and_only_then() {
        assert_eq!((Capabilities::ALL.missing(), Capabilities::default().missing()), (None, None));
        let (partly, plain) = (Capabilities { mark: false, ..Capabilities::default() }, Capabilities::NONE);
        assert!(partly.missing().is_some_and(|why| !why.contains("about the time")));
        assert!(plain.missing().is_some_and(|why| why.contains("about the time")));
        assert_eq!((partly.timing(), plain.timing()), (Timing::Exact, Timing::Approximate));
    }
}
