//! How a template is made: a guest is booted to its quiescent point, and saved.
//!
//! Invariant: **a template is complete or not there**: it is made beside its place and renamed.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::files::{beside, make_new, remove_tree};
use crate::machine::boot::{self, BootError, Patience, Ready, wait_ready};
use crate::machine::folder::RunDir;
use crate::machine::process::{self, OwnedQemu};
use crate::machine::spec::{CONSOLE_LOG, Clock, GDB_SOCKET};
use crate::target::LiveTarget;
use crate::target::state::{State, StateError};
use crate::trial::template::error::{TemplateError, io_error};
use crate::trial::template::saved::{
    DEVICE_STATE, DISK, FORMAT, Input, RAM, SAVE_LIMIT, Stored, Template, TemplateInfo, TemplatePlan,
    ignore_shared,
};
use crate::units::Timing;
use crate::wire::net::{Endpoint, Timeouts};
use crate::wire::qmp::QmpClient;

/// Where QEMU hands its state over while a template is made.
const STATE_SOCKET: &str = "state.sock";

/// How a template is made.
#[derive(Clone, Copy, Debug)]
pub struct MakeOptions {
    /// How long the boot may take.
    pub patience: Patience,
    /// Asked often; when it says yes, everything is given up.
    pub interrupted: fn() -> bool,
}

impl Default for MakeOptions {
    fn default() -> Self {
        MakeOptions { patience: Patience::of(Duration::from_secs(120)), interrupted: || false }
    }
}

impl Template {
    /// Boots the guest and saves it in `folder`, which must not exist. Two must not be made in the same
    /// place at a time. Every line of the console goes to `on_line`, and what is done after the boot.
    ///
    /// # Errors
    /// The guest does not become ready (its console log is then left in `folder` with `.tmp` added), or
    /// cannot be saved.
    pub fn make(
        plan: &TemplatePlan,
        folder: &Path,
        options: MakeOptions,
        on_line: impl FnMut(&str),
    ) -> Result<Self, TemplateError> {
        let temporary = beside(folder, ".tmp");
        remove_tree(&temporary).map_err(io_error("remove", &temporary))?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&temporary);
        made.map_err(io_error("create", &temporary))?;
        let filled = fill(plan, &temporary, options, on_line);
        if let Err(error) = filled {
            let evidence = matches!(&error, TemplateError::Boot(_)) && !error.is_interrupted();
            // What went wrong says more than a failure to clean up would.
            let _ = if evidence {
                [RAM, DISK].iter().try_for_each(|name| fs::remove_file(temporary.join(name)))
            } else {
                fs::remove_dir_all(&temporary)
            };
            return Err(error);
        }
        fs::rename(&temporary, folder).map_err(io_error("create", folder))?;
        Template::open(folder)
    }
}

/// A guest that was booted from power-on and is stopped at its quiescent point.
///
/// Dropping it ends QEMU; its folder is the caller's.
#[derive(Debug)]
pub struct Booted {
    /// The guest, stopped.
    pub target: LiveTarget,
    /// How its boot went.
    pub ready: Ready,
    qemu: OwnedQemu,
}

/// Boots a plan's guest in `folder` (private, and QEMU's working folder) to its quiescent point, as it is
/// done for a template.
///
/// # Errors
/// The guest does not become ready.
pub fn boot(
    plan: &TemplatePlan,
    folder: &Path,
    options: MakeOptions,
    on_line: impl FnMut(&str),
) -> Result<Booted, TemplateError> {
    let spec = plan.boot_spec();
    if spec.clock == Clock::Kvm {
        return Err(TemplateError::NotExact);
    }
    let run = RunDir::at(folder);
    let disk = run.file(DISK);
    process::make_overlay(&plan.qemu_img, &plan.base.path, &plan.base.format, &disk)
        .and_then(|()| process::forget_base(&plan.qemu_img, &plan.base.format, &disk))
        .map_err(io_error("create", &disk))?;
    let mut qemu = OwnedQemu(process::spawn(&spec, &run)?);
    drop(process::wait_for_monitor(&mut qemu.0, &run, options.interrupted)?);
    let gdb = Endpoint::Unix(run.file(GDB_SOCKET));
    let mut target = LiveTarget::attach(&gdb, Some(&run.qmp()), Timeouts::default())?;
    if spec.clock == Clock::Exact && crate::target::Target::timing(&target) != Timing::Exact {
        return Err(TemplateError::NotExact);
    }
    target.interrupt_by(options.interrupted);
    let alive = || matches!(qemu.0.try_wait(), Ok(None));
    let step = |length| boot::step(&mut target, length);
    let ready =
        wait_ready(&run, None, &plan.signals, options.patience, alive, options.interrupted, on_line, step)?;
    Ok(Booted { target, ready, qemu })
}

