//! Marking a state inside a running QEMU, going back to it, and telling which state a guest is in
//! (`qemu-patches/`, QMP `mark-state`, `rewind-state`, `query-state-digest`).
//!
//! Invariant: a digest depends on the state alone, not on the way that led to it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::target::live::LiveTarget;
use crate::wire::gdb::GdbError;
use crate::wire::qmp::QmpError;

/// What a QEMU without the patch is told as.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The monitor, or QEMU's refusal.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The gdb stub, whose own monitor takes the command.
    #[error(transparent)]
    Gdb(#[from] GdbError),
    /// No monitor at all.
    #[error("a state can only be marked where the guest's QMP monitor is known")]
    NoMonitor,
    /// An answer that is none.
    #[error("QEMU's answer to `{command}` cannot be read: {cause}; is it a QEMU with the lab's patches?")]
    Answer {
        /// The command.
        command: &'static str,
        /// What is wrong.
        cause: serde_json::Error,
    },
}

/// 128 bits that stand for a state.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest128(pub u128);

impl fmt::Display for Digest128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest128 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest128 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = Some(&text).filter(|text| text.len() <= 32 && !text.starts_with(['+', '-']));
        let number = number.and_then(|text| u128::from_str_radix(text, 16).ok());
        number
            .map(Digest128)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no digest of 128 bits")))
    }
}

/// What a mark or a rewind did, and how long its parts took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateChange {
    /// The virtual time of the state that is marked.
    pub virtual_ns: u64,
    /// Pages that may have been written since the last mark or rewind.
    pub pages: u64,
    /// Those whose content had changed.
    pub pages_changed: u64,
    /// The size of the devices' state.
    pub device_bytes: u64,
    /// Clusters of 4 KiB written to disks since the last mark or rewind.
    pub clusters: u64,
    /// Microseconds spent on RAM.
    pub pages_us: u64,
    /// Microseconds spent on devices.
    pub devices_us: u64,
    /// Microseconds spent on disks.
    pub disks_us: u64,
    /// Microseconds spent on the rest.
    pub other_us: u64,
}

/// The state of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSection {
    /// Its name in a migration's stream.
    pub name: String,
    /// Its number among those of that name.
    pub instance: i64,
    /// The size of its state.
    pub bytes: u64,
    /// The digest of it.
    pub digest: Digest128,
}

/// A page of RAM that is not as in the template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedPage {
    /// The name of the RAM block.
    pub block: String,
    /// Where the page begins in it.
    pub offset: u64,
    /// The digest of its content.
    pub digest: Digest128,
}

/// The state of a stopped guest, in few bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateDigest {
    /// Of all of it; absent, as the next two, where only RAM was looked at.
    pub digest: Option<Digest128>,
    /// Of the pages that are not as in the template.
    pub ram: Digest128,
    /// Of the devices, the vCPUs' registers among them.
    pub devices: Option<Digest128>,
    /// Of what was written to disks.
    pub disks: Option<Digest128>,
    /// The virtual clock.
    pub virtual_ns: u64,
    /// The instructions executed so far, where they are counted.
    pub instructions: Option<u64>,
    /// Pages that are not as in the template.
    pub pages_differing: u64,
    /// Pages that were read in order to tell.
    pub pages_hashed: u64,
    /// The devices one by one, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sections: Option<Vec<DeviceSection>>,
    /// The pages, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "blocks")]
    pub pages: Option<Vec<ChangedPage>>,
}

/// Pages as QEMU tells them: one string for each RAM block, in it for each page 8 digits of its number and
/// the 32 of its digest.
mod blocks {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{ChangedPage, Digest128};

    const PAGE_SIZE: u64 = 4096;
    const DIGITS: usize = 40;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Block {
        block: String,
        page_size: u64,
        pages: String,
    }

