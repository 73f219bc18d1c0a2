//! Reports whose titles are not complete: what the lines that follow add to them.
//!
//! Invariant: a report is closed once, with the best function that was seen.

use crate::console::classify::kind::Kind;
use crate::console::classify::signs::Wants;
use crate::console::classify::skip;
use crate::console::classify::text::MessageDetail;

/// A report whose title is not complete.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) finding: usize,
    pub(super) kind: Kind,
    pub(super) title: String,
    pub(super) wants: Wants,
    pub(super) caller: Option<(u8, u32)>,
    pub(super) since: u64,
    /// The line about a dying task was seen.
    pub(super) died: bool,
    pub(super) in_trace: bool,
    /// The second best: functions that say little, or nothing.
    pub(super) helper: Option<String>,
    pub(super) pc: Option<String>,
    pub(super) lr: Option<String>,
    /// It counts only with a trace.
    pub(super) if_traced: bool,
    /// It may be a part of the report that follows.
    pub(super) announces: bool,
    /// A watchdog's report: the function that was interrupted, as far as the trace was read.
    pub(super) stalled: Option<Stalled>,
}

/// What a watchdog's report showed of the code that does not end. Its own frames come first, in the interrupt.
#[derive(Clone, Debug, Default)]
pub(super) struct Stalled {
    pub(super) in_interrupt: bool,
    /// The interrupt's frames are over: the next function counts.
    pub(super) interrupted: bool,
    /// RCU's own thread is shown, which waits for the one that is stalled.
    pub(super) rcu_thread: bool,
    pub(super) candidate: Option<String>,
}

impl Report {
    pub(super) fn is_of(&self, caller: Option<(u8, u32)>) -> bool {
        self.caller.is_none() || caller.is_none() || self.caller == caller
    }
}

impl Stalled {
    /// Another stack begins.
    pub(super) fn begins(&mut self, detail: &MessageDetail) {
        self.in_interrupt = false;
        self.interrupted = false;
        match detail {
            MessageDetail::RcuThread => self.rcu_thread = true,
            MessageDetail::Cpu => self.rcu_thread = false,
            _ => {}
        }
    }

    /// Takes in a frame. Whether it is the function that was interrupted.
    pub(super) fn frame(&mut self, function: &str, says_much: bool) -> bool {
        if skip::is_interrupt_entry(function) {
            // A trace without marks has the interrupt's frames before this one.
            self.candidate = None;
            self.interrupted = true;
        } else if !self.in_interrupt && !self.rcu_thread && says_much {
            self.candidate.get_or_insert_with(|| function.to_owned());
            return self.interrupted;
        }
        false
    }
}

/// Whether a report lists the locks that it is about, each with the function that took it.
pub(super) fn is_about_locks(title: &str) -> bool {
    [
        "locking",
        "lock state",
        "lock order",
        "lock held",
        "locks held",
        "lock freed",
        "lock inversion",
        "lock was not",
    ]
    .iter()
    .any(|words| title.contains(words))
}

/// Whether an end is a panic that says by its reason that it follows from a report of this kind.
pub(super) fn announces(kind: Kind, end: Kind, title: &str) -> bool {
    let says = |word: &str| end.is_panic() && title.contains(word);
    match kind {
        Kind::Bug => says("panic_on_warn") || says("scheduling while atomic"),
        Kind::Kasan | Kind::Kfence | Kind::Ubsan => says("panic_on_warn"),
        Kind::Warning => says("panic_on_warn") || says("warned too often"),
        Kind::RcuStall => says("RCU Stall"),
        Kind::SoftLockup => says("softlockup"),
        Kind::HardLockup => says("Hard LOCKUP") || says("hard LOCKUP"),
        Kind::HungTask => says("hung_task"),
        Kind::OomKill => says("Out of memory") || says("deadlocked on memory"),
        Kind::HardwareError => says("machine check") || says("Machine check"),
        Kind::FilesystemError => {
            says("EXT4-fs") || says("BTRFS") || says("XFS") || says("panic forced after error")
        }
        _ => false,
    }
}
