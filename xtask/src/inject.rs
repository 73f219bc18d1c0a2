//! `cargo xtask inject`: flips bits in a guest that is booted, or alone goes the whole way from an
//! empty machine to the first flips.
//!
//! Invariant: this file decides on no fault; it turns flags into a fault space of `flipsim` and
//! shows what came of each draw. What was drawn is recorded before the next one is.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::fault::{
    FaultSpace, FlipError, FlippableRegister, Pattern, RamSpace, RegSpace, fault_rng, flip, glob_matches,
    hex_value, probe_registers, random_seed,
};
use flipsim::live::{AttachError, LiveTarget};
use flipsim::machine::console::{ConsoleTail, marker};
use flipsim::machine::health::{Evidence, Health};
use flipsim::machine::run::{Hold, HoldNote, RunDir, RunRecord};
use flipsim::machine::spec::CONSOLE_LOG;
use flipsim::machine::watch::{EVENTS, parse_events};
use flipsim::memory::{MapSource, MemoryMap, PhysRange, RangeSet};
use flipsim::net::{Endpoint, Timeouts};
use flipsim::qmp::QmpClient;
use flipsim::record::{FlipRecord, RecordContext, RecordLog, Timing};
use flipsim::symbols::{SymbolMap, Symbols};
use flipsim::target::{Target, TargetError};
use flipsim::units::{BitIndex, GuestPhys, VirtualNs, format_size, parse_duration, parse_number};

use crate::boot::{self, Answer, GuestArgs, run_error, runs_dir};
use crate::exit::{Code, ExitWith, exit_error};
use crate::{interrupt, paths};

/// Flip bits in a guest's RAM and registers.
///
/// Alone it goes the whole way: sets up what is missing, boots a guest with a workload, flips single
/// bits in its RAM, shows each as it happens, and tells how the guest fared.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  cargo xtask inject                                           the whole way, from nothing
  cargo xtask inject ram --region 'Kernel data' --count 10 --interval 20ms
  cargo xtask inject ram --symbol jiffies --bit 3
  cargo xtask inject ram --address 0x40851000 --mask 0x81
  cargo xtask inject reg 'x*' --count 5 --seed 7 --json
  cargo xtask inject list regions"
)]
pub struct Args {
    #[command(subcommand)]
    sub: Option<Sub>,
    #[command(flatten)]
    whole: WholeArgs,
}

#[derive(clap::Args, Debug)]
struct WholeArgs {
    /// Install host packages that setup needs without asking
    #[arg(long)]
    yes: bool,
    /// How many bits to flip, one at a time
    #[arg(long, default_value_t = 20, value_name = "N")]
    count: u64,
    /// The time between two flips, on the host's clock
    #[arg(long, default_value = "100ms", value_parser = parse_duration, value_name = "TIME")]
    interval: Duration,
    /// What the guest computes meanwhile [default: from lab.toml]
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// The seed of the draws [default: a new one, which is printed]
    #[arg(long, value_parser = parse_number)]
    seed: Option<u64>,
    /// The guest's architecture [default: from lab.toml]
    #[arg(long)]
    arch: Option<Arch>,
    /// One JSON line a flip on standard output
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    /// Flip bits in RAM: anywhere, in a region, in a symbol, in a range, or at one address
    #[command(after_help = "Examples:
  cargo xtask inject ram --count 10
  cargo xtask inject ram --region 'Kernel code' --bits 2 --count 5 --interval 1s
  cargo xtask inject ram --symbol jiffies+4 --bit 0
  cargo xtask inject ram --range 0x40000000+1M --range 0x44000000+1M --csv flips.csv")]
    Ram(RamArgs),
    /// Flip bits in registers of the current vCPU, chosen by name or glob
    #[command(after_help = "Examples:
  cargo xtask inject reg x19 --bit 5
  cargo xtask inject reg 'x*' 'v?' --count 20 --interval 5ms
  cargo xtask inject reg --json")]
    Reg(RegArgs),
    /// Show what faults can be drawn from
    #[command(after_help = "Examples:
  cargo xtask inject list regions
  cargo xtask inject list reg --json")]
    List {
        /// ram: the RAM ranges; reg: the registers and which bits take a flip; regions: the whole memory map
        what: ListWhat,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        guest: GuestChoice,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ListWhat {
    Ram,
    Reg,
    Regions,
}

#[derive(clap::Args, Debug)]
struct RamArgs {
    /// Regions of the guest's /proc/iomem, by name or path; may be given more than once
    #[arg(long, value_name = "NAME")]
    region: Vec<String>,
    /// Kernel symbols, as NAME (all its bytes) or NAME+OFFSET (that byte)
    #[arg(long, value_name = "SYMBOL")]
    symbol: Vec<String>,
    /// Ranges of physical addresses, FIRST-LAST (both included) or FIRST+LENGTH
    #[arg(long, value_name = "RANGE")]
    range: Vec<PhysRange>,
    /// Physical addresses of single bytes
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<GuestPhys>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args, Debug)]
struct RegArgs {
    /// Names or globs of registers; without any, every register that takes a flip
    #[arg(value_name = "GLOB")]
    glob: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args, Debug)]
