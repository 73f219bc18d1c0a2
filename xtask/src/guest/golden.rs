//! What every trial needs before it: the template, the golden run, and the guest's names.
//!
//! Invariant: a golden run is only taken from the cache for the very template that it was measured on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flipsim::console::signals::Reached;
use flipsim::fault::{FlipError, FlippableRegister, GuestNames, probe_registers};
use flipsim::files;
use flipsim::trial::clone::CloneDisk;
use flipsim::trial::golden::{FORMAT, Golden, GoldenOptions, GoldenProgress, Window};
use flipsim::trial::template::Template;
use flipsim::trial::{Cause, RestoreMethod, Runner, usual_causes};
use flipsim::units::{VirtualNs, format_duration, parse_virtual};
use serde::{Deserialize, Serialize};

use super::errors::{not_started, run_error};
use super::plan::GuestArgs;
use super::spec::GuestSpec;
use super::template::{self, clones_dir};
use crate::exit::{Code, exit_error};
use crate::{interrupt, paths, progress};

/// How long a guest may take to its quiescent point on the host's clock.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// The guest of trials, on the command line and in what is stored of them.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub struct TrialGuest {
    /// How long a run is, from the quiescent point on [default: until the workload is done]
    #[arg(long, value_parser = parse_virtual, value_name = "TIME")]
    pub window: Option<VirtualNs>,
    #[command(flatten)]
    pub spec: GuestSpec,
}

/// One table, with the window as one more key.
impl From<TrialGuest> for serde_json::Value {
    fn from(guest: TrialGuest) -> serde_json::Value {
        // A guest's keys are text, and so it always has a form in JSON.
        let mut value = serde_json::to_value(&guest.spec).unwrap_or_default();
        if let (Some(table), Some(window)) = (value.as_object_mut(), guest.window) {
            table.insert("window".to_owned(), window.0.into());
        }
        value
    }
}

impl TryFrom<serde_json::Value> for TrialGuest {
    type Error = serde_json::Error;

    fn try_from(mut value: serde_json::Value) -> Result<Self, serde_json::Error> {
        let window = value.as_object_mut().and_then(|table| table.remove("window"));
        let window = window.map(serde_json::from_value).transpose()?.flatten();
        Ok(TrialGuest { window, spec: serde_json::from_value(value)? })
    }
}

impl TrialGuest {
    fn args(&self) -> Result<GuestArgs> {
        Ok(GuestArgs { spec: self.spec.clone().with_defaults()?, ..GuestArgs::default() })
    }
}

/// The template of a guest and its golden run.
pub struct Prepared {
    /// The template.
    pub template: Template,
    /// Its golden run.
    pub golden: Golden,
}

/// Brings both up to date. The golden run's checkpoints are `spacing` apart and all looked at, or are a fine grid.
pub fn prepare(guest: &TrialGuest, spacing: Option<VirtualNs>) -> Result<Prepared> {
    if guest.window == Some(VirtualNs(0)) {
        return Err(exit_error(Code::Usage, "--window 0: a run has some length"));
    }
    let args = guest.args()?;
    let template = template::ensure(&args, BOOT_LIMIT)?;
    let window = match (guest.window, args.spec.workload.as_deref()) {
        (Some(length), _) => Window::Time(length),
        (None, Some("none") | None) if args.spec.done.is_none() => {
            let text = "without a workload nothing says when a run is over; say how long it is (--window 100ms), or \
                        by which line it is done (--done PATTERN)";
            return Err(exit_error(Code::Usage, text));
        }
        (None, _) => Window::Done,
    };
    let folder = paths::lab_dir()?.join("golden");
    let length = match window {
        Window::Done => "done".to_owned(),
        Window::Time(length) => length.0.to_string(),
    };
    let apart = spacing.map(|spacing| format!("-{}", spacing.0)).unwrap_or_default();
    let path = folder.join(format!("{}-{length}{apart}.json", template.info().key));
    let kept = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Golden>(&text).ok());
    let fits = |golden: &Golden| golden.format == FORMAT && golden.template == template.info().key;
    if let Some(golden) = kept.filter(fits) {
        return Ok(Prepared { template, golden });
    }
    let step = progress::ProgressStep::spinner("the golden run, four times".to_owned());
    let silence = args.spec.patience(BOOT_LIMIT).silence;
    let options = GoldenOptions {
        window,
        spacing,
        silence,
        interrupted: interrupt::raised,
        ..GoldenOptions::default()
    };
    let mut watch = GoldenWatch { step: &step, began: Instant::now(), warned: false };
    let golden =
        Golden::measure_watched(&template, &clones_dir()?, &options, &mut |progress| watch.hear(progress))
            .map_err(run_error)?;
    step.done_with(&format!(
        "{}, {} checkpoints, {}",
        length_of(&golden),
        golden.checkpoints.len(),
        match (golden.agrees(), golden.capabilities.mark) {
            (true, _) => "identical",
            (false, true) => "NOT identical",
            (false, false) => "their output compared",
        }
    ));
    if golden.signals.reached(&golden.console) == Some(Reached::BeforeUserspace) {
        eprintln!(
            "warning: this run never shows that userspace was reached; give the line that does (--userspace PATTERN), \
             or a longer --window"
        );
    }
    if let Some(difference) = golden.difference.as_ref().filter(|_| golden.capabilities.mark) {
        eprintln!("warning: the golden runs differ, so trials compare output only: {difference}");
        let names = names_of(&template)?;
        for offset in &golden.pages_apart {
            let Some(address) = names.map.address_of(None, *offset) else { continue };
            eprintln!("  page {address} ({})", names.describe(address));
        }
        say_causes(&usual_causes(&template.info().plan.boot_spec(), difference));
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let text = serde_json::to_vec(&golden)?;
    // Without it, it is only measured again.
    if let Err(error) = files::write_atomically(&path, &text) {
        eprintln!("note: cannot keep the golden run in {}: {error}", paths::show(&path));
    }
    Ok(Prepared { template, golden })
}

