//! The exchange of packets with a stub: acknowledgements, what is sent again, stop replies that were not asked for.
//!
//! Invariants: **while the guest runs no byte is sent but those that stop it**, because any byte would stop it and be
//! dropped. No packet takes more than one write. An answer counts only after the stub has acknowledged its question,
//! and a link that missed an answer refuses every further question.

use std::io::{self, Write};
use std::time::Instant;

use crate::wire::gdb::codec::{self, PacketWriter, Parser, Received};
use crate::wire::gdb::error::{GdbError, shown};
use crate::wire::gdb::stop::{RunState, StopReason};
use crate::wire::net::{Endpoint, Stream, Timeouts};

/// How often a damaged packet is asked for, or one of ours sent again.
const MAX_ATTEMPTS: u32 = 4;

/// What ends an exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// A packet that is no stop reply.
    Answer,
    /// Nothing but the acknowledgement.
    Ack,
    /// A stop reply sent after the acknowledgement.
    Stop,
}

/// Whether packets are sent again that the other side found damaged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resend {
    OnDemand,
    /// With two packets under way it is not known which one a `-` means.
    Never,
}

/// A connection to a stub, and what is known of it: whether the guest runs, and what is owed.
pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) endpoint: Endpoint,
    pub(super) timeouts: Timeouts,
    pub(super) parser: Parser,
    received: Vec<u8>,
    received_at: usize,
    received_end: usize,
    pub(super) sending: Vec<u8>,
    /// The stub was set to do without acknowledgements.
    pub(super) no_ack: bool,
    /// A packet came in and was not acknowledged. The ack goes out with our next packet: it saves a
    /// write, and the stub takes a `+` beyond the ones it waits for as a wish to stop a running guest.
    pub(super) ack_owed: bool,
    pub(super) packet_size: usize,
    pub(super) state: RunState,
    pub(super) unasked_stops: u64,
    pub(super) out_of_step: bool,
}

impl Link {
    /// Connects; the stub is assumed to have stopped the guest, as it does.
    pub(super) fn connect(endpoint: &Endpoint, timeouts: Timeouts) -> Result<Self, GdbError> {
        let stream = endpoint.connect(timeouts.connect)?;
        let set = stream.set_write_timeout(Some(timeouts.reply));
        set.map_err(|source| GdbError::Io { endpoint: endpoint.clone(), source })?;
        Ok(Link {
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
            out_of_step: false,
        })
    }