struct Common {
    /// How many faults to draw
    #[arg(long, short = 'n', default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// The time between two flips, on the host's clock
    #[arg(long, default_value = "0ms", value_parser = parse_duration, value_name = "TIME")]
    interval: Duration,
    /// Always this bit (of the byte, or of the register); with --bits the lowest of them
    #[arg(long, value_name = "N", conflicts_with = "mask")]
    bit: Option<u32>,
    /// This many neighbouring bits at once
    #[arg(long, default_value_t = 1, value_name = "N", conflicts_with = "mask")]
    bits: u32,
    /// Exactly these bits
    #[arg(long, value_parser = parse_number, value_name = "MASK")]
    mask: Option<u64>,
    /// The seed of the draws [default: a new one, which is printed]
    #[arg(long, value_parser = parse_number)]
    seed: Option<u64>,
    /// How long to watch the guest afterwards
    #[arg(long, default_value = "500ms", value_parser = parse_duration, value_name = "TIME")]
    observe: Duration,
    /// One JSON line a flip on standard output
    #[arg(long)]
    json: bool,
    /// Write the records to this file as CSV, too
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestChoice,
}

/// Which guest.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct GuestChoice {
    /// The guest's name; not needed when only one runs
    #[arg(long, value_name = "NAME", conflicts_with = "socket")]
    guest: Option<String>,
    /// The gdb stub of a guest that was not started by `boot`: a socket's path, or tcp:HOST:PORT
    #[arg(long, value_name = "ENDPOINT")]
    socket: Option<Endpoint>,
    /// The QMP monitor of that guest
    #[arg(long, value_name = "ENDPOINT", requires = "socket")]
    qmp: Option<Endpoint>,
    /// A file with that guest's /proc/iomem, for regions and symbols
    #[arg(long, value_name = "FILE", requires = "socket")]
    iomem: Option<PathBuf>,
    /// The vmlinux of that guest's kernel, for symbols
    #[arg(long, value_name = "FILE", requires = "socket")]
    vmlinux: Option<PathBuf>,
}

impl Common {
    fn pattern(&self) -> Pattern {
        match (self.mask, self.bit) {
            (Some(mask), _) => Pattern::Mask(mask),
            (None, Some(bit)) => Pattern::AdjacentAt { count: self.bits, bit: BitIndex(bit) },
            (None, None) => Pattern::Adjacent(self.bits),
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.sub {
        None => whole_way(&args.whole),
        Some(Sub::Ram(ram)) => {
            let mut session = Session::attach(&ram.common.guest)?;
            let space = session.ram_space(&ram)?;
            session.inject(&space, &ram.common)
        }
        Some(Sub::Reg(reg)) => {
            let mut session = Session::attach(&reg.common.guest)?;
            let space = session.reg_space(&reg.glob, reg.common.pattern())?;
            session.inject(&space, &reg.common)
        }
        Some(Sub::List { what, json, guest }) => Session::attach(&guest)?.list(what, json),
    }
}

/// A guest that this command has hold of.
pub struct Session {
    target: LiveTarget,
    hold: Option<Hold>,
    map: MemoryMap,
    symbols: Option<SymbolMap>,
    symbols_missing: Option<String>,
    run: Option<(RunDir, RunRecord)>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // On the way out with an error of its own. The note stays where the guest could not be let go,
        // and the next command puts it right.
        let _ = self.release();
    }
}

fn attach_error(error: AttachError) -> anyhow::Error {
    use flipsim::gdb::GdbError;
    use flipsim::qmp::QmpError;
    let code = match &error {
        AttachError::Gdb(GdbError::Connect(_)) | AttachError::Qmp(QmpError::Connect(_)) => Code::Missing,
        AttachError::Dead { .. }
        | AttachError::Gdb(GdbError::Closed { .. } | GdbError::TimedOut { .. } | GdbError::Exited(_))
        | AttachError::Qmp(QmpError::Closed { .. } | QmpError::TimedOut { .. }) => Code::GuestLost,
        _ => return error.into(),
    };
    exit_error(code, error.to_string())
}

/// The draws of one command.
struct Draws<'a> {
    space: &'a FaultSpace,
    count: u64,
    interval: Duration,
    seed: u64,
    json: bool,
    csv: Option<BufWriter<std::fs::File>>,
    /// Whether the end of the workload ends the draws.
    until_done: bool,
}

