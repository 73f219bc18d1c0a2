//! `cargo xtask bench trials`: restoring a guest, and whole trials, by each restore method.
//!
//! Invariant: the restore methods are compared trial by trial; a difference is shown and makes the command fail.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use flipsim::arch::Arch;
use flipsim::fault::{FaultSpace, GuestNames, Pattern, RamSpace, RegSpace, fault_rng};
use flipsim::trial::clone::CloneDisk;
use flipsim::trial::{RestoreMethod, Runner, TrialOptions, TrialPlan, TrialRecord, WentBack, Worker};
use flipsim::units::{VirtualNs, format_duration, format_size, parse_number, parse_size, parse_virtual};
use rand::RngExt;
use serde::Serialize;

use super::load::Load;
use super::options;
use super::table::Quantiles;
use crate::exit::{Code, exit_error};
use crate::guest::errors::{is_infra, run_error};
use crate::guest::golden::{Prepared, TrialGuest, length_of, prepare, registers};
use crate::guest::spec::GuestSpec;
use crate::guest::template::clones_dir;
use crate::interrupt;
use crate::progress::ProgressStep;

/// How far a guest runs before it is restored, when only that is measured.
const STRETCH: VirtualNs = VirtualNs(20_000_000);

/// Measure restoring a guest and whole trials, by rewind, by clone and by loadvm
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask bench trials
  cargo xtask bench trials --workload sha256 --memory 128M,2G --count 0
  cargo xtask bench trials --count 500 --window 50ms --load --json

Half of the trials flip a bit of RAM, half one of a register, uniformly over all of them and over the window.
Each is run by every restore method, and must have the same result.")]
pub struct Args {
    /// These workloads
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "sha256,fs")]
    workload: Vec<String>,
    /// The guests' architectures, each in its turn [default: from lab.toml]
    #[arg(long, value_delimiter = ',', value_name = "ARCH,…")]
    arch: Vec<Arch>,
    /// Restoring is measured at these sizes of the guest; trials are run at the first
    #[arg(long, value_delimiter = ',', default_value = "128M,2G", value_parser = parse_size, value_name = "SIZE,…")]
    memory: Vec<u64>,
    /// How often each restore method is measured
    #[arg(long, default_value_t = 100, value_name = "N")]
    restores: u32,
    /// How many trials a workload
    #[arg(long, default_value_t = 40, value_name = "N")]
    count: u64,
    /// How long a trial's window is [default: until the workload is done]
    #[arg(long, value_parser = parse_virtual, value_name = "TIME")]
    window: Option<VirtualNs>,
    /// Only by rewind, without the comparison
    #[arg(long)]
    rewind_only: bool,
    /// Keep every core of the host busy meanwhile
    #[arg(long)]
    load: bool,
    /// The seed of the draws
    #[arg(long, default_value = "1", value_parser = parse_number)]
    seed: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How long it takes to restore a guest.
#[derive(Debug, Serialize)]
struct RestoreRow {
    arch: &'static str,
    workload: String,
    memory: u64,
    way: RestoreMethod,
    times: Quantiles,
    /// Of a rewind: pages restored, at the median.
    pages: Option<u64>,
}

/// What a set of trials took.
#[derive(Debug, Serialize)]
struct TrialsRow {
    arch: &'static str,
    workload: String,
    kind: &'static str,
    way: RestoreMethod,
    early_stop: bool,
    trials: u64,
    outcomes: BTreeMap<String, u64>,
    converged: u64,
    seconds: f64,
    per_second: f64,
    /// Mean milliseconds a trial: restore, run to the flip, mark, run on, compare.
    restore_ms: f64,
    walk_ms: f64,
    mark_ms: f64,
    run_ms: f64,
    compare_ms: f64,
}

/// Everything.
#[derive(Debug, Serialize)]
struct Report {
    format: u32,
    restores: Vec<RestoreRow>,
    trials: Vec<TrialsRow>,
    /// Trials that came out differently by another restore method.
    differences: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let _load = args.load.then(Load::start);
    let mut report = Report { format: 2, restores: Vec::new(), trials: Vec::new(), differences: Vec::new() };
    let parent = clones_dir()?;
    for arch in options::archs(&args.arch)? {
        for workload in &args.workload {
            for (index, memory) in args.memory.iter().enumerate() {
                measure(args, arch, workload, *memory, index == 0, &parent, &mut report)?;
            }
        }
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        show(&report);
    }
    match report.differences.len() {
        0 => Ok(()),
        count => bail!("{count} trials came out differently by another restore method"),
    }
}