    pub fn serialize<S: Serializer>(pages: &Option<Vec<ChangedPage>>, to: S) -> Result<S::Ok, S::Error> {
        let blocks = pages.as_ref().map(|pages| {
            let mut blocks: Vec<Block> = Vec::new();
            for page in pages {
                if blocks.last().is_none_or(|last| last.block != page.block) {
                    let block = page.block.clone();
                    blocks.push(Block { block, page_size: PAGE_SIZE, pages: String::new() });
                }
                if let Some(last) = blocks.last_mut() {
                    last.pages.push_str(&format!("{:08x}{}", page.offset / PAGE_SIZE, page.digest));
                }
            }
            blocks
        });
        blocks.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<ChangedPage>>, D::Error> {
        let Some(blocks) = Option::<Vec<Block>>::deserialize(from)? else { return Ok(None) };
        let mut found = Vec::with_capacity(blocks.iter().map(|block| block.pages.len() / DIGITS).sum());
        for Block { block, page_size, pages } in blocks {
            let wrong = || D::Error::custom(format!("the pages of block {block} are no list of pages"));
            if !pages.len().is_multiple_of(DIGITS) || !pages.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            for at in (0..pages.len()).step_by(DIGITS) {
                let page = &pages[at..at + DIGITS];
                let number = u64::from_str_radix(&page[..8], 16).map_err(|_| wrong())?;
                let digest = u128::from_str_radix(&page[8..], 16).map_err(|_| wrong())?;
                let offset = number.checked_mul(page_size).ok_or_else(wrong)?;
                found.push(ChangedPage { block: block.clone(), offset, digest: Digest128(digest) });
            }
        }
        Ok(Some(found))
    }
}

impl StateDigest {
    /// Whether two states are one, as far as 128 bits can tell. How many pages were read for it does
    /// not count.
    #[must_use]
    pub fn is_same(&self, other: &StateDigest) -> bool {
        (self.ram, self.devices, self.disks, self.virtual_ns, self.instructions)
            == (other.ram, other.devices, other.disks, other.virtual_ns, other.instructions)
    }
}

/// The commands that a QEMU must have for all of this.
pub const COMMANDS: [&str; 4] = ["mark-state", "rewind-state", "query-state-digest", "set-exception-limit"];

/// How many exceptions in a row, with hardly an instruction between one and the next, are a storm. A guest
/// that works needs more instructions than that for each.
const STORM: u32 = 10_000;

/// QEMU's event for it.
pub const EXCEPTION_STORM: &str = "EXCEPTION_STORM";

impl LiveTarget {
    fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        command: &'static str,
        arguments: Value,
    ) -> Result<T, MarkError> {
        let answer = self.execute(command, arguments)?;
        serde_json::from_value(answer).map_err(|cause| MarkError::Answer { command, cause })
    }

    /// Whether this QEMU can mark and rewind.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn can_rewind(&mut self) -> Result<bool, MarkError> {
        let qmp = self.qmp().ok_or(MarkError::NoMonitor)?;
        for command in COMMANDS {
            if !qmp.has_command(command)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Marks the state that the guest is in. It must be stopped.
    ///
    /// # Errors
    /// QEMU refuses; an earlier mark then stays.
    pub fn mark(&mut self) -> Result<StateChange, MarkError> {
        self.forget_clock();
        self.ask("mark-state", Value::Null)
    }

    /// Goes back to the mark, from whatever state the guest is stopped in.
    ///
    /// # Errors
    /// There is no mark; or QEMU could not put everything back, and is then of no more use.
    pub fn rewind(&mut self) -> Result<StateChange, MarkError> {
        self.forget_clock();
        self.ask("rewind-state", Value::Null)
    }

    /// Which state the stopped guest is in. `detailed` lists devices and pages.
    ///
    /// # Errors
    /// QEMU refuses or is lost.
    pub fn state_digest(&mut self, detailed: bool) -> Result<StateDigest, MarkError> {
        let command = "query-state-digest";
        if !detailed {
            return self.ask(command, json!({}));
        }
        // An answer of a hundred kilobytes is no matter for the stub.
        let qmp = self.qmp().ok_or(MarkError::NoMonitor)?;
        let answer = qmp.execute(command, json!({ "sections": true, "pages": true }))?;
        serde_json::from_value(answer).map_err(|cause| MarkError::Answer { command, cause })
    }

    /// As [`state_digest`](Self::state_digest), of devices and disks only where RAM is as expected.
    ///
    /// # Errors
    /// QEMU refuses or is lost.
    pub fn state_digest_if(&mut self, ram: Digest128) -> Result<StateDigest, MarkError> {
        self.ask("query-state-digest", json!({ "if-ram": ram }))
    }

    /// From now on an exception storm stops the guest, with the event [`EXCEPTION_STORM`].
    ///
    /// # Errors
    /// QEMU refuses, as without the exact clock, or is lost.
    pub fn stop_at_storms(&mut self) -> Result<(), MarkError> {
        self.limit_exceptions(STORM)
    }

    /// From now on none does, as from the start.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn let_storms_be(&mut self) -> Result<(), MarkError> {
        self.limit_exceptions(0)
    }