impl Session {
    /// Takes hold of the chosen guest, which is stopped from here on.
    pub fn attach(choice: &GuestChoice) -> Result<Session> {
        let (gdb, qmp, iomem, vmlinux, run) = match &choice.socket {
            Some(socket) => {
                let read = |path: &PathBuf| {
                    std::fs::read_to_string(path)
                        .with_context(|| format!("cannot read the memory map {}", path.display()))
                        .exit_with(Code::Usage)
                };
                let iomem = choice.iomem.as_ref().map(read).transpose()?;
                (socket.clone(), choice.qmp.clone(), iomem, choice.vmlinux.clone(), None)
            }
            None => {
                let found = RunDir::find_running(&runs_dir()?, choice.guest.as_deref());
                let (run, record) = found.map_err(run_error)?;
                let (gdb, qmp) = (run.gdb(&record)?, run.qmp());
                (gdb, Some(qmp), run.iomem(), record.vmlinux.clone(), Some((run, record)))
            }
        };
        let arch = run.as_ref().map_or_else(Arch::default, |(_, record)| record.arch);
        let mut hold = run.as_ref().map(|(run, _)| run.hold()).transpose().map_err(run_error)?;
        let mut target = LiveTarget::attach(&gdb, qmp.as_ref(), Timeouts::default()).map_err(attach_error)?;
        if let Some(hold) = &mut hold {
            if let Some(left) = hold.left_behind() {
                put_right(&mut target, left)?;
            }
            hold.note(&HoldNote { was_running: target.was_running(), registers: Vec::new() })?;
        }
        let map = target.memory_map(iomem.as_deref()).map_err(attach_error)?;
        let (symbols, symbols_missing) = match vmlinux {
            None => (None, Some("no vmlinux is known for this guest; give one with --vmlinux".to_owned())),
            Some(path) => {
                let anchored = Symbols::load(&path)
                    .and_then(|symbols| SymbolMap::anchor(symbols, &arch, &map, &mut target));
                match anchored {
                    Ok(symbols) => (Some(symbols), None),
                    Err(error) => (None, Some(error.to_string())),
                }
            }
        };
        for line in map.disagreements() {
            eprintln!("warning: {line}");
        }
        Ok(Session { target, hold, map, symbols, symbols_missing, run })
    }

    /// Lets go of the guest.
    fn release(&mut self) -> Result<(), TargetError> {
        self.target.release()?;
        if let Some(hold) = &mut self.hold {
            // A note that cannot be taken away says that the guest ran, or not, as it does now.
            let _ = hold.clear();
        }
        Ok(())
    }

    fn ram_space(&mut self, args: &RamArgs) -> Result<FaultSpace> {
        let mut ranges: Vec<PhysRange> = Vec::new();
        for name in &args.region {
            ranges.extend(self.map.region(name).exit_with(Code::Usage)?.ranges());
        }
        for name in &args.symbol {
            let Some(symbols) = &self.symbols else {
                let why = self.symbols_missing.clone().unwrap_or_default();
                bail!(exit_error(Code::Usage, format!("--symbol {name}: {why}")));
            };
            ranges.push(symbols.resolve(name).exit_with(Code::Usage)?);
        }
        for address in &args.address {
            // A pattern wider than a byte needs the bytes behind the address as well.
            let bytes = pattern_bytes(args.common.pattern());
            let last = GuestPhys(address.0.saturating_add(bytes - 1));
            ranges.push(PhysRange { first: *address, last });
        }
        ranges.extend(&args.range);
        for range in &ranges {
            self.map.check_ram(*range).exit_with(Code::Usage)?;
        }
        // What was chosen apart stays apart: no pattern reaches from one choice into the next.
        let bytes = if ranges.is_empty() { self.map.system_ram() } else { RangeSet::apart(ranges) };
        let space = RamSpace::new(&bytes, args.common.pattern()).exit_with(Code::Usage)?;
        Ok(FaultSpace::Ram(space))
    }

