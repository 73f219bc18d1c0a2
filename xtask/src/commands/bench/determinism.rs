//! `cargo xtask bench determinism`: is a run of this guest the same run each time, bit for bit?
//!
//! Invariant: a difference is shown and makes the command fail; nothing is tolerated.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flipsim::fault::{Fault, GuestNames, fault_rng, flip};
use flipsim::machine::spec::CONSOLE_LOG;
use flipsim::memory::RangeSet;
use flipsim::target::state::{PAGE, State, StateDifference};
use flipsim::target::{LiveTarget, Target};
use flipsim::trial::usual_causes;
use flipsim::units::{GuestPhys, VirtualNs, format_duration, parse_duration, parse_number, parse_virtual};
use flipsim::wire::net::Timeouts;
use rand::RngExt;
use serde::Serialize;

use super::load::Load;
use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::headless::{self, HeadlessGuest};
use crate::guest::plan::{ClockArg, GuestArgs};
use crate::guest::spec::GuestSpec;
use crate::guest::workload;
use crate::lab::recipe;
use crate::progress::ProgressStep;
use crate::{interrupt, paths};

/// Run a guest several times, from one snapshot and from power-on, and compare everything
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask bench determinism
  cargo xtask bench determinism --workload sha256,fs --runs 5 --load
  cargo xtask bench determinism --at 10ms,20ms,1s --json
  cargo xtask bench determinism --kernel vmlinuz --image debian.img --ready 'login: $'

At each checkpoint RAM, registers, virtual time, instruction count and console are compared with those
of the first run. One more run flips a bit in a page that is not used, and flips it back later. Without a workload
and a guest of your own, all workloads of the lab's image are run. Where runs differ, the first difference is shown
with the devices and options that usually cause it.")]
pub struct Args {
    /// Runs from the same snapshot
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    runs: u32,
    /// The checkpoints, counted from the snapshot on
    #[arg(long, value_delimiter = ',', default_value = "10ms,20ms,100ms,300ms,1s", value_parser = parse_virtual, value_name = "TIME,…")]
    at: Vec<VirtualNs>,
    /// Keep every core of the host busy meanwhile
    #[arg(long)]
    load: bool,
    /// The clock of the guests; only `exact` can pass
    #[arg(long, value_enum, default_value = "exact")]
    clock: ClockArg,
    /// The seed of the bit that is flipped and flipped back
    #[arg(long, default_value = "1", value_parser = parse_number)]
    seed: u64,
    /// How long a boot may take on the host's clock
    #[arg(long, default_value = "180s", value_parser = parse_duration, value_name = "TIME")]
    timeout: Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    guest: GuestSpec,
}

/// The result of one workload.
#[derive(Debug, Serialize)]
struct Row {
    arch: &'static str,
    workload: String,
    runs: u32,
    checkpoints: usize,
    /// At the last checkpoint of the first run.
    virtual_ns: u64,
    instructions: Option<u64>,
    ram_digest: String,
    pages_written: usize,
    console_bytes: u64,
    seconds: f64,
    identical: bool,
    first_difference: Option<Found>,
    /// What is usually why.
    usual_causes: Vec<String>,
}

/// The first difference.
#[derive(Debug, Serialize)]
struct Found {
    run: String,
    checkpoint: String,
    difference: StateDifference,
    /// The first pages with the kernel's names for them.
    places: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let mut at = args.at.clone();
    at.sort_unstable();
    at.dedup();
    if at.first().is_none_or(|first| first.0 == 0) || at.len() < 2 {
        bail!(exit_error(Code::Usage, "--at: give two checkpoints at least, each later than 0"));
    }
    let guest = &args.guest;
    let workloads: Vec<Option<String>> = match &guest.workload {
        Some(names) => names.split(',').map(|name| Some(name.trim().to_owned())).collect(),
        None if guest.speaks_as_ours() && guest.image.is_none() => {
            let known = recipe::workload_names(&paths::workspace_root()?)?;
            known.into_iter().map(Some).collect()
        }
        None => vec![None],
    };
    // Before the first is measured, not when its turn comes.
    for name in workloads.iter().flatten().filter(|_| guest.image.is_none()) {
        let spec = GuestSpec { workload: Some(name.clone()), ..guest.clone() };
        workload::check(name, spec.arch_or_default()?)?;
    }
    let _load = args.load.then(Load::start);
    let mut rows = Vec::new();
    for workload in &workloads {
        let name = workload.as_deref().unwrap_or("this guest");
        let step = ProgressStep::spinner(format!("{name}: {} runs and two more", args.runs));
        let row = measure(args, workload.as_deref(), &at)?;
        step.done();
        rows.push(row);
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        outln!(
            "| guest | workload | runs | checkpoints | virtual time | instructions | pages written | RAM digest | console | result |"
        );
        outln!("|---|---|---:|---:|---:|---:|---:|---|---:|---|");
        for row in &rows {
            outln!(
                "| {} | {} | {} + 2 | {} | {} | {} | {} | `{}` | {} B | {} |",
                row.arch,
                row.workload,
                row.runs,
                row.checkpoints,
                VirtualNs(row.virtual_ns).exact(),
                row.instructions.map_or_else(|| "?".to_owned(), |count| count.to_string()),
                row.pages_written,
                row.ram_digest,
                row.console_bytes,
                if row.identical { "identical" } else { "DIFFERENT" },
            );
        }
        for row in &rows {
            if let Some(found) = &row.first_difference {
                show(&row.workload, found);
                for cause in &row.usual_causes {
                    outln!("  the usual cause is {cause}");
                }
                if row.usual_causes.is_empty() {
                    outln!("  nothing that this guest is made of is a usual cause");
                }
            }
        }
    }
    let different: Vec<&str> =
        rows.iter().filter(|row| !row.identical).map(|row| row.workload.as_str()).collect();
    if different.is_empty() {
        return Ok(());
    }
    bail!("runs differ of: {}", different.join(", "))
}

