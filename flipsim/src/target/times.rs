//! When the guest did what, as QEMU keeps it: each byte of a character device, and the time in which it idled
//! (`qemu-patches/`, QMP `keep-write-times`, `query-write-times`, `keep-idle-spans`, `query-idle-spans`).
//!
//! Invariant: **a time that is not known is not made up**: it is absent.

use serde::Deserialize;
use serde_json::json;

use crate::target::error::MarkError;
use crate::target::live::LiveTarget;
use crate::units::VirtualNs;

/// The answer to `query-write-times`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WriteTimes {
    virtual_ns: Vec<i64>,
}

/// When all vCPUs waited, so that the virtual clock skipped the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IdleSpans {
    from_ns: Vec<u64>,
    idle_ns: Vec<u64>,
    complete: bool,
}

impl IdleSpans {
    /// Each span's first nanosecond on the virtual clock, and its length; `None` where they were too many to be kept.
    #[must_use]
    pub fn all(self) -> Option<Vec<(VirtualNs, u64)>> {
        let whole = self.complete && self.from_ns.len() == self.idle_ns.len();
        whole.then(|| self.from_ns.into_iter().map(VirtualNs).zip(self.idle_ns).collect())
    }
}

impl LiveTarget {
    /// From now on the virtual times of the latest `bytes` bytes of a character device are kept; its next byte is
    /// number 0.
    ///
    /// # Errors
    /// There is no such device, or QEMU is lost.
    pub fn keep_write_times(&mut self, device: &str, bytes: u64) -> Result<(), MarkError> {
        self.execute("keep-write-times", json!({ "id": device, "bytes": bytes }))?;
        Ok(())
    }

    /// When the bytes with these numbers were written; `None` for one whose time is not kept.
    ///
    /// # Errors
    /// QEMU keeps none, or is lost.
    pub fn write_times(&mut self, bytes: &[u64]) -> Result<Vec<Option<VirtualNs>>, MarkError> {
        let found: WriteTimes = self.ask("query-write-times", json!({ "bytes": bytes }))?;
        let mut times: Vec<Option<VirtualNs>> =
            found.virtual_ns.into_iter().map(|ns| u64::try_from(ns).ok().map(VirtualNs)).collect();
        times.resize(bytes.len(), None);
        Ok(times)
    }

    /// From now on the first `spans` spans are kept in which the guest idles.
    ///
    /// # Errors
    /// The clock does not skip idle time, or QEMU is lost.
    pub fn keep_idle_spans(&mut self, spans: u64) -> Result<(), MarkError> {
        self.execute("keep-idle-spans", json!({ "spans": spans }))?;
        Ok(())
    }

    /// The spans since [`keep_idle_spans`](Self::keep_idle_spans).
    ///
    /// # Errors
    /// QEMU keeps none, or is lost.
    pub fn idle_spans(&mut self) -> Result<IdleSpans, MarkError> {
        let command = "query-idle-spans";
        // As long as the guest idled often: no matter for the stub.
        let qmp = self.qmp().ok_or(MarkError::NoMonitor)?;
        let answer = qmp.execute(command, json!({}))?;
        serde_json::from_value(answer).map_err(|cause| MarkError::Answer { command, cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_were_too_many_are_not_passed_on_as_all_of_them() {
        let read = |text: &str| serde_json::from_str::<IdleSpans>(text).unwrap().all();
        let whole = r#"{"from-ns":[5,90],"idle-ns":[10,1],"complete":true}"#;
        assert_eq!(read(whole), Some(vec![(VirtualNs(5), 10), (VirtualNs(90), 1)]));
        assert_eq!(read(&whole.replace("true", "false")), None);
        assert_eq!(read(&whole.replace("[10,1]", "[10]")), None);
    }
}