    fn reg_space(&mut self, globs: &[String], pattern: Pattern) -> Result<FaultSpace> {
        let registers = self.registers(globs)?;
        Ok(FaultSpace::Reg(RegSpace::new(&registers, pattern).exit_with(Code::Usage)?))
    }

    /// The registers that match, probed; every one when no glob is given.
    fn registers(&mut self, globs: &[String]) -> Result<Vec<FlippableRegister>> {
        for glob in globs {
            if !self.target.registers().iter().any(|register| glob_matches(glob, &register.name)) {
                bail!(exit_error(
                    Code::Usage,
                    format!("no register matches `{glob}`; `cargo xtask inject list reg` shows them all")
                ));
            }
        }
        let wanted = |name: &str| globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, name));
        let was_running = self.target.was_running();
        let hold = &mut self.hold;
        // Were we killed in the middle of the probe, the next command would have to restore these.
        let found = probe_registers(&mut self.target, wanted, |values| -> Result<()> {
            let Some(hold) = hold else { return Ok(()) };
            let registers = values.iter().map(|(name, value)| (name.clone(), hex_value(value))).collect();
            Ok(hold.note(&HoldNote { was_running, registers })?)
        })
        .exit_with(Code::GuestLost)?;
        if let Some(hold) = &mut self.hold {
            hold.note(&HoldNote { was_running, registers: Vec::new() })?;
        }
        Ok(found)
    }

    /// Draws and carries out the faults, then watches the guest for a while.
    fn inject(mut self, space: &FaultSpace, common: &Common) -> Result<()> {
        let mut watcher = Watcher::new(self.run.as_ref());
        let draws = Draws {
            space,
            count: common.count,
            interval: common.interval,
            seed: common.seed.unwrap_or_else(random_seed),
            json: common.json,
            csv: common.csv.as_deref().map(open_csv).transpose()?,
            until_done: false,
        };
        let done = self.flips(draws, &mut watcher)?;
        self.finish(&done, common, watcher)
    }

    /// The loop of draws. The guest runs between two flips when it ran before.
    fn flips(&mut self, mut draws: Draws<'_>, watcher: &mut Watcher) -> Result<Done> {
        let mut log = match &self.run {
            Some((run, _)) => Some(RecordLog::open(run.path()).context("cannot write the records of flips")?),
            None => None,
        };
        let (count, seed) = (draws.count, draws.seed);
        let mut rng = fault_rng(seed, 0);
        let mut done = Done { seed, drawn: count, ..Done::default() };
        if !draws.json {
            let plural = if draws.space.len() == 1 { "" } else { "s" };
            outln!("seed {seed}, {} possible fault{plural}", draws.space.len());
        }
        for index in 1..=count {
            let next = Instant::now() + draws.interval;
            if index > 1 {
                if self.target.was_running() {
                    self.target.resume().map_err(|error| watcher.lost(index, count, &error))?;
                }
                if interrupt::sleep(next.saturating_duration_since(Instant::now())).is_err() {
                    done.interrupted = true;
                    break;
                }
                if let Some(end) = watcher.end(&mut self.target) {
                    done.crash = Some(end);
                    break;
                }
                if draws.until_done && watcher.evidence.done.is_some() {
                    done.workload_ended = true;
                    break;
                }
                self.target.stop().map_err(|error| watcher.lost(index, count, &error))?;
            }
            let fault = draws.space.draw(&mut rng);
            let result = flip(&mut self.target, &fault);
            let lost = matches!(&result, Err(FlipError::Target(TargetError::Lost { .. })));
            // A flip that took place is recorded, whatever becomes of the guest right after.
            let time = if lost { Ok(None) } else { self.target.virtual_time() };
            let context = RecordContext {
                map: &self.map,
                symbols: self.symbols.as_ref(),
                seed,
                timing: Timing::Approximate,
            };
            let record = context.record(index, &fault, &result, time.as_ref().ok().copied().flatten());
            let kept = match &mut log {
                Some(log) => log.append(&record),
                None => Ok(()),
            };
            let kept = kept.and_then(|()| match &mut draws.csv {
                Some(csv) => writeln!(csv, "{}", record.csv()).and_then(|()| csv.flush()),
                None => Ok(()),
            });
            kept.with_context(|| {
                format!("cannot write a record; is the disk full? It is: {}", record.json())
            })?;
            show(&record, count, draws.json);
            match &result {
                Ok(_) => done.flipped += 1,
                Err(error) if lost => return Err(watcher.lost(index, count, error)),
                Err(_) => done.refused += 1,
            }
            time.map_err(|error| watcher.lost(index, count, &error))?;
        }
        Ok(done)
    }

    fn finish(mut self, done: &Done, common: &Common, mut watcher: Watcher) -> Result<()> {
        let was_running = self.target.was_running();
        let released = self.release();
        if done.crash.is_none() {
            released.map_err(|error| watcher.lost(done.drawn, done.drawn, &error))?;
        }
        let Some((run, record)) = self.run.take() else {
            eprintln!(
                "{} of {} flips carried out; this guest was not started by `boot`, so its console is not watched",
                done.flipped, done.drawn
            );
            return done.result(None);
        };
        let end = Instant::now() + common.observe;
        while was_running && Instant::now() < end && !interrupt::raised() && !watcher.look().is_over() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let answer = (was_running && record.workload.is_none() && !watcher.look().is_over())
            .then(|| boot::console_answers(&run, Duration::from_secs(3)));
        // Asked for the status anew: a panic may have come with the answer.
        if let Ok(mut qmp) = QmpClient::connect(&run.qmp(), Timeouts::default()) {
            watcher.evidence.status = qmp.status().ok().map(|status| status.status);
        }
        let health = watcher.look();
        let life = match (&health, answer, &watcher.evidence.done) {
            (Health::Alive, _, _) if !was_running => "stopped, as it was before".to_owned(),
            (Health::Alive, Some(Answer::Yes), _) => "alive: its console answers".to_owned(),
            (Health::Alive, Some(Answer::No), _) => {
                "silent: its console does not answer (a hang, perhaps)".to_owned()
            }
            (Health::Alive, _, Some(end)) => {
                format!("alive: workload {} ended with status {}", end.workload, end.status)
            }
            (Health::Alive, _, None) => "alive: it runs, and its console shows nothing wrong".to_owned(),
            (other, _, _) => other.to_string(),
        };
        eprintln!(
            "{} of {} flips carried out and read back; guest {}: {life}",
            done.flipped, done.drawn, record.name
        );
        eprintln!("records: {}", paths::show(&run.file("flips.jsonl")));
        eprintln!("console: {}", paths::show(&run.file(CONSOLE_LOG)));
        done.result(health.is_over().then(|| health.to_string()))
    }

    fn list(mut self, what: ListWhat, json: bool) -> Result<()> {
        let text = match what {
            ListWhat::Reg => list_registers(&self.registers(&[])?, json)?,
            ListWhat::Ram => list_ram(&self.map, json)?,
            ListWhat::Regions => list_regions(&self.map, json)?,
        };
        self.release().exit_with(Code::GuestLost)?;
        outln!("{}", text.trim_end());
        if self.map.source() == MapSource::Monitor {
            eprintln!("note: the guest's /proc/iomem is not known; these are QEMU's RAM blocks");
        }
        Ok(())
    }
}

