//! Recording which bytes of RAM a guest reads and overwrites, and which registers it uses
//! (`qemu-patches/`, QMP `record-accesses`, `next-accesses`, `query-section`).
//!
//! Invariant: a recorded run is the same run: recording changes nothing of a guest's state.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::target::error::MarkError;
use crate::target::live::LiveTarget;
use crate::units::VirtualNs;
use crate::wire::qmp::QmpError;

/// A block of RAM, whose number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RecordedBlock {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub length: u64,
}

/// A range of guest-physical addresses that shows a part of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RecordedRange {
    /// Where it begins.
    pub address: u64,
    /// Its size in bytes.
    pub length: u64,
    /// The number of the block.
    pub block: u8,
    /// Where it begins in the block.
    pub offset: u64,
}

/// Of what accesses are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RecordedRam {
    /// The blocks of RAM.
    pub blocks: Vec<RecordedBlock>,
    /// Where they are in the guest's physical memory.
    pub ranges: Vec<RecordedRange>,
    /// The registers whose use is recorded, a byte each in the block behind the last one.
    #[serde(default)]
    pub registers: Vec<String>,
}

/// An interval whose accesses are all in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordedInterval {
    /// How many records it has.
    pub records: u64,
    /// Where it began.
    pub from_ns: VirtualNs,
    /// Where it ended.
    pub virtual_ns: VirtualNs,
}

/// Where QEMU sees accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessHook {
    /// Loads of the guest's code.
    Loads,
    /// Its stores.
    Stores,
    /// Its atomic operations, where QEMU does them in one.
    Atomics,
    /// Helpers of QEMU that use a pointer into RAM.
    Probes,
    /// Page-table walks.
    Walks,
    /// Blocks of code that are executed.
    Code,
    /// Devices that read RAM.
    DeviceReads,
    /// Devices that write it.
    DeviceWrites,
}

impl LiveTarget {
    /// From now on accesses are recorded; records are appended to this file in QEMU's folder. What some hooks see may be
    /// left out, to test that they are needed.
    ///
    /// # Errors
    /// The guest is one that cannot be recorded: several vCPUs, no exact clock; or QEMU is lost.
    pub fn record_accesses(&mut self, file: &str, without: &[AccessHook]) -> Result<RecordedRam, MarkError> {
        let arguments = match without {
            [] => json!({ "file": file }),
            hooks => json!({ "file": file, "without": hooks }),
        };
        self.ask_at_length("record-accesses", arguments)
    }

    /// What a part of the devices' state holds, of several of that name the first.
    ///
    /// # Errors
    /// There is no such part, or QEMU is lost.
    pub fn section(&mut self, name: &str) -> Result<Vec<u8>, MarkError> {
        #[derive(Deserialize)]
        struct Section {
            content: String,
        }
        let command = "query-section";
        let section: Section = self.ask_at_length(command, json!({ "name": name }))?;
        BASE64_STANDARD.decode(section.content).map_err(|cause| {
            let cause = serde::de::Error::custom(cause);
            MarkError::Answer { command, cause }
        })
    }

    /// Has QEMU append to the file of [`LiveTarget::record_accesses`] which code was executed; whether it can. An interval
    /// has ended right before.
    ///
    /// # Errors
    /// The file cannot be written, nothing is recorded, or QEMU is lost.
    pub fn save_executed_code(&mut self) -> Result<bool, MarkError> {
        let qmp = self.qmp().ok_or(MarkError::NoMonitor)?;
        match qmp.execute("save-executed-code", Value::Null) {
            Ok(_) => Ok(true),
            Err(QmpError::Refused { class, .. }) if class == "CommandNotFound" => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Records no accesses any more.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn stop_recording(&mut self) -> Result<(), MarkError> {
        self.ask::<Value>("stop-recording", Value::Null).map(|_| ())
    }

    /// Ends an interval, and begins the next.
    ///
    /// # Errors
    /// The file cannot be written, nothing is recorded, or QEMU is lost.
    pub fn next_accesses(&mut self) -> Result<RecordedInterval, MarkError> {
        self.ask("next-accesses", Value::Null)
    }
}
