//! A guest without a terminal: started, waited for, and stopped.
//!
//! Invariant: **it hangs on its watcher, which hangs on this command until the guest is released.**

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::files;
use flipsim::machine::boot::{BootError, Ready, rest, step as step_boot, wait_ready};
use flipsim::machine::folder::{RunDir, RunRecord};
use flipsim::machine::spec::{CONSOLE_LOG, Console};
use flipsim::machine::watch::RELEASE;
use flipsim::machine::{process, pvpanic};
use flipsim::memory::MemoryMap;
use flipsim::target::{LiveTarget, Target};
use flipsim::trial::judge::alone::state_word;
use flipsim::units::{Timing, VirtualNs, format_duration};
use flipsim::wire::net::Timeouts;
use flipsim::wire::qmp::QmpClient;

use super::errors::boot_error;
use super::plan::GuestArgs;
use crate::exit::{Code, ExitWith, exit_error};
use crate::interrupt::{self, Interrupted};
use crate::progress::ProgressStep;

/// A guest that is ready and still hangs on this command.
pub struct HeadlessGuest {
    /// Its folder.
    pub run: RunDir,
    /// What it is.
    pub record: RunRecord,
    /// How its boot went; `None` for one that waits for a debugger.
    pub ready: Option<Ready>,
    /// Where its exact clock stands; `None` for one that runs.
    pub stands_at: Option<VirtualNs>,
    /// Where its memory map and QEMU's differ.
    pub disagreements: Vec<String>,
    /// What the guest lacks that a lab guest has, and what is done without it.
    pub lacks: Vec<&'static str>,
    watcher: Child,
    leash: ChildStdin,
}

/// Starts a guest and waits until it is ready. It ends with this process unless it is released.
///
/// With `no_wait` a guest that answers at its monitor counts as started, whatever its console says.
pub fn start_headless(args: &GuestArgs, timeout: Duration, no_wait: bool) -> Result<HeadlessGuest> {
    let planned = args.plan(Console::Socket)?;
    let signals = planned.signals.clone();
    let (run, spec, _, starting) = planned.prepare(args.name.as_deref())?;
    let log = files::start_again(&run.file("watch.log")).context("cannot write the watcher's log")?;
    // By this name the very program that runs, even where cargo has put another in its place meanwhile.
    let mut command = Command::new("/proc/self/exe");
    std::os::unix::process::CommandExt::arg0(&mut command, "xtask");
    command.arg("guest-watch").arg(run.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    // A separate process group: neither Ctrl-C nor the end of the terminal is meant for the guest.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut watcher = command.spawn().context("cannot start the guest's watcher")?;
    let leash = watcher.stdin.take().context("the watcher has no standard input")?;
    let mut alive = || watcher.try_wait().is_ok_and(|status| status.is_none());
    if args.debug || no_wait {
        let _step = ProgressStep::quiet("Waiting for QEMU's monitor");
        loop {
            interrupt::sleep(Duration::from_millis(20))?;
            if !alive() {
                bail!(watcher_error(&run));
            }
            // Only a monitor that answers shows that QEMU took its arguments and made its sockets.
            if QmpClient::connect(&run.qmp(), Timeouts::default()).is_ok_and(|mut qmp| qmp.status().is_ok()) {
                break;
            }
        }
        let record = run.load()?;
        drop(starting);
        let (ready, stands_at, disagreements, lacks) = (None, None, Vec::new(), Vec::new());
        return Ok(HeadlessGuest { run, record, ready, stands_at, disagreements, lacks, watcher, leash });
    }
    let step = ProgressStep::spinner(format!("Booting guest {}", run.name()));
    let mut stepped = match spec.start_stopped {
        true => attach_new(&run, timeout, &mut alive)?,
        false => None,
    };
    let share = spec.share.as_deref();
    let on_line = |line: &str| step.line(line);
    let pause = |length| match &mut stepped {
        Some(target) => step_boot(target, length),
        None => rest(length),
    };
    let patience = args.spec.patience(timeout);
    let booted = wait_ready(&run, share, &signals, patience, &mut alive, interrupt::raised, on_line, pause);
    let ready = match booted {
        Ok(ready) => ready,
        Err(BootError::Interrupted) => return Err(Interrupted.into()),
        Err(BootError::Ended { .. }) if run.load()?.process.is_none_or(|p| !p.is_alive()) => {
            bail!(watcher_error(&run));
        }
        Err(error) => return Err(boot_error(error)),
    };
    step.done_with(&format!("ready after {}", format_duration(ready.took)));
    let stands_at = match &mut stepped {
        Some(target) => target.virtual_time().exit_with(Code::GuestLost)?,
        None => None,
    };
    drop(stepped);
    let record = run.load()?;
    drop(starting);
    let mut qmp = QmpClient::connect(&run.qmp(), Timeouts::default())?;
    let map = MemoryMap::new(run.iomem().as_deref(), &qmp.hmp("info mtree -f")?)?;
    let disagreements = map.disagreements().to_vec();
    let lacks = lacks(ready.has_iomem, &mut qmp, &record.arch)?;
    Ok(HeadlessGuest { run, record, ready: Some(ready), stands_at, disagreements, lacks, watcher, leash })
}

/// What a guest lacks that a lab guest has, and what is done without it.
pub fn lacks(has_iomem: bool, qmp: &mut QmpClient, arch: &Arch) -> Result<Vec<&'static str>> {
    let no_iomem = (!has_iomem).then_some(
        "the guest gave no /proc/iomem: its regions are QEMU's RAM blocks, and `ram` is all of them",
    );
    let no_pvpanic = (pvpanic::is_driven(qmp, arch)? == Some(false)).then_some(
        "no driver has taken pvpanic so far: a panic is known by the console, or by the reset of `panic=-1`",
    );
    Ok(no_iomem.into_iter().chain(no_pvpanic).collect())
}