/// Puts right what a killed command left: registers that it was probing, and whether the guest runs.
fn put_right(target: &mut LiveTarget, left: &HoldNote) -> Result<()> {
    let mut restored = 0;
    for (name, value) in &left.registers {
        let Some(index) = target.registers().iter().position(|register| register.name == *name) else {
            continue;
        };
        let digits = value.trim_start_matches("0x").as_bytes();
        let bytes: Option<Vec<u8>> = digits
            .rchunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let Some(bytes) = bytes else { continue };
        if target.read_register(index).exit_with(Code::GuestLost)? != bytes {
            target.write_register(index, &bytes).exit_with(Code::GuestLost)?;
            restored += 1;
        }
    }
    let registers =
        if restored > 0 { format!("; {restored} registers were put right") } else { String::new() };
    let runs = if left.was_running && !target.was_running() { "; it runs on after this one" } else { "" };
    eprintln!("note: an earlier command was killed while it held this guest{registers}{runs}");
    if left.was_running {
        target.set_was_running(true);
    }
    Ok(())
}

/// How many bytes a pattern may touch when its first byte is given.
fn pattern_bytes(pattern: Pattern) -> u64 {
    match pattern {
        Pattern::Adjacent(bits) => u64::from(bits.clamp(1, 64)).div_ceil(8),
        Pattern::AdjacentAt { count, bit } => {
            (u64::from(bit.0) + u64::from(count.clamp(1, 64))).div_ceil(8).min(16)
        }
        Pattern::Mask(mask) => u64::from(64 - mask.leading_zeros()).div_ceil(8).max(1),
    }
}