    /// Sends a command and returns its answer, which is neither empty nor an error.
    pub(super) fn ask(&mut self, build: impl FnOnce(&mut PacketWriter<'_>)) -> Result<&[u8], GdbError> {
        self.exchange(Expect::Answer, build)?;
        self.answer()
    }

    /// The answer that has come, unless it is empty or an error.
    pub(super) fn answer(&self) -> Result<&[u8], GdbError> {
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

    pub(super) fn ask_ok(&mut self, build: impl FnOnce(&mut PacketWriter<'_>)) -> Result<(), GdbError> {
        self.ask(build)?;
        self.check_ok()
    }

    pub(super) fn check_ok(&self) -> Result<(), GdbError> {
        match self.parser.data() {
            b"OK" => Ok(()),
            [] => Err(GdbError::Unsupported { packet: self.sent() }),
            other => Err(self.nonsense(other)),
        }
    }

    pub(super) fn exchange(
        &mut self,
        expect: Expect,
        build: impl FnOnce(&mut PacketWriter<'_>),
    ) -> Result<(), GdbError> {
        self.exchange_with(expect, &mut Vec::new(), build)
    }

    /// Sends one packet and takes in what comes until `expect` is met. Console output goes to `text`.
    pub(super) fn exchange_with(
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
    pub(super) fn begin(&mut self) -> Result<(), GdbError> {
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

    pub(super) fn finish(
        &mut self,
        expect: Expect,
        text: &mut Vec<u8>,
        resend: Resend,
    ) -> Result<(), GdbError> {
        let result = self.send().and_then(|()| self.wait_for(expect, text, resend));
        // Whatever went wrong, an answer may still be on its way.
        self.out_of_step |= result.is_err();
        result
    }

    pub(super) fn wait_for(
        &mut self,
        expect: Expect,
        text: &mut Vec<u8>,
        resend: Resend,
    ) -> Result<(), GdbError> {
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
                Received::Ack => acknowledged = true,
                Received::Nak if sent >= MAX_ATTEMPTS => {
                    return Err(GdbError::Rejected { packet: self.sent(), attempts: sent });
                }
                // The first packet to a stub may follow a half one of a client that died.
                Received::Nak => {
                    sent += 1;
                    self.send()?;
                }
                Received::Packet => {
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
    pub(super) fn no_stop_reply(&self) -> GdbError {
        match self.parser.data() {
            [] => GdbError::Unsupported { packet: self.sent() },
            other => self.nonsense(other),
        }
    }

    /// Takes in one event that may come at any time.
    pub(super) fn take_in(
        &mut self,
        event: Received,
        damaged: &mut u32,
        asked: bool,
    ) -> Result<(), GdbError> {
        match event {
            Received::Packet => {
                self.ack_owed = !self.no_ack;
                let Some(reason) = StopReason::parse(self.parser.data()) else { return Ok(()) };
                self.unasked_stops += u64::from(!asked && self.state != RunState::Running);
                self.state = RunState::Stopped(reason);
                if reason.is_exit() { Err(GdbError::Exited(reason)) } else { Ok(()) }
            }
            Received::Damaged => {
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
            Received::TooLong => Err(GdbError::TooLong { packet: self.sent(), limit: self.packet_size }),
            Received::Ack
            | Received::Nak
            | Received::Notification
            | Received::Interrupt
            | Received::Noise(_) => Ok(()),
        }
    }

    /// Takes in what has arrived, without waiting.
    pub(super) fn take_in_what_came(&mut self) -> Result<(), GdbError> {
        self.check()?;
        let mut damaged = 0;
        while let Some(event) = self.next_event(None)? {
            self.take_in(event, &mut damaged, false)?;
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), GdbError> {
        match self.state {
            RunState::Stopped(reason) if reason.is_exit() => Err(GdbError::Exited(reason)),
            _ if self.out_of_step => Err(GdbError::OutOfStep),
            _ => Ok(()),
        }
    }

    /// The next event until the deadline; without one, the next that has arrived already.
    pub(super) fn next_event(&mut self, deadline: Option<Instant>) -> Result<Option<Received>, GdbError> {
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

    pub(super) fn send(&mut self) -> Result<(), GdbError> {
        let sent = self.stream.write_all(&self.sending);
        sent.map_err(|source| self.io(source))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), GdbError> {
        let written = self.stream.write_all(bytes);
        written.map_err(|source| self.io(source))
    }

    pub(super) fn io(&mut self, source: io::Error) -> GdbError {
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

    pub(super) fn closed(&mut self) -> GdbError {
        self.out_of_step = true;
        match self.state {
            RunState::Stopped(reason) if reason.is_exit() => GdbError::Exited(reason),
            _ => GdbError::Closed { endpoint: self.endpoint.clone() },
        }
    }

    pub(super) fn nonsense(&self, answer: &[u8]) -> GdbError {
        GdbError::Nonsense { packet: self.sent(), answer: shown(answer) }
    }

    /// What was sent last, for an error.
    pub(super) fn sent(&self) -> String {
        let content = self.sending.strip_prefix(b"+").unwrap_or(&self.sending);
        let content = content.strip_prefix(b"$").unwrap_or(content);
        let end = content.iter().rposition(|byte| *byte == b'#').unwrap_or(content.len());
        shown(&content[..end])
    }
}

/// Whether a packet is `O` and hex: text from the monitor or the guest, and never an answer.
fn is_console_output(packet: &[u8]) -> bool {
    matches!(packet.split_first(), Some((b'O', hex)) if codec::decode_hex(hex).is_some())
}

/// The packet size of a stub that names none, in bytes: what the protocol's oldest stubs take.
pub(super) const MIN_PACKET_SIZE: usize = 400;
