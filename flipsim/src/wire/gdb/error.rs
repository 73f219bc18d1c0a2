//! What can go wrong between the client and the stub, and what to do about it.

use std::io;
use std::time::Duration;

use crate::wire::gdb::description::DescriptionError;
use crate::wire::gdb::stop::StopReason;
use crate::wire::net::{Endpoint, NetError};

/// What went wrong between this client and the stub.
#[derive(Debug, thiserror::Error)]
pub enum GdbError {
    /// No connection.
    #[error("no connection to the gdb stub: {0}")]
    Connect(#[from] NetError),
    /// Connected, and then nothing.
    #[error(
        "the gdb stub on {endpoint} does not answer; it serves one client at a time, so close any other \
         debugger, then look whether QEMU is stuck"
    )]
    NoAnswer {
        /// Where the stub is.
        endpoint: Endpoint,
    },
    /// No answer in time. The connection is of no more use.
    #[error(
        "no answer to `{packet}` within {after:?}; QEMU is stuck or the host overloaded, so connect again"
    )]
    TimedOut {
        /// What was sent.
        packet: String,
        /// How long the wait was.
        after: Duration,
    },
    /// The guest ran without this client knowing it, so the stub stopped it and dropped the packet.
    #[error(
        "the stub dropped `{packet}`: the guest was running, resumed by other means, and is stopped now; \
         connect again, and say so with note_resumed() after a resume over QMP"
    )]
    Dropped {
        /// What was sent.
        packet: String,
    },
    /// A command that needs a stopped guest.
    #[error("the guest is running; stop it first (any byte to the stub would stop it and be lost)")]
    Running,
    /// An earlier answer is still to come, so the next one could be mistaken.
    #[error("this connection lost count of its answers after an earlier error; connect again")]
    OutOfStep,
    /// `E NN`.
    #[error("the stub refused `{packet}` with E{code:02x}: {}", explain(*code))]
    Refused {
        /// What was sent.
        packet: String,
        /// The two digits behind the `E`, read as hex: 0x14 for `E14`.
        code: u8,
    },
    /// The empty answer.
    #[error("the stub does not know `{packet}`; flipsim needs the gdb stub of QEMU 7.1 or newer")]
    Unsupported {
        /// What was sent.
        packet: String,
    },
    /// An answer that makes no sense there.
    #[error("the stub answered `{packet}` with `{answer}`, which makes no sense; connect again")]
    Nonsense {
        /// What was sent.
        packet: String,
        /// What the stub answered.
        answer: String,
    },
    /// Packets arrived damaged again and again.
    #[error(
        "the answer to `{packet}` was damaged {attempts} times; is something else writing to this socket?"
    )]
    Damaged {
        /// What was sent.
        packet: String,
        /// How often it was asked for.
        attempts: u32,
    },
    /// The stub asked for our packet again and again.
    #[error("the stub found `{packet}` damaged {attempts} times; is something else writing to this socket?")]
    Rejected {
        /// What was sent.
        packet: String,
        /// How often it was sent.
        attempts: u32,
    },
    /// An answer longer than any valid one.
    #[error("the answer to `{packet}` is longer than {limit} bytes; is this QEMU's gdb stub?")]
    TooLong {
        /// What was sent.
        packet: String,
        /// The packet limit, in bytes.
        limit: usize,
    },
    /// The end of the stream.
    #[error("{endpoint} was closed; QEMU has ended or crashed, see its log")]
    Closed {
        /// Where the stub was.
        endpoint: Endpoint,
    },
    /// QEMU said that it ends.
    #[error("{0}; start the guest again")]
    Exited(StopReason),
    /// What the system said.
    #[error("{endpoint}: {source}; connect again")]
    Io {
        /// Where the stub is.
        endpoint: Endpoint,
        /// The cause.
        source: io::Error,
    },
    /// A target description that cannot be used.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The stub accepted the command, and did not follow it.
    #[error("the stub did not switch its physical memory mode; flipsim needs QEMU 4.1 or newer")]
    PhysicalMode,
}

/// What QEMU's few error numbers mean.
fn explain(code: u8) -> &'static str {
    // QEMU writes EFAULT and EINVAL in decimal where the protocol has hex digits.
    match code {
        0x14 => "nothing is mapped at that address, or there is no such register",
        0x22 => "it does not take such an argument, or not so much data in one packet",
        _ => "see gdbstub.c of this QEMU",
    }
}

/// The beginning of a packet, readable.
pub(super) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 60;
    let mut text = bytes[..bytes.len().min(MOST)].escape_ascii().to_string();
    if bytes.len() > MOST {
        text.push('…');
    }
    text
}