fn open_csv(path: &Path) -> Result<BufWriter<std::fs::File>> {
    let file = std::fs::File::create_new(path)
        .with_context(|| {
            format!("--csv {}: choose a name that is still free, in a folder that exists", path.display())
        })
        .exit_with(Code::Usage)?;
    let mut file = BufWriter::new(file);
    writeln!(file, "{}", FlipRecord::csv_header()).context("cannot write the CSV file")?;
    Ok(file)
}

/// What came of a command's draws.
#[derive(Debug, Default)]
struct Done {
    seed: u64,
    drawn: u64,
    flipped: u64,
    refused: u64,
    crash: Option<String>,
    interrupted: bool,
    workload_ended: bool,
}

impl Done {
    /// The command's result; `over` says how the guest ended after the last flip, if it did.
    fn result(&self, over: Option<String>) -> Result<()> {
        let left = self.drawn - self.flipped - self.refused;
        if self.interrupted {
            eprintln!(
                "interrupted: {left} of {} flips were not carried out (seed {})",
                self.drawn, self.seed
            );
            return Err(interrupt::Interrupted.into());
        }
        if let Some(end) = &self.crash {
            bail!(exit_error(
                Code::GuestLost,
                format!(
                    "the guest did not survive {} flips, {left} were not carried out: {end}",
                    self.flipped + self.refused
                )
            ));
        }
        if let Some(end) = over {
            bail!(exit_error(
                Code::GuestLost,
                format!("the guest did not survive {} flips: {end}", self.flipped + self.refused)
            ));
        }
        if self.refused > 0 {
            bail!(exit_error(
                Code::NotFlipped,
                format!(
                    "{} of {} flips did not take; the records say which and why",
                    self.refused, self.drawn
                )
            ));
        }
        Ok(())
    }
}

/// Gathers evidence of how a guest fares, from the moment of the first flip.
struct Watcher {
    evidence: Evidence,
    console: Option<ConsoleTail>,
    events: Option<ConsoleTail>,
    folder: Option<PathBuf>,
}

impl Watcher {
    fn new(run: Option<&(RunDir, RunRecord)>) -> Watcher {
        let tail = |name: &str| run.map(|(run, _)| ConsoleTail::from_end(&run.file(name)));
        Watcher {
            evidence: Evidence::default(),
            console: tail(CONSOLE_LOG),
            events: tail(EVENTS),
            folder: run.map(|(run, _)| run.path().to_owned()),
        }
    }

    /// Takes in what is new, and judges.
    fn look(&mut self) -> Health {
        if let Some(console) = &mut self.console {
            for marker in console.poll().unwrap_or_default().iter().filter_map(|line| marker(line)) {
                self.evidence.line(marker);
            }
        }
        if let Some(events) = &mut self.events {
            self.evidence.events.extend(parse_events(&events.poll().unwrap_or_default()));
        }
        self.evidence.verdict()
    }

    /// Why no more flips make sense, if so.
    fn end(&mut self, target: &mut LiveTarget) -> Option<String> {
        if let Some(qmp) = target.qmp() {
            self.evidence.status = qmp.status().ok().map(|status| status.status);
        }
        let health = self.look();
        health.is_over().then(|| health.to_string())
    }

    /// The error for a guest that was lost on the way, with what became of it.
    fn lost(&mut self, index: u64, count: u64, error: &dyn std::fmt::Display) -> anyhow::Error {
        let words = self.last_words();
        exit_error(Code::GuestLost, format!("flip {index} of {count}: {error}; {words}"))
    }

