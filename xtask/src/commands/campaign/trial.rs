//! `campaign trial`: one trial by hand.
//!
//! Invariant: the same line gives the same result, always.

use std::io::BufRead;
use std::path::Path;

use anyhow::{Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use flipsim::fault::{Fault, GuestNames, Operation};
use flipsim::memory::PhysRange;
use flipsim::target::{TargetError, describe};
use flipsim::text::hex_value;
use flipsim::text::visible;
use flipsim::trial::golden::{Golden, Looks};
use flipsim::trial::{
    Heard, Outcome, RestoreMethod, RunError, Runner, Step, TrialOptions, TrialPlan, TrialRecord, Worker,
};
use flipsim::units::{GuestPhys, VirtualNs, format_duration, parse_number, parse_virtual};
use serde::{Deserialize, Serialize};

use super::diff::Diff;
use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::consent;
use crate::guest::errors::{is_infra, run_error};
use crate::guest::golden::{Prepared, TrialGuest, length_of, note_missing, prepare};
use crate::guest::template::clones_dir;
use crate::{interrupt, paths};

/// How often a trial is started again when QEMU or the way to it is lost.
const ATTEMPTS: u32 = 3;

/// Run one trial: a fault at a time, compared with the golden run, judged.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign trial --at 12.5ms --ram 0x46000000:3
  cargo xtask campaign trial --at 100ms --reg x19:5 --workload sha256
  cargo xtask campaign trial --at 30ms --ram jiffies:0 --diff
  cargo xtask campaign trial --at 30ms --ram do_idle --mask 0x14000000 --json
  cargo xtask campaign trial --at 100ms --reg pc:40 --gdb

Times count from the quiescent point (READY). A bit is counted from the lowest of the byte at the address,
or of the register. The outcomes are in docs/trials.md.")]
pub struct Args {
    /// When, from the quiescent point on
    #[arg(long, value_parser = parse_virtual, value_name = "TIME")]
    at: VirtualNs,
    /// A bit of RAM: ADDRESS:BIT or SYMBOL[+OFFSET]:BIT; without :BIT with --mask
    #[arg(long, value_name = "PLACE:BIT", required_unless_present = "reg", conflicts_with = "reg")]
    ram: Option<String>,
    /// A bit of a register: NAME:BIT; without :BIT with --mask
    #[arg(long, value_name = "NAME:BIT")]
    reg: Option<String>,
    /// Exactly these bits, in place of one
    #[arg(long, value_parser = parse_number, value_name = "MASK")]
    mask: Option<u64>,
    /// What is done to them: flip, set0, set1, overwrite:NUMBER, skip or opcode:NUMBER (of pc), stuck0, stuck1, stuck (each
    /// with "for 5ms", or "for 100us every 1ms" behind it), nothing
    #[arg(long, value_name = "OPERATION", default_value = "flip", hide_default_value = true)]
    operation: Operation,
    /// Flip it back at this time
    #[arg(long, value_parser = parse_virtual, value_name = "TIME")]
    back_at: Option<VirtualNs>,
    /// Show how the fault has spread, at each checkpoint and while the guest is late: pages, registers, devices
    #[arg(long, conflicts_with = "gdb")]
    diff: bool,
    /// Stop right after the flip and wait for a debugger
    #[arg(long, conflicts_with = "json")]
    gdb: bool,
    /// The record as a JSON line, for `replay`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    guest: TrialGuest,
}

/// How trials are run.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct How {
    /// How the guest is restored
    #[arg(long, value_parser = restore_methods(), default_value = "rewind")]
    pub restore: RestoreMethod,
    /// A guest hangs that is not done after so many times the golden run's length
    #[arg(long, default_value_t = 3.0, value_name = "N")]
    pub hang_factor: f64,
    /// Go on to the end where the state is the golden run's again
    #[arg(long)]
    pub no_early_stop: bool,
}

/// The methods as the values of a flag.
pub fn restore_methods() -> impl TypedValueParser<Value = RestoreMethod> {
    let value = |method: RestoreMethod| PossibleValue::new(method.name()).help(method.summary());
    PossibleValuesParser::new(RestoreMethod::ALL.map(value))
        .try_map(|name| RestoreMethod::named(&name).ok_or("no such method"))
}

