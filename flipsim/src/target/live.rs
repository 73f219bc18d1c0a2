//! A running QEMU guest as a [`Target`]: memory and registers through the gdb stub, the virtual
//! clock and the run state through QMP.
//!
//! Invariant: a guest is left as it was found. Connecting to the stub stops it; [`LiveTarget::release`],
//! and dropping the target as well, lets it run on exactly when it ran before.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::arch::SYSTEM;
use crate::memory::MemoryMap;
use crate::target::capabilities::Capabilities;
use crate::target::error::{AttachError, MarkError, TargetError};
use crate::target::interface::{Arrival, Register, Target};
use crate::units::{GuestPhys, Timing, VirtualNs};
use crate::wire::gdb::{Breakpoint, GdbClient, GdbError, RegisterInfo, RunState, StopReason};
use crate::wire::net::{Endpoint, Timeouts};
use crate::wire::qmp::{Event, QmpClient, QmpError};

/// The answer to QMP `query-virtual-clock` (`qemu-patches/0001-virtual-clock.patch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VirtualClock {
    /// Nanoseconds on the virtual clock.
    pub virtual_ns: u64,
    /// Whether the clock counts instructions, and so is exact.
    pub icount: bool,
    /// The instructions executed so far, when they are counted.
    pub instructions: Option<u64>,
    /// When the machine is to stop, if it is.
    pub stop_at: Option<u64>,
}

/// How long a reset may take on the host's clock.
const RESET_LIMIT: Duration = Duration::from_secs(10);

/// How often a wait looks up: for an interruption, and for a QEMU that no longer answers.
const SLICE: Duration = Duration::from_millis(50);

/// The word for a guest that was stopped because it took too long on the host's clock.
pub const WALL_TIME: &str = "wall-time";

/// A guest behind a gdb stub, with a monitor beside it where there is one.
#[derive(Debug)]
pub struct LiveTarget {
    /// `None` only once the guest was let go.
    pub(super) gdb: Option<GdbClient>,
    qmp: Option<QmpClient>,
    registers: Vec<Register>,
    numbers: Vec<u32>,
    has_clock: bool,
    /// What QEMU can do, where the clock counts instructions.
    can: Capabilities,
    /// QEMU has the patch that stops it at an exception storm.
    has_exception_limit: bool,
    /// QEMU has the patch by which the stub's own monitor takes QMP commands.
    has_bridge: bool,
    /// The clock counts instructions.
    icount: bool,
    /// What the clock shows, while the guest is stopped and nothing was done that could move it.
    standing: Option<VirtualClock>,
    /// Its time alone, where that is all that is known.
    stands_at: Option<VirtualNs>,
    /// A stop is asked for and was not reached.
    armed: bool,
    /// Where breakpoints are set.
    pub(super) breakpoints: BTreeSet<Breakpoint>,
    interrupted: fn() -> bool,
    /// How long the timed run under way may take on the host's clock; it has then ended early with
    /// [`WALL_TIME`]. A guest for which no time passes would run for ever.
    wall: Option<Duration>,
    was_running: bool,
}

impl LiveTarget {
    /// Attaches to a guest, and stops it. Without a monitor the guest is assumed to have been running.
    ///
    /// # Errors
    /// The stub or the monitor cannot be reached, or the guest is dead.
    pub fn attach(gdb: &Endpoint, qmp: Option<&Endpoint>, timeouts: Timeouts) -> Result<Self, AttachError> {
        LiveTarget::attach_to(gdb, qmp, timeouts, false)
    }

    /// As [`attach`](Self::attach), and to a guest that has ended as well, for callers that can restore it.
    ///
    /// # Errors
    /// The stub or the monitor cannot be reached.
    pub fn attach_even_ended(
        gdb: &Endpoint,
        qmp: Option<&Endpoint>,
        timeouts: Timeouts,
    ) -> Result<Self, AttachError> {
        LiveTarget::attach_to(gdb, qmp, timeouts, true)
    }

