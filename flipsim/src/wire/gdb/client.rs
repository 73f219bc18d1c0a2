//! A client for QEMU's gdb stub: memory, registers, stop, run and step.
//!
//! Source: QEMU 7.1 `gdbstub.c`, 7.2 `gdbstub/gdbstub.c`; "Debugging with GDB", appendix "Remote
//! Serial Protocol".
//!
//! Invariants: while the guest runs no byte is sent but those that stop it, because any byte would
//! stop it and be dropped. No packet takes more than one write. An answer counts only after the stub
//! has acknowledged its question, and a client that missed an answer refuses every further question.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::wire::gdb::codec::{self, Event, INTERRUPT, PacketWriter, Parser};
use crate::wire::gdb::description::{self, RegisterInfo};
use crate::wire::gdb::error::{GdbError, shown};
use crate::wire::gdb::stop::{RunState, StopReason};
use crate::wire::net::{Endpoint, Stream, Timeouts};

/// The most bytes that one `m` may ask for: QEMU answers `E22` above half its packet size.
const MAX_READ: usize = 0x800;

/// Packet content beside the data of an `M`: the command, two numbers of 16 digits, `,` and `:`,
/// and the frame.
const WRITE_OVERHEAD: usize = 1 + 16 + 1 + 16 + 1 + 4;

/// The most bytes that are written and read back in one go: both packets fit the smallest packet size.
const MAX_PAIRED: usize = 64;

/// How often a damaged packet is asked for, or one of ours sent again.
const MAX_ATTEMPTS: u32 = 4;

/// More than any file of a description has, in bytes.
const MAX_XFER: usize = 4 << 20;

/// The longest line of the monitor that is taken, in hexadecimal.
const MONITOR_LINE: usize = 64 * 1024;

/// The largest packet size that is believed, in bytes.
const MAX_PACKET_SIZE: usize = 1 << 20;

/// The packet size of a stub that names none, in bytes: what the protocol's oldest stubs take.
const MIN_PACKET_SIZE: usize = 400;

/// A connection to the gdb stub of one guest.
///
/// Connecting stops the guest. The ways to end: [`detach`](Self::detach) lets the guest run,
/// [`leave_stopped`](Self::leave_stopped) does not. **Dropping** the client only closes the socket:
/// the guest stays as it is, running or stopped, and the physical memory mode stays as it was set,
/// because the stub keeps it; the next [`connect`](Self::connect) turns it off. A drop sends nothing
/// on purpose: after an error it is not known whether the guest should run.
pub struct GdbClient {
    stream: Stream,
    endpoint: Endpoint,
    timeouts: Timeouts,
    parser: Parser,
    received: Vec<u8>,
    received_at: usize,
    received_end: usize,
    sending: Vec<u8>,
    /// The stub was asked to do without acknowledgements.
    no_ack: bool,
    /// A packet came in and was not acknowledged. The ack goes out with our next packet: it saves a
    /// write, and the stub takes a `+` beyond the ones it waits for as a wish to stop a running guest.
    ack_owed: bool,
    packet_size: usize,
    state: RunState,
    unasked_stops: u64,
    physical: bool,
    registers: Vec<RegisterInfo>,
    out_of_step: bool,
}

/// What ends an exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A packet that is no stop reply.
    Answer,
    /// Nothing but the acknowledgement.
    Ack,
    /// A stop reply sent after the acknowledgement.
    Stop,
}

/// Whether packets are sent again that the other side found damaged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resend {
    OnDemand,
    /// With two packets under way it is not known which one a `-` means.
    Never,
}