/// What is measured of one guest.
fn measure(
    args: &Args,
    arch: Arch,
    workload: &str,
    memory: u64,
    with_trials: bool,
    parent: &Path,
    report: &mut Report,
) -> Result<()> {
    let guest = TrialGuest {
        window: args.window,
        spec: GuestSpec {
            arch: Some(arch),
            workload: Some(workload.to_owned()),
            memory: Some(memory),
            ..GuestSpec::default()
        },
    };
    let prepared = prepare(&guest, None)?;
    if let Some(missing) = prepared.template.info().capabilities.missing() {
        bail!(exit_error(Code::Usage, format!("{missing}; there is nothing to compare")));
    }
    if !args.json {
        let length = length_of(&prepared.golden);
        eprintln!("{arch}, {workload}, {}: golden run of {length}", format_size(memory));
    }
    restores(args, workload, memory, &prepared, parent, report)?;
    if with_trials && args.count > 0 {
        trials(args, workload, &prepared, parent, report)?;
    }
    Ok(())
}

/// The architecture of the guest.
fn arch_of(prepared: &Prepared) -> &'static str {
    prepared.template.info().plan.spec.arch.name
}

fn restores(
    args: &Args,
    workload: &str,
    memory: u64,
    prepared: &Prepared,
    parent: &Path,
    report: &mut Report,
) -> Result<()> {
    let start = |disk| Runner::start(&prepared.template, parent, disk, interrupt::raised).map_err(run_error);
    for way in RestoreMethod::ALL {
        let mut runner = start(way.disk())?;
        if way == RestoreMethod::Rewind {
            runner.guest.target().mark().map_err(|error| run_error(error.into()))?;
        }
        way.save_start(&mut runner).map_err(run_error)?;
        let (mut times, mut pages) = (Vec::new(), Vec::new());
        for _ in 0..args.restores {
            interrupt::check()?;
            let to = VirtualNs(prepared.golden.begin().0 + STRETCH.0);
            runner.run_to(to, Duration::from_secs(60)).map_err(run_error)?;
            let began = Instant::now();
            match way.go_back(&mut runner).map_err(run_error)? {
                WentBack::ToMark(change) => pages.push(change.pages_changed),
                WentBack::ToSnapshot => {}
                WentBack::NotAtAll => {
                    let fresh = start(way.disk())?;
                    times.push(began.elapsed());
                    runner = fresh;
                    continue;
                }
            }
            times.push(began.elapsed());
        }
        pages.sort_unstable();
        let pages = pages.get(pages.len() / 2).copied();
        if let Some(times) = Quantiles::of(&times) {
            report.restores.push(RestoreRow {
                arch: arch_of(prepared),
                workload: workload.to_owned(),
                memory,
                way,
                times,
                pages,
            });
        }
    }
    Ok(())
}

