//! `cargo xtask bench campaign`: whole campaigns, by each way of running them.
//!
//! Invariant: every way has the same plan, and the ways are compared trial by trial; a difference is shown
//! and makes the command fail.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::campaign::plan::TrialId;
use flipsim::campaign::run::{Progress, RunOptions, RunSummary, run as run_trials};
use flipsim::campaign::{Shard, Store};
use flipsim::fault::fault_rng;
use flipsim::files;
use flipsim::machine::ProcessStat;
use flipsim::trial::{RestoreMethod, TrialRecord};
use flipsim::units::{VirtualNs, parse_number, parse_size, parse_virtual};
use rand::RngExt;
use serde::Serialize;

use super::load::Load;
use super::options;
use crate::guest::consent::Trust;
use crate::guest::golden::{Prepared, names_of};
use crate::guest::prepared::prepared_of;
use crate::guest::template::clones_dir;
use crate::guest::workers::default_workers;
use crate::host::proc::wait_passing_on;
use crate::progress::ProgressStep;
use crate::{interrupt, paths};

/// Measure whole campaigns: side by side, one after the other, from the start, under load, killed
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask bench campaign
  cargo xtask bench campaign --workload fs --strata core=class:core --count 100 --ways walk,start
  cargo xtask bench campaign --count 1000 --ways walk,one,start,loaded,killed --json

Each stratum is a separate campaign, so that its rate is its own. Every way runs the same plan and must
come to the same results, trial by trial.")]
pub struct Args {
    /// These workloads
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "sha256,fs")]
    workload: Vec<String>,
    /// These parts of the fault space, as for `campaign new --stratum`
    #[arg(long, value_name = "NAME=TARGET", default_values_t = ["ram=ram".to_owned(), "reg=reg:*".to_owned()])]
    strata: Vec<String>,
    /// How many trials each
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How long a trial's window is [default: until the workload is done]
    #[arg(long, value_parser = parse_virtual, value_name = "TIME")]
    window: Option<VirtualNs>,
    /// The guests' architectures, each in its turn [default: from lab.toml]
    #[arg(long, value_delimiter = ',', value_name = "ARCH,…")]
    arch: Vec<Arch>,
    /// The guest's RAM, as in 128M or 2G [default: from lab.toml]
    #[arg(long, value_parser = parse_size, value_name = "SIZE")]
    memory: Option<u64>,
    /// These ways; the first is what the others are compared with
    #[arg(long, value_enum, value_delimiter = ',', default_value = "walk,one,start")]
    ways: Vec<Way>,
    /// How often `killed` is killed at most
    #[arg(long, default_value_t = 10, value_name = "N")]
    kills: u32,
    /// The seed of the plan
    #[arg(long, default_value = "1", value_parser = parse_number)]
    seed: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A way of running a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    /// One worker a core, each walking forward
    Walk,
    /// One worker
    One,
    /// One worker a core, and a new process for each trial, which runs from the start
    Start,
    /// As `walk`, while something else keeps every core busy
    Loaded,
    /// As `walk`, killed with SIGKILL again and again, and resumed
    Killed,
}

/// How a campaign went.
#[derive(Debug, Serialize)]
struct Row {
    arch: &'static str,
    workload: String,
    stratum: String,
    way: Way,
    workers: usize,
    trials: u64,
    outcomes: BTreeMap<String, u64>,
    converged: u64,
    seconds: f64,
    per_second: f64,
    /// Milliseconds of a worker's time a trial, on the average.
    walk_ms: f64,
    mark_ms: f64,
    run_ms: f64,
    compare_ms: f64,
    rewind_ms: f64,
    store_ms: f64,
    /// All else: starting, checking the way back, handing out, waiting at the end.
    other_ms: f64,
    /// The most memory that this process and its QEMUs had together, in MiB; what several share counts once.
    peak_mib: Option<u64>,
    /// Trials that came out otherwise than by the first way.
    different: u64,
}

/// Everything.
#[derive(Debug, Serialize)]
struct Report {
    format: u32,
    rows: Vec<Row>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let folder = paths::lab_dir()?;
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&folder)?;
    let mut report = Report { format: 2, rows: Vec::new() };
    for arch in options::archs(&args.arch)? {
        for workload in &args.workload {
            for stratum in &args.strata {
                report.rows.extend(every_way(args, arch, workload, stratum, folder.path())?);
            }
        }
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        show(&report);
    }
    match report.rows.iter().map(|row| row.different).sum::<u64>() {
        0 => Ok(()),
        count => bail!("{count} trials came out differently by another way"),
    }
}

