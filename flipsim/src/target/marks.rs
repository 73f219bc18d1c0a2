//! Marking a state inside a running QEMU, going back to it, and asking which state a guest is in
//! (`qemu-patches/`, QMP `mark-state`, `rewind-state`, `query-state-digest`).
//!
//! Invariant: a digest depends on the state alone, not on the way that led to it.

use serde_json::{Value, json};

use crate::target::digest::{Digest128, StateChange, StateDigest};
use crate::target::error::MarkError;
use crate::target::live::LiveTarget;
use crate::units::VirtualNs;

/// How many exceptions in a row, with hardly an instruction between one and the next, are a storm. A guest
/// that works needs more instructions than that for each.
const STORM: u32 = 10_000;

/// QEMU's event for it.
pub const EXCEPTION_STORM: &str = "EXCEPTION_STORM";

impl LiveTarget {
    pub(super) fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        command: &'static str,
        arguments: Value,
    ) -> Result<T, MarkError> {
        let answer = self.execute(command, arguments)?;
        serde_json::from_value(answer).map_err(|cause| MarkError::Answer { command, cause })
    }

    /// As [`ask`](Self::ask), for an answer of a hundred kilobytes, which is no matter for the stub.
    pub(super) fn ask_at_length<T: serde::de::DeserializeOwned>(
        &mut self,
        command: &'static str,
        arguments: Value,
    ) -> Result<T, MarkError> {
        let qmp = self.qmp().ok_or(MarkError::NoMonitor)?;
        let answer = qmp.execute(command, arguments)?;
        serde_json::from_value(answer).map_err(|cause| MarkError::Answer { command, cause })
    }

    /// Marks the state that the guest is in. It must be stopped.
    ///
    /// # Errors
    /// QEMU refuses; an earlier mark then stays.
    pub fn mark(&mut self) -> Result<StateChange, MarkError> {
        self.change("mark-state")
    }

    /// Goes back to the mark, from whatever state the guest is stopped in.
    ///
    /// # Errors
    /// There is no mark; or QEMU could not restore everything, and is then no longer usable.
    pub fn rewind(&mut self) -> Result<StateChange, MarkError> {
        self.change("rewind-state")
    }

    fn change(&mut self, command: &'static str) -> Result<StateChange, MarkError> {
        self.forget_clock();
        let change: StateChange = self.ask(command, Value::Null)?;
        self.stands_at(VirtualNs(change.virtual_ns));
        Ok(change)
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
        self.ask_at_length(command, json!({ "sections": true, "pages": true }))
    }

    /// As [`state_digest`](Self::state_digest), of devices and disks only where RAM is as expected; `detailed` lists the
    /// devices then.
    ///
    /// # Errors
    /// QEMU refuses or is lost.
    pub fn state_digest_if(&mut self, ram: Digest128, detailed: bool) -> Result<StateDigest, MarkError> {
        self.ask("query-state-digest", json!({ "if-ram": ram, "sections": detailed }))
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
    use crate::target::digest::ChangedPage;

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
    fn where_ram_differs_nothing_else_is_reported() {
        let answer = json!({
            "ram": "3d3b6cb8f0b6bb1c1b1f8f0c9a5b8a11", "virtual-ns": 2, "instructions": 2,
            "pages-differing": 4, "pages-hashed": 3, "clusters": 0, "left-out": [], "pages-us": 9,
            "devices-us": 0, "disks-us": 0,
        });
        let state: StateDigest = serde_json::from_value(answer).unwrap();
        assert_eq!((state.digest, state.devices, state.disks), (None, None, None));
    }

    #[test]
    fn an_invalid_list_of_pages_is_refused() {
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
