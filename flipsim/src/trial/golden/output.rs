//! Golden runs by their output alone, for a QEMU that cannot report which state a guest is in.
//!
//! Invariant: what is claimed of such a run is what its console said; why no more is known is kept with it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::console::Differences;
use crate::console::classify::without_stamps;
use crate::target::Capabilities;
use crate::trial::clone::guest::CloneDisk;
use crate::trial::golden::measure::{Pass, Steps, pass};
use crate::trial::golden::model::{FORMAT, Golden, GoldenOptions, GoldenProgress, Window};
use crate::trial::outcome::Outcome;
use crate::trial::record::TrialRecord;
use crate::trial::runner::{RunError, Runner, registers};
use crate::trial::template::saved::Template;
use crate::units::VirtualNs;

/// The spacing where only outputs are compared: every stop costs time that the guest does not have.
const OUTPUT_SPACING: VirtualNs = VirtualNs(50_000_000);

/// How often such a run is run.
const OUTPUT_RUNS: u32 = 3;

impl Golden {
    /// The same by a QEMU that cannot report a guest's state: the outputs of three clones.
    pub(super) fn measure_output(
        template: &Template,
        parent: &Path,
        options: &GoldenOptions,
        missing: &str,
        watch: &mut dyn FnMut(GoldenProgress),
    ) -> Result<Self, RunError> {
        let spacing = options.spacing.unwrap_or(OUTPUT_SPACING);
        let signals = &template.info().plan.signals;
        let mut run = 0;
        let mut one = || -> Result<(Pass, Vec<(String, String)>), RunError> {
            run += 1;
            let mut hear = |passed, length| watch(GoldenProgress { run, runs: OUTPUT_RUNS, passed, length });
            let mut runner =
                Runner::start_persistently(template, parent, CloneDisk::Memory, options.interrupted)?;
            let pass = pass(&mut runner, options, Steps::even(spacing), None, &mut hear)?;
            Ok((pass, registers(&mut runner)?))
        };
        let (first, registers) = one()?;
        let mut difference = missing.to_owned();
        for _ in 1..OUTPUT_RUNS {
            let (again, _) = one()?;
            let cut = is_cut(options.window, template.info().capabilities);
            if !same_output(&signals.output_of(&again.console), &signals.output_of(&first.console), cut) {
                difference.push_str("; and the consoles of two runs without a fault say different things");
                break;
            }
        }
        Ok(Golden {
            format: FORMAT,
            template: template.info().key.clone(),
            window: options.window,
            spacing,
            looks: None,
            start: first.start,
            checkpoints: first.checkpoints,
            console: first.console,
            registers,
            difference: Some(difference),
            pages_apart: Vec::new(),
            capabilities: template.info().capabilities,
            signals: signals.clone(),
            idle: None,
            done: first.done,
            events: BTreeMap::new(),
            run_seconds: first.run.as_secs_f64(),
            compare_seconds: 0.0,
        })
    }

    /// Whether a run that has come as far as this one has said the same.
    #[must_use]
    pub fn same_output(&self, said: &[u8]) -> bool {
        let cut = is_cut(self.window, self.capabilities);
        same_output(&self.signals.output_of(said), &self.signals.output_of(&self.console), cut)
    }

    /// The lines of its output, without the times of messages.
    pub(crate) fn output_lines(&self) -> Vec<String> {
        let output = without_stamps(&self.signals.output_of(&self.console));
        String::from_utf8_lossy(&output).lines().map(str::to_owned).collect()
    }

    /// The first line in which an output differs: its number, from 1, the line here, and the golden run's, each
    /// absent where the output ends before it. When a message of the kernel came is no difference.
    pub(crate) fn first_difference(&self, said: &[u8]) -> (u64, Option<Vec<u8>>, Option<Vec<u8>>) {
        let (here, golden) = self.outputs(said);
        let lines = |text: &[u8]| -> Vec<Vec<u8>> {
            text.split_inclusive(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\n").unwrap_or(line).to_vec())
                .collect()
        };
        let (here, golden) = (lines(&here), lines(&golden));
        let same = here.iter().zip(&golden).take_while(|(here, golden)| here == golden).count();
        (same as u64 + 1, here.get(same).cloned(), golden.get(same).cloned())
    }

    /// How far the output of a trial that ended as silent data corruption is from this run's; `None` of any other, and
    /// where its console was not kept. A byte that was no UTF-8 was not kept as it was.
    #[must_use]
    pub fn differences_of(&self, record: &TrialRecord) -> Option<Differences> {
        let console = record.console.as_ref().filter(|_| record.outcome == Some(Outcome::Sdc))?;
        let (here, golden) = self.outputs(console.as_bytes());
        Some(Differences::between(&golden, &here))
    }

    /// What a console says that counts, and what this run's does.
    fn outputs(&self, said: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (here, golden) = (self.signals.output_of(said), self.signals.output_of(&self.console));
        (without_stamps(&here), without_stamps(&golden))
    }

    /// How many lines a console begins with as this run's does, whatever its output is.
    pub(crate) fn lines_alike(&self, said: &[u8]) -> u64 {
        let (here, golden) = (without_stamps(said), without_stamps(&self.console));
        let same = here.iter().zip(&golden).take_while(|(here, golden)| here == golden);
        same.filter(|(byte, _)| **byte == b'\n').count() as u64
    }

    /// Whether two consoles have said the same so far, as far as that is the workload's output.
    pub(crate) fn same_so_far(&self, said: &[u8], golden: &[u8]) -> bool {
        same_output(&self.signals.output_of(said), &self.signals.output_of(golden), false)
    }

    /// Whether a console has said only what the golden run says as well, sooner or later.
    pub(crate) fn is_late(&self, said: &[u8]) -> bool {
        let (said, golden) = (self.signals.output_of(said), self.signals.output_of(&self.console));
        without_stamps(&golden).starts_with(&without_stamps(&said))
    }
}

/// Whether two consoles say the same; when a message of the kernel came does not count. Of two runs that were
/// `cut` off at about the same time one may have said less.
fn same_output(one: &[u8], other: &[u8], cut: bool) -> bool {
    if one == other {
        return true;
    }
    let (one, other) = (without_stamps(one), without_stamps(other));
    one == other || (cut && (one.starts_with(&other) || other.starts_with(&one)))
}

/// Whether runs end at about the same time, and not at the same instruction or when they are done.
fn is_cut(window: Window, capabilities: Capabilities) -> bool {
    !capabilities.stop_at && window != Window::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_message_came_does_not_count_and_what_it_said_does() {
        let golden = b"[    0.100000] a\nb\n";
        assert!(same_output(b"[    0.200000] a\nb\n", golden, false));
        assert!(!same_output(b"[    0.100000] a\nc\n", golden, false));
        assert!(!same_output(b"[    0.100000] a\n", golden, false));
    }

    #[test]
    fn a_run_that_was_cut_off_may_have_said_less_or_more_but_nothing_else() {
        let golden = b"[    0.100000] a\nb\n";
        assert!(same_output(b"[    0.200000] a\n", golden, true));
        assert!(same_output(b"[    0.200000] a\nb\nc\n", golden, true));
        assert!(!same_output(b"[    0.200000] a\nc\n", golden, true));
        let (exact, about) = (Capabilities::ALL, Capabilities::NONE);
        let window = Window::Time(VirtualNs(5));
        assert!(is_cut(window, about) && !is_cut(window, exact) && !is_cut(Window::Done, about));
    }
}