fn show(workload: &str, found: &Found) {
    let Found { run, checkpoint, difference, places } = found;
    outln!("\n{workload}: {run} differs first at {checkpoint}:");
    if let Some((first, other)) = &difference.clock {
        outln!("  clock: {first} in the first run, {other} here");
    }
    for (name, first, other) in &difference.registers {
        outln!("  {name}: {first} in the first run, {other} here");
    }
    if difference.console {
        outln!("  the console says something else");
    }
    if !difference.pages.is_empty() {
        outln!("  {} pages, the first of them: {}", difference.pages.len(), places.join(", "));
    }
}

/// One guest under observation.
struct Subject {
    guest: HeadlessGuest,
    target: LiveTarget,
    ram: RangeSet,
    names: GuestNames,
    /// Where its exact clock stood when it was ready.
    start: VirtualNs,
    /// The length of its console log then.
    said: u64,
}

impl Subject {
    fn boot(args: &Args, workload: Option<&str>) -> Result<Subject> {
        let guest_args = GuestArgs {
            spec: GuestSpec { workload: workload.map(str::to_owned), ..args.guest.clone() },
            clock: args.clock,
            no_share: true,
            ..GuestArgs::default()
        };
        let guest = headless::start_headless(&guest_args, args.timeout, false)?;
        let gdb = guest.run.gdb(&guest.record)?;
        let mut target = LiveTarget::attach(&gdb, Some(&guest.run.qmp()), Timeouts::default())?;
        target.interrupt_by(interrupt::raised);
        let map = target.memory_map(guest.run.iomem().as_deref())?;
        // Only to name pages, so that a kernel without symbols is no error.
        let names = GuestNames::read(map, guest.record.vmlinux.as_deref(), &guest.record.arch, &mut target);
        let start = target.virtual_time()?.context("this QEMU cannot be asked for its virtual clock")?;
        let said = std::fs::metadata(guest.run.file(CONSOLE_LOG))?.len();
        Ok(Subject { ram: names.map.ram().clone(), guest, target, names, start, said })
    }

    fn monitor(&mut self, line: &str) -> Result<()> {
        let said = self.target.monitor(line)?;
        if said.trim().is_empty() { Ok(()) } else { bail!("`{line}`: {}", said.trim()) }
    }

    /// Back to the snapshot.
    fn back(&mut self) -> Result<()> {
        self.monitor("loadvm start")?;
        self.said = std::fs::metadata(self.guest.run.file(CONSOLE_LOG))?.len();
        Ok(())
    }

    fn run_to(&mut self, time: VirtualNs) -> Result<()> {
        let arrival = self.target.run_until(VirtualNs(self.start.0 + time.0)).exit_with(Code::GuestLost)?;
        interrupt::check()?;
        match arrival.early {
            None => Ok(()),
            Some(why) => bail!(exit_error(Code::GuestLost, format!("the guest stopped by itself ({why})"))),
        }
    }

    fn state(&mut self) -> Result<State> {
        let console = read_from(&self.guest.run.file(CONSOLE_LOG), self.said)?;
        Ok(State::take(&mut self.target, &self.ram, self.guest.run.path(), &console)?)
    }

    fn places(&self, pages: &[GuestPhys]) -> Vec<String> {
        let name = |page: &GuestPhys| {
            let symbol = self.names.symbol_at(*page);
            symbol.map_or_else(|| page.to_string(), |symbol| format!("{page} ({symbol})"))
        };
        pages.iter().take(8).map(name).collect()
    }
}

fn read_from(path: &Path, offset: u64) -> Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).context("cannot read the guest's console")?;
    file.seek(SeekFrom::Start(offset))?;
    let mut said = Vec::new();
    file.take(64 << 20).read_to_end(&mut said)?;
    Ok(said)
}

