//! How a guest is brought to its quiescent point, and by which words it says READY and DONE: data, so that a
//! guest that the lab never saw can be put under test.
//!
//! ```text
//! power-on ─→ dialogue: wait for a prompt, type, … ─→ `ready` on the console ─→ `ready-after` ─→ quiescent
//! quiescent ─→ `done` on the console                  the output: lines of `output`, or the whole console
//! ```
//!
//! With `ready = "power-on"` the quiescent point is where the guest is switched on, before its first instruction. It
//! then says by `userspace` that its own programs have begun, and what it prints before that is no output.
//!
//! Without any of these a guest is one of the lab's own, which prints `FLIPSIM READY` and `FLIPSIM DONE`
//! (`images/README.md`).
//!
//! Invariant: what a guest printed before it was asked is never taken for the answer.

use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::console::counts::Counts;
use crate::console::lines::{LineSplitter, line_end};
use crate::console::marker;
use crate::console::marker::Marker;
pub use crate::console::pattern::{LinePattern, ReadyBy, SignalError};
use crate::units::VirtualNs;

/// A prompt that is waited for, and what is typed then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// What the guest prints; a line that it has not ended counts.
    pub wait: LinePattern,
    /// What is typed, with the Enter key behind it.
    pub send: String,
}

impl Exchange {
    fn new(wait: LinePattern, send: String) -> Result<Self, SignalError> {
        if send.chars().any(char::is_control) {
            return Err(SignalError::Untypeable(send));
        }
        Ok(Exchange { wait, send })
    }
}

/// `PATTERN => TEXT`, at the last arrow, so that a pattern may have one.
impl FromStr for Exchange {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        let (wait, send) = text.rsplit_once("=>").ok_or_else(|| SignalError::Exchange(text.to_owned()))?;
        Exchange::new(wait.trim().parse()?, send.trim().to_owned())
    }
}

impl<'de> Deserialize<'de> for Exchange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            wait: LinePattern,
            send: String,
        }
        let Raw { wait, send } = Raw::deserialize(deserializer)?;
        Exchange::new(wait, send).map_err(serde::de::Error::custom)
    }
}

/// How a guest is brought to its quiescent point, and how it speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Signals {
    /// What is typed at its console, one after the other. Without more, the guest is at its quiescent point when
    /// the last Enter key is down: a command that is typed last is the workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dialogue: Vec<Exchange>,
    /// By what it is ready, after the dialogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<ReadyBy>,
    /// How long it is left alone after that; without the others, after power-on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_after: Option<VirtualNs>,
    /// The line that shows that userspace was reached, of a guest that is ready at power-on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userspace: Option<LinePattern>,
    /// The line by which its workload is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<LinePattern>,
    /// The lines that are its output, or the part of them in the first group; without it all that it prints, but for
    /// lines that count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<LinePattern>,
    /// What it counts.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub count: Counts,
}

/// How far a guest got that was followed from power-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// It never showed that userspace was reached.
    BeforeUserspace,
    /// It did.
    Userspace,
}

impl Reached {
    /// The word in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reached::BeforeUserspace => "before userspace",
            Reached::Userspace => "userspace",
        }
    }
}

/// What the kernel says right before it executes its init.
const RUN_INIT: (&str, &str) = ("Run ", " as init process");

impl Signals {
    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// Something is to happen before a guest is ready that is so at power-on, or `userspace` is of another guest.
    pub fn check(&self) -> Result<(), SignalError> {
        let on = self.start_at_power_on();
        match () {
            () if on && (self.types() || self.ready_after.is_some()) => Err(SignalError::BeforePowerOn),
            () if !on && self.userspace.is_some() => Err(SignalError::Userspace),
            () => Ok(()),
        }
    }

    /// Whether the guest's quiescent point is where it is switched on.
    #[must_use]
    pub fn start_at_power_on(&self) -> bool {
        self.ready == Some(ReadyBy::PowerOn)
    }

