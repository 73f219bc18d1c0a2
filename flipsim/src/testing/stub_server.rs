//! What the fake stub does with each byte, and what it answers.
//!
//! It reads packets with its own code, so that an error in the client's codec shows.
//!
//! Invariant: an answer goes out as QEMU sends it, but for the [`StubFault`] that a test has armed.

use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use crate::testing::fake_guest::FakeGuest;
use crate::testing::server::{AfterClient, lock};
use crate::text::hex;

/// What the guest does when it has been resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterResume {
    /// It runs until it is stopped.
    RunsOn,
    /// It stops at once, with this signal in its stop reply.
    Stops(u8),
    /// QEMU ends, with this status.
    Exits(u8),
}

/// Something that goes wrong, once, or from some packet on. Packets count from when it was armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StubFault {
    /// Answers this many packets, then ends in the middle of the next answer.
    DieAfter(usize),
    /// Answers this many packets, then says nothing more, not even an acknowledgement.
    SilentAfter(usize),
    /// Sends the next answer this many times with a wrong checksum, then rightly.
    Damage(u32),
    /// Says `-` to this many of the next packets.
    Reject(u32),
    /// Sends every answer byte by byte.
    SplitEveryByte,
    /// Sends an unrequested stop reply before it takes the next packet.
    StopReplyBefore(u8),
    /// Sends an unrequested stop reply after the next answer.
    StopReplyAfter(u8),
    /// Says "OK" to writes that touch these guest physical addresses, and drops them.
    DropWrites(Range<u64>),
    /// Sends these bytes, as they are, before the next answer.
    Garbage(Vec<u8>),
    /// Answers the next packet with this content instead of the right one.
    AnswerInstead(String),
}

pub(super) type OnResume = Box<dyn FnMut(&mut FakeGuest) -> AfterResume + Send>;

pub(super) type OnMonitor = Box<dyn FnMut(&str) -> Option<String> + Send>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StubLine {
    Idle,
    Content,
    Escape,
    High,
    Low(u8),
}

pub(super) struct StubState {
    pub(super) guest: FakeGuest,
    pub(super) packet_size: usize,
    pub(super) running: bool,
    pub(super) offers_no_ack: bool,
    pub(super) no_ack: bool,
    pub(super) multiprocess: bool,
    pub(super) has_xml: bool,
    pub(super) physical: bool,
    pub(super) line: StubLine,
    pub(super) content: Vec<u8>,
    pub(super) sum: u32,
    /// The last packet sent, until it is acknowledged.
    pub(super) last_packet: Vec<u8>,
    pub(super) client: Option<UnixStream>,
    /// Each with the number of packets since it was armed.
    pub(super) faults: Vec<(StubFault, usize)>,
    pub(super) monitor: Vec<(String, Vec<String>)>,
    pub(super) on_monitor: OnMonitor,
    pub(super) on_resume: OnResume,
    pub(super) log: Vec<String>,
    pub(super) lost_bytes: Vec<u8>,
    pub(super) dead: bool,
}

pub(super) fn serve(state: &Mutex<StubState>, mut stream: UnixStream) -> AfterClient {
    {
        let mut state = lock(state);
        state.client = stream.try_clone().ok();
        state.has_xml = false;
        state.no_ack = false;
        // CHR_EVENT_OPENED: a client stops the guest by being there. The half line of the client
        // before it and its unacknowledged packet stay.
        state.stop(2);
    }
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        let mut state = lock(state);
        for &byte in &bytes[..count] {
            state.take(byte);
            if state.dead {
                state.client = None;
                return AfterClient::Die;
            }
        }
    }
    let mut state = lock(state);
    state.client = None;
    if state.dead { AfterClient::Die } else { AfterClient::Listen }
}

