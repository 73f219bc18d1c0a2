//! What a golden run does with every byte of RAM: recorded once for a template and a length of run, and kept beside the
//! golden run.
//!
//! Invariant: what cannot be read, or is of another run, is recorded again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use flipsim::campaign::Recording;
use flipsim::fault::{GuestNames, Profile};
use flipsim::files;
use flipsim::trial::RecordingError;
use flipsim::trial::accesses::Accesses;
use flipsim::trial::golden::{GoldenOptions, Window};
use flipsim::units::{format_duration, format_size};

use super::errors::run_error;
use super::golden::{Prepared, length_of};
use super::template::clones_dir;
use crate::{interrupt, paths, progress};

/// The accesses of a golden run, and what it took to record them.
pub struct Recorded {
    /// The accesses.
    pub accesses: Accesses,
    /// What it took.
    pub recording: Recording,
}

/// The accesses of a golden run. `None` where nothing can be settled by them, with a line that says why.
pub fn accesses_of(prepared: &Prepared) -> Result<Option<Recorded>> {
    let Prepared { template, golden } = prepared;
    let note = |why: &str| {
        eprintln!("note: every trial is run whole: {why}");
        Ok(None)
    };
    let end = golden.checkpoints.last().and_then(|last| last.state.as_ref());
    let Some(end) = end.filter(|_| golden.agrees()) else {
        return note("states cannot be compared with the golden run's");
    };
    if !template.info().capabilities.accesses {
        return note("this QEMU does not record accesses");
    }
    let cpus = template.info().plan.spec.cpus;
    if cpus != 1 {
        return note("with several CPUs accesses are not recorded");
    }
    let window = match golden.window {
        Window::Done => "done".to_owned(),
        Window::Time(length) => length.0.to_string(),
    };
    let name = format!("{}-{window}-{}.accesses", template.info().key, end.ram);
    let path = paths::lab_dir()?.join("golden").join(name);
    let figures_path = path.with_extension("json");
    let kept = std::fs::File::open(&path).ok().and_then(|file| Accesses::load(file).ok());
    let figures = std::fs::read(&figures_path).ok().and_then(|json| serde_json::from_slice(&json).ok());
    if let Some((accesses, recording)) = kept.zip(figures) {
        return Ok(Some(Recorded { accesses, recording }));
    }
    let began = Instant::now();
    let step = progress::ProgressStep::spinner("what the golden run does with each byte".to_owned());
    let options = GoldenOptions { interrupted: interrupt::raised, ..GoldenOptions::default() };
    let length = length_of(golden);
    let recorded = Accesses::record(template, golden, &clones_dir()?, &options, &mut |passed| {
        step.line(&format!("{} of {length}", format_duration(Duration::from_nanos(passed.0))));
    });
    let accesses = match recorded {
        Ok(accesses) => accesses,
        Err(RecordingError::Run(error)) => return Err(run_error(error)),
        Err(error) => {
            step.done_with("not known");
            return note(&error.to_string());
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let figures = accesses.figures();
    step.done_with(&format!(
        "{} first accesses in {} intervals, {} in memory",
        figures.records,
        figures.intervals,
        format_size(figures.bytes as u64)
    ));
    let mut bytes = Vec::new();
    accesses.save(&mut bytes).context("cannot pack the recorded accesses")?;
    // Without it, it is only recorded again.
    let recording = Recording {
        intervals: figures.intervals as u64,
        interval_ns: accesses.instants().windows(2).next().map_or(0, |pair| pair[1].0 - pair[0].0),
        events: figures.records,
        bytes: bytes.len() as u64,
        seconds,
    };
    let json = serde_json::to_vec(&recording)?;
    let kept = std::fs::create_dir_all(path.parent().unwrap_or(&path))
        .and_then(|()| files::write_atomically(&path, &bytes))
        .and_then(|()| files::write_atomically(&figures_path, &json));
    if let Err(error) = kept {
        eprintln!("note: cannot keep the recorded accesses in {}: {error}", paths::show(&path));
    }
    Ok(Some(Recorded { accesses, recording }))
}

/// What a golden run does in each function of the kernel; `None` where QEMU does not count that, or the kernel has no symbols.
pub fn profile_of(accesses: &Accesses, names: &GuestNames) -> Option<Profile> {
    let symbols = names.symbols().ok()?;
    accesses.executed().next()?;
    Some(Profile::new(accesses.executed(), symbols))
}