    /// Whether a line of the console shows that userspace was reached.
    #[must_use]
    pub fn is_userspace(&self, line: &str) -> bool {
        match &self.userspace {
            Some(pattern) => pattern.is_in(line),
            None => {
                let run = line.find(RUN_INIT.0).is_some_and(|at| line[at..].contains(RUN_INIT.1));
                run || matches!(marker(line), Some(Marker::Ready(_)))
            }
        }
    }

    /// How far the guest got that said this; `None` of one that is not followed from power-on.
    #[must_use]
    pub fn reached(&self, console: &[u8]) -> Option<Reached> {
        let there = || self.line_by(console, |line| self.is_userspace(line)).is_some();
        self.start_at_power_on().then(|| if there() { Reached::Userspace } else { Reached::BeforeUserspace })
    }

    /// Whether the guest speaks as the lab's own do.
    #[must_use]
    pub fn are_the_labs(&self) -> bool {
        *self == Signals::default()
    }

    /// Whether something is typed at its console.
    #[must_use]
    pub fn types(&self) -> bool {
        !self.dialogue.is_empty()
    }

    /// Whether the guest is the lab's own by what it says, and so can be asked for one of the lab's workloads.
    #[must_use]
    pub fn are_in_the_labs_words(&self) -> bool {
        self.waits_for_marker() || (self.start_at_power_on() && self.done.is_none())
    }

    /// Whether it is the guest itself that says that it is ready, in the lab's words.
    #[must_use]
    pub fn waits_for_marker(&self) -> bool {
        self.dialogue.is_empty() && self.ready.is_none() && self.ready_after.is_none()
    }

    /// The line by which it is ready.
    pub(in crate::console) fn ready_line(&self) -> Option<&LinePattern> {
        match self.ready.as_ref()? {
            ReadyBy::Line(pattern) => Some(pattern),
            ReadyBy::PowerOn => None,
        }
    }

    /// Whether a line of the console says that the workload is done.
    #[must_use]
    pub fn is_done(&self, line: &str) -> bool {
        match &self.done {
            Some(pattern) => pattern.is_in(line),
            None => matches!(marker(line), Some(Marker::Done(_))),
        }
    }

    /// Whether a console says so somewhere.
    #[must_use]
    pub fn is_done_in(&self, console: &[u8]) -> bool {
        self.done_end(console).is_some()
    }

    /// Where the first line of a console ends that says so: the place of its last byte.
    #[must_use]
    pub fn done_end(&self, console: &[u8]) -> Option<usize> {
        line_end(console, self.line_by(console, |line| self.is_done(line))?)
    }

    /// Which line of a console has this line of the workload's output; both from 1.
    #[must_use]
    pub fn line_of_output(&self, console: &[u8], number: u64) -> Option<u64> {
        if self.all_is_output() {
            return Some(number);
        }
        let (mut left, mut begun) = (number, self.output_begins_at_once());
        self.line_by(console, |line| {
            left -= u64::from(left > 0 && begun && self.is_output(line));
            begun |= self.is_userspace(line);
            left == 0
        })
    }

    /// Whether each line is a part of the output.
    #[must_use]
    pub fn all_is_output(&self) -> bool {
        self.output.is_none() && self.count.is_empty() && self.output_begins_at_once()
    }

    /// Whether lines of the output may come before userspace was reached.
    fn output_begins_at_once(&self) -> bool {
        self.output.is_some() || !self.start_at_power_on()
    }

    fn is_output(&self, line: &str) -> bool {
        self.output.as_ref().map_or_else(|| !self.count.has(line), |pattern| pattern.is_in(line))
    }

    fn line_by(&self, console: &[u8], mut is_it: impl FnMut(&str) -> bool) -> Option<u64> {
        let (mut number, mut found) = (1, None);
        LineSplitter::default().each(console, |line, ends| {
            if found.is_none() && is_it(line) {
                found = Some(number);
            }
            number += u64::from(ends);
        });
        found
    }

