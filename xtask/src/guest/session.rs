//! Taking hold of a guest: which one, what its memory looks like, and letting go of it in order.
//!
//! Invariant: a guest is left as it was found, whatever ends the command; a fresh one is stopped.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::fault::{
    Align, Borders, FaultSpace, FaultTarget, FlippableRegister, GuestNames, Pattern, RegSpace, TargetGuest,
    probe_registers,
};
use flipsim::files::Stream;
use flipsim::machine::folder::{RunDir, RunRecord};
use flipsim::machine::{Hold, HoldNote};
use flipsim::memory::{PhysRange, parse_iomem};
use flipsim::target::{AttachError, LiveTarget, Target, TargetError};
use flipsim::text::{glob_matches, hex_value, near_names, unhex_value};
use flipsim::units::{GuestPhys, Timing};
use flipsim::wire::net::Timeouts;

use super::choice::GuestChoice;
use super::errors::lookup_error;
use super::flags::{BitsArgs, KindArg, RamPlace};
use super::headless::HeadlessGuest;
use super::plan::runs_dir;
use super::snapshot;
use crate::exit::{Code, ExitWith, exit_error};
use crate::interrupt;
use crate::lab::config::Config;

/// The longest /proc/iomem that is read, in bytes; real ones have a few kilobytes.
const LONGEST_MAP: u64 = 1 << 20;

/// A guest that this command has hold of.
pub struct Session {
    arch: Arch,
    pub target: LiveTarget,
    /// An exception storm stops the guest for as long as it is held.
    watches_storms: bool,
    pub hold: Option<Hold>,
    pub names: GuestNames,
    pub run: Option<(RunDir, RunRecord)>,
    /// The guest that was booted for this command.
    fresh: Option<HeadlessGuest>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // On the way out of a command that failed. The note stays where the guest could not be let go,
        // and the next command puts it right.
        let _ = self.release();
    }
}

fn attach_error(error: AttachError) -> anyhow::Error {
    use flipsim::wire::gdb::GdbError;
    use flipsim::wire::qmp::QmpError;
    let code = match &error {
        AttachError::Gdb(GdbError::Connect(_)) | AttachError::Qmp(QmpError::Connect(_)) => Code::Missing,
        AttachError::Dead { .. }
        | AttachError::Gdb(GdbError::Closed { .. } | GdbError::TimedOut { .. } | GdbError::Exited(_))
        | AttachError::Qmp(QmpError::Closed { .. } | QmpError::TimedOut { .. }) => Code::GuestLost,
        _ => return error.into(),
    };
    exit_error(code, error.to_string())
}

impl Session {
    /// Takes hold of the chosen guest, which is stopped from here on.
    pub fn attach(choice: &GuestChoice) -> Result<Session> {
        choice.check()?;
        let fresh = choice.fresh.then(|| choice.boot()).transpose()?;
        let (gdb, qmp, iomem, vmlinux, run) = match &choice.socket {
            Some(socket) => {
                let read = |path: &PathBuf| {
                    Stream::open(path, interrupt::check_read)
                        .and_then(|file| file.text(LONGEST_MAP))
                        .with_context(|| format!("cannot read the memory map {}", path.display()))
                        .exit_with(Code::Usage)
                };
                let iomem = choice.iomem.as_ref().map(read).transpose()?;
                if let Some(text) = &iomem {
                    // Before the guest is looked at: what is wrong is the file.
                    parse_iomem(text).exit_with(Code::Usage)?;
                }
                (socket.clone(), choice.qmp.clone(), iomem, choice.spec.vmlinux.clone(), None)
            }
            None => {
                let (run, record) = match &fresh {
                    Some(guest) => (RunDir::at(guest.run.path()), guest.record.clone()),
                    None => {
                        RunDir::find_running(&runs_dir()?, choice.guest.as_deref()).map_err(lookup_error)?
                    }
                };
                let (gdb, qmp) = (run.gdb(&record)?, run.qmp());
                (gdb, Some(qmp), run.iomem(), record.vmlinux.clone(), Some((run, record)))
            }
        };
        let arch = match (&run, choice.spec.arch) {
            (Some((_, record)), _) => record.arch,
            (None, Some(arch)) => arch,
            (None, None) => Config::load()?.guest.arch,
        };
        let mut hold = run.as_ref().map(|(run, _)| run.hold()).transpose().map_err(lookup_error)?;
        // A guest that has ended since can be restored where a command that was killed has left a snapshot.
        let left = hold.as_ref().and_then(Hold::left_behind);
        let attach = match left.is_some_and(|left| left.snapshot.is_some()) {
            true => LiveTarget::attach_even_ended,
            false => LiveTarget::attach,
        };
        let attached = attach(&gdb, qmp.as_ref(), Timeouts::default());
        let mut target = attached.map_err(|error| match (&error, &run) {
            (AttachError::Dead { .. }, Some((_, record))) => exit_error(
                Code::GuestLost,
                format!("{error}; end it with `cargo xtask boot stop {}`, and boot a new one", record.name),
            ),
            _ => attach_error(error),
        })?;
        target.interrupt_by(interrupt::raised);
        if let Some(hold) = &mut hold {
            if let Some(left) = hold.left_behind() {
                put_right(&mut target, left)?;
            }
            hold.note(&HoldNote { was_running: target.was_running(), ..HoldNote::default() })?;
        }
        let watches_storms = target.can_stop_at_storms();
        if watches_storms {
            // No time passes for a guest that is in one, or next to none, and it would be waited for in vain.
            target.stop_at_storms().exit_with(Code::GuestLost)?;
        }
        let map = target.memory_map(iomem.as_deref()).map_err(attach_error)?;
        let names = GuestNames::read(map, vmlinux.as_deref(), &arch, &mut target);
        for line in names.map.disagreements() {
            eprintln!("warning: {line}");
        }
        Ok(Session { arch, target, watches_storms, hold, names, run, fresh })
    }

