//! A running QEMU guest as a [`Target`]: memory and registers through the gdb stub, the virtual
//! clock and the run state through QMP.
//!
//! Invariant: a guest is left as it was found. Connecting to the stub stops it; [`LiveTarget::release`],
//! and dropping the target as well, lets it run on exactly when it ran before.

use std::path::PathBuf;

use serde::Deserialize;

use crate::gdb::{GdbClient, GdbError};
use crate::memory::{MemoryError, MemoryMap};
use crate::net::{Endpoint, Timeouts};
use crate::qmp::{QmpClient, QmpError};
use crate::target::{Register, Target, TargetError};
use crate::units::{GuestPhys, VirtualNs};

/// A guest that cannot be taken hold of.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The gdb stub.
    #[error(transparent)]
    Gdb(#[from] GdbError),
    /// The monitor.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The memory map.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest's machine has ended or panicked; there is nothing left to inject into.
    #[error("the guest is not alive (QEMU says `{status}`); stop it and boot a new one")]
    Dead {
        /// QEMU's word for the run state.
        status: String,
    },
    /// The file with the guest's `/proc/iomem`.
    #[error("cannot read the guest's memory map from {path}: {cause}")]
    Iomem {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// The answer to QMP `query-virtual-clock` (`qemu-patches/0001-virtual-clock.patch`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct VirtualClockInfo {
    virtual_ns: u64,
}

/// A guest behind a gdb stub, with a monitor beside it where there is one.
#[derive(Debug)]
pub struct LiveTarget {
    /// `None` only once the guest was let go.
    gdb: Option<GdbClient>,
    qmp: Option<QmpClient>,
    registers: Vec<Register>,
    numbers: Vec<u32>,
    has_clock: bool,
    was_running: bool,
}

impl LiveTarget {
    /// Takes hold of a guest, and stops it. Without a monitor the guest is taken to have been running.
    ///
    /// # Errors
    /// The stub or the monitor cannot be reached, or the guest is dead.
    pub fn attach(gdb: &Endpoint, qmp: Option<&Endpoint>, timeouts: Timeouts) -> Result<Self, AttachError> {
        // The state is asked for first: the stub stops the guest as soon as it is connected.
        let mut qmp = qmp.map(|endpoint| QmpClient::connect(endpoint, timeouts)).transpose()?;
        let (mut was_running, mut has_clock) = (true, false);
        if let Some(qmp) = &mut qmp {
            let status = qmp.status()?;
            was_running = status.running;
            has_clock = qmp.has_command("query-virtual-clock")?;
            if matches!(status.status.as_str(), "guest-panicked" | "shutdown" | "internal-error" | "io-error")
            {
                return Err(AttachError::Dead { status: status.status });
            }
        }
        let connected = GdbClient::connect(gdb, timeouts).and_then(|mut gdb| {
            gdb.set_physical_memory(true)?;
            Ok(gdb)
        });
        let gdb = match connected {
            Ok(gdb) => gdb,
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
                class: class_of(&register.feature),
            })
            .collect();
        Ok(LiveTarget { gdb: Some(gdb), qmp, registers, numbers, has_clock, was_running })
    }

    /// Whether the guest ran before we came.
    #[must_use]
    pub fn was_running(&self) -> bool {
        self.was_running
    }

    /// The monitor, where there is one.
    pub fn qmp(&mut self) -> Option<&mut QmpClient> {
        self.qmp.as_mut()
    }

    /// A command for QEMU's human monitor. The guest must be stopped when there is no QMP monitor.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn monitor(&mut self, command: &str) -> Result<String, AttachError> {
        match &mut self.qmp {
            Some(qmp) => Ok(qmp.hmp(command)?),
            None => Ok(self.stub().monitor(command)?),
        }
    }

    /// The guest's memory map: its own view, where it is given, joined with QEMU's.
    ///
    /// # Errors
    /// QEMU is lost, or one of the two texts cannot be read.
    pub fn memory_map(&mut self, iomem: Option<&str>) -> Result<MemoryMap, AttachError> {
        let mtree = self.monitor("info mtree -f")?;
        Ok(MemoryMap::new(iomem, &mtree)?)
    }

    /// Lets go of the guest, which runs on if it ran before we came. Nothing else may be called after.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn release(&mut self) -> Result<(), TargetError> {
        let Some(gdb) = self.gdb.take() else { return Ok(()) };
        let result = if self.was_running { gdb.detach() } else { gdb.leave_stopped() };
        let Err(error) = result else { return Ok(()) };
        // A stub that does not answer is no reason to leave the guest standing: the monitor may.
        let doing = "let go of it";
        match self.qmp.as_mut().filter(|_| self.was_running) {
            Some(qmp) => {
                qmp.execute("cont", serde_json::Value::Null).map(|_| ()).map_err(|_| lost(doing, error))
            }
            None => Err(lost(doing, error)),
        }
    }

    fn stub(&mut self) -> &mut GdbClient {
        self.gdb.as_mut().expect("the stub is only taken by release, after which nothing is called")
    }

    /// Makes the guest count as one that ran before we came, or that did not.
    pub fn set_was_running(&mut self, was_running: bool) {
        self.was_running = was_running;
    }
}

impl Drop for LiveTarget {
    fn drop(&mut self) {
        // Whoever drops the target without `release` is on the way out with an error of his own.
        let _ = self.release();
    }
}

/// The short class of a target description's feature, `org.gnu.gdb.aarch64.core` for example.
fn class_of(feature: &str) -> String {
    match feature.rsplit('.').next().unwrap_or(feature) {
        "sysregs" | "system-registers" => "system".to_owned(),
        other => other.to_owned(),
    }
}

fn lost(doing: &str, error: impl std::fmt::Display) -> TargetError {
    TargetError::Lost { doing: doing.to_owned(), cause: error.to_string() }
}

/// What a protocol error means for the one who asked.
fn gdb_error(doing: impl Fn() -> String) -> impl Fn(GdbError) -> TargetError {
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
        self.stub().resume().map_err(gdb_error(|| "let it run".to_owned()))
    }

    fn virtual_time(&mut self) -> Result<Option<VirtualNs>, TargetError> {
        let Some(qmp) = self.qmp.as_mut().filter(|_| self.has_clock) else { return Ok(None) };
        let doing = "read its virtual clock";
        let answer =
            qmp.execute("query-virtual-clock", serde_json::Value::Null).map_err(|e| lost(doing, e))?;
        let info: VirtualClockInfo = serde_json::from_value(answer).map_err(|error| lost(doing, error))?;
        Ok(Some(VirtualNs(info.virtual_ns)))
    }
}
