//! Starting QEMU so that it cannot be left behind, and ending it in order.
//!
//! Invariant: **every QEMU has a death signal tied to its parent**, set before it executes anything.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::files;
use crate::machine::arguments::Refused;
use crate::machine::confine::{Allowed, bare_environment, confine};
use crate::machine::folder::RunDir;
use crate::machine::pid::ProcessId;
use crate::machine::spec::{Console, MachineSpec};
use crate::wire::net::Timeouts;
use crate::wire::qmp::QmpClient;

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
    /// An argument of the user's that takes away what the lab relies on.
    #[error(transparent)]
    Refused(#[from] Refused),
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
    /// The caller wants to stop.
    #[error("interrupted")]
    Interrupted,
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
/// however it ends (prctl(2), `PR_SET_PDEATHSIG`).
fn die_with_parent(command: &mut Command) {
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

/// Has a command hear of no signal that asks for an end: a batch system sends one to all processes of a job, and a guest
/// that ended by it in the middle of a trial would be taken for lost. Its owner ends it, by SIGKILL.
fn deaf(command: &mut Command) {
    let block = || {
        // SAFETY: a signal set is plain data, and each call gets one of ours.
        let done = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
                libc::sigaddset(&raw mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
        };
        if done == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(done)) }
    };
    // SAFETY: between fork and exec only the calls above are made; none allocates or locks.
    unsafe {
        command.pre_exec(block);
    }
}

/// A command, and where its process is to be sent.
type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a command that dies with this process, whichever of its threads asks: the death signal comes
/// at the end of the thread that starts it, so one thread that never ends starts all of them.
fn spawn_tied(mut command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        let serve = move || {
            for (mut command, answer) in inbox {
                // The caller waits for the answer.
                let _ = answer.send(command.spawn());
            }
        };
        // Without the thread the orders have no reader, and `send` below fails.
        let _ = std::thread::Builder::new().name("spawner".to_owned()).spawn(serve);
        orders
    });
    die_with_parent(&mut command);
    let (answer, child) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    SPAWNER.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

/// Starts QEMU in its run folder. With a console in the terminal it takes our standard input and
/// output; otherwise it gets none, and its own process group, so that a Ctrl-C for us does not reach it.
///
/// # Errors
/// The program cannot be executed, or its log cannot be made.
pub fn spawn(spec: &MachineSpec, run: &RunDir) -> Result<Child, ProcessError> {
    spawn_with(spec, run, Streams::default())
}

/// What QEMU has as its standard input and output, as descriptors 0 and 1 (nothing where nothing is given), and what it
/// hears.
#[derive(Debug, Default)]
pub struct Streams {
    /// Descriptor 0.
    pub input: Option<File>,
    /// Descriptor 1.
    pub output: Option<File>,
    /// Whether signals that ask for an end are kept from it.
    pub deaf: bool,
}

/// As [`spawn`], with files as QEMU's standard input and output.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_with(spec: &MachineSpec, run: &RunDir, streams: Streams) -> Result<Child, ProcessError> {
    spec.check()?;
    let log_path = run.file("qemu.log");
    let log = files::append_private(&log_path).map_err(|cause| ProcessError::Io { path: log_path, cause })?;
    let (program, before) = spec.program();
    let mut command = Command::new(program);
    command.args(before).args(spec.argv()).current_dir(run.path()).env("TMPDIR", run.path()).stderr(log);
    let failed = |cause| ProcessError::Spawn { program: program.to_owned(), cause };
    bare_environment(&mut command);
    confine(&mut command, &spec.allowed()).map_err(failed)?;
    if streams.deaf {
        deaf(&mut command);
    }
    if spec.console != Console::Terminal {
        let stdio = |file: Option<File>| file.map_or_else(Stdio::null, Stdio::from);
        command.stdin(stdio(streams.input)).stdout(stdio(streams.output));
        // Its own process group keeps the terminal's signals away from it.
        command.process_group(0);
    }
    spawn_tied(command).map_err(failed)
}

/// Waits until QEMU's own monitor answers, and returns the connection; `interrupted` is asked often.
///
/// # Errors
/// QEMU ends, or its monitor stays silent; or the caller wants to stop.
pub fn wait_for_monitor(
    child: &mut Child,
    run: &RunDir,
    interrupted: fn() -> bool,
) -> Result<QmpClient, ProcessError> {
    let deadline = Instant::now() + MONITOR_WAIT;
    loop {
        let last = match QmpClient::connect(&run.watch(), Timeouts::default()) {
            Ok(client) => return Ok(client),
            Err(error) => error.to_string(),
        };
        if let Ok(Some(status)) = child.try_wait() {
            return Err(ProcessError::Ended { status: status.to_string(), log: run.qemu_log_tail() });
        }
        if interrupted() {
            return Err(ProcessError::Interrupted);
        }
        if Instant::now() > deadline {
            return Err(ProcessError::Silent { cause: last });
        }
        std::thread::sleep(Duration::from_millis(1));
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
    run_confined(overlay_command(qemu_img, base, format, overlay))
}

/// Has a copy-on-write disk name its image `base`, wherever that lies: who opens it says where.
///
/// # Errors
/// `qemu-img` cannot be executed or refuses.
pub fn forget_base(qemu_img: &Path, format: &str, overlay: &Path) -> io::Result<()> {
    let mut command = Command::new(qemu_img);
    command.args(["rebase", "-q", "-u", "-f", "qcow2", "-F", format, "-b", "base"]).arg(overlay);
    run_confined(command)
}

fn run_confined(mut command: Command) -> io::Result<()> {
    bare_environment(&mut command);
    confine(&mut command, &Allowed::NOTHING)?;
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// A QEMU process that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct OwnedQemu(pub(crate) Child);

impl OwnedQemu {
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself; `wait` also answers then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for OwnedQemu {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let start = || {
            let mut command = Command::new("sleep");
            command.arg("60");
            spawn_tied(command).unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ended, None);
    }

    #[test]
    fn a_deaf_process_ends_by_its_owner_alone() {
        let start = |is_deaf: bool| {
            let mut command = Command::new("sleep");
            command.arg("60");
            if is_deaf {
                deaf(&mut command);
            }
            let child = spawn_tied(command).unwrap();
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let mask =
                status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
            (child, u64::from_str_radix(&mask, 16).unwrap())
        };
        for (is_deaf, blocked) in [(false, 0), (true, 1 << 14)] {
            let (mut child, mask) = start(is_deaf);
            assert_eq!(mask & 1 << 14, blocked, "SIGTERM");
            let process = ProcessId::of(child.id()).unwrap();
            process.signal(Signal::TERM);
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(child.try_wait().unwrap().is_none(), is_deaf);
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_program_that_does_not_exist_is_reported_to_the_caller() {
        let error = spawn_tied(Command::new("/nonexistent/program")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn many_threads_each_get_their_own_process() {
        let echo = |number: usize| {
            let mut command = Command::new("echo");
            command.arg(number.to_string()).stdout(Stdio::piped());
            let mut child = spawn_tied(command).unwrap();
            let mut text = String::new();
            child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
            child.wait().unwrap();
            text.trim() == number.to_string()
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || echo(number))).collect();
            assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        });
    }
}
