//! Gathers evidence of how a guest fares, and says it in words.
//!
//! Invariant: **our own end of a guest is no evidence.**

use std::path::PathBuf;
use std::time::Duration;

use flipsim::console::{ConsoleTail, ends_a_round, marker};
use flipsim::machine::folder::{RunDir, RunRecord};
use flipsim::machine::spec::CONSOLE_LOG;
use flipsim::machine::watch::{EVENTS, LoggedEvent, parse_events};
use flipsim::target::LiveTarget;
use flipsim::trial::judge::alone::{Evidence, Health};

use crate::exit::{Code, exit_error};
use crate::paths;

/// Gathers evidence of how a guest fares, from the moment of the first flip.
pub struct Watcher {
    /// What it has seen.
    pub evidence: Evidence,
    /// So many rounds of the workload have ended.
    pub rounds: u32,
    console: Option<ConsoleTail>,
    events: Option<ConsoleTail>,
    folder: Option<PathBuf>,
}

impl Watcher {
    /// Watches from now on.
    pub fn new(run: Option<&(RunDir, RunRecord)>) -> Watcher {
        let tail = |name: &str| run.map(|(run, _)| ConsoleTail::from_end(&run.file(name)));
        Watcher {
            evidence: Evidence::default(),
            rounds: 0,
            console: tail(CONSOLE_LOG),
            events: tail(EVENTS),
            folder: run.map(|(run, _)| run.path().to_owned()),
        }
    }

    /// Takes in all that the guest has said since its start, too: a short workload may have said
    /// something before the first flip.
    pub fn read_from_start(&mut self) {
        self.console = self.folder.as_ref().map(|folder| ConsoleTail::from_start(&folder.join(CONSOLE_LOG)));
    }

    /// What the evidence says, with nothing new taken in: our own end of a guest is none of it.
    #[must_use]
    pub fn last_health(&self) -> Health {
        self.evidence.verdict()
    }

    /// How the guest ended, if it did, by its console and events alone.
    pub(super) fn over(&mut self) -> Option<String> {
        let health = self.look();
        health.is_over().then(|| health.to_string())
    }

    /// Takes in what is new, and judges.
    pub fn look(&mut self) -> Health {
        if let Some(console) = &mut self.console {
            for line in console.poll().unwrap_or_default() {
                self.rounds += u32::from(ends_a_round(&line));
                if let Some(marker) = marker(&line) {
                    self.evidence.line(marker);
                }
            }
        }
        if let Some(events) = &mut self.events {
            self.evidence.events.extend(parse_events(&events.poll().unwrap_or_default()));
        }
        self.evidence.verdict()
    }

    /// Why no more flips make sense, if so.
    pub fn end(&mut self, target: &mut LiveTarget) -> Option<String> {
        if let Some(qmp) = target.qmp() {
            self.evidence.status = qmp.status().ok().map(|status| status.status);
            let host_time = jiff::Timestamp::now().to_string();
            let events = qmp.take_events().unwrap_or_default().into_iter();
            self.evidence.events.extend(events.map(|event| LoggedEvent {
                event: event.name,
                data: event.data,
                host_time: host_time.clone(),
            }));
        }
        self.over()
    }

    /// The verdict on a guest with a workload after all `flips` (how many, in words), in words; it was `given` so
    /// long.
    pub fn verdict(&mut self, flips: &str, given: &str) -> String {
        self.look();
        self.evidence.workload_verdict(flips, given)
    }

    /// The error for a guest that was lost on the way, with its end.
    pub fn lost(&mut self, index: u64, count: u64, error: &dyn std::fmt::Display) -> anyhow::Error {
        let words = self.last_words();
        exit_error(Code::GuestLost, format!("flip {index} of {count}: {error}; {words}"))
    }

    /// The end of a guest that was lost.
    pub fn last_words(&mut self) -> String {
        let Some(folder) = self.folder.clone() else { return "start the guest again".to_owned() };
        // The watcher needs a moment to write the end down.
        for _ in 0..50 {
            if self.look().is_over() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        format!("{}; the guest's folder is {}", self.look(), paths::show(&folder))
    }
}