    /// Whether times are exact.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.target.timing() == Timing::Exact
    }

    /// Whether the guest was booted for this command.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh.is_some()
    }

    /// Notes what the next command must put right, were this one killed.
    pub fn note(&mut self, note: HoldNote) -> Result<()> {
        match &mut self.hold {
            Some(hold) => Ok(hold.note(&note)?),
            None => Ok(()),
        }
    }

    /// Lets the guest run freely.
    pub fn let_run(&mut self) -> Result<(), TargetError> {
        self.target.resume()
    }

    /// Lets go of the guest, with nothing to say about it.
    pub fn finish_quietly(mut self) -> Result<()> {
        self.release().exit_with(Code::GuestLost)
    }

    /// Lets go of the guest; a fresh one is stopped.
    pub fn release(&mut self) -> Result<(), TargetError> {
        if self.watches_storms && self.fresh.is_none() {
            self.watches_storms = false;
            // A guest that takes no command any more is lost, which is said below.
            let _ = self.target.let_storms_be();
        }
        let released = self.target.release();
        if let Some(guest) = self.fresh.take() {
            // No other command knows of it, and its watcher ends with us in any case.
            let _ = guest.stop();
            return Ok(());
        }
        released?;
        if let Some(hold) = &mut self.hold {
            // A note that cannot be taken away says that the guest ran, or not, as it does now.
            let _ = hold.clear();
        }
        Ok(())
    }

    /// The faults in RAM or in registers, as the place says; the globs are for registers.
    pub fn space(
        &mut self,
        kind: KindArg,
        place: &RamPlace,
        globs: &[String],
        bits: &BitsArgs,
    ) -> Result<FaultSpace> {
        let space = match kind {
            KindArg::Ram => self.ram_space(place, bits.pattern()),
            KindArg::Reg => self.reg_space(globs, bits.pattern()),
        };
        bits.under(space?)
    }

    /// The bytes of a kernel symbol, `NAME` or `NAME+OFFSET`.
    pub fn symbol(&self, name: &str) -> Result<PhysRange> {
        self.names.symbol(name).exit_with(Code::Usage)
    }

    /// The faults at a place in RAM.
    pub fn ram_space(&mut self, args: &RamPlace, pattern: Pattern) -> Result<FaultSpace> {
        let mut targets: Vec<FaultTarget> = args.region.iter().cloned().map(FaultTarget::Region).collect();
        for name in &args.symbol {
            targets.push(FaultTarget::Range(self.symbol(name)?));
        }
        for address in &args.address {
            // A pattern wider than a byte needs the bytes behind the address as well.
            let last = GuestPhys(address.0.saturating_add(pattern.bytes() - 1));
            targets.push(FaultTarget::Range(PhysRange { first: *address, last }));
        }
        targets.extend(args.range.iter().copied().map(FaultTarget::Range));
        if targets.is_empty() {
            targets.push(FaultTarget::Ram);
        }
        let guest = TargetGuest { names: &self.names, registers: &[], profile: None, used: None };
        // What was chosen apart stays apart: no pattern reaches from one choice into the next.
        FaultSpace::of(&targets, pattern, Align::BYTE, &guest, Borders::Kept).exit_with(Code::Usage)
    }

    /// The faults in registers.
    pub fn reg_space(&mut self, globs: &[String], pattern: Pattern) -> Result<FaultSpace> {
        let registers = self.registers(globs)?;
        Ok(FaultSpace::Reg(RegSpace::new(&registers, pattern).exit_with(Code::Usage)?))
    }

    /// The registers that match, probed; every one when no glob is given.
    pub fn registers(&mut self, globs: &[String]) -> Result<Vec<FlippableRegister>> {
        for glob in globs {
            if !self.target.registers().iter().any(|register| glob_matches(glob, &register.name)) {
                let near =
                    near_names(glob, self.target.registers().iter().map(|register| register.name.as_str()));
                bail!(exit_error(
                    Code::Usage,
                    format!(
                        "no register matches `{glob}`{near}; `cargo xtask inject list reg` shows them all"
                    )
                ));
            }
        }
        let wanted = |name: &str| globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, name));
        let was_running = self.target.was_running();
        let hold = &mut self.hold;
        // Were we killed in the middle of the probe, the next command would have to restore these.
        let found = probe_registers(&mut self.target, &self.arch, wanted, |values| -> Result<()> {
            let Some(hold) = hold else { return Ok(()) };
            let registers = values.iter().map(|(name, value)| (name.clone(), hex_value(value))).collect();
            Ok(hold.note(&HoldNote { was_running, registers, snapshot: None })?)
        })
        .exit_with(Code::GuestLost)?;
        if let Some(hold) = &mut self.hold {
            hold.note(&HoldNote { was_running, ..HoldNote::default() })?;
        }
        Ok(found)
    }
}

/// Puts right what a killed command left: registers that it was probing, and whether the guest runs.
fn put_right(target: &mut LiveTarget, left: &HoldNote) -> Result<()> {
    let mut restored = 0;
    for (name, value) in &left.registers {
        let Some(index) = target.registers().iter().position(|register| register.name == *name) else {
            continue;
        };
        let Some(bytes) = unhex_value(value) else { continue };
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
    if let Some(tag) = &left.snapshot {
        // It may have been killed before there was one.
        let snapshots = target.monitor("info snapshots").exit_with(Code::GuestLost)?;
        snapshot::restore(target, tag, snapshots.contains(tag.as_str()))?;
        eprintln!("note: the guest is back at its snapshot {tag}, which was deleted");
    }
    Ok(())
}