impl GdbClient {
    /// Connects, stops the guest, reads the target description, and turns physical memory mode off.
    ///
    /// # Errors
    /// [`GdbError::Connect`], [`GdbError::NoAnswer`] when the stub serves another client,
    /// [`GdbError::Description`], and those of any command.
    pub fn connect(endpoint: &Endpoint, timeouts: Timeouts) -> Result<Self, GdbError> {
        let stream = endpoint.connect(timeouts.connect)?;
        let mut client = GdbClient {
            stream,
            endpoint: endpoint.clone(),
            timeouts,
            parser: Parser::new(codec::DEFAULT_LIMIT),
            received: vec![0; 0x4000],
            received_at: 0,
            received_end: 0,
            sending: Vec::with_capacity(0x1000),
            no_ack: false,
            // The stub may still wait for an ack that its last client never sent.
            ack_owed: true,
            packet_size: MIN_PACKET_SIZE,
            state: RunState::Stopped(StopReason::Paused),
            unasked_stops: 0,
            physical: false,
            registers: Vec::new(),
            out_of_step: false,
        };
        let set = client.stream.set_write_timeout(Some(timeouts.reply));
        set.map_err(|source| GdbError::Io { endpoint: endpoint.clone(), source })?;
        client.handshake()?;
        Ok(client)
    }