impl StubState {
    fn take(&mut self, byte: u8) {
        if !self.last_packet.is_empty() {
            match byte {
                b'-' => self.send_last_packet(),
                b'+' | b'$' => self.last_packet.clear(),
                _ => {}
            }
            if byte != b'$' {
                return;
            }
        }
        if self.running {
            self.lost_bytes.push(byte);
            self.stop(2);
            return;
        }
        match (self.line, byte) {
            (StubLine::Idle, b'$') => {
                self.line = StubLine::Content;
                self.content.clear();
                self.sum = 0;
            }
            (StubLine::Idle, _) => {}
            (StubLine::Content | StubLine::Escape, b'#') => self.line = StubLine::High,
            (StubLine::Content, b'}') => {
                self.sum += u32::from(byte);
                self.line = StubLine::Escape;
            }
            // A packet that does not fit is forgotten, without a word.
            (StubLine::Content | StubLine::Escape, _) if self.content.len() >= self.packet_size - 1 => {
                self.line = StubLine::Idle;
            }
            (StubLine::Content, _) => {
                self.sum += u32::from(byte);
                self.content.push(byte);
            }
            (StubLine::Escape, _) => {
                self.sum += u32::from(byte);
                self.content.push(byte ^ 0x20);
                self.line = StubLine::Content;
            }
            (StubLine::High, _) => match char::from(byte).to_digit(16) {
                Some(digit) => self.line = StubLine::Low(digit as u8),
                None => self.line = StubLine::Content,
            },
            (StubLine::Low(high), _) => match char::from(byte).to_digit(16) {
                Some(low) => {
                    self.line = StubLine::Idle;
                    self.end_of_line(u32::from(high) << 4 | low);
                }
                None => self.line = StubLine::Content,
            },
        }
    }

    fn end_of_line(&mut self, sum: u32) {
        let mut silent = false;
        let mut dies = false;
        let mut rejects = false;
        let mut stops = None;
        for (fault, packets) in &mut self.faults {
            *packets += 1;
            match fault {
                StubFault::SilentAfter(most) => silent |= *packets > *most,
                StubFault::DieAfter(most) => dies |= *packets > *most,
                StubFault::Reject(left) if *left > 0 => {
                    *left -= 1;
                    rejects = true;
                }
                StubFault::StopReplyBefore(signal) => stops = Some(*signal),
                _ => {}
            }
        }
        if silent {
            return;
        }
        if let Some(signal) = stops {
            self.faults.retain(|(fault, _)| !matches!(fault, StubFault::StopReplyBefore(_)));
            self.reply(format!("T{signal:02x}thread:01;").as_bytes());
        }
        if rejects || sum != self.sum & 0xff {
            self.send(b"-");
            return;
        }
        if !self.no_ack {
            self.send(b"+");
        }
        let content = std::mem::take(&mut self.content);
        self.log.push(content.escape_ascii().to_string());
        if dies {
            self.send(b"$4f4b");
            self.die();
            return;
        }
        let instead = self.faults.iter().position(|(fault, _)| matches!(fault, StubFault::AnswerInstead(_)));
        let garbage = self.faults.iter().position(|(fault, _)| matches!(fault, StubFault::Garbage(_)));
        let after = self.faults.iter().position(|(fault, _)| matches!(fault, StubFault::StopReplyAfter(_)));
        let after = after.map(|at| self.faults[at].0.clone());
        if let Some((StubFault::Garbage(bytes), _)) = garbage.map(|at| self.faults[at].clone()) {
            self.send(&bytes);
        }
        match instead.map(|at| self.faults[at].0.clone()) {
            Some(StubFault::AnswerInstead(answer)) => self.reply(answer.as_bytes()),
            _ => self.packet(&String::from_utf8_lossy(&content)),
        }
        if let Some(StubFault::StopReplyAfter(signal)) = after {
            self.reply(format!("T{signal:02x}thread:01;").as_bytes());
        }
        self.faults.retain(|(fault, packets)| {
            let once = matches!(
                fault,
                StubFault::AnswerInstead(_) | StubFault::Garbage(_) | StubFault::StopReplyAfter(_)
            );
            // A fault that was armed while this packet was answered has yet to see one.
            !once || *packets == 0
        });
    }