fn measure(args: &Args, workload: Option<&str>, at: &[VirtualNs]) -> Result<Row> {
    let begin = Instant::now();
    let mut subject = Subject::boot(args, workload)?;
    subject.monitor("savevm start")?;
    subject.back()?;
    let before = subject.state()?;
    let mut golden = Vec::new();
    for time in at {
        subject.run_to(*time)?;
        golden.push(subject.state()?);
    }
    let mut found = None;
    for number in 2..=args.runs {
        if found.is_none() {
            subject.back()?;
            found = follow(&mut subject, &format!("run {number}"), at, &golden)?;
        }
    }
    if found.is_none() {
        found = flip_and_back(&mut subject, args.seed, at, &golden)?;
    }
    let spec = subject.guest.run.load_spec()?;
    let arch = subject.guest.record.arch.name;
    subject.guest.stop()?;
    // The same from power-on: nothing of the first guest is left but the files that it was made of.
    let mut second = Subject::boot(args, workload)?;
    if found.is_none() {
        found = if second.start == subject.start {
            follow(&mut second, "the run of a second guest, from power-on,", at, &golden)?
        } else {
            Some(Found {
                run: "the boot of a second guest".to_owned(),
                checkpoint: "READY".to_owned(),
                difference: StateDifference {
                    clock: Some((format!("{} ns", subject.start.0), format!("{} ns", second.start.0))),
                    ..StateDifference::default()
                },
                places: Vec::new(),
            })
        };
    }
    second.guest.stop()?;
    let last = golden.last().context("no checkpoint")?;
    Ok(Row {
        arch,
        workload: workload.unwrap_or("(its own)").to_owned(),
        runs: args.runs,
        checkpoints: at.len(),
        virtual_ns: last.clock.map_or(0, |clock| clock.virtual_ns),
        instructions: last.clock.and_then(|clock| clock.instructions),
        ram_digest: last.ram_digest(),
        pages_written: before.pages_apart(last).len(),
        console_bytes: last.console.0,
        seconds: begin.elapsed().as_secs_f64(),
        identical: found.is_none(),
        usual_causes: match &found {
            Some(_) => usual_causes(&spec, "").iter().map(ToString::to_string).collect(),
            None => Vec::new(),
        },
        first_difference: found,
    })
}

/// Lets a guest run along the checkpoints; the first difference.
fn follow(subject: &mut Subject, run: &str, at: &[VirtualNs], golden: &[State]) -> Result<Option<Found>> {
    for (time, golden) in at.iter().zip(golden) {
        subject.run_to(*time)?;
        if let Some(found) = compare(subject, run, *time, golden)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn compare(subject: &mut Subject, run: &str, time: VirtualNs, golden: &State) -> Result<Option<Found>> {
    let difference = golden.difference(&subject.state()?);
    if difference.is_none() {
        return Ok(None);
    }
    Ok(Some(Found {
        run: run.to_owned(),
        checkpoint: format_duration(Duration::from_nanos(time.0)),
        places: subject.places(&difference.pages),
        difference,
    }))
}

/// Flips a bit at the first checkpoint, in a page that stays as it is up to the second, and flips it
/// back there: in between one page differs, and afterwards nothing.
fn flip_and_back(
    subject: &mut Subject,
    seed: u64,
    at: &[VirtualNs],
    golden: &[State],
) -> Result<Option<Found>> {
    let [(first_time, first), (second_time, second)] = [(at[0], &golden[0]), (at[1], &golden[1])];
    let changed = first.pages_apart(second);
    let (range, pages) =
        first.ram.iter().max_by_key(|(_, pages)| pages.len()).context("the guest has no RAM")?;
    let mut rng = fault_rng(seed, 0);
    let address = loop {
        let page = rng.random_range(0..pages.len() as u64) * PAGE as u64;
        let page = GuestPhys(range.first.0 + page);
        if !changed.contains(&page) {
            break GuestPhys(page.0 + rng.random_range(0..PAGE as u64));
        }
    };
    let fault = Fault::in_ram(address, vec![1 << rng.random_range(0..8u32)]);
    subject.back()?;
    subject.run_to(first_time)?;
    flip(&mut subject.target, &fault)?;
    let with_flip = first.difference(&subject.state()?);
    let page = GuestPhys(address.0 - address.0 % PAGE as u64);
    if with_flip.pages != [page] || !with_flip.registers.is_empty() || with_flip.clock.is_some() {
        bail!(
            "a flip at {address} shows as {} pages and {} registers, where that one page was expected to differ",
            with_flip.pages.len(),
            with_flip.registers.len()
        );
    }
    subject.run_to(second_time)?;
    flip(&mut subject.target, &fault)?;
    let run = format!("the run with a bit of {address} flipped, and flipped back,");
    match compare(subject, &run, second_time, second)? {
        None => follow(subject, &run, &at[2..], &golden[2..]),
        found => Ok(found),
    }
}