    /// What became of a guest that was lost.
    fn last_words(&mut self) -> String {
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

/// One flip, as a line for people or as JSON.
fn show(record: &FlipRecord, count: u64, json: bool) {
    outln!("{}", if json { record.json() } else { describe(record, count) });
}

fn describe(record: &FlipRecord, count: u64) -> String {
    let place = match (&record.address, &record.register) {
        (Some(address), _) => format!("ram {}", address.0),
        (None, Some(register)) => format!("reg {register:6}"),
        (None, None) => record.kind.clone(),
    };
    let bits = match record.bit {
        Some(bit) => format!("bit {bit:<3}"),
        None => format!("mask {}", record.mask),
    };
    let width = count.to_string().len();
    let mut line =
        format!("{:>width$}/{count}  {place}  {bits}  {} -> {}", record.index, record.old, record.new);
    if let Some(time) = record.virtual_ns {
        line.push_str(&format!("  at {}", VirtualNs(time)));
    }
    if let Some(region) = &record.region {
        line.push_str(&format!("  {region}"));
    }
    if let Some(symbol) = &record.symbol {
        line.push_str(&format!("  {symbol}"));
    }
    if let Some(error) = &record.error {
        line.push_str(&format!("  NOT FLIPPED: {error}"));
    }
    line
}

fn list_registers(registers: &[FlippableRegister], json: bool) -> Result<String> {
    if json {
        let rows: Vec<_> = registers
            .iter()
            .map(|r| {
                serde_json::json!({
                    "register": r.name, "class": r.class, "bits": r.bits,
                    "writable_bits": r.writable_bits(), "writable": hex_value(&r.writable),
                })
            })
            .collect();
        return Ok(format!("{}\n", serde_json::to_string_pretty(&rows)?));
    }
    let mut text = format!("{:18} {:10} {:>5} {:>9}\n", "register", "class", "bits", "flippable");
    for r in registers.iter().filter(|r| r.writable_bits() > 0) {
        text.push_str(&format!("{:18} {:10} {:>5} {:>9}\n", r.name, r.class, r.bits, r.writable_bits()));
    }
    let closed = registers.iter().filter(|r| r.writable_bits() == 0).count();
    let open: u32 = registers.iter().map(FlippableRegister::writable_bits).sum();
    text.push_str(&format!(
        "{open} bits in {} registers take a flip; {closed} more registers can be read over the gdb stub and not written\n",
        registers.len() - closed
    ));
    Ok(text)
}

fn list_ram(map: &MemoryMap, json: bool) -> Result<String> {
    let ram = map.system_ram();
    if json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&ram)?));
    }
    let mut text = String::new();
    for range in ram.ranges() {
        text.push_str(&format!("{range}  {}\n", format_size(range.len())));
    }
    text.push_str("RAM regions by name:\n");
    let mut names: Vec<&str> = Vec::new();
    for region in map.regions().iter().filter(|region| map.is_ram(region)) {
        if !names.contains(&region.name.as_str()) {
            names.push(&region.name);
        }
    }
    for name in names {
        let bytes = map.region(name).ok().and_then(|set| set.bytes()).unwrap_or(0);
        text.push_str(&format!("  {name:24} {}\n", format_size(bytes)));
    }
    Ok(text)
}

fn list_regions(map: &MemoryMap, json: bool) -> Result<String> {
    if json {
        let rows: Vec<_> = map
            .regions()
            .iter()
            .map(|r| {
                serde_json::json!({
                    "name": r.name, "path": r.path, "first": r.range.first.to_string(),
                    "last": r.range.last.to_string(), "bytes": r.range.len(), "ram": map.is_ram(r),
                })
            })
            .collect();
        return Ok(format!("{}\n", serde_json::to_string_pretty(&rows)?));
    }
    let mut text = String::new();
    for region in map.regions() {
        let kind = if map.is_ram(region) { "ram" } else { "device" };
        text.push_str(&format!(
            "{:24} {:>10}  {kind:6}  {}{}\n",
            region.range.to_string(),
            format_size(region.range.len()),
            "  ".repeat(region.depth),
            region.name
        ));
    }
    Ok(text)
}

