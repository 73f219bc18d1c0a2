//! The original's methods on our guest: a gdb process a flip, pygdbmi, and its gdb command `autoinject`.
//!
//! Invariant: a flip that did not happen is never timed as one, and nothing here waits without end.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use flipsim::fault::{FaultSpace, fault_rng};
use flipsim::machine::folder::{RunDir, RunRecord};
use flipsim::target::VirtualClock;
use flipsim::units::VirtualNs;
use flipsim::wire::net::{Endpoint, Timeouts};
use flipsim::wire::qmp::QmpClient;
use serde_json::Value;

use super::options::{AUTO_FLIPS, Options, intervals};
use super::ours::{missed, stood};
use super::table::Measured;
use crate::guest::flips::{FAULTS, TIMES};
use crate::host::proc;
use crate::interrupt;

/// What gdb runs for `autoinject`.
const GDB_COMMANDS: &str = include_str!("gdb_commands.py");

/// What python3 runs for pygdbmi.
const PYGDBMI_FLIPS: &str = include_str!("pygdbmi_flips.py");

/// How long a flip may take, with whatever method.
const FLIP_LIMIT: Duration = Duration::from_secs(30);

/// The gdb that knows the guest's architecture.
const GDB: &str = "gdb-multiarch";

/// A guest that runs, as these methods expect it, and a monitor that watches it.
pub struct Subject {
    qmp: QmpClient,
    /// As gdb names it.
    endpoint: String,
    folder: std::path::PathBuf,
}

/// How often a method attaches to the guest, and so stops it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attaches {
    /// For each flip.
    Always,
    /// Once for all.
    Once,
}

/// A flip for these methods: one bit of one byte, and the interval before it.
type Planned = (u64, u8, u64);

/// What a script said of a flip.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Said {
    old: u8,
    new: u8,
    took: Duration,
}

