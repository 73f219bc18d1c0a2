//! A guest for a person: a child of this command, with its console on this terminal.
//!
//! Invariant: **the terminal is as it was when the command ends.**

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::machine::boot::{Patience, rest, wait_ready};
use flipsim::machine::spec::{CONSOLE_LOG, Console};
use flipsim::machine::watch::{RELEASE, watch};
use flipsim::machine::{ProcessId, process};

use crate::guest::plan::GuestArgs;
use crate::{interrupt, paths};

/// Starts a guest on this terminal, and returns when it has ended.
pub(super) fn interactive(args: &GuestArgs) -> Result<()> {
    let planned = args.plan(Console::Terminal)?;
    let signals = planned.signals.clone();
    let (run, spec, mut record, starting) = planned.prepare(args.name.as_deref())?;
    eprintln!("guest {}: Ctrl-A X ends it, Ctrl-A C switches to QEMU's monitor and back", record.name);
    eprintln!("console log: {}", paths::show(&run.file(CONSOLE_LOG)));
    if args.debug {
        eprintln!(
            "waiting for a debugger: gdb-multiarch -ex 'target remote {}'",
            record.gdb.trim_start_matches("tcp:")
        );
    }
    let _terminal = TerminalGuard(rustix::termios::tcgetattr(std::io::stdin()).ok());
    let mut child = process::spawn(&spec, &run)?;
    record.process = ProcessId::of(child.id());
    run.save(&record)?;
    drop(starting);
    let qmp = process::wait_for_monitor(&mut child, &run, interrupt::raised)?;
    let (mut leash, mut hand) = std::io::pipe().context("cannot make a pipe")?;
    hand.write_all(&[RELEASE]).context("cannot write to a pipe")?;
    let watched = std::thread::scope(|scope| {
        let share = record.share.clone();
        let (run, process) = (&run, record.process);
        scope.spawn(move || {
            let alive = || process.is_some_and(|p| p.is_alive());
            // For the memory map alone; a person sees how the boot goes.
            let _ = wait_ready(
                run,
                share.as_deref(),
                &signals,
                Patience::of(Duration::from_secs(600)),
                alive,
                interrupt::raised,
                |_| {},
                rest,
            );
            while alive() {
                if interrupt::raised()
                    && let Some(process) = process
                {
                    process.signal(rustix::process::Signal::TERM);
                    let _ = process.wait_gone(Duration::from_secs(3));
                    process.signal(rustix::process::Signal::KILL);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        watch(&mut child, qmp, run, &mut leash)
    });
    watched.context("cannot write the guest's event log")?;
    interrupt::check()?;
    if !child.wait()?.success() {
        bail!("QEMU ended badly; its last words:\n{}", run.qemu_log_tail());
    }
    Ok(())
}

/// Puts the terminal right when it goes. QEMU does so itself, unless it was killed.
struct TerminalGuard(Option<rustix::termios::Termios>);

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        if let Some(terminal) = &self.0 {
            let now = rustix::termios::OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(std::io::stdin(), now, terminal);
        }
    }
}