fn trials(
    args: &Args,
    workload: &str,
    prepared: &Prepared,
    parent: &Path,
    report: &mut Report,
) -> Result<()> {
    let new = |restore, early_stop| {
        let options =
            TrialOptions { restore, early_stop, interrupted: interrupt::raised, ..TrialOptions::default() };
        Worker::new(&prepared.template, &prepared.golden, parent, options)
    };
    let (names, spaces) = {
        let mut runner = Runner::start(&prepared.template, parent, CloneDisk::Memory, interrupt::raised)
            .map_err(run_error)?;
        let names = runner.names(&prepared.template)?;
        let registers = registers(prepared, &mut runner)?;
        let ram = FaultSpace::Ram(RamSpace::new(&names.map.system_ram(), Pattern::SINGLE)?);
        let reg = FaultSpace::Reg(RegSpace::new(&registers, Pattern::SINGLE)?);
        (names, [("ram", ram), ("reg", reg)])
    };
    let length = prepared.golden.end().0 - prepared.golden.begin().0;
    for (kind, space) in &spaces {
        let mut plans: Vec<TrialPlan> = (0..args.count / 2)
            .map(|index| {
                let mut rng = fault_rng(args.seed, index);
                let after = VirtualNs(rng.random_range(0..length));
                TrialPlan::one(after, space.draw(&mut rng))
            })
            .collect();
        // In the order of time, as a campaign has them.
        plans.sort_by_key(|plan| plan.after);
        let mut first: Option<Vec<TrialRecord>> = None;
        let all = [
            (RestoreMethod::Rewind, true),
            (RestoreMethod::Rewind, false),
            (RestoreMethod::Clone, true),
            (RestoreMethod::Loadvm, true),
        ];
        for (way, early_stop) in
            all.into_iter().filter(|(way, _)| !args.rewind_only || *way == RestoreMethod::Rewind)
        {
            let step =
                ProgressStep::spinner(format!("{workload}: {} trials in {kind}, {way:?}", plans.len()));
            let mut worker = new(way, early_stop);
            let began = Instant::now();
            let mut records = Vec::with_capacity(plans.len());
            for plan in &plans {
                interrupt::check()?;
                records.push(run_trial(&mut worker, plan, &names)?);
            }
            let seconds = began.elapsed().as_secs_f64();
            step.done();
            report.trials.push(row((arch_of(prepared), workload, kind), way, early_stop, &records, seconds));
            match &first {
                None => first = Some(records),
                // Without the early stop a trial ends elsewhere.
                Some(_) if !early_stop => {}
                Some(first) => {
                    let pairs = first.iter().zip(&records).zip(&plans);
                    for ((one, other), plan) in pairs.filter(|((one, other), _)| !one.is_same(other)) {
                        report.differences.push(format!(
                            "{workload}, {way:?}: {}: {:?} by rewind, {:?} here",
                            serde_json::to_string(plan)?,
                            (one.outcome, one.end_ns),
                            (other.outcome, other.end_ns)
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

/// One trial; a QEMU that is lost gets a second and a third chance.
fn run_trial(worker: &mut Worker<'_>, plan: &TrialPlan, names: &GuestNames) -> Result<TrialRecord> {
    for _ in 0..3 {
        match worker.trial(plan, Some(names), &mut |_, _| Ok(())) {
            Ok(record) => return Ok(record),
            Err(error) if is_infra(&error) => {
                eprintln!("note: {}: {error}; run again", serde_json::to_string(plan)?);
                worker.restart();
            }
            // One that could not go back rightly among them: nothing before it can be believed.
            Err(error) => return Err(run_error(error)),
        }
    }
    bail!("three times QEMU was lost in the trial {}", serde_json::to_string(plan)?)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a bench")]
fn row(
    (arch, workload, kind): (&'static str, &str, &'static str),
    way: RestoreMethod,
    early_stop: bool,
    records: &[TrialRecord],
    seconds: f64,
) -> TrialsRow {
    let mut outcomes = BTreeMap::new();
    for record in records {
        let name = record.outcome.map_or("not flipped", flipsim::trial::Outcome::name);
        *outcomes.entry(name.to_owned()).or_default() += 1;
    }
    let mean = |part: fn(&TrialRecord) -> u64| {
        records.iter().map(part).sum::<u64>() as f64 / 1000.0 / records.len().max(1) as f64
    };
    TrialsRow {
        arch,
        workload: workload.to_owned(),
        kind,
        way,
        early_stop,
        trials: records.len() as u64,
        outcomes,
        converged: records.iter().filter(|record| record.is_converged()).count() as u64,
        seconds,
        per_second: records.len() as f64 / seconds,
        restore_ms: mean(|record| record.costs.restore_us),
        walk_ms: mean(|record| record.costs.walk_us),
        mark_ms: mean(|record| record.costs.mark_us),
        run_ms: mean(|record| record.costs.run_us),
        compare_ms: mean(|record| record.costs.compare_us),
    }
}

fn show(report: &Report) {
    outln!("| guest restored | workload | RAM | way | n | min | median | p99 | pages |");
    outln!("|---|---|---:|---|---:|---:|---:|---:|---:|");
    for row in &report.restores {
        let q = row.times;
        outln!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.arch,
            row.workload,
            format_size(row.memory),
            row.way,
            q.n,
            format_duration(q.min),
            format_duration(q.median),
            format_duration(q.p99),
            row.pages.map(|pages| pages.to_string()).unwrap_or_default()
        );
    }
    if !report.trials.is_empty() {
        outln!(
            "\n| trials on | workload | in | way | early stop | n | outcomes | converged | trials/s | restore | run to the flip | mark | run on | compare |"
        );
        outln!("|---|---|---|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|");
    }
    for row in &report.trials {
        let outcomes: Vec<String> =
            row.outcomes.iter().map(|(name, count)| format!("{name} {count}")).collect();
        outln!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms |",
            row.arch,
            row.workload,
            row.kind,
            row.way,
            if row.early_stop { "yes" } else { "no" },
            row.trials,
            outcomes.join(", "),
            row.converged,
            row.per_second,
            row.restore_ms,
            row.walk_ms,
            row.mark_ms,
            row.run_ms,
            row.compare_ms
        );
    }
    for difference in &report.differences {
        outln!("DIFFERENT: {difference}");
    }
}
