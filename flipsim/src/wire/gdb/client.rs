//! A client for QEMU's gdb stub: memory, registers, stop, run and step.
//!
//! Source: QEMU 7.1 `gdbstub.c`, 7.2 `gdbstub/gdbstub.c`; "Debugging with GDB", appendix "Remote
//! Serial Protocol".
//!
//! Invariant: a command that needs a stopped guest is refused while the guest runs, before any byte of it is
//! sent. Which answer belongs to which question is the link's to know ([`crate::wire::gdb::link`]).

use std::fmt;
use std::time::{Duration, Instant};

use crate::wire::gdb::breakpoint::{Breakpoint, Stops};
use crate::wire::gdb::codec::{self, INTERRUPT, PacketWriter};
use crate::wire::gdb::description::{self, RegisterInfo};
use crate::wire::gdb::error::GdbError;
use crate::wire::gdb::link::{Expect, Link, MIN_PACKET_SIZE, Resend};
use crate::wire::gdb::stop::{RunState, StopReason};
use crate::wire::net::{Endpoint, Timeouts};

/// The most bytes that one `m` may ask for: QEMU answers `E22` above half its packet size.
const MAX_READ: usize = 0x800;

/// Packet content beside the data of an `M`: the command, two numbers of 16 digits, `,` and `:`,
/// and the frame.
const WRITE_OVERHEAD: usize = 1 + 16 + 1 + 16 + 1 + 4;

/// The most bytes that are written and read back in one go: both packets fit the smallest packet size.
const MAX_PAIRED: usize = 64;

/// How many registers are asked for in one go. QEMU takes in 4096 bytes at a time, and answers each before it looks at the
/// next.
const MAX_QUESTIONS: usize = 64;

/// More than any file of a description has, in bytes.
const MAX_XFER: usize = 4 << 20;

/// The longest line of the monitor that is taken, in hexadecimal.
const MONITOR_LINE: usize = 64 * 1024;

/// The largest packet size that is believed, in bytes.
const MAX_PACKET_SIZE: usize = 1 << 20;

/// A connection to the gdb stub of one guest.
///
/// Connecting stops the guest. The ways to end: [`detach`](Self::detach) lets the guest run,
/// [`leave_stopped`](Self::leave_stopped) does not. **Dropping** the client only closes the socket:
/// the guest stays as it is, running or stopped, and the physical memory mode stays as it was set,
/// because the stub keeps it; the next [`connect`](Self::connect) turns it off. A drop sends nothing
/// on purpose: after an error it is not known whether the guest should run.
pub struct GdbClient {
    link: Link,
    physical: bool,
    registers: Vec<RegisterInfo>,
}

impl GdbClient {
    /// Connects, stops the guest, reads the target description, and turns physical memory mode off.
    ///
    /// # Errors
    /// [`GdbError::Connect`], [`GdbError::NoAnswer`] when the stub serves another client,
    /// [`GdbError::Description`], and those of any command.
    pub fn connect(endpoint: &Endpoint, timeouts: Timeouts) -> Result<Self, GdbError> {
        let link = Link::connect(endpoint, timeouts)?;
        let mut client = GdbClient { link, physical: false, registers: Vec::new() };
        client.handshake()?;
        Ok(client)
    }

