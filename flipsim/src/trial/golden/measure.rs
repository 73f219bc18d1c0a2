//! Measuring a golden run: passes over the window in one process and in a fresh clone, compared with each other.
//!
//! Invariant: **a golden run is believed only when it was seen four times and was the same each time**:
//! in one process, twice again there after going back, and in a fresh clone. One of them stops at every checkpoint; it is
//! compared with the others where they stop as well, and its end is theirs. Where they differ, the first
//! difference is kept, and trials compare output only. So they do where QEMU cannot report a guest's state; the
//! reason is kept in the place of the difference.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::target::Silence;
use crate::target::digest::{describe, pages_between};
use crate::trial::clone::guest::CloneDisk;
use crate::trial::golden::idle::{Idle, Span};
use crate::trial::golden::looks::{Looks, MOST, grid, round};
use crate::trial::golden::model::{Checkpoint, FORMAT, Golden, GoldenOptions, GoldenProgress, Window};
use crate::trial::runner::{Got, RunError, Runner, registers};
use crate::trial::template::saved::Template;
use crate::units::{VirtualNs, format_duration};

/// How far apart the looks at a guest are in all passes but the one that stops at every checkpoint.
pub(super) const PILOT: VirtualNs = VirtualNs(10_000_000);

/// How far a run goes at most past the moment at which its workload is done: what follows is the guest's idling.
const FINE: VirtualNs = VirtualNs(100_000);

/// So many looks in detail suffice for a run: each is kept until the passes are compared.
const DETAILED: u64 = 500;

/// How often a golden run is run.
const RUNS: u32 = 4;

/// One pass over the window.
pub(super) struct Pass {
    pub(super) start: Checkpoint,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) console: Vec<u8>,
    /// At each checkpoint that was looked at in detail.
    pub(super) registers: BTreeMap<VirtualNs, Vec<(String, String)>>,
    /// When the guest idled, and when its workload was done, where QEMU keeps that.
    pub(super) idle: Option<Idle>,
    pub(super) done: Option<VirtualNs>,
    pub(super) run: Duration,
    pub(super) compare: Duration,
}

/// Where two passes differ first.
pub(super) struct PassDifference {
    pub(super) words: String,
    pub(super) pages: Vec<u64>,
}

impl PassDifference {
    fn words(words: &str) -> PassDifference {
        PassDifference { words: words.to_owned(), pages: Vec::new() }
    }
}

/// How far apart the checkpoints of a pass are: `far`, and [`FINE`] behind `fine_from`. Those that are a multiple of
/// `detailed` from the beginning are looked at in detail, as is the last one.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    far: VirtualNs,
    fine_from: VirtualNs,
    detailed: Option<VirtualNs>,
}

impl Steps {
    /// All as far apart.
    pub(super) fn even(far: VirtualNs) -> Steps {
        Steps { far, fine_from: VirtualNs(u64::MAX), detailed: None }
    }

    fn behind(self, at: VirtualNs) -> VirtualNs {
        let step = if at < self.fine_from { self.far } else { FINE };
        VirtualNs(at.0.saturating_add(step.0))
    }
}