impl Subject {
    /// Lets the guest run.
    pub fn new(run: &RunDir, record: &RunRecord) -> Result<Subject> {
        let endpoint = match run.gdb(record)? {
            // gdb runs in the guest's folder: the whole path may be longer than a socket's may be.
            Endpoint::Unix(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Endpoint::Tcp(host, port) => format!("{host}:{port}"),
        };
        let qmp = QmpClient::connect(&run.qmp(), Timeouts::default())?;
        let mut subject = Subject { qmp, endpoint, folder: run.path().to_owned() };
        subject.let_run()?;
        Ok(subject)
    }

    fn let_run(&mut self) -> Result<()> {
        self.qmp.execute("cancel-stop-at", Value::Null)?;
        self.qmp.execute("cont", Value::Null)?;
        Ok(())
    }

    /// One gdb process a flip: it attaches, reads, flips, reads back, detaches.
    pub fn processes(&mut self, name: &str, space: &FaultSpace, options: &Options) -> Result<Measured> {
        let Some(gdb) = proc::find_program(GDB) else { return Ok(not_installed(name, GDB)) };
        let plan = plan(space, options.seed, options.gdb_count)?;
        let (endpoint, folder) = (self.endpoint.clone(), self.folder.clone());
        self.series(name, &plan, Attaches::Always, || {
            plan.iter().map(|planned| flip_by_gdb(&gdb, &folder, &endpoint, planned)).collect()
        })
    }

    /// One gdb under pygdbmi for all flips; `how` is `each` or `one`, see the script.
    pub fn pygdbmi(
        &mut self,
        name: &str,
        how: &str,
        space: &FaultSpace,
        options: &Options,
    ) -> Result<Measured> {
        let Some(gdb) = proc::find_program(GDB) else { return Ok(not_installed(name, GDB)) };
        let Some(python) = proc::find_program("python3") else { return Ok(not_installed(name, "python3")) };
        let mut probe = Command::new(&python);
        probe.args(["-c", "import pygdbmi.gdbcontroller"]);
        if !proc::capture("python3", &mut probe, FLIP_LIMIT)?.2.success() {
            return Ok(not_installed(name, "pygdbmi"));
        }
        let plan = plan(space, options.seed, options.gdb_count)?;
        let flips: Vec<_> = plan.iter().map(|(address, mask, _)| (address, mask)).collect();
        let mut command = Command::new(python);
        command.current_dir(&self.folder).args(["-c", PYGDBMI_FLIPS]).arg(gdb);
        command.args([&self.endpoint, how]).arg(serde_json::to_string(&flips)?);
        self.series(name, &plan, Attaches::Always, || run_script(name, command, plan.len()))
    }

    /// The original's gdb command for delayed stops, with its ten flips.
    pub fn gdb_commands(&mut self, name: &str, space: &FaultSpace, options: &Options) -> Result<Measured> {
        let Some(gdb) = proc::find_program(GDB) else { return Ok(not_installed(name, GDB)) };
        // A JSON text of plain letters is a Python literal, too.
        let script = serde_json::to_string(GDB_COMMANDS)?;
        let mut measured = Measured::new(name);
        for run in 0..options.gdb_autos {
            interrupt::check()?;
            let plan = plan(space, options.seed.wrapping_add(u64::from(run)), AUTO_FLIPS)?;
            let mut command = Command::new(&gdb);
            command.current_dir(&self.folder).args(["-nx", "-batch"]);
            command.args(["-ex", &format!("target remote {}", self.endpoint)]);
            command.args(["-ex", "maintenance packet Qqemu.PhyMemMode:1"]);
            command.args(["-ex", &format!("python plan = {}", serde_json::to_string(&plan)?)]);
            command.args(["-ex", &format!("python exec({script})")]);
            command.args(["-ex", "maintenance packet Qqemu.PhyMemMode:0", "-ex", "detach"]);
            let one = self.series(name, &plan, Attaches::Once, || run_script(name, command, plan.len()))?;
            measured.flips.extend(one.flips);
            measured.autos.extend(one.autos);
            measured.errors.extend(one.errors);
            measured.stood.extend(one.stood);
            // A stop that was asked for and not reached is not for the next one.
            self.let_run()?;
        }
        Ok(measured)
    }

    /// Makes a series of flips and watches the guest meanwhile.
    fn series(
        &mut self,
        name: &str,
        plan: &[Planned],
        attaches: Attaches,
        work: impl FnOnce() -> Result<Vec<Said>> + Send,
    ) -> Result<Measured> {
        let (said, seen) = self.watch(work)?;
        let mut measured = Measured::new(name);
        for (said, (address, mask, _)) in said.iter().zip(plan) {
            if said.old ^ said.new != *mask {
                bail!("{name} did not flip {mask:#x} at {address:#x}: {said:?}");
            }
            measured.flips.push(said.took);
        }
        let ten = AUTO_FLIPS as usize;
        measured.autos = measured.flips.chunks_exact(ten).map(|ten| ten.iter().sum()).collect();
        measured.stood = seen.stood;
        measured.errors = errors(&seen.stops, plan, attaches);
        Ok(measured)
    }

    /// Does something in another thread, and asks for the clock at every stop meanwhile.
    fn watch<T: Send>(&mut self, work: impl FnOnce() -> Result<T> + Send) -> Result<(T, Seen)> {
        self.qmp.status()?;
        self.qmp.take_events()?;
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            let (mut events, mut stops) = (Vec::new(), Vec::new());
            loop {
                // Asked before the events are: none that came before the end is missed.
                let finished = work.is_finished();
                while let Some(event) = self.qmp.wait_event(&["STOP", "RESUME"], Duration::from_millis(20))? {
                    if event.name == "STOP" {
                        stops.push(self.clock_standing()?);
                    }
                    events.push(event);
                }
                if finished {
                    break;
                }
            }
            let done = work.join().map_err(|_| anyhow::anyhow!("the thread that flips has panicked"))??;
            Ok((done, Seen { stops, stood: stood(&events) }))
        })
    }

    /// The clock of a guest that stands; `None` when it has been let run meanwhile.
    fn clock_standing(&mut self) -> Result<Option<VirtualNs>> {
        let clock: VirtualClock =
            serde_json::from_value(self.qmp.execute("query-virtual-clock", Value::Null)?)?;
        let standing = !self.qmp.status()?.running;
        Ok(standing.then_some(VirtualNs(clock.virtual_ns)))
    }
}

/// What the monitor saw of a series.
struct Seen {
    stops: Vec<Option<VirtualNs>>,
    stood: Vec<Duration>,
}

fn not_installed(name: &str, what: &str) -> Measured {
    Measured::missing(name, &format!("not measured, {what} is not installed"))
}

/// Each fault twice, so that the second takes the first back; the intervals are those of `auto`.
fn plan(space: &FaultSpace, seed: u64, count: u32) -> Result<Vec<Planned>> {
    let (mut faults, mut times) = (fault_rng(seed, FAULTS), fault_rng(seed, TIMES));
    let mut plan = Vec::new();
    for _ in 0..count.div_ceil(2) {
        let fault = space.draw(&mut faults);
        let Some(address) = fault.address() else { bail!("only flips in RAM are measured") };
        for _ in 0..2 {
            plan.push((address.0, fault.mask()[0], intervals().draw(&mut times).0));
        }
    }
    Ok(plan)
}

/// By how much each interval was missed, from stop to stop. A connection for all flips stops the guest
/// before the first interval; where each flip has its own, its stop is the connection's, and the first
/// interval has no beginning. What comes after the last flip belongs to none.
fn errors(stops: &[Option<VirtualNs>], plan: &[Planned], attaches: Attaches) -> Vec<u64> {
    let intervals = match attaches {
        Attaches::Once => plan,
        Attaches::Always => plan.get(1..).unwrap_or_default(),
    };
    if stops.len() <= intervals.len() {
        // Some flip had no separate stop: which interval was missed is not known.
        return Vec::new();
    }
    let pairs = stops.windows(2).zip(intervals);
    pairs
        .filter_map(|(pair, (.., interval))| Some(missed(pair[0]?, pair[1]?, VirtualNs(*interval))))
        .collect()
}