    fn packet(&mut self, packet: &str) {
        let mut letters = packet.chars();
        let (command, rest) = (letters.next(), letters.as_str());
        match command {
            Some('?') => self.reply(b"T05thread:01;"),
            Some('c') => self.resume(),
            Some('s') => {
                let pc = self.guest.register("pc").and_then(|pc| pc.bytes.as_slice().try_into().ok());
                if let Some(pc) = pc.map(u64::from_le_bytes) {
                    self.guest.set_register("pc", &pc.wrapping_add(4).to_le_bytes());
                }
                self.reply(b"T05thread:01;");
            }
            Some('m') => self.read_memory(rest),
            Some('M') => self.write_memory(rest),
            Some('g') => {
                let core = self.guest.registers.iter().filter(|it| it.file == "aarch64-core");
                let bytes: Vec<u8> = core.flat_map(|register| register.bytes.clone()).collect();
                self.reply(hex(&bytes).as_bytes());
            }
            Some('p' | 'P') if !self.has_xml => self.reply(b""),
            Some('p') => {
                let number = u32::from_str_radix(rest, 16).ok();
                let register = self.guest.registers.iter().find(|it| Some(it.number) == number);
                let answer = register.map_or("E14".to_owned(), |register| hex(&register.bytes));
                self.reply(answer.as_bytes());
            }
            Some('P') => self.write_register(rest),
            Some('D') => {
                if self.multiprocess && rest.is_empty() {
                    self.reply(b"E22");
                } else {
                    self.resume();
                    self.reply(b"OK");
                }
            }
            Some('q') => self.query(rest),
            Some('Q') => match rest {
                "qemu.PhyMemMode:1" | "qemu.PhyMemMode:0" => {
                    self.physical = rest.ends_with('1');
                    self.reply(b"OK");
                }
                "StartNoAckMode" if self.offers_no_ack => {
                    self.reply(b"OK");
                    self.last_packet.clear();
                    self.no_ack = true;
                }
                _ => self.reply(b""),
            },
            _ => self.reply(b""),
        }
    }