/// One run from where the guest is, to `end` or to where the window says.
pub(super) fn pass(
    runner: &mut Runner,
    options: &GoldenOptions,
    steps: Steps,
    end: Option<VirtualNs>,
    watch: &mut dyn FnMut(VirtualNs, Option<VirtualNs>),
) -> Result<Pass, RunError> {
    let (mut run, mut compare) = (Duration::ZERO, Duration::ZERO);
    let state = runner.state(true)?;
    let begin = runner.time()?;
    let start = Checkpoint { at: begin, state, console: 0 };
    runner.keep_idle()?;
    let limit = match options.window {
        Window::Time(length) => begin.0.saturating_add(length.0),
        Window::Done => begin.0.saturating_add(options.limit.0),
    };
    let last = end.map_or(limit, |end| end.0);
    let (mut checkpoints, mut all_registers) = (Vec::new(), BTreeMap::new());
    let (mut silence, mut said) = (Silence::default(), 0);
    let waits = end.is_none() && options.window == Window::Done;
    let mut at = begin;
    loop {
        at = steps.behind(at).min(VirtualNs(last));
        let began = Instant::now();
        if let Got::Ended(end, at) = runner.run_to(at, options.wall)? {
            let how = format!("{end:?} at {at}");
            return Err(runner.ended(how));
        }
        run += began.elapsed();
        watch(VirtualNs(at.0 - begin.0), (!waits).then_some(VirtualNs(last - begin.0)));
        let began = Instant::now();
        let over = at.0 == last || (waits && runner.console.is_done());
        if waits && !over {
            if runner.console.said().len() != said {
                said = runner.console.said().len();
                silence.broken();
            }
            if let Some(clock) = runner.guest.target().clock()?
                && let Some(after) = silence.at(&clock).filter(|idled| *idled >= options.silence)
            {
                return Err(RunError::Idle { after, unmet: runner.not_done() });
            }
        }
        let state = runner.state(false)?;
        compare += began.elapsed();
        // In detail, so that a difference between two runs can be reported in detail.
        let detailed =
            steps.detailed.is_some_and(|every| over || (at.0 - begin.0).is_multiple_of(every.0.max(1)));
        let state = if detailed || over { runner.state(true)? } else { state };
        checkpoints.push(Checkpoint { at, state, console: runner.console.said().len() });
        if detailed {
            all_registers.insert(at, registers(runner)?);
        }
        if over {
            break;
        }
    }
    // One that is not done where another run was is reported as a difference.
    if waits && !runner.console.is_done() {
        return Err(RunError::NoEnd { after: options.limit, unmet: runner.not_done() });
    }
    let console = runner.console.said().to_vec();
    let spans = runner.idle()?;
    let idle = spans
        .map(|spans| Idle::new(begin, at, spans.into_iter().map(|(from, length)| Span { from, length })));
    let done = runner.console.done_end();
    let done = runner.times_of(done.as_slice())?.first().copied().flatten();
    Ok(Pass { start, checkpoints, console, registers: all_registers, idle, done, run, compare })
}

/// The pilot without what it ran on behind the end of a run that was looked at closely.
pub(super) fn cut(pilot: &mut Pass, run: &Pass) {
    let Some(end) = run.checkpoints.last() else { return };
    pilot.console.truncate(end.console);
    pilot.idle = pilot.idle.take().map(|idle| idle.within(run.start.at, end.at));
}

/// How far apart they are in the pilot. Where a run ends that waits for its workload must not depend on its length.
fn pilot_spacing(window: Window) -> VirtualNs {
    match window {
        Window::Done => PILOT,
        Window::Time(length) => PILOT.max(round(length.0 / MOST)),
    }
}

/// How far apart the looks in detail are, in a run of this length whose checkpoints are so far apart.
pub(super) fn detailed_spacing(length: VirtualNs, spacing: VirtualNs) -> VirtualNs {
    let every = PILOT.0.max(length.0 / DETAILED);
    VirtualNs(every.div_ceil(spacing.0.max(1)).saturating_mul(spacing.0.max(1)))
}

/// The first difference of two passes; checkpoints that only one of them has do not count.
pub(super) fn difference(first: &Pass, second: &Pass) -> Option<PassDifference> {
    let start = (!first.start.is_same(&second.start)).then_some((&first.start, &second.start, None));
    let mut pairs = first.checkpoints.iter().filter_map(|mine| {
        let at = second.checkpoints.binary_search_by_key(&mine.at, |theirs| theirs.at).ok()?;
        let theirs = &second.checkpoints[at];
        let registers = first.registers.get(&mine.at).zip(second.registers.get(&mine.at));
        (!mine.is_same(theirs)).then_some((mine, theirs, registers))
    });
    let Some((mine, theirs, registers)) = start.or_else(|| pairs.next()) else {
        let words = match () {
            () if first.console != second.console => "the consoles say different things",
            () if first.idle != second.idle => "the guest idled at different times",
            () if first.done != second.done => "the workload was done at different times",
            () => return None,
        };
        return Some(PassDifference::words(words));
    };
    let after = format_duration(Duration::from_nanos(mine.at.0 - first.start.at.0));
    let (here, there) = (mine.state.as_ref(), theirs.state.as_ref());
    let apart = here.zip(there).map_or_else(String::new, |(here, there)| describe(here, there));
    let mut words = format!("{after} after the quiescent point: {apart}");
    let apart: Vec<&str> = registers
        .map(|(mine, theirs)| mine.iter().zip(theirs).filter(|(one, other)| one != other))
        .into_iter()
        .flatten()
        .map(|((name, _), _)| name.as_str())
        .collect();
    if !apart.is_empty() {
        words.push_str(&format!("; registers {}", apart.join(" ")));
    }
    let pages = here.zip(there).map_or_else(Vec::new, |(here, there)| pages_between(here, there));
    Some(PassDifference { words, pages: pages.into_iter().take(8).map(|(_, offset)| offset).collect() })
}

