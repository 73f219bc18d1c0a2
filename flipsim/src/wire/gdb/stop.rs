//! Why a guest is stopped: stop replies, and what the client knows of the guest's run state.
//!
//! Source: QEMU's `gdb_vm_state_change`.
//!
//! Invariant: a packet that is not a stop reply is never read as one.

use std::fmt;

use crate::wire::gdb::codec;

/// Why the guest is stopped, from a stop reply.
///
/// The signals are those that QEMU makes of its run states (`gdb_vm_state_change`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Paused: by this client, by `stop` on a monitor, by a panic with `-action panic=pause`.
    Paused,
    /// A breakpoint, or the end of a single step.
    Debug,
    /// A watchpoint, and the guest virtual address that it watches.
    Watchpoint(u64),
    /// The guest shut down, and QEMU stays, as its command line asks for.
    Shutdown,
    /// A disk error.
    IoError,
    /// The watchdog went off.
    Watchdog,
    /// QEMU found itself in an impossible state.
    InternalError,
    /// A migration, or a snapshot through one, has stopped the guest.
    Migrated,
    /// Another signal, by its number in the protocol.
    Signal(u8),
    /// QEMU ended, with this exit status. It takes no more commands.
    Exited(u8),
    /// QEMU was ended by this signal. It takes no more commands.
    Killed(u8),
}

impl StopReason {
    /// Whether QEMU itself has ended.
    #[must_use]
    pub fn is_exit(self) -> bool {
        matches!(self, StopReason::Exited(_) | StopReason::Killed(_))
    }

    /// Reads a stop reply: `S05`, `T02thread:01;`, `W00`, `X09`. `None`: this is no stop reply.
    ///
    /// No answer to a command that this client sends looks like one.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let number = codec::decode_hex(packet.get(1..3)?)?[0];
        match packet[0] {
            b'W' => return Some(StopReason::Exited(number)),
            b'X' => return Some(StopReason::Killed(number)),
            b'S' | b'T' => {}
            _ => return None,
        }
        let watch = packet[3..].split(|byte| *byte == b';').find_map(|field| {
            let at = field.iter().position(|byte| *byte == b':')?;
            let (key, value) = (&field[..at], &field[at + 1..]);
            matches!(key, b"watch" | b"rwatch" | b"awatch").then(|| codec::decode_number(value)).flatten()
        });
        Some(match (number, watch) {
            (_, Some(address)) => StopReason::Watchpoint(address),
            (2, _) => StopReason::Paused,
            (3, _) => StopReason::Shutdown,
            (5, _) => StopReason::Debug,
            (6, _) => StopReason::InternalError,
            (14, _) => StopReason::Watchdog,
            (23, _) => StopReason::IoError,
            (24, _) => StopReason::Migrated,
            (other, _) => StopReason::Signal(other),
        })
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopReason::Paused => f.write_str("paused"),
            StopReason::Debug => f.write_str("breakpoint or single step"),
            StopReason::Watchpoint(address) => write!(f, "watchpoint at {address:#x}"),
            StopReason::Shutdown => f.write_str("the guest shut down"),
            StopReason::IoError => f.write_str("disk error"),
            StopReason::Watchdog => f.write_str("watchdog"),
            StopReason::InternalError => f.write_str("internal error of QEMU"),
            StopReason::Migrated => f.write_str("stopped for a migration or snapshot"),
            StopReason::Signal(number) => write!(f, "signal {number}"),
            StopReason::Exited(status) => write!(f, "QEMU ended with status {status}"),
            StopReason::Killed(signal) => write!(f, "QEMU was ended by signal {signal}"),
        }
    }
}

/// What the client knows of the guest, as of the last bytes that it read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// The guest runs: only [`stop`](crate::wire::gdb::GdbClient::stop) and
    /// [`wait_stop`](crate::wire::gdb::GdbClient::wait_stop) make sense.
    Running,
    /// The guest is stopped.
    Stopped(StopReason),
}