    fn query(&mut self, query: &str) {
        if query.starts_with("Supported") {
            self.multiprocess |= query.contains("multiprocess+");
            let no_ack = if self.offers_no_ack { ";QStartNoAckMode+" } else { "" };
            let size = self.packet_size;
            let features = "qXfer:features:read+;vContSupported+;multiprocess+";
            self.reply(format!("PacketSize={size:x};{features}{no_ack}").as_bytes());
        } else if query == "qemu.PhyMemMode" {
            self.reply(if self.physical { b"1" } else { b"0" });
        } else if let Some(rest) = query.strip_prefix("Xfer:features:read:") {
            self.has_xml = true;
            let answer = self.feature(rest);
            self.reply(&answer.unwrap_or_else(|| b"E00".to_vec()));
        } else if let Some(command) = query.strip_prefix("Rcmd,") {
            let command = String::from_utf8_lossy(&unhex(command)).into_owned();
            let pieces = match (self.on_monitor)(&command) {
                // QEMU sends no packet for nothing.
                Some(text) => vec![text],
                None => match self.monitor.iter().find(|(name, _)| *name == command) {
                    Some((_, pieces)) => pieces.clone(),
                    None => vec![format!("unknown command: '{command}'\r\n")],
                },
            };
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                self.reply(format!("O{}", hex(piece.as_bytes())).as_bytes());
            }
            match command.as_str() {
                "stop" => self.stop(2),
                "cont" | "c" => self.resume(),
                _ => {}
            }
            self.reply(b"OK");
        } else {
            self.reply(b"");
        }
    }

    fn feature(&self, request: &str) -> Option<Vec<u8>> {
        let (file, place) = request.split_once(':')?;
        let (offset, length) = two_numbers(place)?;
        let text = self.guest.file(file)?.into_bytes();
        let rest = text.get(usize::try_from(offset).ok()?..)?;
        let most = usize::try_from(length).ok()?.min((self.packet_size - 5) / 2);
        let (mark, piece) = if most < rest.len() { (b'm', &rest[..most]) } else { (b'l', rest) };
        let mut answer = vec![mark];
        for &byte in piece {
            if b"#$*}".contains(&byte) {
                answer.extend([b'}', byte ^ 0x20]);
            } else {
                answer.push(byte);
            }
        }
        Some(answer)
    }

    /// The guest physical address of an access, when it can be made.
    fn place(&self, address: u64, length: u64) -> Option<u64> {
        if self.physical {
            return Some(address);
        }
        let physical = address.wrapping_sub(self.guest.virtual_offset);
        self.guest.is_memory(physical, length).then_some(physical)
    }

    fn read_memory(&mut self, request: &str) {
        let answer = match two_numbers(request) {
            Some((address, length)) if length <= self.packet_size as u64 / 2 => {
                match (self.place(address, length), usize::try_from(length)) {
                    (Some(physical), Ok(length)) => hex(&self.guest.read(physical, length)),
                    _ => "E14".to_owned(),
                }
            }
            _ => "E22".to_owned(),
        };
        self.reply(answer.as_bytes());
    }

    fn write_memory(&mut self, request: &str) {
        let parts = request.split_once(':');
        let Some(((address, length), data)) = parts.and_then(|(at, data)| Some((two_numbers(at)?, data)))
        else {
            return self.reply(b"E22");
        };
        let bytes = unhex(data);
        if length > bytes.len() as u64 {
            return self.reply(b"E22");
        }
        let Some(physical) = self.place(address, length) else { return self.reply(b"E14") };
        let touched = physical..physical.wrapping_add(length);
        let drops = self.faults.iter().any(|(fault, _)| match fault {
            StubFault::DropWrites(range) => range.start < touched.end && touched.start < range.end,
            _ => false,
        });
        if !drops {
            self.guest.write(physical, &bytes[..length as usize]);
        }
        self.reply(b"OK");
    }

    pub(super) fn write_register(&mut self, request: &str) {
        let Some((number, data)) = request.split_once('=') else { return self.reply(b"E22") };
        let number = u32::from_str_radix(number, 16).ok();
        let bytes = unhex(data);
        for register in &mut self.guest.registers {
            if Some(register.number) == number && !register.read_only {
                let width = register.bytes.len().min(bytes.len());
                register.bytes[..width].copy_from_slice(&bytes[..width]);
            }
        }
        // QEMU says so whatever the result was.
        self.reply(b"OK");
    }

    pub(super) fn stop(&mut self, signal: u8) {
        if std::mem::replace(&mut self.running, false) {
            self.reply(format!("T{signal:02x}thread:01;").as_bytes());
        }
    }

    pub(super) fn resume(&mut self) {
        if self.running || self.dead {
            return;
        }
        self.running = true;
        self.guest.resumes += 1;
        match (self.on_resume)(&mut self.guest) {
            AfterResume::RunsOn => {}
            AfterResume::Stops(signal) => self.stop(signal),
            AfterResume::Exits(status) => self.exit(status),
        }
    }

    pub(super) fn exit(&mut self, status: u8) {
        self.reply(format!("W{status:02x}").as_bytes());
        self.die();
    }

    fn die(&mut self) {
        self.dead = true;
        self.running = false;
        if let Some(client) = self.client.take() {
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
    }

    fn reply(&mut self, content: &[u8]) {
        let sum = content.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        self.last_packet.clear();
        if self.client.is_none() {
            return;
        }
        self.last_packet.push(b'$');
        self.last_packet.extend_from_slice(content);
        self.last_packet.extend_from_slice(format!("#{sum:02x}").as_bytes());
        self.send_last_packet();
        if self.no_ack {
            self.last_packet.clear();
        }
    }

    fn send_last_packet(&mut self) {
        let mut bytes = self.last_packet.clone();
        for (fault, _) in &mut self.faults {
            if let (StubFault::Damage(left @ 1..), Some(last)) = (fault, bytes.last_mut()) {
                *left -= 1;
                *last = if *last == b'0' { b'1' } else { b'0' };
                break;
            }
        }
        self.send(&bytes);
    }

    fn send(&mut self, bytes: &[u8]) {
        let split = self.faults.iter().any(|(fault, _)| *fault == StubFault::SplitEveryByte);
        let Some(client) = &mut self.client else { return };
        // A client that has gone is no concern of the stub's.
        if split {
            for byte in bytes {
                let _ = client.write_all(&[*byte]);
            }
        } else {
            let _ = client.write_all(bytes);
        }
    }
}

fn two_numbers(text: &str) -> Option<(u64, u64)> {
    let (first, second) = text.split_once(',')?;
    Some((u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(second, 16).ok()?))
}

/// What a client sent in hexadecimal: letters that are not digits stand for nothing.
fn unhex(text: &str) -> Vec<u8> {
    crate::text::unhex(text).unwrap_or_default()
}