    /// The part of a console that is the workload's output.
    #[must_use]
    pub fn output_of<'a>(&self, console: &'a [u8]) -> Cow<'a, [u8]> {
        if self.all_is_output() {
            return Cow::Borrowed(console);
        }
        let mut output = String::new();
        let mut splitter = LineSplitter::default();
        let mut begun = self.output_begins_at_once();
        for line in splitter.push(console) {
            if !begun {
                begun = self.is_userspace(&line);
                continue;
            }
            let part = match &self.output {
                Some(pattern) => pattern.part(&line),
                None => Some(line.as_str()).filter(|line| !self.count.has(line)),
            };
            if let Some(part) = part {
                output.push_str(part);
                output.push('\n');
            }
        }
        if self.output.is_none() && begun {
            // A line that is not ended is output as well, as where nothing counts.
            output
                .push_str(&Some(splitter.partial()).filter(|line| !self.count.has(line)).unwrap_or_default());
        }
        Cow::Owned(output.into_bytes())
    }
}

/// What is waited for: which signal of a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The prompt of the exchange with this place in the dialogue.
    Prompt(usize),
    /// The line by which it is ready.
    Ready,
    /// The line by which its workload is done.
    Done,
}

/// What comes next on the way to the quiescent point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing that was waited for has come.
    Wait,
    /// This is to be typed.
    Type(String),
    /// So long nothing is to be done.
    Rest(VirtualNs),
    /// The guest is there.
    Ready,
}

/// Follows a guest to its quiescent point.
#[derive(Clone, Debug)]
pub struct Approach<'a> {
    signals: &'a Signals,
    /// How many exchanges are over.
    typed: usize,
    /// The `ready` line has come.
    said: bool,
    rested: bool,
    /// The part of the line that is not ended that was answered already.
    answered: String,
    /// The line that is not ended.
    partial: String,
    /// What one of the lab's markers said.
    marked: bool,
}

impl<'a> Approach<'a> {
    /// From power-on.
    #[must_use]
    pub fn new(signals: &'a Signals) -> Self {
        Approach {
            signals,
            typed: 0,
            said: false,
            rested: false,
            answered: String::new(),
            partial: String::new(),
            marked: false,
        }
    }

    /// What the lab waits for; `None` where nothing more has to be said, only time to pass.
    #[must_use]
    pub fn awaits(&self) -> Option<Awaited> {
        let is_there = if self.signals.waits_for_marker() { self.marked } else { self.said };
        match self.typed < self.signals.dialogue.len() {
            true => Some(Awaited::Prompt(self.typed)),
            false if is_there => None,
            false if self.signals.ready_line().is_some() || self.signals.waits_for_marker() => {
                Some(Awaited::Ready)
            }
            false => None,
        }
    }

    /// Takes in a line that the guest has ended. What it means, if it means something.
    pub fn line(&mut self, line: &str) -> Next {
        let answered = std::mem::take(&mut self.answered);
        self.partial.clear();
        self.look(line.strip_prefix(answered.as_str()).unwrap_or(line))
    }

    /// Takes in the line that the guest has not ended yet.
    pub fn partial(&mut self, line: &str) -> Next {
        line.clone_into(&mut self.partial);
        let new = line.strip_prefix(self.answered.as_str()).unwrap_or(line);
        self.look(new)
    }

    /// The guest said so by the lab's own marker.
    pub fn marked(&mut self) {
        self.marked = true;
    }

    fn look(&mut self, text: &str) -> Next {
        if let Some(exchange) = self.signals.dialogue.get(self.typed) {
            if !exchange.wait.is_in(text) {
                return Next::Wait;
            }
            self.typed += 1;
            self.answered.clone_from(&self.partial);
            return Next::Type(exchange.send.clone());
        }
        self.said |= self.signals.ready_line().is_some_and(|ready| ready.is_in(text));
        Next::Wait
    }

    /// What is to be done once all that the guest has said was taken in.
    pub fn settle(&mut self) -> Next {
        let signals = self.signals;
        if signals.waits_for_marker() {
            return if self.marked { Next::Ready } else { Next::Wait };
        }
        if self.typed < signals.dialogue.len() || (signals.ready_line().is_some() && !self.said) {
            return Next::Wait;
        }
        match signals.ready_after.filter(|_| !self.rested) {
            Some(rest) => {
                self.rested = true;
                Next::Rest(rest)
            }
            None => Next::Ready,
        }
    }
}

#[cfg(test)]
mod tests;