/// Runs a script that says a line for each flip.
fn run_script(name: &str, mut command: Command, flips: usize) -> Result<Vec<Said>> {
    let limit = FLIP_LIMIT * u32::try_from(flips).unwrap_or(u32::MAX);
    let (out, err, status) = proc::capture(name, &mut command, limit)?;
    let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    let said: Vec<Said> = out.lines().filter_map(said).collect();
    if !status.success() || said.len() != flips {
        bail!("{name}: {} of {flips} flips; it said:\n{out}{err}", said.len());
    }
    Ok(said)
}

/// `flip 0x10 0x11 0.214`: the value before, the value read back, seconds.
fn said(line: &str) -> Option<Said> {
    let mut words = line.strip_prefix("flip ")?.split(' ');
    let old = byte(words.next()?)?;
    let new = byte(words.next()?)?;
    let seconds: f64 = words.next()?.parse().ok()?;
    let took = Duration::try_from_secs_f64(seconds).ok()?;
    words.next().is_none().then_some(Said { old, new, took })
}

fn byte(text: &str) -> Option<u8> {
    u8::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

fn flip_by_gdb(gdb: &Path, folder: &Path, endpoint: &str, planned: &Planned) -> Result<Said> {
    interrupt::check()?;
    let (address, mask, _) = planned;
    let value = format!("*(unsigned char *) {address:#x}");
    let mut command = Command::new(gdb);
    command.current_dir(folder).args(["-nx", "-batch"]);
    command.args(["-ex", &format!("target remote {endpoint}")]);
    command.args(["-ex", "maintenance packet Qqemu.PhyMemMode:1"]);
    command.args(["-ex", &format!("print/x {value}"), "-ex", &format!("set var {value} ^= {mask}")]);
    command.args(["-ex", &format!("print/x {value}")]);
    command.args(["-ex", "maintenance packet Qqemu.PhyMemMode:0", "-ex", "detach"]);
    let start = Instant::now();
    let (out, err, _) = proc::capture(GDB, &mut command, FLIP_LIMIT)?;
    let took = start.elapsed();
    let out = String::from_utf8_lossy(&out);
    match printed(&out) {
        Some((old, new)) => Ok(Said { old, new, took }),
        None => bail!(
            "{GDB} did not flip the bit at {address:#x}; it said:\n{out}{}",
            String::from_utf8_lossy(&err)
        ),
    }
}

/// The two values that gdb printed.
fn printed(text: &str) -> Option<(u8, u8)> {
    let value = |name: &str| byte(text.lines().find_map(|line| line.strip_prefix(name))?);
    Some((value("$1 = ")?, value("$2 = ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gdb_printed_is_read_among_what_else_it_says() {
        let text =
            "0x0000ffff in ?? ()\nsending: Qqemu\nreceived: \"OK\"\n$1 = 0x1f\n$2 = 0x1b\n[Inferior 1]\n";
        assert_eq!(printed(text), Some((0x1f, 0x1b)));
        assert_eq!(printed("$1 = 0x1f\nCannot access memory at address 0x40\n"), None);
        assert_eq!(printed("$1 = 0x100\n$2 = 0x1b\n"), None);
    }

    #[test]
    fn a_script_s_line_is_read_whole_or_not_at_all() {
        let expected = Said { old: 0, new: 0x80, took: Duration::from_millis(214) };
        assert_eq!(said("flip 0x0 0x80 0.214000000"), Some(expected));
        for bad in
            ["", "flip", "flip 0x0 0x80", "flip 0 0x80 1.0", "flip 0x0 0x80 -1.0", "flip 0x0 0x80 1.0 more"]
        {
            assert_eq!(said(bad), None, "{bad}");
        }
    }

    #[test]
    fn missed_intervals_are_counted_from_stop_to_stop() {
        let plan = [(0, 1, 20), (0, 1, 50), (0, 1, 100)];
        let at = |times: &[u64]| times.iter().map(|time| Some(VirtualNs(*time))).collect::<Vec<_>>();
        // The connection's own stop, one for each flip, and one after the end: the second came 7 ns late.
        assert_eq!(errors(&at(&[1000, 1020, 1077, 1177, 9000]), &plan, Attaches::Once), [0, 7, 0]);
        assert_eq!(errors(&at(&[1000, 1050, 1149]), &plan, Attaches::Always), [0, 1]);
        // A flip without a separate stop: which interval was missed is not known.
        assert_eq!(errors(&at(&[1000, 1020, 1070]), &plan, Attaches::Once), [0u64; 0]);
        assert_eq!(errors(&[], &[], Attaches::Always), [0u64; 0]);
        // A stop whose time was not read costs the two intervals beside it.
        let mut times = at(&[1000, 1020, 1070, 1170]);
        times[1] = None;
        assert_eq!(errors(&times, &plan, Attaches::Once), [0]);
    }
}
