//! Starting QEMU so that it cannot be left behind, and ending it in order.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::machine::run::{ProcessId, RunDir};
use crate::machine::spec::{Console, MachineSpec};
use crate::net::Timeouts;
use crate::qmp::QmpClient;

/// How long QEMU may take until its monitor answers.
const MONITOR_WAIT: Duration = Duration::from_secs(20);

/// A guest that cannot be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// QEMU cannot be executed.
    #[error("cannot start {program}: {cause}; run `cargo xtask setup qemu`, or give a QEMU with --qemu-bin")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// QEMU ended before its monitor answered.
    #[error("QEMU ended right after its start ({status}); it said:\n{log}")]
    Ended {
        /// Its exit status.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// QEMU lives and its monitor does not answer.
    #[error("QEMU's monitor did not answer within {} s: {cause}", MONITOR_WAIT.as_secs())]
    Silent {
        /// What the monitor client said last.
        cause: String,
    },
    /// A file of the run folder cannot be made.
    #[error("cannot write {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Makes a command die with us: the kernel sends it SIGKILL when the thread that started it ends,
/// however it ends (prctl(2), `PR_SET_PDEATHSIG`). Start it from a thread that lives as long as the
/// process.
pub fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let tie = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Had the parent ended before the line above, no signal would ever come.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::other("the parent has ended"));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only prctl and getppid are called; neither allocates or locks.
    unsafe {
        command.pre_exec(tie);
    }
}

/// Starts QEMU in its run folder. With a console in the terminal it takes our standard input and
/// output; otherwise it gets none, and a session of its own, so that a Ctrl-C for us is none for it.
///
/// # Errors
/// The program cannot be executed, or its log cannot be made.
pub fn spawn(spec: &MachineSpec, run: &RunDir) -> Result<Child, ProcessError> {
    let log_path = run.file("qemu.log");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(|cause| ProcessError::Io { path: log_path, cause })?;
    let mut command = Command::new(&spec.qemu);
    command.args(spec.argv()).current_dir(run.path()).env("TMPDIR", run.path()).stderr(log);
    if spec.console == Console::Socket {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // A process group of its own keeps the terminal's signals away from it.
        command.process_group(0);
    }
    die_with_parent(&mut command);
    command.spawn().map_err(|cause| ProcessError::Spawn { program: spec.qemu.clone(), cause })
}

/// Waits until QEMU's own monitor answers, and returns the connection.
///
/// # Errors
/// QEMU ends, or its monitor stays silent.
pub fn wait_for_monitor(child: &mut Child, run: &RunDir) -> Result<QmpClient, ProcessError> {
    let deadline = Instant::now() + MONITOR_WAIT;
    loop {
        let last = match QmpClient::connect(&run.watch(), Timeouts::default()) {
            Ok(client) => return Ok(client),
            Err(error) => error.to_string(),
        };
        if let Ok(Some(status)) = child.try_wait() {
            return Err(ProcessError::Ended { status: status.to_string(), log: run.qemu_log_tail() });
        }
        if Instant::now() > deadline {
            return Err(ProcessError::Silent { cause: last });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends a guest: asks QEMU to quit, then SIGTERM, then SIGKILL. Whether it is gone.
#[must_use]
pub fn stop(run: &RunDir, process: ProcessId) -> bool {
    // The watcher holds the other monitor for as long as the guest lives.
    let short = Timeouts { connect: Duration::from_secs(1), reply: Duration::from_secs(1) };
    if let Ok(mut client) = QmpClient::connect(&run.qmp(), short) {
        // QEMU may close the connection before it has answered.
        let _ = client.execute("quit", serde_json::Value::Null);
        if process.wait_gone(Duration::from_secs(5)) {
            return true;
        }
    }
    process.signal(Signal::TERM);
    if process.wait_gone(Duration::from_secs(3)) {
        return true;
    }
    process.signal(Signal::KILL);
    process.wait_gone(Duration::from_secs(5))
}

/// The command that makes a copy-on-write disk on top of an image.
#[must_use]
pub fn overlay_command(qemu_img: &Path, base: &Path, format: &str, overlay: &Path) -> Command {
    let mut command = Command::new(qemu_img);
    command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(base).arg(overlay);
    command
}

/// Makes a copy-on-write disk on top of an image, which is never written.
///
/// # Errors
/// `qemu-img` cannot be executed or refuses.
pub fn make_overlay(qemu_img: &Path, base: &Path, format: &str, overlay: &Path) -> io::Result<()> {
    let output = overlay_command(qemu_img, base, format, overlay).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