impl How {
    /// The same for the library.
    pub fn options(&self) -> Result<TrialOptions> {
        if !(1.0..=1000.0).contains(&self.hang_factor) {
            bail!(exit_error(Code::Usage, format!("--hang-factor {}: from 1 to 1000", self.hang_factor)));
        }
        let restore = self.restore;
        Ok(TrialOptions {
            restore,
            hang_factor: self.hang_factor,
            early_stop: !self.no_early_stop,
            interrupted: interrupt::raised,
            ..TrialOptions::default()
        })
    }
}

/// A trial with its guest, as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialLine {
    pub guest: TrialGuest,
    /// How the trial was run, as far as its record depends on it.
    pub hang_factor: f64,
    pub early_stop: bool,
    pub spacing: VirtualNs,
    /// Which checkpoints it looked at; at each, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks: Option<Looks>,
    pub trial: TrialRecord,
}

/// Runs `campaign trial`.
pub fn run(args: &Args) -> Result<()> {
    let options = args.how.options()?;
    let Prepared { template, golden } = prepare(&args.guest, None)?;
    note_missing(&template, options.restore);
    let parent = clones_dir()?;
    let mut worker = Worker::new(&template, &golden, &parent, options);
    let names = names(&mut worker)?;
    let fault = match (&args.ram, &args.reg) {
        (Some(place), _) => ram_fault(place, args.mask, &names)?,
        (None, Some(place)) => reg_fault(place, args.mask, &mut worker)?,
        (None, None) => bail!(exit_error(Code::Usage, "say what flips: --ram ADDRESS:BIT or --reg NAME:BIT")),
    };
    let fault = fault.with(args.operation);
    let plan = TrialPlan { back_after: args.back_at, ..TrialPlan::one(args.at, fault) };
    plan.check(&golden).map_err(|why| exit_error(Code::Usage, why))?;
    if !args.json {
        let flip = VirtualNs(golden.begin().0.saturating_add(args.at.0));
        outln!(
            "golden run: {}, {} checkpoints, {} apart; {} of them are looked at",
            length_of(&golden),
            golden.checkpoints.len(),
            golden.spacing,
            golden.looks(flip, None).len()
        );
    }
    let watch = Watch { verbose: !args.json, diff: args.diff, gdb: args.gdb, plan: &plan };
    let record = run_trial(&mut worker, &plan, &names, &watch);
    let Some(record) = record? else { return Ok(()) };
    if args.json {
        let line = TrialLine {
            guest: TrialGuest { spec: args.guest.spec.clone().rooted(Path::new("."))?, ..args.guest.clone() },
            hang_factor: args.how.hang_factor,
            early_stop: !args.how.no_early_stop,
            spacing: golden.spacing,
            looks: golden.looks.clone(),
            trial: record,
        };
        // So that `replay` of this line asks nothing.
        consent::trial_made_here(&line.guest, &line.trial.template);
        outln!("{}", serde_json::to_string(&line)?);
        return result(&line.trial);
    }
    show(&record, golden.begin());
    result(&record)
}