/// Has QEMU write everything but RAM, which lies in its file already. It hands its state over by a socket: a QEMU
/// that could write it through a program could start any program.
///
/// QEMU answers nothing while it waits for room in that socket. So a thread takes its state in, whatever it is asked
/// meanwhile.
pub(super) fn save(guest: &mut Booted, folder: &Path, options: MakeOptions) -> Result<(), TemplateError> {
    let path = folder.join(DEVICE_STATE);
    let mut state = Incoming::open(folder, &path).map_err(io_error("write", &path))?;
    let qmp = guest.target.qmp().ok_or(StateError::NoMonitor)?;
    let given_up = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let taken = scope.spawn(|| state.take_all(&given_up));
        let written = written(qmp, options);
        given_up.store(written.is_err(), Ordering::Relaxed);
        let taken = taken.join().expect("what takes a state in does not panic");
        // A state that cannot be written makes QEMU fail as well: the cause is that of the file.
        taken.map_err(io_error("write", &path)).and(written)
    })
}

/// Has QEMU write its state to the socket, and waits until it has.
fn written(qmp: &mut QmpClient, options: MakeOptions) -> Result<(), TemplateError> {
    qmp.execute("migrate-set-capabilities", ignore_shared())?;
    qmp.execute("migrate", json!({ "uri": format!("unix:{STATE_SOCKET}") }))?;
    let end = Instant::now() + SAVE_LIMIT;
    loop {
        // It writes its disks out first, and answers nothing then either.
        let answer = qmp.execute_within("query-migrate", Value::Null, SAVE_LIMIT)?;
        match answer["status"].as_str() {
            Some("completed") => return Ok(()),
            Some(status @ ("failed" | "cancelled")) => {
                let cause = answer["error-desc"].as_str().unwrap_or(status);
                return Err(TemplateError::Save(cause.to_owned()));
            }
            _ if (options.interrupted)() => return Err(BootError::Interrupted.into()),
            _ if Instant::now() > end => {
                let cause = format!("it is not done after {} s", SAVE_LIMIT.as_secs());
                return Err(TemplateError::Save(cause));
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// A state on its way from QEMU to a file.
struct Incoming {
    listener: UnixListener,
    file: File,
    socket: PathBuf,
}

impl Incoming {
    fn open(folder: &Path, path: &Path) -> io::Result<Self> {
        let socket = folder.join(STATE_SOCKET);
        // By way of the open folder no path is too long for a socket's address.
        let held = File::open(folder)?;
        let short = Path::new("/proc/self/fd").join(held.as_raw_fd().to_string()).join(STATE_SOCKET);
        let listener = UnixListener::bind(short)?;
        listener.set_nonblocking(true)?;
        Ok(Incoming { listener, file: make_new(path)?, socket })
    }

    /// Takes what comes, to the end of it; or until it is given up. QEMU has the time for it that it has to begin and to end.
    fn take_all(&mut self, given_up: &AtomicBool) -> io::Result<()> {
        let mut stream: Option<UnixStream> = None;
        let end = Instant::now() + 3 * SAVE_LIMIT;
        while !given_up.load(Ordering::Relaxed) {
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let step = match &mut stream {
                Some(stream) => io::copy(stream, &mut self.file).map(|_| true),
                None => self.listener.accept().and_then(|(new, _)| {
                    new.set_nonblocking(true)?;
                    stream = Some(new);
                    Ok(false)
                }),
            };
            match step {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_micros(500));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // A template has no sockets; what is left of a failed one is removed with its folder.
        let _ = fs::remove_file(&self.socket);
    }
}

/// Ends QEMU in order, so that its disk is written to the last byte.
pub(crate) fn end(mut guest: Booted, interrupted: fn() -> bool) -> Result<(), TemplateError> {
    if let Some(qmp) = guest.target.qmp() {
        // QEMU may close the connection before it has answered.
        let _ = qmp.execute("quit", Value::Null);
    }
    let end = Instant::now() + SAVE_LIMIT;
    loop {
        match guest.qemu.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(TemplateError::Save(format!("QEMU ended badly ({status})"))),
            Ok(None) if interrupted() => return Err(BootError::Interrupted.into()),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => return Err(TemplateError::Save("QEMU does not end".to_owned())),
            Err(error) => return Err(TemplateError::Save(error.to_string())),
        }
    }
}

/// Makes a template in a folder that is there and empty.
fn fill(
    plan: &TemplatePlan,
    folder: &Path,
    options: MakeOptions,
    mut on_line: impl FnMut(&str),
) -> Result<(), TemplateError> {
    let mut inputs = BTreeMap::new();
    for (name, path) in plan.files() {
        let Stored { stamp, sha256 } = Stored::of(path, options.interrupted)?;
        inputs.insert(name.to_owned(), Input { path: path.to_owned(), stamp, sha256 });
    }
    let run = RunDir::at(folder);
    let mut guest = boot(plan, folder, options, &mut on_line)?;
    on_line("ready; taking the digest of its RAM, and saving it");
    let ram = guest.target.memory_map(run.iomem().as_deref())?.ram().clone();
    let state = State::take(&mut guest.target, &ram, folder, b"")?;
    let capabilities = guest.target.capabilities();
    save(&mut guest, folder, options)?;
    let boot_seconds = guest.ready.took.as_secs_f64();
    end(guest, options.interrupted)?;
    run.remove_sockets();
    // Whatever else QEMU said, it did what it was asked.
    let log = run.file("qemu.log");
    fs::remove_file(&log).map_err(io_error("remove", &log))?;
    let mut files = BTreeMap::new();
    // QEMU 7 opens the file of a private mapping for writing as well, although it never writes to it.
    for (name, mode) in [(RAM, 0o600), (DEVICE_STATE, 0o400), (DISK, 0o400), (CONSOLE_LOG, 0o400)] {
        let path = folder.join(name);
        // A crash of the host must not leave a template that looks whole and is not.
        File::open(&path).and_then(|file| file.sync_all()).map_err(io_error("write", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(io_error("protect", &path))?;
        files.insert(name.to_owned(), Stored::of(&path, options.interrupted)?);
    }
    let spec = plan.boot_spec();
    let command = std::iter::once(spec.qemu.as_os_str().to_owned()).chain(spec.argv());
    let command = command.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut info = TemplateInfo {
        format: FORMAT,
        key: String::new(),
        made: Timestamp::now(),
        plan: plan.clone(),
        command,
        inputs,
        clock: state.clock,
        capabilities,
        ram,
        ram_digest: state.ram_digest(),
        registers: state.registers,
        boot_seconds,
        files,
    };
    info.key = info.identity();
    info.write(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_state_that_no_socket_holds_is_taken_in_whole_from_a_folder_with_a_long_path() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("x".repeat(120));
        fs::create_dir(&folder).unwrap();
        let path = folder.join(DEVICE_STATE);
        let mut state = Incoming::open(&folder, &path).unwrap();
        let held = File::open(&folder).unwrap();
        let short = format!("/proc/self/fd/{}/{STATE_SOCKET}", held.as_raw_fd());
        // More than a socket holds: written whole only if somebody takes it in meanwhile.
        let whole = b"a state".repeat(1 << 18);
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| state.take_all(&AtomicBool::new(false)));
            let mut qemu = UnixStream::connect(short).unwrap();
            qemu.write_all(&whole).unwrap();
            drop(qemu);
            taken.join().unwrap().unwrap();
        });
        // One that never comes is waited for until it is given up.
        state.take_all(&AtomicBool::new(true)).unwrap();
        drop(state);
        assert!(fs::read(&path).unwrap() == whole);
        assert!(!folder.join(STATE_SOCKET).exists());
    }
}