impl Golden {
    /// Measures the golden run of a template.
    ///
    /// # Errors
    /// The guest does not run, or its workload does not end.
    pub fn measure(template: &Template, parent: &Path, options: &GoldenOptions) -> Result<Self, RunError> {
        Golden::measure_watched(template, parent, options, &mut |_| {})
    }

    /// As [`Golden::measure`]; `watch` hears often how far it is.
    ///
    /// # Errors
    /// As [`Golden::measure`].
    pub fn measure_watched(
        template: &Template,
        parent: &Path,
        options: &GoldenOptions,
        watch: &mut dyn FnMut(GoldenProgress),
    ) -> Result<Self, RunError> {
        let mut run = 0;
        let mut pass = |runner: &mut Runner, steps, end| {
            run += 1;
            let mut hear = |passed, length| watch(GoldenProgress { run, runs: RUNS, passed, length });
            pass(runner, options, steps, end, &mut hear)
        };
        let capabilities = template.info().capabilities;
        if let Some(missing) = capabilities.missing().filter(|_| !capabilities.mark) {
            return Golden::measure_output(template, parent, options, missing, watch);
        }
        let mut runner =
            Runner::start_persistently(template, parent, CloneDisk::Memory, options.interrupted)?;
        runner.guest.target().mark()?;
        // Where the run ends must not depend on how far apart the checkpoints are.
        let far = pilot_spacing(options.window);
        let mut pilot = pass(&mut runner, Steps::even(far), None)?;
        let back = |runner: &mut Runner| -> Result<(), RunError> {
            runner.guest.target().rewind()?;
            runner.console.restart(&[])
        };
        back(&mut runner)?;
        // Trials run in processes that have translated the guest's code already, as this one has now.
        // Where a run ends that waits for its workload, it is looked at closely from the pilot's last but one checkpoint on.
        let before = pilot.checkpoints.iter().rev().nth(1).map_or(pilot.start.at, |before| before.at);
        let fine_from = if options.window == Window::Done { before } else { VirtualNs(u64::MAX) };
        let warm = pass(&mut runner, Steps { fine_from, ..Steps::even(far) }, None)?;
        cut(&mut pilot, &warm);
        let end = warm.checkpoints.last().map(|last| last.at);
        let length = VirtualNs(end.map_or(0, |end| end.0 - warm.start.at.0));
        // A file may say anything.
        let given = options.spacing.map(|spacing| spacing.max(VirtualNs(1)));
        let spacing = given.unwrap_or_else(|| grid(length));
        let looks = given.is_none().then(Looks::default);
        let detailed = detailed_spacing(length, spacing);
        back(&mut runner)?;
        let every = Steps { detailed: Some(detailed), ..Steps::even(spacing) };
        let mut first = pass(&mut runner, every, end)?;
        let registers = registers(&mut runner)?;
        let mut fresh = Runner::start_persistently(template, parent, CloneDisk::Memory, options.interrupted)?;
        fresh.guest.target().mark()?;
        let second = pass(&mut fresh, Steps { far: detailed, ..every }, end)?;
        let difference = difference(&first, &second)
            .or_else(|| difference(&pilot, &warm))
            .or_else(|| difference(&warm, &first));
        let (difference, pages_apart) =
            difference.map_or((None, Vec::new()), |found| (Some(found.words), found.pages));
        // Only the end is kept in detail.
        let inner = first.checkpoints.len().saturating_sub(1);
        for state in first.checkpoints[..inner].iter_mut().filter_map(|checkpoint| checkpoint.state.as_mut())
        {
            state.pages = None;
            state.sections = None;
        }
        let count = u32::try_from(first.checkpoints.len()).unwrap_or(u32::MAX).max(1);
        Ok(Golden {
            format: FORMAT,
            template: template.info().key.clone(),
            window: options.window,
            spacing,
            looks,
            start: first.start,
            checkpoints: std::mem::take(&mut first.checkpoints),
            console: first.console,
            registers,
            difference,
            pages_apart,
            capabilities,
            signals: template.info().plan.signals.clone(),
            idle: first.idle,
            done: first.done,
            events: BTreeMap::new(),
            run_seconds: warm.run.as_secs_f64(),
            compare_seconds: (first.compare / count).as_secs_f64(),
        })
    }
}