/// The guest's names, read off a first process; another one when that is lost.
pub fn names(worker: &mut Worker<'_>) -> Result<GuestNames> {
    let template = worker.template();
    let mut attempt = 1;
    loop {
        let standing = worker.stand_by().map_err(run_error);
        let read = standing.and_then(|runner| Ok(runner.names(template)?));
        match read {
            Err(error) if attempt < ATTEMPTS && !interrupt::raised() => {
                eprintln!("note: {error:#}; the guest is started again");
                worker.restart();
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// `PLACE:BIT`, or `PLACE` with a mask; the mask as bytes, the lowest first, without zeroes at its end.
fn split_bit(text: &str, mask: Option<u64>) -> Result<(&str, Vec<u8>)> {
    let usage = |text: String| exit_error(Code::Usage, text);
    match (text.rsplit_once(':'), mask) {
        (None, Some(0)) => Err(usage("--mask 0 flips nothing".to_owned())),
        (None, Some(mask)) => {
            let bytes = usize::try_from((64 - mask.leading_zeros()).div_ceil(8))?;
            Ok((text, mask.to_le_bytes()[..bytes].to_vec()))
        }
        (Some((place, bit)), None) => {
            let bit = parse_number(bit).exit_with(Code::Usage)?;
            let bit = usize::try_from(bit).ok().filter(|bit| *bit < 2048);
            let bit = bit.ok_or_else(|| usage(format!("the bit of `{text}`: from 0 to 2047")))?;
            let mut mask = vec![0; bit / 8 + 1];
            mask[bit / 8] = 1 << (bit % 8);
            Ok((place, mask))
        }
        (None, None) => Err(usage(format!("`{text}` does not say which bit: {text}:3, or --mask"))),
        (Some(_), Some(_)) => Err(usage("a bit and --mask are too much: choose one".to_owned())),
    }
}

fn ram_fault(text: &str, mask: Option<u64>, names: &GuestNames) -> Result<Fault> {
    let (place, mask) = split_bit(text, mask)?;
    let first = match parse_number(place) {
        Ok(address) => GuestPhys(address),
        Err(_) => names.symbol(place).exit_with(Code::Usage)?.first,
    };
    // The first byte that flips is the fault's address.
    let from = mask.iter().position(|byte| *byte != 0).unwrap_or(0);
    let address = GuestPhys(first.0.saturating_add(from as u64));
    let last = GuestPhys(first.0.saturating_add(mask.len() as u64 - 1));
    names.map.check_ram(PhysRange { first: address, last }).exit_with(Code::Usage)?;
    Ok(Fault::in_ram(address, mask[from..].to_vec()))
}

fn reg_fault(text: &str, mask: Option<u64>, worker: &mut Worker<'_>) -> Result<Fault> {
    use flipsim::target::Target;
    let (name, mut mask) = split_bit(text, mask)?;
    let arch = worker.template().info().plan.spec.arch;
    let target = worker.stand_by().map_err(run_error)?.guest.target();
    let found = target.registers().iter().find(|register| register.name.eq_ignore_ascii_case(name)).cloned();
    let Some(register) = found else {
        bail!(exit_error(
            Code::Usage,
            format!("no register is called `{name}`; `cargo xtask inject list reg` shows them all")
        ));
    };
    let highest = mask.len() * 8 - mask.last().map_or(8, |byte| byte.leading_zeros() as usize);
    if highest > register.bits as usize {
        let text = format!("`{name}` has bits 0 to {}", register.bits - 1);
        bail!(exit_error(Code::Usage, text));
    }
    mask.resize(register.bytes(), 0);
    let held = arch.held_bits(&register.name, &register.class);
    if mask.iter().zip(held.to_le_bytes()).any(|(mask, held)| mask & held != 0) {
        let text =
            format!("bits {held:#x} of `{name}` do not exist or cannot be flipped under QEMU; choose others");
        bail!(exit_error(Code::Usage, text));
    }
    Ok(Fault::in_register(register.name, mask))
}

/// How much is shown.
pub struct Watch<'a> {
    pub verbose: bool,
    pub diff: bool,
    pub gdb: bool,
    pub plan: &'a TrialPlan,
}

/// One trial, started again when QEMU is lost; `None` once a debugger had it.
pub fn run_trial(
    worker: &mut Worker<'_>,
    plan: &TrialPlan,
    names: &GuestNames,
    watch: &Watch<'_>,
) -> Result<Option<TrialRecord>> {
    let mut attempt = 1;
    loop {
        let mut debugged = false;
        let (template, golden) = (worker.template(), worker.golden());
        let mut diff = Diff::new(template, golden, names);
        let result = worker.trial(plan, Some(names), &mut |step, runner| {
            if watch.verbose {
                tell(&step, golden, watch.plan, names);
            }
            match step {
                Step::Flipped(Ok(_)) if watch.gdb => {
                    debugged = true;
                    debug(runner)
                }
                Step::Checkpoint { golden: checkpoint, .. } if watch.diff => {
                    diff.at_checkpoint(runner, checkpoint)
                }
                Step::Late(_) if watch.diff => diff.late(runner),
                _ => Ok(()),
            }
        });
        match result {
            _ if debugged => return Ok(None),
            // QEMU stopped it for its own reason: that may not come again.
            Ok(record) if record.outcome == Some(Outcome::Infra) && attempt < ATTEMPTS => {
                worker.restart();
                attempt += 1;
            }
            Ok(record) => return Ok(Some(TrialRecord { attempts: attempt, ..record })),
            Err(error) if attempt < ATTEMPTS && is_infra(&error) => {
                eprintln!("note: {error}; the trial is started again");
                worker.restart();
                attempt += 1;
            }
            Err(error) => return Err(run_error(error)),
        }
    }
}

/// Hands the stopped guest to a debugger until Enter or Ctrl-C is pressed.
fn debug(runner: &mut Runner) -> Result<(), RunError> {
    let socket = paths::show(&runner.guest.folder().join(flipsim::machine::spec::GDB_SOCKET));
    runner.guest.target().release()?;
    outln!("the guest stands right after the flip; attach a debugger:");
    outln!("  gdb-multiarch -ex 'target remote {socket}'");
    outln!("Enter or Ctrl-C ends it.");
    let (sent, line) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_line(&mut text);
        // Without a terminal only a signal ends it.
        if read.is_ok_and(|count| count > 0) {
            let _ = sent.send(());
        } else {
            std::thread::park();
        }
    });
    while !interrupt::raised() && line.recv_timeout(std::time::Duration::from_millis(100)).is_err() {}
    Err(TargetError::Interrupted.into())
}

fn since(time: VirtualNs, begin: VirtualNs) -> String {
    VirtualNs(time.0.saturating_sub(begin.0)).to_string()
}

/// One step as a line.
fn tell(step: &Step<'_>, golden: &Golden, plan: &TrialPlan, names: &GuestNames) {
    let (begin, exact) = (golden.begin(), golden.capabilities.stop_at);
    match step {
        Step::Arrived(at) => match exact {
            true => outln!("at {}: the guest's clock shows {} ns", since(*at, begin), at.0),
            false => outln!("at about {}", since(*at, begin)),
        },
        Step::Flipped(result) => {
            let (place, mask) = (plan.fault.place(), hex_value(plan.fault.mask()));
            let place = match plan.fault.address() {
                Some(address) => {
                    format!("ram {place} mask {mask} ({})", visible(&names.describe(address)))
                }
                None => format!("register {place} mask {mask}"),
            };
            let operation = plan.fault.operation();
            match result {
                Ok(flip) if flip.old == flip.new && !operation.holds_on() => {
                    outln!("{operation} {place}: {}, which changes nothing", hex_value(&flip.old));
                }
                Ok(flip) => {
                    outln!("{operation} {place}: {} -> {}", hex_value(&flip.old), hex_value(&flip.new))
                }
                Err(error) => outln!("{operation} {place}: NOT FLIPPED: {}", visible(&error.to_string())),
            }
        }
        Step::Checkpoint { golden, state, console } => {
            let console = match (*console, exact) {
                (true, _) => "",
                (false, true) => "; the console says something else",
                // One of the two may be a little ahead.
                (false, false) => "; the console is not the same now",
            };
            let state = match state.zip(golden.state.as_ref()) {
                None => "reached".to_owned(),
                Some((here, golden)) if here.is_same(golden) => "equal to the golden run".to_owned(),
                Some((here, golden)) => format!("differs: {}", describe(golden, here)),
            };
            outln!("checkpoint {}: {state}{console}", since(golden.at, begin));
        }
        Step::Late(at) => outln!("at {}: not done yet", since(*at, begin)),
    }
}

/// Its result, for people.
pub fn show(record: &TrialRecord, begin: VirtualNs) {
    let Some(outcome) = record.outcome else {
        let why = record.error.as_ref().map(|why| format!(" ({})", visible(why))).unwrap_or_default();
        outln!("no outcome: the flip did not take{why}");
        return;
    };
    if let Some(instruction) = &record.instruction {
        let what = if record.plan.fault.operation() == Operation::Skip { "skipped" } else { "instruction" };
        outln!("{what}: {}", visible(instruction));
    }
    for (planned, struck) in record.plan.more.iter().zip(&record.more) {
        let (fault, when) = (&planned.fault, since(VirtualNs(struck.flip_ns), begin));
        let what = match struck.flipped {
            true => format!("{} -> {}", visible(&struck.old), visible(&struck.new)),
            false => "not any more, as the guest had ended".to_owned(),
        };
        outln!(
            "{} {} mask {} at {when}: {what}",
            fault.operation(),
            visible(&fault.place()),
            hex_value(fault.mask())
        );
    }
    let at = |ns: Option<u64>| ns.map(|ns| since(VirtualNs(ns), begin));
    let mut parts = Vec::new();
    if let Some(why) = &record.output_only_because {
        outln!("only the output was compared: {}", visible(why));
    }
    if let Some(at) = at(record.converged_ns) {
        parts.push(format!("converged at {at}"));
    }
    if let Some(end) = record.end {
        let end = serde_json::to_value(end).ok().and_then(|end| end.as_str().map(str::to_owned));
        parts.push(format!("{} at {}", end.unwrap_or_default(), since(VirtualNs(record.end_ns), begin)));
    }
    if let Some(title) = &record.title {
        parts.push(visible(title));
    }
    // At a checkpoint it is only known that it was since the one before.
    let how = if record.heard == Heard::Byte { "at" } else { "by" };
    if let Some(at) = at(record.detected_ns) {
        parts.push(format!("noticed {how} {at}"));
    }
    if let Some(at) = at(record.console_differs_ns) {
        parts.push(format!("console differs {how} {at}"));
    }
    if let Some(state) = &record.state {
        if let Some(pages) = state.pages_differ {
            let (s, differ) = if pages == 1 { ("", "differs") } else { ("s", "differ") };
            parts.push(format!("{pages} page{s} {differ} at the end"));
        }
        if !state.registers.is_empty() {
            let names: Vec<&str> = state.registers.iter().map(|register| register.name.as_str()).collect();
            parts.push(format!("registers differ: {}", names.join(" ")));
        }
    }
    parts.extend(record.counts.iter().map(|(name, count)| format!("{} {count}", visible(name))));
    let why = if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) };
    outln!("{}{why}", outcome.name());
    if let Some(because) = &record.because {
        outln!("because {}", visible(&because.to_string()));
    }
    let micros = |us: u64| format_duration(std::time::Duration::from_micros(us));
    let costs = record.costs;
    eprintln!(
        "took {}: restored {}, run to the flip {}, marked {}, run on {}, compared {}",
        micros(costs.total_us),
        micros(costs.restore_us),
        micros(costs.walk_us),
        micros(costs.mark_us),
        micros(costs.run_us),
        micros(costs.compare_us)
    );
}