    fn limit_exceptions(&mut self, exceptions: u32) -> Result<(), MarkError> {
        let qmp = self.qmp().ok_or(MarkError::NoMonitor)?;
        qmp.execute("set-exception-limit", json!({ "exceptions": exceptions }))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_32_digits_and_is_read_back() {
        let digest = Digest128(0x0b16);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, "\"00000000000000000000000000000b16\"");
        assert_eq!(serde_json::from_str::<Digest128>(&json).unwrap(), digest);
        for bad in ["\"\"", "\"-1\"", "\"+1\"", "\"xyz\"", "\"100000000000000000000000000000000\"", "1"] {
            assert!(serde_json::from_str::<Digest128>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_of_qemu_is_read() {
        let answer = json!({
            "digest": "0b16e4be4a1a6f4ae4a7a1f4a8bd16c5", "ram": "3d3b6cb8f0b6bb1c1b1f8f0c9a5b8a11",
            "devices": "cddb780659632dacc9881ae80e62012f", "disks": "00000000000000000000000000008a85",
            "virtual-ns": 2_000_000, "instructions": 1_900_000, "pages-differing": 402, "pages-hashed": 310,
            "clusters": 3, "left-out": [], "pages-us": 90, "devices-us": 300, "disks-us": 5,
            "pages": [{ "block": "ram0", "page-size": 4096, "pages":
                "000000020000000000000000000000000000000b0000001000000000000000000000000000000001" }],
        });
        let state: StateDigest = serde_json::from_value(answer).unwrap();
        assert_eq!((state.virtual_ns, state.pages_differing), (2_000_000, 402));
        assert_eq!(state.disks, Some(Digest128(0x8a85)));
        let page = |number: u64, digest| ChangedPage {
            block: "ram0".into(),
            offset: number * 4096,
            digest: Digest128(digest),
        };
        assert_eq!(state.pages, Some(vec![page(2, 11), page(16, 1)]));
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<StateDigest>(&text).unwrap(), state);
        let mut other = state.clone();
        other.pages_hashed = 1;
        assert!(state.is_same(&other));
        other.instructions = Some(1);
        assert!(!state.is_same(&other));
    }
    #[test]
    fn where_ram_is_another_one_nothing_else_is_told() {
        let answer = json!({
            "ram": "3d3b6cb8f0b6bb1c1b1f8f0c9a5b8a11", "virtual-ns": 2, "instructions": 2,
            "pages-differing": 4, "pages-hashed": 3, "clusters": 0, "left-out": [], "pages-us": 9,
            "devices-us": 0, "disks-us": 0,
        });
        let state: StateDigest = serde_json::from_value(answer).unwrap();
        assert_eq!((state.digest, state.devices, state.disks), (None, None, None));
    }

    #[test]
    fn a_list_of_pages_that_is_none_is_refused() {
        for pages in
            ["0", "zz000002000000000000000000000000000000b0", "ü00000200000000000000000000000000000000"]
        {
            let answer = json!({
                "ram": "00", "virtual-ns": 2, "instructions": 2, "pages-differing": 4, "pages-hashed": 3,
                "pages": [{ "block": "ram0", "page-size": 4096, "pages": pages }],
            });
            let error = serde_json::from_value::<StateDigest>(answer).unwrap_err();
            assert!(error.to_string().contains("block ram0"), "{pages}: {error}");
        }
    }
}