    fn attach_to(
        gdb: &Endpoint,
        qmp: Option<&Endpoint>,
        timeouts: Timeouts,
        even_ended: bool,
    ) -> Result<Self, AttachError> {
        // The state is asked for first: the stub stops the guest as soon as it is connected.
        let mut qmp = qmp.map(|endpoint| QmpClient::connect(endpoint, timeouts)).transpose()?;
        let (mut was_running, mut has_clock, mut has_exception_limit, mut can) =
            (true, false, false, Capabilities::NONE);
        if let Some(qmp) = &mut qmp {
            let status = qmp.status()?;
            was_running = status.running;
            let commands = qmp.query_commands()?;
            let has = |name: &str| commands.iter().any(|command| command == name);
            has_clock = has("query-virtual-clock");
            has_exception_limit = has("set-exception-limit");
            can = Capabilities::of_commands(commands);
            let ended = ["guest-panicked", "shutdown", "internal-error", "io-error"];
            if !even_ended && ended.contains(&status.status.as_str()) {
                return Err(AttachError::Dead { status: status.status });
            }
        }
        let connected = GdbClient::connect(gdb, timeouts).and_then(|mut gdb| {
            gdb.set_physical_memory(true)?;
            let has_bridge = has_clock && gdb.monitor("help qmp")?.starts_with("qmp json");
            Ok((gdb, has_bridge))
        });
        let (gdb, has_bridge) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                // The stub may have stopped the guest before it failed.
                if let Some(qmp) = qmp.as_mut().filter(|_| was_running) {
                    let _ = qmp.execute("cont", serde_json::Value::Null);
                }
                return Err(error.into());
            }
        };
        let numbers = gdb.registers().iter().map(|register| register.number).collect();
        let registers = gdb
            .registers()
            .iter()
            .map(|register| Register {
                name: register.name.clone(),
                bits: register.bits,
                class: class_of(register),
            })
            .collect();
        let mut target = LiveTarget {
            gdb: Some(gdb),
            qmp,
            registers,
            numbers,
            has_clock,
            can,
            has_bridge,
            has_exception_limit,
            icount: false,
            standing: None,
            stands_at: None,
            armed: false,
            breakpoints: BTreeSet::new(),
            interrupted: || false,
            wall: None,
            was_running,
        };
        if let Ok(Some(clock)) = target.clock() {
            target.icount = clock.icount;
            // Left by a command that was killed: nothing waits for that stop any more.
            target.armed = clock.stop_at.is_some();
        }
        target.disarm();
        Ok(target)
    }

    /// Asks this whenever the guest runs for a time; when it says yes, the guest is stopped and
    /// [`TargetError::Interrupted`] returned.
    pub fn interrupt_by(&mut self, interrupted: fn() -> bool) {
        self.interrupted = interrupted;
    }

    /// What is asked whether to stop.
    #[must_use]
    pub fn interrupted(&self) -> fn() -> bool {
        self.interrupted
    }

    /// As [`Target::run_until`], for this long on the host's clock at most.
    ///
    /// # Errors
    /// As [`Target::run_until`].
    pub fn run_until_within(&mut self, time: VirtualNs, wall: Duration) -> Result<Arrival, TargetError> {
        self.wall = Some(wall);
        let arrival = self.run_until(time);
        self.wall = None;
        arrival
    }

    /// The virtual clock, or `None` where this QEMU cannot be asked.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn clock(&mut self) -> Result<Option<VirtualClock>, TargetError> {
        if self.standing.is_some() {
            return Ok(self.standing);
        }
        if self.qmp.is_none() || !self.has_clock {
            return Ok(None);
        }
        let doing = "read its virtual clock";
        let answer =
            self.execute("query-virtual-clock", serde_json::Value::Null).map_err(|e| lost(doing, e))?;
        let clock: VirtualClock = serde_json::from_value(answer).map_err(|error| lost(doing, error))?;
        self.standing = Some(clock).filter(|_| self.is_stopped());
        Ok(Some(clock))
    }

    /// What can be asked of this guest, as its QEMU said when it was attached to. Without a clock that counts
    /// instructions, neither exact stops nor marks are to be had of any QEMU.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        if self.icount { self.can } else { Capabilities::NONE }
    }

    /// Whatever is done next may move the clock.
    pub(crate) fn forget_clock(&mut self) {
        (self.standing, self.stands_at) = (None, None);
    }

    /// QEMU said what time it is for the stopped guest.
    pub(crate) fn stands_at(&mut self, time: VirtualNs) {
        self.stands_at = Some(time).filter(|_| self.is_stopped());
    }

    /// Every event that has come, oldest first, without waiting.
    ///
    /// # Errors
    /// QEMU is gone, and no event is left.
    pub fn take_events(&mut self) -> Result<Vec<Event>, QmpError> {
        // Nothing is asked of QEMU, so that its clock stands where it stood.
        self.qmp.as_mut().map_or_else(|| Ok(Vec::new()), QmpClient::take_events)
    }

    /// The values of all registers, in their order, in few round trips.
    ///
    /// # Errors
    /// The guest is lost, or a register cannot be read.
    pub fn read_registers(&mut self) -> Result<Vec<Vec<u8>>, TargetError> {
        let numbers = std::mem::take(&mut self.numbers);
        let values = self.stub().read_registers(&numbers);
        self.numbers = numbers;
        values.map_err(gdb_error(|| "read its registers".to_owned()))
    }

    fn is_stopped(&mut self) -> bool {
        matches!(self.gdb.as_mut().map(GdbClient::run_state), Some(Ok(RunState::Stopped(_))))
    }

    /// Executes a QMP command with a short answer, through the stub where it can be: a QMP monitor hands
    /// each command from thread to thread, and takes ten times as long.
    pub(crate) fn execute(
        &mut self,
        command: &str,
        arguments: serde_json::Value,
    ) -> Result<serde_json::Value, MarkError> {
        if !self.has_bridge || !self.is_stopped() {
            let qmp = self.qmp.as_mut().ok_or(MarkError::NoMonitor)?;
            return Ok(qmp.execute(command, arguments)?);
        }
        let mut request = serde_json::json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let said = self.stub().monitor(&format!("qmp {request}"))?;
        Ok(crate::wire::qmp::result_of(command, &said)?)
    }

    /// Forgets the time of a stop that nothing waits for.
    fn disarm(&mut self) {
        if let Some(qmp) = self.qmp.as_mut().filter(|_| self.armed) {
            self.armed = qmp.execute("cancel-stop-at", serde_json::Value::Null).is_err();
            self.forget_clock();
        }
    }

    /// Lets the guest run until it stops by itself, for `limit` on the host's clock at most. Whether it
    /// stopped.
    fn run_on(&mut self, limit: Option<Duration>) -> Result<bool, TargetError> {
        // A caller that goes in steps of some milliseconds would else never be asked: each is over at the first look.
        if (self.interrupted)() {
            self.disarm();
            return Err(TargetError::Interrupted);
        }
        self.resume()?;
        let end = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = end.map_or(SLICE, |end| end.saturating_duration_since(Instant::now()));
            let stopped = self.stub().wait_stop(left.min(SLICE));
            if stopped.map_err(gdb_error(|| "wait for it to stop".to_owned()))?.is_some() {
                return Ok(true);
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(false);
            }
            if (self.interrupted)() {
                self.stop()?;
                self.disarm();
                return Err(TargetError::Interrupted);
            }
        }
    }

    /// A machine that needs a reset stays stopped when it is resumed, and the stub acknowledges the resume all the
    /// same (QEMU, `gdb_continue()`): a wait for its next stop would never end.
    fn can_go_on(&mut self) -> Result<(), TargetError> {
        let ended = matches!(
            self.stub().run_state(),
            Ok(RunState::Stopped(StopReason::InternalError | StopReason::Shutdown))
        );
        // It may have been restored since.
        let Some(qmp) = self.qmp.as_mut().filter(|_| ended) else { return Ok(()) };
        let doing = "let it run";
        let status = qmp.status().map_err(|error| lost(doing, error))?.status;
        match status.as_str() {
            "internal-error" | "shutdown" => Err(TargetError::Refused {
                doing: doing.to_owned(),
                cause: format!(
                    "the guest has ended (QEMU says `{status}`); go back to a snapshot, or boot a new one"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Why the guest stopped by itself.
    fn why_stopped(&mut self) -> Result<String, TargetError> {
        let Some(qmp) = &mut self.qmp else { return Ok("stopped".to_owned()) };
        Ok(qmp.status().map_err(|error| lost("ask for its state", error))?.status)
    }

    /// To a virtual time, by QEMU's own timer.
    fn run_by_timer(&mut self, time: VirtualNs) -> Result<Arrival, TargetError> {
        let doing = || format!("run for {time}");
        let now = self.virtual_time()?.unwrap_or(VirtualNs(0));
        // QEMU's clock is a signed number.
        let wanted = now.0.checked_add(time.0).filter(|wanted| i64::try_from(*wanted).is_ok());
        let wanted = wanted.map(VirtualNs).ok_or_else(|| TargetError::Refused {
            doing: doing(),
            cause: "that is later than QEMU's clock can show".to_owned(),
        })?;
        // Over the stub, and not as `stop-at` over QMP: that hands each command from thread to thread, and
        // takes ten times as long. The clock is stopped, so a delay from now is a time.
        let said = self.stub().monitor(&format!("stop_delayed {}", time.0)).map_err(gdb_error(doing))?;
        if !said.trim().is_empty() {
            return Err(TargetError::Refused { doing: doing(), cause: said.trim().to_owned() });
        }
        self.armed = true;
        let in_time = self.run_on(self.wall)?;
        if !in_time {
            self.stop()?;
        }
        let at = self.virtual_time()?.unwrap_or(wanted);
        let timing = self.timing();
        if at < wanted {
            self.disarm();
            let why = if in_time { self.why_stopped()? } else { WALL_TIME.to_owned() };
            return Ok(Arrival { at: Some(at), timing, early: Some(why) });
        }
        self.armed = false;
        if at != wanted && timing == Timing::Exact {
            return Err(TargetError::Missed { wanted, at });
        }
        Ok(Arrival { at: Some(at), timing, early: None })
    }

    /// For a while on the host's clock: all that is left without the patches.
    fn run_by_host(&mut self, time: VirtualNs) -> Result<Arrival, TargetError> {
        let early = match self.run_on(Some(Duration::from_nanos(time.0)))? {
            true => Some(self.why_stopped()?),
            false => None,
        };
        self.stop()?;
        Ok(Arrival { at: self.virtual_time()?, timing: Timing::Approximate, early })
    }

    /// Whether the guest ran before we came.
    #[must_use]
    pub fn was_running(&self) -> bool {
        self.was_running
    }

    /// Whether an exception storm can stop it: QEMU has the patch, and counts instructions.
    #[must_use]
    pub fn can_stop_at_storms(&self) -> bool {
        self.has_exception_limit && self.icount
    }

    /// The monitor, where there is one.
    pub fn qmp(&mut self) -> Option<&mut QmpClient> {
        // Whatever is done with it may move the clock.
        self.forget_clock();
        self.qmp.as_mut()
    }

    /// A command for QEMU's human monitor. The guest must be stopped when there is no QMP monitor.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn monitor(&mut self, command: &str) -> Result<String, AttachError> {
        self.forget_clock();
        match &mut self.qmp {
            Some(qmp) => Ok(qmp.hmp(command)?),
            None => Ok(self.stub().monitor(command)?),
        }
    }

    /// Goes back to one of QEMU's own snapshots (`savevm`), from whatever state the guest is in, and leaves it
    /// stopped.
    ///
    /// # Errors
    /// There is no such snapshot, or QEMU is lost.
    pub fn load_snapshot(&mut self, tag: &str) -> Result<(), TargetError> {
        let doing = || format!("load the snapshot {tag}");
        self.stop()?;
        if let Some(qmp) = self.qmp() {
            // A machine that is switched off cannot run before it was reset, and one that has panicked would
            // be said to have done so for ever.
            let is_over = |qmp: &mut QmpClient| -> Result<bool, TargetError> {
                let status = qmp.status().map_err(|error| lost(&doing(), error))?.status;
                Ok(matches!(status.as_str(), "shutdown" | "guest-panicked" | "internal-error"))
            };
            if is_over(qmp)? {
                // The lab's guests end where they would reset, and to QEMU this is a reset like any other.
                let execute = |qmp: &mut QmpClient, command: &str, arguments: serde_json::Value| {
                    qmp.execute(command, arguments).map_err(|error| lost(&doing(), error))
                };
                execute(qmp, "set-action", serde_json::json!({ "reboot": "reset" }))?;
                execute(qmp, "system_reset", serde_json::Value::Null)?;
                let end = Instant::now() + RESET_LIMIT;
                while is_over(qmp)? {
                    if Instant::now() > end {
                        return Err(lost(&doing(), "it could not be reset"));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                execute(qmp, "set-action", serde_json::json!({ "reboot": "shutdown" }))?;
            }
        }
        let said = self.monitor(&format!("loadvm {tag}")).map_err(|error| lost(&doing(), error))?;
        if said.trim().is_empty() {
            return Ok(());
        }
        Err(TargetError::Refused { doing: doing(), cause: said.trim().to_owned() })
    }

    /// The guest's memory map: its own view, where it is given, joined with QEMU's.
    ///
    /// # Errors
    /// QEMU is lost, or one of the two texts cannot be read.
    pub fn memory_map(&mut self, iomem: Option<&str>) -> Result<MemoryMap, AttachError> {
        let mtree = self.monitor("info mtree -f")?;
        Ok(MemoryMap::new(iomem, &mtree)?)
    }

    /// Releases the guest, which runs on if it ran before we came. Nothing else may be called after.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn release(&mut self) -> Result<(), TargetError> {
        self.disarm();
        let Some(gdb) = self.gdb.take() else { return Ok(()) };
        let result = if self.was_running { gdb.detach() } else { gdb.leave_stopped() };
        let Err(error) = result else { return Ok(()) };
        // A stub that does not answer is no reason to leave the guest stopped: the monitor may answer.
        let doing = "let go of it";
        match self.qmp.as_mut().filter(|_| self.was_running) {
            Some(qmp) => {
                qmp.execute("cont", serde_json::Value::Null).map(|_| ()).map_err(|_| lost(doing, error))
            }
            None => Err(lost(doing, error)),
        }
    }

    pub(super) fn stub(&mut self) -> &mut GdbClient {
        self.gdb.as_mut().expect("the stub is only taken by release, after which nothing is called")
    }

    /// Makes the guest count as one that ran before we came, or that did not.
    pub fn set_was_running(&mut self, was_running: bool) {
        self.was_running = was_running;
    }
}

impl Drop for LiveTarget {
    fn drop(&mut self) {
        // A target is dropped without `release` because of another error, and that is the one to report.
        let _ = self.release();
    }
}

/// The short class of a register: the last word of its feature, `org.gnu.gdb.aarch64.core` for example,
/// and `fpu` wherever QEMU describes registers of floating point and vectors within another feature.
fn class_of(register: &RegisterInfo) -> String {
    let is_fpu = matches!(register.group.as_deref(), Some("float" | "vector"))
        || matches!(register.kind.as_deref(), Some("i387_ext" | "vec128"));
    match register.feature.rsplit('.').next().unwrap_or_default() {
        _ if is_fpu => "fpu".to_owned(),
        // `org.qemu.gdb.arm.sys.regs`.
        "sysregs" | "system-registers" | "regs" => SYSTEM.to_owned(),
        other => other.to_owned(),
    }
}

fn lost(doing: &str, error: impl std::fmt::Display) -> TargetError {
    TargetError::Lost { doing: doing.to_owned(), cause: error.to_string() }
}

/// What a protocol error means for the caller.
pub(super) fn gdb_error(doing: impl Fn() -> String) -> impl Fn(GdbError) -> TargetError {
    move |error| match error {
        GdbError::Running => TargetError::Running { doing: doing() },
        GdbError::Refused { .. } | GdbError::Unsupported { .. } => {
            TargetError::Refused { doing: doing(), cause: error.to_string() }
        }
        other => lost(&doing(), other),
    }
}

impl Target for LiveTarget {
    fn read_memory(&mut self, address: GuestPhys, buffer: &mut [u8]) -> Result<(), TargetError> {
        let doing = || format!("read memory at {address}");
        self.stub().read_memory_into(address.0, buffer).map_err(gdb_error(doing))
    }

    fn read_virtual(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), TargetError> {
        self.virtually(address, |stub| stub.read_memory_into(address, buffer))
    }

    fn write_virtual(&mut self, address: u64, bytes: &[u8]) -> Result<(), TargetError> {
        self.virtually(address, |stub| stub.write_memory(address, bytes))
    }

    fn write_memory(&mut self, address: GuestPhys, bytes: &[u8]) -> Result<(), TargetError> {
        let doing = || format!("write memory at {address}");
        self.stub().write_memory(address.0, bytes).map_err(gdb_error(doing))
    }

    fn write_memory_read_back(
        &mut self,
        address: GuestPhys,
        bytes: &[u8],
        back: &mut [u8],
    ) -> Result<(), TargetError> {
        let doing = || format!("write memory at {address}");
        self.stub().write_memory_read_back(address.0, bytes, back).map_err(gdb_error(doing))
    }

    fn registers(&self) -> &[Register] {
        &self.registers
    }

    fn read_register(&mut self, index: usize) -> Result<Vec<u8>, TargetError> {
        let number = self.numbers[index];
        let result = self.stub().read_register(number);
        result.map_err(gdb_error(|| format!("read register {}", self.registers[index].name)))
    }

    fn write_register(&mut self, index: usize, bytes: &[u8]) -> Result<(), TargetError> {
        let number = self.numbers[index];
        let result = self.stub().write_register(number, bytes);
        result.map_err(gdb_error(|| format!("write register {}", self.registers[index].name)))
    }

    fn stop(&mut self) -> Result<(), TargetError> {
        self.stub().stop().map(|_| ()).map_err(gdb_error(|| "stop it".to_owned()))
    }

    fn resume(&mut self) -> Result<(), TargetError> {
        self.forget_clock();
        self.can_go_on()?;
        self.stub().resume().map_err(gdb_error(|| "let it run".to_owned()))
    }

    fn virtual_time(&mut self) -> Result<Option<VirtualNs>, TargetError> {
        if self.stands_at.is_some() {
            return Ok(self.stands_at);
        }
        Ok(self.clock()?.map(|clock| VirtualNs(clock.virtual_ns)))
    }

    fn run_for(&mut self, time: VirtualNs) -> Result<Arrival, TargetError> {
        if self.can.stop_at && time.0 > 0 { self.run_by_timer(time) } else { self.run_by_host(time) }
    }

    fn timing(&self) -> Timing {
        self.capabilities().timing()
    }
}

#[cfg(test)]
mod tests;
