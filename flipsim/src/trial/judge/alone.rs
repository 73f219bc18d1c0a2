//! How a guest fares: alive, crashed, or gone, from QEMU's run state, its events and the console.
//!
//! Invariant: a verdict carries its evidence.

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
    /// It panicked, or reset itself.
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
            // A reset and a power-off are QEMU's to tell.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::marker;
    use crate::target::EXCEPTION_STORM;

    fn evidence(lines: &[&str], events: &[(&str, &str)]) -> Health {
        let mut evidence = Evidence::default();
        for line in lines {
            if let Some(marker) = marker(line) {
                evidence.line(marker);
            }
        }
        evidence.events = events
            .iter()
            .map(|(name, data)| LoggedEvent {
                event: (*name).into(),
                data: serde_json::from_str(data).unwrap(),
                host_time: String::new(),
            })
            .collect();
        evidence.verdict()
    }

    #[test]
    fn a_guest_that_says_nothing_bad_is_alive() {
        assert_eq!(evidence(&["hello"], &[("STOP", "{}"), ("RESUME", "{}")]), Health::Alive);
    }

    #[test]
    fn a_panic_is_a_crash_whatever_came_before() {
        let oops = "Internal error: Oops: 96000004 [#1] SMP";
        let panic = "Kernel panic - not syncing: Fatal exception";
        assert_eq!(evidence(&[oops, panic], &[]), Health::Crashed(panic.into()));
        assert_eq!(evidence(&[oops], &[]), Health::Troubled(format!("oops: {oops}")));
        assert!(matches!(evidence(&[], &[("GUEST_PANICKED", "{}")]), Health::Crashed(_)));
    }

    #[test]
    fn a_reset_is_a_crash_and_a_power_off_is_none() {
        let shutdown = |reason: &str| evidence(&[], &[("SHUTDOWN", &format!("{{\"reason\":\"{reason}\"}}"))]);
        assert!(matches!(shutdown("guest-reset"), Health::Crashed(_)));
        assert_eq!(shutdown("guest-shutdown"), Health::Off("by the guest".into()));
        assert_eq!(shutdown("host-qmp-quit"), Health::Off("by the host (host-qmp-quit)".into()));
    }

    #[test]
    fn a_storm_is_a_crash_and_no_fault_of_the_hosts() {
        let stormy = LoggedEvent {
            event: EXCEPTION_STORM.to_owned(),
            data: serde_json::json!({ "virtual-ns": 5, "exceptions": 10000 }),
            host_time: String::new(),
        };
        let evidence =
            Evidence { status: Some("internal-error".into()), events: vec![stormy], ..Evidence::default() };
        let health = evidence.verdict();
        assert!(matches!(&health, Health::Crashed(why) if why.contains("exception storm")), "{health}");
    }

    #[test]
    fn a_qemu_that_was_killed_is_no_crash_of_the_guest() {
        assert_eq!(
            evidence(&[], &[("EXIT", "\"signal: 9 (SIGKILL)\"")]),
            Health::Infra("QEMU died: signal: 9 (SIGKILL)".into())
        );
        let evidence = Evidence { status: Some("io-error".into()), ..Evidence::default() };
        assert!(matches!(evidence.verdict(), Health::Infra(_)));
    }

    #[test]
    fn damage_that_the_workload_noticed_is_told() {
        let health = evidence(&["FLIPSIM CHECK bad order at 7"], &[]);
        assert_eq!(health.to_string(), "alive, and noticed something: the workload: bad order at 7");
    }
}