/// An outcome is a result; only what is ours is a failure.
fn result(record: &TrialRecord) -> Result<()> {
    match record.outcome {
        None => bail!(exit_error(Code::NotFlipped, "the flip did not take; the record says why")),
        Some(Outcome::Infra) => {
            let text = format!("{}; this trial says nothing", record.lost_because());
            bail!(exit_error(Code::GuestLost, text))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::spec::GuestSpec;

    #[test]
    fn a_place_has_a_bit_or_a_mask() {
        assert_eq!(split_bit("0x40851000:3", None).unwrap(), ("0x40851000", vec![8]));
        assert_eq!(split_bit("v3:70", None).unwrap(), ("v3", vec![0, 0, 0, 0, 0, 0, 0, 0, 0x40]));
        assert_eq!(split_bit("do_idle", Some(0x8100)).unwrap(), ("do_idle", vec![0, 0x81]));
        for (text, mask, part) in [
            ("x19", None, "does not say which bit"),
            ("x19:2048", None, "from 0 to 2047"),
            ("x19:5", Some(1), "too much"),
            ("x19", Some(0), "flips nothing"),
            ("x19:y", None, "not a number"),
        ] {
            let error = split_bit(text, mask).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn each_restore_method_is_a_value_of_its_flag() {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            how: How,
        }
        let parse = |words: &[&str]| {
            <Flags as clap::Parser>::try_parse_from([&["x"], words].concat()).map(|flags| flags.how.restore)
        };
        assert_eq!(parse(&[]).unwrap(), RestoreMethod::Rewind);
        for method in RestoreMethod::ALL {
            assert_eq!(parse(&["--restore", method.name()]).unwrap(), method);
        }
        let error = parse(&["--restore", "reboot"]).unwrap_err().to_string();
        assert!(error.contains("[possible values: rewind, clone, loadvm]"), "{error}");
    }

    #[test]
    fn a_guest_survives_its_line() {
        let guest = TrialGuest {
            window: Some(VirtualNs(5)),
            spec: GuestSpec { workload: Some("fs".into()), ..GuestSpec::default() },
        };
        let text = serde_json::to_string(&guest).unwrap();
        assert_eq!(serde_json::from_str::<TrialGuest>(&text).unwrap(), guest);
    }
}