/// One plan, run by every way.
fn every_way(args: &Args, arch: Arch, workload: &str, stratum: &str, folder: &Path) -> Result<Vec<Row>> {
    let drawn = tempfile::tempdir_in(folder)?;
    let plan = drawn.path().join("plan.sqlite");
    new(args, arch, workload, stratum, &plan)?;
    let mut first: Option<Vec<TrialRecord>> = None;
    let mut rows = Vec::new();
    for way in &args.ways {
        interrupt::check()?;
        // SQLite keeps more than one file.
        let own = tempfile::tempdir_in(folder)?;
        let file = own.path().join("way.sqlite");
        files::copy(&plan, &file).context("cannot copy the plan")?;
        let step =
            ProgressStep::spinner(format!("{arch}, {workload}, {stratum}: {} trials, {way:?}", args.count));
        let went = match way {
            Way::Killed => killed(args, &file)?,
            _ => whole(*way, &file)?,
        };
        step.done();
        let records = records(&file)?;
        if records.len() as u64 != args.count {
            bail!("{way:?}: {} of {} trials have a result", records.len(), args.count);
        }
        let mut row = row((arch.name, workload, stratum), *way, &went, &records);
        match &first {
            None => first = Some(records),
            Some(first) => {
                let pairs = first.iter().zip(&records);
                row.different = pairs.filter(|(one, other)| !one.is_same(other)).count() as u64;
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// This program, with arguments that are no shell's.
fn command(words: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program itself")?);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

fn new(args: &Args, arch: Arch, workload: &str, stratum: &str, file: &Path) -> Result<()> {
    let file = file.display().to_string();
    let (count, seed) = (args.count.to_string(), args.seed.to_string());
    let mut command = command(&["campaign", "new", &file, "--trials", &count, "--seed", &seed])?;
    command.args(["--arch", arch.name, "--workload", workload, "--stratum", stratum]);
    if let Some(memory) = args.memory {
        command.args(["--memory", &memory.to_string()]);
    }
    if let Some(window) = args.window {
        command.args(["--window", &format!("{}ns", window.0)]);
    }
    let mut child = command.spawn().context("cannot start this program itself")?;
    let status = wait_passing_on("`campaign new`", &mut child)?;
    interrupt::check()?;
    if !status.success() {
        bail!("`campaign new` failed");
    }
    Ok(())
}

/// How long a run took, and whose time it was.
struct Went {
    workers: usize,
    seconds: f64,
    storing: Duration,
    peak_mib: Option<u64>,
}

fn whole(way: Way, file: &Path) -> Result<Went> {
    let mut store = Store::open(file)?;
    let spec = store.spec().clone();
    let Prepared { template, golden } = prepared_of(&store, Trust::default())?;
    let parent = clones_dir()?;
    let names = names_of(&template)?;
    let workers = if way == Way::One { 1 } else { default_workers(template.info().plan.spec.memory) };
    let mut trial = spec.trial.options(interrupt::raised);
    if way == Way::Start {
        trial.restore = RestoreMethod::Clone;
    }
    let names = Some(&names);
    let options =
        RunOptions { names, workers, shard: Shard::WHOLE, trial, stop: interrupt::raised, limit: None };
    let load = (way == Way::Loaded).then(Load::start);
    let memory = MemoryWatch::start();
    let began = Instant::now();
    let summary: RunSummary =
        run_trials(&mut store, &template, &golden, None, &parent, &options, &mut |progress| {
            if let Progress::Lost(id, why, _) = progress {
                eprintln!("note: trial {id} was lost: {why}");
            }
        })?;
    let seconds = began.elapsed().as_secs_f64();
    drop(load);
    interrupt::check()?;
    Ok(Went { workers, seconds, storing: summary.storing, peak_mib: Some(memory.peak() >> 20) })
}

/// Runs a campaign in a separate process, which is killed again and again until it is done.
fn killed(args: &Args, file: &Path) -> Result<Went> {
    let name = file.display().to_string();
    let mut rng = fault_rng(args.seed, u64::MAX);
    let began = Instant::now();
    let mut kills = 0;
    loop {
        interrupt::check()?;
        let mut child = command(&["campaign", "run", &name])?.stderr(Stdio::null()).spawn()?;
        if kills < args.kills {
            // Whatever it is at: starting, walking, storing.
            let slept = interrupt::sleep(Duration::from_millis(rng.random_range(200..4000)));
            if child.try_wait()?.is_none() {
                kills += 1;
                // One that has ended by itself meanwhile is no error.
                let _ = child.kill();
                child.wait()?;
                slept?;
                continue;
            }
        }
        let status = wait_passing_on("`campaign run`", &mut child)?;
        interrupt::check()?;
        if !status.success() {
            bail!("`campaign run` failed after it was killed {kills} times: {status}");
        }
        let seconds = began.elapsed().as_secs_f64();
        return Ok(Went {
            workers: default_workers(args.memory.unwrap_or(0)),
            seconds,
            storing: Duration::ZERO,
            peak_mib: None,
        });
    }
}

fn records(file: &Path) -> Result<Vec<TrialRecord>> {
    let store = Store::open_readonly(file)?;
    let mut all = Vec::new();
    for id in 0..store.len() {
        all.extend(store.record_of(TrialId(id))?);
    }
    Ok(all)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a bench")]
fn row(
    (arch, workload, stratum): (&'static str, &str, &str),
    way: Way,
    went: &Went,
    records: &[TrialRecord],
) -> Row {
    let mut outcomes = BTreeMap::new();
    for record in records {
        let name = record.outcome.map_or("not flipped", flipsim::trial::Outcome::name);
        *outcomes.entry(name.to_owned()).or_default() += 1;
    }
    let count = records.len().max(1) as f64;
    let mean = |part: fn(&TrialRecord) -> u64| records.iter().map(part).sum::<u64>() as f64 / 1000.0 / count;
    let store_ms = went.storing.as_secs_f64() * 1000.0 / count;
    let all = went.seconds * 1000.0 * went.workers as f64 / count;
    Row {
        arch,
        workload: workload.to_owned(),
        stratum: stratum.split('=').next().unwrap_or(stratum).to_owned(),
        way,
        workers: went.workers,
        trials: records.len() as u64,
        outcomes,
        converged: records.iter().filter(|record| record.is_converged()).count() as u64,
        seconds: went.seconds,
        per_second: records.len() as f64 / went.seconds,
        walk_ms: mean(|record| record.costs.walk_us),
        mark_ms: mean(|record| record.costs.mark_us),
        run_ms: mean(|record| record.costs.run_us),
        compare_ms: mean(|record| record.costs.compare_us),
        rewind_ms: mean(|record| record.costs.restore_us),
        store_ms,
        other_ms: (all - mean(|record| record.costs.total_us)).max(0.0),
        peak_mib: went.peak_mib,
        different: 0,
    }
}

/// Looks once a second at how much memory this process and its QEMUs have.
struct MemoryWatch {
    over: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
}

impl MemoryWatch {
    fn start() -> MemoryWatch {
        let (over, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let watch = MemoryWatch { over: Arc::clone(&over), peak: Arc::clone(&peak) };
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(memory_of_family(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        watch
    }

    fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed).max(memory_of_family())
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The proportional set size of this process and its children, in bytes.
///
/// Source: Linux, `Documentation/filesystems/proc.rst`, `smaps_rollup`.
fn memory_of_family() -> u64 {
    let me = std::process::id();
    let parent_of = |pid: u32| ProcessStat::of(pid).map(|stat| stat.parent);
    let size_of = |pid: u32| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid == me || parent_of(*pid) == Some(me)).filter_map(size_of).sum()
}

fn show(report: &Report) {
    outln!(
        "| guest | workload | in | way | workers | trials | outcomes | converged | trials/s | walk | mark | run | compare | go back | store | other | peak memory | different |"
    );
    outln!("|---|---|---|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for row in &report.rows {
        let outcomes: Vec<String> =
            row.outcomes.iter().map(|(name, count)| format!("{name} {count}")).collect();
        outln!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.2} ms | {:.1} ms | {} | {} |",
            row.arch,
            row.workload,
            row.stratum,
            name(row.way),
            row.workers,
            row.trials,
            outcomes.join(", "),
            row.converged,
            row.per_second,
            row.walk_ms,
            row.mark_ms,
            row.run_ms,
            row.compare_ms,
            row.rewind_ms,
            row.store_ms,
            row.other_ms,
            row.peak_mib.map(|mib| format!("{mib} MiB")).unwrap_or_default(),
            row.different
        );
    }
}

fn name(way: Way) -> &'static str {
    match way {
        Way::Walk => "walk forward",
        Way::One => "walk forward, one worker",
        Way::Start => "a process a trial, from the start",
        Way::Loaded => "walk forward, host loaded",
        Way::Killed => "walk forward, killed and resumed",
    }
}