/// How long a golden run is looked at until it is said how long all of it will take.
const MEASURED: Duration = Duration::from_secs(2);

/// What takes longer than this is announced.
const LONG: Duration = Duration::from_secs(600);

/// Shows how far the golden run is, and says so at once where it will take long.
struct GoldenWatch<'a> {
    step: &'a progress::ProgressStep,
    began: Instant,
    warned: bool,
}

impl GoldenWatch<'_> {
    fn hear(&mut self, progress: GoldenProgress) {
        let taken = self.began.elapsed();
        let whole = progress.estimate(taken);
        if !self.warned && taken >= MEASURED {
            self.warned = true;
            if let Some(text) = warning(progress, taken) {
                self.step.above(&text);
            }
        }
        let GoldenProgress { run, runs, passed, length } = progress;
        let of = length.map(|length| format!(" of {length}")).unwrap_or_default();
        let left = whole.map(|whole| whole.saturating_sub(taken)).filter(|left| *left > MEASURED);
        let left = left.map(|left| format!(", about {} left", format_duration(left))).unwrap_or_default();
        self.step.line(&format!("run {run} of {runs}, {passed}{of} of virtual time{left}"));
    }
}

/// What is to be said of a golden run that will take long.
fn warning(progress: GoldenProgress, taken: Duration) -> Option<String> {
    let (whole, length) = (progress.estimate(taken)?, progress.length?);
    (whole > LONG).then(|| {
        format!(
            "warning: {} runs of {length} of virtual time take about {} on this host, by the speed of the first {}; a \
             trial takes up to {}. Ctrl-C ends it and leaves nothing half made; a shorter --window takes less",
            progress.runs,
            format_duration(whole),
            progress::seconds(taken),
            format_duration(whole / progress.runs * 3)
        )
    })
}

/// Says what is usually why runs differ.
pub fn say_causes(causes: &[Cause]) {
    for cause in causes {
        eprintln!("  the usual cause is {cause}");
    }
    if causes.is_empty() {
        eprintln!(
            "  nothing that this guest is made of is a usual cause; `cargo xtask bench determinism` compares further"
        );
    }
}

/// Says which way of going back is taken in the place of the one asked for, and what else is missing.
pub fn note_missing(template: &Template, wanted: RestoreMethod) {
    let capabilities = template.info().capabilities;
    if capabilities.mark && !capabilities.times {
        eprintln!(
            "note: this QEMU does not keep when its guest wrote what, so the time of a report is known to the checkpoint \
             (`cargo xtask setup qemu --reset` builds one that does)"
        );
    }
    let Some(missing) = capabilities.missing() else { return };
    let taken = wanted.possible(capabilities);
    let way = if taken == wanted { "" } else { "; guests are restored by --restore clone" };
    eprintln!(
        "note: {missing}{way}; only outputs are compared (`cargo xtask setup qemu --reset` builds a QEMU that \
         can do more)"
    );
}

/// How long a golden run is.
pub fn length_of(golden: &Golden) -> String {
    format_duration(Duration::from_nanos(golden.end().0 - golden.begin().0))
}

/// The names of a template's guest, read off one that is started for it.
pub fn names_of(template: &Template) -> Result<GuestNames> {
    let _step = progress::ProgressStep::quiet("Starting a guest, for the names of its memory");
    let mut runner =
        Runner::start_persistently(template, &clones_dir()?, CloneDisk::Memory, interrupt::raised)
            .map_err(not_started)?;
    Ok(runner.names(template)?)
}

/// Every register that takes a flip.
pub fn registers(prepared: &Prepared, runner: &mut Runner) -> Result<Vec<FlippableRegister>> {
    let arch = prepared.template.info().plan.spec.arch;
    let nothing_noted = |_: &[(String, Vec<u8>)]| -> Result<(), FlipError> { Ok(()) };
    Ok(probe_registers(runner.guest.target(), &arch, |_| true, nothing_noted)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_take_hours_is_said_to_and_what_takes_minutes_is_not() {
        let hours = VirtualNs(36_000_000_000_000);
        let progress =
            GoldenProgress { run: 1, runs: 4, passed: VirtualNs(4_000_000_000), length: Some(hours) };
        let text = warning(progress, Duration::from_secs(2)).unwrap();
        assert!(
            text.contains("4 runs of 10 h 00 min of virtual time take about 20 h 00 min on this host"),
            "{text}"
        );
        assert!(text.contains("the first 2.0 s; a trial takes up to 15 h 00 min. Ctrl-C"), "{text}");
        let minutes = GoldenProgress { length: Some(VirtualNs(60_000_000_000)), ..progress };
        assert_eq!(warning(minutes, Duration::from_secs(2)), None);
        assert_eq!(warning(GoldenProgress { length: None, ..progress }, Duration::from_secs(2)), None);
        assert_eq!(
            warning(GoldenProgress { passed: VirtualNs(0), ..progress }, Duration::from_secs(2)),
            None
        );
        // In the third run, what went before counts.
        let third = GoldenProgress { run: 3, passed: VirtualNs(0), ..progress };
        assert_eq!(third.estimate(Duration::from_secs(7200)), Some(Duration::from_secs(14_400)));
    }
}