/// From an empty machine to the first flips.
fn whole_way(args: &WholeArgs) -> Result<()> {
    let config = crate::config::Config::load()?;
    let arch = args.arch.unwrap_or(config.guest.arch);
    let workload = args.workload.clone().unwrap_or(config.guest.workload);
    // Checked before an hour's set-up, not after it.
    boot::check_workload(&workload)?;
    if workload == "none" {
        bail!(exit_error(Code::Usage, "--workload none: a verdict needs a workload whose result is known"));
    }
    crate::setup::ensure(arch, args.yes)?;
    let seed = args.seed.unwrap_or_else(random_seed);
    let guest_args = GuestArgs {
        arch: Some(arch),
        workload: Some(workload.clone()),
        // The workload is run over and over, so that it is long enough for the flips to hit it.
        append: format!("flipsim.repeat={REPEAT}"),
        ..GuestArgs::default()
    };
    let guest = boot::start_headless(&guest_args, Duration::from_secs(120), false)?;
    let name = guest.record.name.clone();
    eprintln!(
        "guest {name} runs workload {workload} {REPEAT} times; flipping {} single bits in its RAM",
        args.count
    );
    let outcome = flips_and_verdict(args, &name, seed);
    let folder = guest.run.path().to_owned();
    guest.stop()?;
    eprintln!("records: {}", paths::show(&folder.join("flips.jsonl")));
    eprintln!("console: {}", paths::show(&folder.join(CONSOLE_LOG)));
    let health = outcome?;
    eprintln!();
    eprintln!("How the guest fared: {health}");
    eprintln!("The same faults again: cargo xtask inject --seed {seed}");
    eprintln!("Next: cargo xtask boot --headless, then cargo xtask inject ram --help");
    Ok(())
}

/// How often the workload is run while bits flip.
const REPEAT: u32 = 24;

/// How long a workload may take once all bits have flipped.
const WORKLOAD_WAIT: Duration = Duration::from_secs(120);

fn flips_and_verdict(args: &WholeArgs, name: &str, seed: u64) -> Result<String> {
    let choice = GuestChoice { guest: Some(name.to_owned()), ..GuestChoice::default() };
    let mut session = Session::attach(&choice)?;
    let space = FaultSpace::Ram(RamSpace::new(&session.map.system_ram(), Pattern::SINGLE)?);
    let mut watcher = Watcher::new(session.run.as_ref());
    // From the start: a short workload may have said something before the first flip.
    watcher.console =
        watcher.folder.as_ref().map(|folder| ConsoleTail::from_start(&folder.join(CONSOLE_LOG)));
    let draws = Draws {
        space: &space,
        count: args.count,
        interval: args.interval,
        seed,
        json: args.json,
        csv: None,
        until_done: true,
    };
    let done = session.flips(draws, &mut watcher)?;
    let released = session.release();
    if done.interrupted || done.refused > 0 {
        done.result(None)?;
    }
    if let Some(end) = done.crash {
        return Ok(format!("{end} (after {} of {} flips)", done.flipped, done.drawn));
    }
    released.map_err(|error| watcher.lost(done.drawn, done.drawn, &error))?;
    let step = crate::progress::Step::spinner("Waiting for the workload's result");
    let end = Instant::now() + WORKLOAD_WAIT;
    while Instant::now() < end && !watcher.look().is_over() && watcher.evidence.done.is_none() {
        interrupt::sleep(Duration::from_millis(20))?;
    }
    let health = watcher.look();
    step.done();
    let flips = if done.workload_ended {
        format!("{} flips (the workload ended before the other {})", done.flipped, done.drawn - done.flipped)
    } else {
        format!("{} flips", done.flipped)
    };
    Ok(match (&health, &watcher.evidence.done) {
        (Health::Alive, None) => {
            format!("hang: no result within {} s after {flips}", WORKLOAD_WAIT.as_secs())
        }
        (Health::Alive, Some(end)) if end.status == "ok" => {
            format!("masked or latent: {flips}, and the workload's result is right (digest {})", end.digest)
        }
        (Health::Alive, Some(end)) => format!(
            "silent data corruption: {flips}, nothing was noticed, and the workload's result is {} (digest {})",
            end.status, end.digest
        ),
        (Health::Troubled(why), Some(end)) => {
            format!("detected after {flips}: {why}; the workload's result is {}", end.status)
        }
        (other, _) => format!("{other} (after {flips})"),
    })
}