    fn handshake(&mut self) -> Result<(), GdbError> {
        let supported = match self.ask(|packet| {
            packet.text("qSupported");
        }) {
            Err(GdbError::TimedOut { .. }) => {
                return Err(GdbError::NoAnswer { endpoint: self.endpoint.clone() });
            }
            other => other?,
        };
        let supported = String::from_utf8_lossy(supported).into_owned();
        let mut offers_no_ack = false;
        for feature in supported.split(';') {
            if let Some(size) = feature.strip_prefix("PacketSize=") {
                let size = codec::decode_number(size.as_bytes()).and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| self.nonsense(supported.as_bytes()))?;
                self.packet_size = size.clamp(MIN_PACKET_SIZE, MAX_PACKET_SIZE);
            }
            offers_no_ack |= feature == "QStartNoAckMode+";
        }
        // QEMU's longest answers are as long as its packet size without the frame, but for a line of the
        // monitor's, which it sends whole.
        self.parser.set_limit((self.packet_size + 64).max(MONITOR_LINE));
        if offers_no_ack {
            self.ask_ok(|packet| {
                packet.text("QStartNoAckMode");
            })?;
            self.no_ack = true;
        }
        // `p` and `P` answer empty until this was read, so it comes before anything else.
        self.registers = description::read_description(|file| self.read_feature(file))?;
        self.exchange(Expect::Stop, |packet| {
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
        &self.endpoint
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
        self.packet_size
    }

    /// Whether the guest runs, after a look at what the stub has sent meanwhile. Sends nothing.
    ///
    /// Right after connecting the reason is [`StopReason::Debug`], whatever it was: QEMU says so.
    ///
    /// # Errors
    /// [`GdbError::Exited`] and [`GdbError::Closed`] when QEMU is gone.
    pub fn run_state(&mut self) -> Result<RunState, GdbError> {
        self.take_in_what_came()?;
        Ok(self.state)
    }

    /// How many stop replies came that no command of this client had asked for.
    #[must_use]
    pub fn unasked_stops(&self) -> u64 {
        self.unasked_stops
    }

    /// Notes that the guest was resumed by other means, as with `cont` over QMP.
    ///
    /// Without this the next command would stop the guest and be dropped ([`GdbError::Dropped`]).
    /// Call it before the resume itself, so that a stop reply that follows is not taken for an older one.
    ///
    /// # Errors
    /// [`GdbError::Exited`] and [`GdbError::Closed`] when QEMU is gone.
    pub fn note_resumed(&mut self) -> Result<(), GdbError> {
        self.take_in_what_came()?;
        self.state = RunState::Running;
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
        let most = MAX_READ.min(self.packet_size / 2);
        let mut address = address;
        for chunk in bytes.chunks_mut(most) {
            let length = chunk.len() as u64;
            self.ask(|packet| {
                packet.text("m").number(address).text(",").number(length);
            })?;
            if codec::decode_hex_into(self.parser.data(), chunk).is_none() {
                return Err(self.nonsense(self.parser.data()));
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
        let most = ((self.packet_size - WRITE_OVERHEAD) / 2) & !7;
        let mut address = address;
        for chunk in bytes.chunks(most) {
            let length = chunk.len() as u64;
            self.ask_ok(|packet| {
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
        self.begin()?;
        let mut packet = PacketWriter::begin(&mut self.sending);
        packet.text("M").number(address).text(",").number(length).text(":").hex(bytes).finish();
        let mut packet = PacketWriter::begin(&mut self.sending);
        packet.text("m").number(address).text(",").number(length).finish();
        self.finish(Expect::Answer, &mut Vec::new(), Resend::Never)?;
        let written = self.answer().and_then(|_| self.check_ok());
        // The second answer is on its way, whatever the first one was.
        self.sending.clear();
        let mut packet = PacketWriter::begin(&mut self.sending);
        packet.text("m").number(address).text(",").number(length).finish();
        let result = self.wait_for(Expect::Answer, &mut Vec::new(), Resend::Never);
        self.out_of_step |= result.is_err();
        result.and(written)?;
        self.answer()?;
        match codec::decode_hex_into(self.parser.data(), back) {
            Some(()) => Ok(()),
            None => Err(self.nonsense(self.parser.data())),
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
        self.ask_ok(|packet| {
            packet.text(if on { "Qqemu.PhyMemMode:1" } else { "Qqemu.PhyMemMode:0" });
        })?;
        if self.ask_physical_memory()? != on {
            return Err(GdbError::PhysicalMode);
        }
        self.physical = on;
        Ok(())
    }

    fn ask_physical_memory(&mut self) -> Result<bool, GdbError> {
        let answer = self.ask(|packet| {
            packet.text("qqemu.PhyMemMode");
        })?;
        match answer {
            b"0" => Ok(false),
            b"1" => Ok(true),
            _ => Err(self.nonsense(self.parser.data())),
        }
    }

    /// Reads the register of this number: its bytes in the guest's order, so little-endian on the
    /// guests of this lab.
    ///
    /// # Errors
    /// [`GdbError::Running`]; [`GdbError::Refused`] when there is no such register.
    pub fn read_register(&mut self, number: u32) -> Result<Vec<u8>, GdbError> {
        let answer = self.ask(|packet| {
            packet.text("p").number(u64::from(number));
        })?;
        match codec::decode_hex(answer) {
            Some(bytes) => Ok(bytes),
            None => Err(self.nonsense(self.parser.data())),
        }
    }

    /// Writes the register of this number: as many bytes as it was read with, in the same order.
    ///
    /// QEMU says "OK" to a write that it drops, as to the system registers of AArch64: read back.
    ///
    /// # Errors
    /// [`GdbError::Running`]; [`GdbError::Refused`].
    pub fn write_register(&mut self, number: u32, bytes: &[u8]) -> Result<(), GdbError> {
        self.ask_ok(|packet| {
            packet.text("P").number(u64::from(number)).text("=").hex(bytes);
        })
    }

    /// Reads the stub's general register block (`g`), without a division into registers.
    ///
    /// # Errors
    /// [`GdbError::Running`].
    pub fn read_all_registers(&mut self) -> Result<Vec<u8>, GdbError> {
        let answer = self.ask(|packet| {
            packet.text("g");
        })?;
        match codec::decode_hex(answer) {
            Some(bytes) => Ok(bytes),
            None => Err(self.nonsense(self.parser.data())),
        }
    }

    /// Lets the guest run. A guest that runs already is left alone.
    ///
    /// # Errors
    /// Those of any command.
    pub fn resume(&mut self) -> Result<(), GdbError> {
        self.take_in_what_came()?;
        if self.state == RunState::Running {
            return Ok(());
        }
        self.exchange(Expect::Ack, |packet| {
            packet.text("c");
        })?;
        self.state = RunState::Running;
        Ok(())
    }

    /// Stops the guest and says why it is stopped. A guest that is stopped already is left alone.
    ///
    /// # Errors
    /// [`GdbError::TimedOut`]: the stop is still to come, [`wait_stop`](Self::wait_stop) can wait for it.
    pub fn stop(&mut self) -> Result<StopReason, GdbError> {
        self.check()?;
        if let RunState::Stopped(reason) = self.state {
            return Ok(reason);
        }
        // If the stub has sent a stop reply and the guest was resumed since, it waits for an ack, and
        // would take 0x03 for a bad one. A `+` too many stops the guest as well, which is what is wanted.
        self.sending.clear();
        self.sending.extend_from_slice(if self.no_ack { &[INTERRUPT] } else { &[b'+', INTERRUPT] });
        self.ack_owed = false;
        self.send()?;
        match self.wait_stop(self.timeouts.reply)? {
            Some(reason) => Ok(reason),
            None => Err(GdbError::TimedOut { packet: "Ctrl-C".to_owned(), after: self.timeouts.reply }),
        }
    }

    /// Waits until the guest stops by itself. `None`: it still runs after `timeout`. Sends nothing.
    ///
    /// # Errors
    /// [`GdbError::Exited`] and [`GdbError::Closed`] when QEMU is gone.
    pub fn wait_stop(&mut self, timeout: Duration) -> Result<Option<StopReason>, GdbError> {
        let deadline = Instant::now() + timeout;
        self.check()?;
        let mut attempts = 0;
        loop {
            if let RunState::Stopped(reason) = self.state {
                return Ok(Some(reason));
            }
            match self.next_event(Some(deadline))? {
                None => return Ok(None),
                Some(event) => self.take_in(event, &mut attempts, false)?,
            }
        }
    }

    /// Executes one instruction, with interrupts and timers held off, and waits for its end.
    ///
    /// # Errors
    /// [`GdbError::Running`], and those of any command.
    pub fn step(&mut self) -> Result<StopReason, GdbError> {
        self.exchange(Expect::Stop, |packet| {
            packet.text("s");
        })?;
        match self.state {
            RunState::Stopped(reason) => Ok(reason),
            RunState::Running => Err(self.nonsense(b"")),
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
        self.exchange_with(Expect::Answer, &mut text, |packet| {
            packet.text("qRcmd,").hex(command.as_bytes());
        })?;
        self.check_ok()?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Lets the guest run and closes the connection, with physical memory mode off.
    ///
    /// # Errors
    /// Those of any command; the socket is closed all the same.
    pub fn detach(mut self) -> Result<(), GdbError> {
        self.stop()?;
        self.set_physical_memory(false)?;
        let detached = self.ask_ok(|packet| {
            packet.text("D");
        });
        match detached {
            // A client before us switched the stub to its multiprocess form, which it never leaves.
            Err(GdbError::Refused { .. }) => self.ask_ok(|packet| {
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
            let length = (self.packet_size / 2 - 8) as u64;
            let answer = self.ask(|packet| {
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
                _ => return Err(self.nonsense(self.parser.data())),
            };
            if !more {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            if text.len() > MAX_XFER {
                return Err(GdbError::TooLong { packet: self.sent(), limit: MAX_XFER });
            }
        }
    }

    /// Sends a command and returns its answer, which is neither empty nor an error.
    fn ask(&mut self, build: impl FnOnce(&mut PacketWriter<'_>)) -> Result<&[u8], GdbError> {
        self.exchange(Expect::Answer, build)?;
        self.answer()
    }

    /// The answer that has come, unless it is empty or an error.
    fn answer(&self) -> Result<&[u8], GdbError> {
        let packet = self.parser.data();
        match packet {
            [] => Err(GdbError::Unsupported { packet: self.sent() }),
            [b'E', high, low] => match codec::decode_number(&[*high, *low]) {
                // Two hex digits fit a byte.
                Some(code) => Err(GdbError::Refused { packet: self.sent(), code: code as u8 }),
                None => Err(self.nonsense(packet)),
            },
            _ => Ok(packet),
        }
    }

    fn ask_ok(&mut self, build: impl FnOnce(&mut PacketWriter<'_>)) -> Result<(), GdbError> {
        self.ask(build)?;
        self.check_ok()
    }

    fn check_ok(&self) -> Result<(), GdbError> {
        match self.parser.data() {
            b"OK" => Ok(()),
            [] => Err(GdbError::Unsupported { packet: self.sent() }),
            other => Err(self.nonsense(other)),
        }
    }

    fn exchange(
        &mut self,
        expect: Expect,
        build: impl FnOnce(&mut PacketWriter<'_>),
    ) -> Result<(), GdbError> {
        self.exchange_with(expect, &mut Vec::new(), build)
    }

    /// Sends one packet and takes in what comes until `expect` is met. Console output goes to `text`.
    fn exchange_with(
        &mut self,
        expect: Expect,
        text: &mut Vec<u8>,
        build: impl FnOnce(&mut PacketWriter<'_>),
    ) -> Result<(), GdbError> {
        self.begin()?;
        let mut packet = PacketWriter::begin(&mut self.sending);
        build(&mut packet);
        packet.finish();
        self.finish(expect, text, Resend::OnDemand)
    }

    /// Makes sure that a packet may be sent, and starts what is sent with the ack that is owed.
    fn begin(&mut self) -> Result<(), GdbError> {
        self.check()?;
        if self.state == RunState::Running {
            self.take_in_what_came()?;
            if self.state == RunState::Running {
                return Err(GdbError::Running);
            }
        }
        self.sending.clear();
        if std::mem::take(&mut self.ack_owed) && !self.no_ack {
            self.sending.push(b'+');
        }
        Ok(())
    }

    fn finish(&mut self, expect: Expect, text: &mut Vec<u8>, resend: Resend) -> Result<(), GdbError> {
        let result = self.send().and_then(|()| self.wait_for(expect, text, resend));
        // Whatever went wrong, an answer may still be on its way.
        self.out_of_step |= result.is_err();
        result
    }

    fn wait_for(&mut self, expect: Expect, text: &mut Vec<u8>, resend: Resend) -> Result<(), GdbError> {
        let deadline = Instant::now() + self.timeouts.reply;
        let mut acknowledged = self.no_ack;
        let mut stopped_before = false;
        let (mut sent, mut damaged) = match resend {
            Resend::OnDemand => (1, 0),
            Resend::Never => (MAX_ATTEMPTS, MAX_ATTEMPTS - 1),
        };
        loop {
            if acknowledged && expect == Expect::Ack {
                return Ok(());
            }
            let Some(event) = self.next_event(Some(deadline))? else {
                let packet = self.sent();
                return Err(if stopped_before && !acknowledged {
                    GdbError::Dropped { packet }
                } else {
                    GdbError::TimedOut { packet, after: self.timeouts.reply }
                });
            };
            match event {
                Event::Ack => acknowledged = true,
                Event::Nak if sent >= MAX_ATTEMPTS => {
                    return Err(GdbError::Rejected { packet: self.sent(), attempts: sent });
                }
                // The first packet to a stub may follow a half one of a client that died.
                Event::Nak => {
                    sent += 1;
                    self.send()?;
                }
                Event::Packet => {
                    let asked = acknowledged && expect == Expect::Stop;
                    let is_stop = StopReason::parse(self.parser.data()).is_some();
                    let is_output = is_console_output(self.parser.data());
                    if acknowledged && is_output {
                        let hex = &self.parser.data()[1..];
                        text.extend(codec::decode_hex(hex).unwrap_or_default());
                    }
                    let answers = acknowledged && !is_stop && !is_output;
                    self.take_in(event, &mut damaged, asked)?;
                    stopped_before |= is_stop && !acknowledged;
                    if is_stop && asked || answers && expect == Expect::Answer {
                        return Ok(());
                    }
                    if answers {
                        return Err(self.no_stop_reply());
                    }
                }
                other => self.take_in(other, &mut damaged, false)?,
            }
        }
    }

    /// The error for an answer where only a stop reply would have been one.
    fn no_stop_reply(&self) -> GdbError {
        match self.parser.data() {
            [] => GdbError::Unsupported { packet: self.sent() },
            other => self.nonsense(other),
        }
    }

    /// Takes in one event that may come at any time.
    fn take_in(&mut self, event: Event, damaged: &mut u32, asked: bool) -> Result<(), GdbError> {
        match event {
            Event::Packet => {
                self.ack_owed = !self.no_ack;
                let Some(reason) = StopReason::parse(self.parser.data()) else { return Ok(()) };
                self.unasked_stops += u64::from(!asked && self.state != RunState::Running);
                self.state = RunState::Stopped(reason);
                if reason.is_exit() { Err(GdbError::Exited(reason)) } else { Ok(()) }
            }
            Event::Damaged => {
                *damaged += 1;
                if *damaged >= MAX_ATTEMPTS {
                    return Err(GdbError::Damaged { packet: self.sent(), attempts: *damaged });
                }
                if self.no_ack {
                    // Nothing is sent again in this mode: the deadline ends the wait.
                    return Ok(());
                }
                self.write(b"-")
            }
            Event::TooLong => Err(GdbError::TooLong { packet: self.sent(), limit: self.packet_size }),
            Event::Ack | Event::Nak | Event::Notification | Event::Interrupt | Event::Noise(_) => Ok(()),
        }
    }

    /// Takes in what has arrived, without waiting.
    fn take_in_what_came(&mut self) -> Result<(), GdbError> {
        self.check()?;
        let mut damaged = 0;
        while let Some(event) = self.next_event(None)? {
            self.take_in(event, &mut damaged, false)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), GdbError> {
        match self.state {
            RunState::Stopped(reason) if reason.is_exit() => Err(GdbError::Exited(reason)),
            _ if self.out_of_step => Err(GdbError::OutOfStep),
            _ => Ok(()),
        }
    }

    /// The next event until the deadline; without one, the next that has arrived already.
    fn next_event(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, GdbError> {
        loop {
            let mut input = &self.received[self.received_at..self.received_end];
            let event = self.parser.next_event(&mut input);
            self.received_at = self.received_end - input.len();
            if event.is_some() {
                return Ok(event);
            }
            let read = match deadline {
                Some(deadline) => self.stream.read_until(&mut self.received, deadline),
                None => self.stream.read_ready(&mut self.received),
            };
            match read {
                Ok(None) => return Ok(None),
                Ok(Some(0)) => return Err(self.closed()),
                Ok(Some(count)) => (self.received_at, self.received_end) = (0, count),
                Err(source) => return Err(self.io(source)),
            }
        }
    }

    fn send(&mut self) -> Result<(), GdbError> {
        let sent = self.stream.write_all(&self.sending);
        sent.map_err(|source| self.io(source))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), GdbError> {
        let written = self.stream.write_all(bytes);
        written.map_err(|source| self.io(source))
    }

    fn io(&mut self, source: io::Error) -> GdbError {
        match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.closed(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                self.out_of_step = true;
                GdbError::TimedOut { packet: self.sent(), after: self.timeouts.reply }
            }
            _ => {
                self.out_of_step = true;
                GdbError::Io { endpoint: self.endpoint.clone(), source }
            }
        }
    }

    fn closed(&mut self) -> GdbError {
        self.out_of_step = true;
        match self.state {
            RunState::Stopped(reason) if reason.is_exit() => GdbError::Exited(reason),
            _ => GdbError::Closed { endpoint: self.endpoint.clone() },
        }
    }

    fn nonsense(&self, answer: &[u8]) -> GdbError {
        GdbError::Nonsense { packet: self.sent(), answer: shown(answer) }
    }

    /// What was sent last, for an error.
    fn sent(&self) -> String {
        let content = self.sending.strip_prefix(b"+").unwrap_or(&self.sending);
        let content = content.strip_prefix(b"$").unwrap_or(content);
        let end = content.iter().rposition(|byte| *byte == b'#').unwrap_or(content.len());
        shown(&content[..end])
    }
}

impl fmt::Debug for GdbClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GdbClient")
            .field("endpoint", &self.endpoint)
            .field("state", &self.state)
            .field("physical", &self.physical)
            .finish_non_exhaustive()
    }
}

/// Whether a packet is `O` and hex: text from the monitor or the guest, and never an answer.
fn is_console_output(packet: &[u8]) -> bool {
    matches!(packet.split_first(), Some((b'O', hex)) if codec::decode_hex(hex).is_some())
}

#[cfg(test)]
mod tests;
