//! What a guest is after, and why it stopped: how QEMU reports the end of a guest, in one table.

use serde::{Deserialize, Serialize};

/// Why a guest stopped before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It told QEMU that it panicked.
    Panic,
    /// It reset itself.
    Reset,
    /// It switched itself off.
    PowerOff,
    /// It takes one exception after the other, and does nothing else any more.
    ExceptionStorm,
    /// It took more of the host's time than a trial may.
    WallTime,
    /// QEMU stopped it for a reason of its own.
    Other,
}