/// Takes hold of a guest that has just been started stopped; `None` once it has ended.
fn attach_new(
    run: &RunDir,
    timeout: Duration,
    alive: &mut impl FnMut() -> bool,
) -> Result<Option<LiveTarget>> {
    let end = std::time::Instant::now() + timeout;
    loop {
        let late = std::time::Instant::now() > end;
        let target = run
            .load()
            .and_then(|record| run.gdb(&record))
            .map_err(anyhow::Error::from)
            .and_then(|gdb| Ok(LiveTarget::attach(&gdb, Some(&run.qmp()), Timeouts::default())?));
        match target {
            Ok(mut target) => {
                if target.timing() != Timing::Exact {
                    let text = "this QEMU cannot stop at a virtual time (it lacks the lab's patches); use --clock real, or `cargo xtask setup qemu --reset`";
                    bail!(exit_error(Code::Usage, text));
                }
                target.interrupt_by(interrupt::raised);
                return Ok(Some(target));
            }
            // Its end is reported by the code that waits for its console.
            Err(_) if !alive() => return Ok(None),
            Err(error) if late => return Err(error),
            Err(_) => interrupt::sleep(Duration::from_millis(10))?,
        }
    }
}

/// Why a headless guest did not get going, in the words of its watcher, or else of QEMU.
fn watcher_error(run: &RunDir) -> anyhow::Error {
    let words = std::fs::read_to_string(run.file("watch.log")).unwrap_or_default();
    let words = words.trim().trim_start_matches("error: ");
    let words = if words.is_empty() {
        BootError::Ended { qemu: run.qemu_log_tail(), log: run.file(CONSOLE_LOG) }.to_string()
    } else {
        words.to_owned()
    };
    exit_error(Code::GuestLost, words)
}

impl HeadlessGuest {
    /// Hands the guest over: it runs on when this process ends.
    pub fn release(mut self) -> Result<()> {
        self.leash.write_all(&[RELEASE]).context("the guest's watcher has ended")?;
        self.leash.flush().context("the guest's watcher has ended")
    }

    /// Stops the guest.
    pub fn stop(mut self) -> Result<()> {
        stop_run(&self.run, &self.record)?;
        drop(self.leash);
        let _ = self.watcher.wait();
        Ok(())
    }
}

/// How a guest whose QEMU runs fares, in a word.
pub fn state_of(run: &RunDir) -> &'static str {
    // The command that has hold of it has its monitor, which serves one at a time and would not answer us.
    let patience = Timeouts { connect: Duration::from_millis(500), reply: Duration::from_millis(500) };
    let status = QmpClient::connect(&run.qmp(), patience).and_then(|mut qmp| qmp.status());
    match status {
        Ok(status) => state_word(&status.status),
        // The lock is given back at once.
        Err(_) if run.hold().is_err() => "in use",
        Err(_) => "no answer",
    }
}

pub fn stop_run(run: &RunDir, record: &RunRecord) -> Result<()> {
    let Some(process) = record.process else { return Ok(()) };
    if !process::stop(run, process) {
        bail!("guest {} (process {}) does not end; look at it with `ps`", record.name, process.pid);
    }
    run.remove_sockets();
    Ok(())
}