    fn handshake(&mut self) -> Result<(), GdbError> {
        let supported = match self.link.ask(|packet| {
            packet.text("qSupported");
        }) {
            Err(GdbError::TimedOut { .. }) => {
                return Err(GdbError::NoAnswer { endpoint: self.link.endpoint.clone() });
            }
            other => other?,
        };
        let supported = String::from_utf8_lossy(supported).into_owned();
        let mut offers_no_ack = false;
        for feature in supported.split(';') {
            if let Some(size) = feature.strip_prefix("PacketSize=") {
                let size = codec::decode_number(size.as_bytes()).and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| self.link.nonsense(supported.as_bytes()))?;
                self.link.packet_size = size.clamp(MIN_PACKET_SIZE, MAX_PACKET_SIZE);
            }
            offers_no_ack |= feature == "QStartNoAckMode+";
        }
        // QEMU's longest answers are as long as its packet size without the frame, but for a line of the
        // monitor's, which it sends whole.
        self.link.parser.set_limit((self.link.packet_size + 64).max(MONITOR_LINE));
        if offers_no_ack {
            self.link.ask_ok(|packet| {
                packet.text("QStartNoAckMode");
            })?;
            self.link.no_ack = true;
        }
        // `p` and `P` answer empty until this was read, so it comes before anything else.
        self.registers = description::read_description(|file| self.read_feature(file))?;
        self.link.exchange(Expect::Stop, |packet| {
            packet.text("?");
        })?;
        // The mode belongs to the stub, not to the connection: the last client may have left it on.
        match self.ask_physical_memory() {
            Ok(true) => self.switch_physical_memory(false),
            Ok(false) | Err(GdbError::Unsupported { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where the stub is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.link.endpoint
    }

    /// The registers that the stub serves, in the order of its description.
    #[must_use]
    pub fn registers(&self) -> &[RegisterInfo] {
        &self.registers
    }

    /// The register of this name.
    #[must_use]
    pub fn register(&self, name: &str) -> Option<&RegisterInfo> {
        self.registers.iter().find(|register| register.name == name)
    }

    /// The longest packet that the stub takes, in bytes.
    #[must_use]
    pub fn packet_size(&self) -> usize {
        self.link.packet_size
    }

    /// Whether the guest runs, after a look at what the stub has sent meanwhile. Sends nothing.
    ///
    /// Right after connecting the reason is [`StopReason::Debug`], whatever it was: QEMU says so.
    ///
    /// # Errors
    /// [`GdbError::Exited`] and [`GdbError::Closed`] when QEMU is gone.
    pub fn run_state(&mut self) -> Result<RunState, GdbError> {
        self.link.take_in_what_came()?;
        Ok(self.link.state)
    }

    /// How many stop replies came that no command of this client had asked for.
    #[must_use]
    pub fn unasked_stops(&self) -> u64 {
        self.link.unasked_stops
    }

    /// Notes that the guest was resumed by other means, as with `cont` over QMP.
    ///
    /// Without this the next command would stop the guest and be dropped ([`GdbError::Dropped`]).
    /// Call it before the resume itself, so that a stop reply that follows is not taken for an older one.
    ///
    /// # Errors
    /// [`GdbError::Exited`] and [`GdbError::Closed`] when QEMU is gone.
    pub fn note_resumed(&mut self) -> Result<(), GdbError> {
        self.link.take_in_what_came()?;
        self.link.state = RunState::Running;
        Ok(())
    }

    /// Reads `length` bytes from `address` on: guest virtual, or guest physical in that mode.
    ///
    /// # Errors
    /// [`GdbError::Running`]; [`GdbError::Refused`] when a virtual address is not mapped. In physical
    /// mode QEMU answers an address where nothing is with bytes that mean nothing.
    pub fn read_memory(&mut self, address: u64, length: usize) -> Result<Vec<u8>, GdbError> {
        let mut bytes = vec![0; length];
        self.read_memory_into(address, &mut bytes)?;
        Ok(bytes)
    }

    /// As [`read_memory`](Self::read_memory), into `bytes`, without allocating.
    ///
    /// # Errors
    /// Those of [`read_memory`](Self::read_memory).
    pub fn read_memory_into(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), GdbError> {
        let most = MAX_READ.min(self.link.packet_size / 2);
        let mut address = address;
        for chunk in bytes.chunks_mut(most) {
            let length = chunk.len() as u64;
            self.link.ask(|packet| {
                packet.text("m").number(address).text(",").number(length);
            })?;
            if codec::decode_hex_into(self.link.parser.data(), chunk).is_none() {
                return Err(self.link.nonsense(self.link.parser.data()));
            }
            address = address.wrapping_add(length);
        }
        Ok(())
    }

    /// Writes `bytes` from `address` on: guest virtual, or guest physical in that mode.
    ///
    /// QEMU drops a write to ROM in silence, and passes one to a device on to it: write RAM only, and
    /// read back what matters.
    ///
    /// # Errors
    /// [`GdbError::Running`]; [`GdbError::Refused`] when a virtual address is not mapped. What was
    /// written before the error stays written.
    pub fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), GdbError> {
        let most = ((self.link.packet_size - WRITE_OVERHEAD) / 2) & !7;
        let mut address = address;
        for chunk in bytes.chunks(most) {
            let length = chunk.len() as u64;
            self.link.ask_ok(|packet| {
                packet.text("M").number(address).text(",").number(length).text(":").hex(chunk);
            })?;
            address = address.wrapping_add(length);
        }
        Ok(())
    }

    /// Writes `bytes`, and reads what is there afterwards into `back`, which is as long.
    ///
    /// Both commands travel in one write, so that the pair costs one round trip: a flip and its check.
    ///
    /// # Errors
    /// Those of [`write_memory`](Self::write_memory). That `back` differs from `bytes` is no error here.
    pub fn write_memory_read_back(
        &mut self,
        address: u64,
        bytes: &[u8],
        back: &mut [u8],
    ) -> Result<(), GdbError> {
        // The answer to a short write is shorter than any limit; longer ones gain nothing by this.
        if bytes.is_empty() || bytes.len() > MAX_PAIRED || bytes.len() != back.len() {
            self.write_memory(address, bytes)?;
            return self.read_memory_into(address, back);
        }
        let length = bytes.len() as u64;
        self.link.begin()?;
        let mut packet = PacketWriter::begin(&mut self.link.sending);
        packet.text("M").number(address).text(",").number(length).text(":").hex(bytes).finish();
        let mut packet = PacketWriter::begin(&mut self.link.sending);
        packet.text("m").number(address).text(",").number(length).finish();
        self.link.finish(Expect::Answer, &mut Vec::new(), Resend::Never)?;
        let written = self.link.answer().and_then(|_| self.link.check_ok());
        // The second answer is on its way, whatever the first one was.
        self.link.sending.clear();
        let mut packet = PacketWriter::begin(&mut self.link.sending);
        packet.text("m").number(address).text(",").number(length).finish();
        let result = self.link.wait_for(Expect::Answer, &mut Vec::new(), Resend::Never);
        self.link.out_of_step |= result.is_err();
        result.and(written)?;
        self.link.answer()?;
        match codec::decode_hex_into(self.link.parser.data(), back) {
            Some(()) => Ok(()),
            None => Err(self.link.nonsense(self.link.parser.data())),
        }
    }

    /// Whether addresses are guest physical now.
    #[must_use]
    pub fn physical_memory(&self) -> bool {
        self.physical
    }

    /// Makes the addresses of later reads and writes guest physical, or guest virtual again, and
    /// checks that the stub did so.
    ///
    /// # Errors
    /// [`GdbError::Running`], [`GdbError::Unsupported`], [`GdbError::PhysicalMode`].
    pub fn set_physical_memory(&mut self, on: bool) -> Result<(), GdbError> {
        if on == self.physical { Ok(()) } else { self.switch_physical_memory(on) }
    }

    fn switch_physical_memory(&mut self, on: bool) -> Result<(), GdbError> {
        self.link.ask_ok(|packet| {
            packet.text(if on { "Qqemu.PhyMemMode:1" } else { "Qqemu.PhyMemMode:0" });
        })?;
        if self.ask_physical_memory()? != on {
            return Err(GdbError::PhysicalMode);
        }
        self.physical = on;
        Ok(())
    }

    fn ask_physical_memory(&mut self) -> Result<bool, GdbError> {
        let answer = self.link.ask(|packet| {
            packet.text("qqemu.PhyMemMode");
        })?;
        match answer {
            b"0" => Ok(false),
            b"1" => Ok(true),
            _ => Err(self.link.nonsense(self.link.parser.data())),
        }
    }

    /// Reads the register of this number: its bytes in the guest's order, so little-endian on the
    /// guests of this lab.
    ///
    /// # Errors
    /// [`GdbError::Running`]; [`GdbError::Refused`] when there is no such register.
    pub fn read_register(&mut self, number: u32) -> Result<Vec<u8>, GdbError> {
        let answer = self.link.ask(|packet| {
            packet.text("p").number(u64::from(number));
        })?;
        match codec::decode_hex(answer) {
            Some(bytes) => Ok(bytes),
            None => Err(self.link.nonsense(self.link.parser.data())),
        }
    }

    /// As [`read_register`](Self::read_register), of many: as many questions travel in one write as the stub takes at a
    /// time.
    ///
    /// # Errors
    /// Those of [`read_register`](Self::read_register).
    pub fn read_registers(&mut self, numbers: &[u32]) -> Result<Vec<Vec<u8>>, GdbError> {
        let mut values = Vec::with_capacity(numbers.len());
        for some in numbers.chunks(MAX_QUESTIONS) {
            self.link.begin()?;
            for number in some {
                let mut packet = PacketWriter::begin(&mut self.link.sending);
                packet.text("p").number(u64::from(*number)).finish();
            }
            let (mut is_sent, mut refused) = (false, None);
            for number in some {
                let answered = if is_sent {
                    // What an error is to name.
                    self.link.sending.clear();
                    let mut packet = PacketWriter::begin(&mut self.link.sending);
                    packet.text("p").number(u64::from(*number)).finish();
                    self.link.wait_for(Expect::Answer, &mut Vec::new(), Resend::Never)
                } else {
                    is_sent = true;
                    self.link.finish(Expect::Answer, &mut Vec::new(), Resend::Never)
                };
                self.link.out_of_step |= answered.is_err();
                answered?;
                // The other answers are on their way, whatever this one is.
                match self.link.answer().map(codec::decode_hex) {
                    Ok(Some(bytes)) => values.push(bytes),
                    Ok(None) => refused = refused.or(Some(self.link.nonsense(self.link.parser.data()))),
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
            if let Some(error) = refused {
                return Err(error);
            }
        }
        Ok(values)
    }

    /// Writes the register of this number: as many bytes as it was read with, in the same order.
    ///
    /// QEMU says "OK" to a write that it drops, as to the system registers of AArch64: read back.
    ///
    /// # Errors
    /// [`GdbError::Running`]; [`GdbError::Refused`].
    pub fn write_register(&mut self, number: u32, bytes: &[u8]) -> Result<(), GdbError> {
        self.link.ask_ok(|packet| {
            packet.text("P").number(u64::from(number)).text("=").hex(bytes);
        })
    }

    /// Sets a breakpoint, or removes it.
    ///
    /// # Errors
    /// Those of any command.
    pub fn set_breakpoint(&mut self, breakpoint: Breakpoint, on: bool) -> Result<(), GdbError> {
        let Breakpoint { stops, address, length } = breakpoint;
        // A breakpoint in hardware: QEMU has one sort of them.
        let kind = match stops {
            Stops::AtInstruction => 1,
            Stops::AtWrite => 2,
            Stops::AtRead => 3,
        };
        self.link.ask_ok(|packet| {
            packet.text(if on { "Z" } else { "z" }).number(kind);
            packet.text(",").number(address).text(",").number(length);
        })
    }

    /// Lets the guest run. A guest that runs already is left alone.
    ///
    /// # Errors
    /// Those of any command.
    pub fn resume(&mut self) -> Result<(), GdbError> {
        self.link.take_in_what_came()?;
        if self.link.state == RunState::Running {
            return Ok(());
        }
        self.link.exchange(Expect::Ack, |packet| {
            packet.text("c");
        })?;
        self.link.state = RunState::Running;
        Ok(())
    }

    /// Stops the guest and says why it is stopped. A guest that is stopped already is left alone.
    ///
    /// # Errors
    /// [`GdbError::TimedOut`]: the stop is still to come, [`wait_stop`](Self::wait_stop) can wait for it.
    pub fn stop(&mut self) -> Result<StopReason, GdbError> {
        self.link.check()?;
        if let RunState::Stopped(reason) = self.link.state {
            return Ok(reason);
        }
        // If the stub has sent a stop reply and the guest was resumed since, it waits for an ack, and
        // would take 0x03 for a bad one. A `+` too many stops the guest as well, which is what is wanted.
        self.link.sending.clear();
        self.link.sending.extend_from_slice(if self.link.no_ack { &[INTERRUPT] } else { &[b'+', INTERRUPT] });
        self.link.ack_owed = false;
        self.link.send()?;
        match self.wait_stop(self.link.timeouts.reply)? {
            Some(reason) => Ok(reason),
            None => Err(GdbError::TimedOut { packet: "Ctrl-C".to_owned(), after: self.link.timeouts.reply }),
        }
    }

    /// Waits until the guest stops by itself. `None`: it still runs after `timeout`. Sends nothing.
    ///
    /// # Errors
    /// [`GdbError::Exited`] and [`GdbError::Closed`] when QEMU is gone.
    pub fn wait_stop(&mut self, timeout: Duration) -> Result<Option<StopReason>, GdbError> {
        let deadline = Instant::now() + timeout;
        self.link.check()?;
        let mut attempts = 0;
        loop {
            if let RunState::Stopped(reason) = self.link.state {
                return Ok(Some(reason));
            }
            match self.link.next_event(Some(deadline))? {
                None => return Ok(None),
                Some(event) => self.link.take_in(event, &mut attempts, false)?,
            }
        }
    }

    /// Executes one instruction, with interrupts and timers held off, and waits for its end.
    ///
    /// # Errors
    /// [`GdbError::Running`], and those of any command.
    pub fn step(&mut self) -> Result<StopReason, GdbError> {
        self.link.exchange(Expect::Stop, |packet| {
            packet.text("s");
        })?;
        match self.link.state {
            RunState::Stopped(reason) => Ok(reason),
            RunState::Running => Err(self.link.nonsense(b"")),
        }
    }

    /// Runs a command of the human monitor, and returns what it printed.
    ///
    /// After a command that resumes the guest, call [`note_resumed`](Self::note_resumed).
    ///
    /// # Errors
    /// [`GdbError::Running`]. A command that the monitor does not know is no error: it prints so.
    pub fn monitor(&mut self, command: &str) -> Result<String, GdbError> {
        let mut text = Vec::new();
        self.link.exchange_with(Expect::Answer, &mut text, |packet| {
            packet.text("qRcmd,").hex(command.as_bytes());
        })?;
        self.link.check_ok()?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Lets the guest run and closes the connection, with physical memory mode off.
    ///
    /// # Errors
    /// Those of any command; the socket is closed all the same.
    pub fn detach(mut self) -> Result<(), GdbError> {
        self.stop()?;
        self.set_physical_memory(false)?;
        let detached = self.link.ask_ok(|packet| {
            packet.text("D");
        });
        match detached {
            // A client before us switched the stub to its multiprocess form, which it never leaves.
            Err(GdbError::Refused { .. }) => self.link.ask_ok(|packet| {
                packet.text("D;1");
            }),
            other => other,
        }
    }

    /// Closes the connection, with the guest stopped and physical memory mode off.
    ///
    /// # Errors
    /// Those of any command; the socket is closed all the same.
    pub fn leave_stopped(mut self) -> Result<(), GdbError> {
        self.stop()?;
        self.set_physical_memory(false)
    }

    fn read_feature(&mut self, file: &str) -> Result<String, GdbError> {
        let mut text = Vec::new();
        loop {
            let offset = text.len() as u64;
            let length = (self.link.packet_size / 2 - 8) as u64;
            let answer = self.link.ask(|packet| {
                let packet = packet.text("qXfer:features:read:").binary(file.as_bytes());
                packet.text(":").number(offset).text(",").number(length);
            })?;
            let more = match answer.split_first() {
                Some((b'm', content)) if !content.is_empty() => {
                    text.extend_from_slice(content);
                    true
                }
                Some((b'l', content)) => {
                    text.extend_from_slice(content);
                    false
                }
                _ => return Err(self.link.nonsense(self.link.parser.data())),
            };
            if !more {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            if text.len() > MAX_XFER {
                return Err(GdbError::TooLong { packet: self.link.sent(), limit: MAX_XFER });
            }
        }
    }
}

impl fmt::Debug for GdbClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GdbClient")
            .field("endpoint", &self.link.endpoint)
            .field("state", &self.link.state)
            .field("physical", &self.physical)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
