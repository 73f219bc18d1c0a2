//! A gdb stub with a small guest in memory, which behaves as QEMU 7.1's does.
//!
//! Source of the behaviour: QEMU's `gdb_read_byte`, `gdb_handle_packet` and `gdb_vm_state_change`.
//! It reads packets with code of its own, so that an error in the client's codec shows.
//!
//! Invariant: its traps are QEMU's. Stop replies nobody asked for; `p` empty until the description
//! was read; bytes that stop a running guest and are lost; a physical mode that outlives its client.

use std::fmt;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use super::server::{Next, Server, lock};
use crate::wire::net::Endpoint;

/// A register of the fake guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeRegister {
    /// Its name in the description.
    pub name: String,
    /// Its number; written as `regnum` when it does not follow the register before it.
    pub number: u32,
    /// The file of the description that it stands in, without `.xml`, which is its feature as well.
    pub file: String,
    /// Its content in the guest's order; the length is its width.
    pub bytes: Vec<u8>,
    /// Writes are answered with "OK" and dropped, as with the system registers of AArch64.
    pub read_only: bool,
}

/// The machine behind the stub.
#[derive(Debug, Clone, Default)]
pub struct FakeGuest {
    /// RAM, as pieces with the guest physical address that each starts at.
    pub ram: Vec<(u64, Vec<u8>)>,
    /// Guest physical addresses at which a device listens.
    pub mmio: Vec<Range<u64>>,
    /// What was written to devices: address and bytes.
    pub mmio_writes: Vec<(u64, Vec<u8>)>,
    /// The register file.
    pub registers: Vec<FakeRegister>,
    /// Guest virtual address = guest physical address + this.
    pub virtual_offset: u64,
    /// How often the guest was resumed.
    pub resumes: u64,
}

impl FakeGuest {
    /// Reads guest physical memory; zeroes where nothing is, as from QEMU's unassigned memory.
    #[must_use]
    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        (0..length as u64).map(|at| self.byte(address.wrapping_add(at)).unwrap_or(0)).collect()
    }

    /// Writes guest physical memory: to RAM, or to the device that listens there, or nowhere.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        if self.mmio.iter().any(|range| range.contains(&address)) {
            self.mmio_writes.push((address, bytes.to_vec()));
            return;
        }
        for (at, byte) in (0..).zip(bytes) {
            let address = address.wrapping_add(at);
            for (start, piece) in &mut self.ram {
                let place = address.checked_sub(*start).and_then(|at| usize::try_from(at).ok());
                if let Some(cell) = place.and_then(|place| piece.get_mut(place)) {
                    *cell = *byte;
                }
            }
        }
    }

    /// The register of this name.
    #[must_use]
    pub fn register(&self, name: &str) -> Option<&FakeRegister> {
        self.registers.iter().find(|register| register.name == name)
    }

    /// Sets a register from inside the guest, where read-only ones change too.
    pub fn set_register(&mut self, name: &str, bytes: &[u8]) {
        if let Some(register) = self.registers.iter_mut().find(|register| register.name == name) {
            register.bytes = bytes.to_vec();
        }
    }

    fn byte(&self, address: u64) -> Option<u8> {
        self.ram.iter().find_map(|(start, piece)| {
            let at = usize::try_from(address.checked_sub(*start)?).ok()?;
            piece.get(at).copied()
        })
    }

    fn is_memory(&self, address: u64, length: u64) -> bool {
        (0..length).all(|at| {
            let address = address.wrapping_add(at);
            self.byte(address).is_some() || self.mmio.iter().any(|range| range.contains(&address))
        })
    }

    fn file(&self, name: &str) -> Option<String> {
        let mut files: Vec<&str> = Vec::new();
        for register in &self.registers {
            if !files.contains(&register.file.as_str()) {
                files.push(&register.file);
            }
        }
        if name == "target.xml" {
            // As QEMU writes it: the prefix xi is declared nowhere.
            let includes: String =
                files.iter().map(|file| format!("<xi:include href=\"{file}.xml\"/>")).collect();
            return Some(format!(
                "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>\
                 <architecture>aarch64</architecture>{includes}</target>"
            ));
        }
        let file = name.strip_suffix(".xml").filter(|file| files.contains(file))?;
        let mut text = format!(
            "<?xml version=\"1.0\"?>\n<!-- Written by the fake. -->\n\
             <!DOCTYPE feature SYSTEM \"gdb-target.dtd\">\n<feature name=\"org.gnu.gdb.{file}\">\n"
        );
        let mut expected = None;
        for register in &self.registers {
            if register.file == file {
                let bits = register.bytes.len() * 8;
                text += &format!("  <reg name=\"{}\" bitsize=\"{bits}\"", register.name);
                if expected != Some(register.number) {
                    text += &format!(" regnum=\"{}\"", register.number);
                }
                text += "/>\n";
                expected = Some(register.number + 1);
            }
        }
        Some(text + "</feature>\n")
    }
}

/// What the guest does when it has been resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterResume {
    /// It runs until somebody stops it.
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
    /// Sends a stop reply that nobody asked for before it takes the next packet.
    StopReplyBefore(u8),
    /// Sends a stop reply that nobody asked for after the next answer.
    StopReplyAfter(u8),
    /// Says "OK" to writes that touch these guest physical addresses, and drops them.
    DropWrites(Range<u64>),
    /// Sends these bytes, as they are, before the next answer.
    Garbage(Vec<u8>),
    /// Answers the next packet with this content instead of the right one.
    AnswerInstead(String),
}

type OnResume = Box<dyn FnMut(&mut FakeGuest) -> AfterResume + Send>;
type OnMonitor = Box<dyn FnMut(&str) -> Option<String> + Send>;

/// What a fake stub will be. [`FakeStub::builder`] has a guest like a small AArch64 machine.
pub struct FakeStubBuilder {
    guest: FakeGuest,
    packet_size: usize,
    running: bool,
    offers_no_ack: bool,
    multiprocess: bool,
    physical: bool,
    half_packet: bool,
    faults: Vec<StubFault>,
    monitor: Vec<(String, Vec<String>)>,
    on_monitor: OnMonitor,
    on_resume: OnResume,
}

impl FakeStubBuilder {
    /// Puts RAM at a guest physical address.
    #[must_use]
    pub fn ram(mut self, address: u64, bytes: impl Into<Vec<u8>>) -> Self {
        self.guest.ram.push((address, bytes.into()));
        self
    }

    /// Puts a device at guest physical addresses.
    #[must_use]
    pub fn mmio(mut self, range: Range<u64>) -> Self {
        self.guest.mmio.push(range);
        self
    }

    /// Adds a register, or replaces the one of its name.
    #[must_use]
    pub fn register(mut self, register: FakeRegister) -> Self {
        self.guest.registers.retain(|old| old.name != register.name);
        self.guest.registers.push(register);
        self
    }

    /// Takes all registers away, so that others can take their place.
    #[must_use]
    pub fn no_registers(mut self) -> Self {
        self.guest.registers.clear();
        self
    }

    /// Guest virtual address = guest physical address + this.
    #[must_use]
    pub fn virtual_offset(mut self, offset: u64) -> Self {
        self.guest.virtual_offset = offset;
        self
    }

    /// The packet size, in bytes; QEMU's is 0x1000.
    #[must_use]
    pub fn packet_size(mut self, bytes: usize) -> Self {
        self.packet_size = bytes;
        self
    }

    /// The guest stands until a client resumes it, as with `-S`. Else it runs.
    #[must_use]
    pub fn stopped(mut self) -> Self {
        self.running = false;
        self
    }

    /// Offers to do without acknowledgements, which QEMU does not.
    #[must_use]
    pub fn offer_no_ack(mut self) -> Self {
        self.offers_no_ack = true;
        self
    }

    /// Has been used by a client that asked for `multiprocess+`: `D` wants a process from then on.
    #[must_use]
    pub fn left_in_multiprocess(mut self) -> Self {
        self.multiprocess = true;
        self
    }

    /// Has been used by a client that left physical memory mode on.
    #[must_use]
    pub fn left_in_physical_mode(mut self) -> Self {
        self.physical = true;
        self
    }

    /// Has been used by a client that died in the middle of a packet.
    #[must_use]
    pub fn left_with_half_a_packet(mut self) -> Self {
        self.half_packet = true;
        self
    }

    /// Arms a fault from the first packet on.
    #[must_use]
    pub fn fault(mut self, fault: StubFault) -> Self {
        self.faults.push(fault);
        self
    }

    /// What the human monitor prints for a command, one packet a piece. Others print that they are unknown.
    #[must_use]
    pub fn monitor(mut self, command: &str, pieces: &[&str]) -> Self {
        self.monitor.push((command.to_owned(), pieces.iter().map(|&piece| piece.to_owned()).collect()));
        self
    }

    /// What the human monitor does with a command, before [`monitor`](Self::monitor) is looked at: what it
    /// prints, or `None` for a command that it leaves alone.
    #[must_use]
    pub fn on_monitor(mut self, handler: impl FnMut(&str) -> Option<String> + Send + 'static) -> Self {
        self.on_monitor = Box::new(handler);
        self
    }

    /// What the guest does each time it is resumed; without this it runs on.
    #[must_use]
    pub fn on_resume(mut self, action: impl FnMut(&mut FakeGuest) -> AfterResume + Send + 'static) -> Self {
        self.on_resume = Box::new(action);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the host has no room for a folder, a socket or a thread.
    #[must_use]
    pub fn spawn(self) -> FakeStub {
        let half_packet = b"M40000000,4:de";
        let state = Arc::new(Mutex::new(State {
            guest: self.guest,
            packet_size: self.packet_size,
            running: self.running,
            offers_no_ack: self.offers_no_ack,
            no_ack: false,
            multiprocess: self.multiprocess,
            has_xml: false,
            physical: self.physical,
            line: if self.half_packet { Line::Content } else { Line::Idle },
            content: if self.half_packet { half_packet.to_vec() } else { Vec::new() },
            sum: if self.half_packet {
                half_packet.iter().fold(0, |sum, it| sum + u32::from(*it))
            } else {
                0
            },
            last_packet: Vec::new(),
            client: None,
            faults: self.faults.into_iter().map(|fault| (fault, 0)).collect(),
            monitor: self.monitor,
            on_monitor: self.on_monitor,
            on_resume: self.on_resume,
            log: Vec::new(),
            lost_bytes: Vec::new(),
            dead: false,
        }));
        let inside = state.clone();
        let server = Server::spawn("gdb", move |stream| serve(&inside, stream));
        FakeStub { handle: StubHandle { state }, server }
    }
}

/// A fake stub that runs until it is dropped.
pub struct FakeStub {
    handle: StubHandle,
    server: Server,
}

impl FakeStub {
    /// A running guest like a small AArch64 machine: 64 KiB of RAM at 0x4000_0000, a device at
    /// 0x0900_0000, `x0` to `x3`, `sp`, `pc`, `cpsr`, `v0`, and a read-only `TTBR0_EL1`.
    #[must_use]
    pub fn builder() -> FakeStubBuilder {
        let register = |name: &str, number, file: &str, bytes: &[u8], read_only| FakeRegister {
            name: name.to_owned(),
            number,
            file: file.to_owned(),
            bytes: bytes.to_vec(),
            read_only,
        };
        let mut registers: Vec<_> = (0..4u8)
            .map(|at| {
                register(&format!("x{at}"), at.into(), "aarch64-core", &[at, 0, 0, 0, 0, 0, 0, 0], false)
            })
            .collect();
        let long = |value: u64| value.to_le_bytes();
        registers.push(register("sp", 31, "aarch64-core", &long(0x4000_8000), false));
        registers.push(register("pc", 32, "aarch64-core", &long(0x4000_0000), false));
        registers.push(register("cpsr", 33, "aarch64-core", &[0xc5, 3, 0, 0x40], false));
        registers.push(register("v0", 34, "aarch64-fpu", &[0x11; 16], false));
        registers.push(register("TTBR0_EL1", 70, "system-registers", &long(0x4123_4000), true));
        FakeStubBuilder {
            guest: FakeGuest {
                ram: vec![(0x4000_0000, vec![0; 0x1_0000])],
                mmio: std::iter::once(0x0900_0000..0x0900_1000).collect(),
                registers,
                ..FakeGuest::default()
            },
            packet_size: 0x1000,
            running: true,
            offers_no_ack: false,
            multiprocess: false,
            physical: false,
            half_packet: false,
            faults: Vec::new(),
            monitor: Vec::new(),
            on_monitor: Box::new(|_| None),
            on_resume: Box::new(|_| AfterResume::RunsOn),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.server.endpoint()
    }

    /// A handle on it that can be cloned, for closures and for a [`FakeMonitor`](super::FakeMonitor).
    #[must_use]
    pub fn handle(&self) -> StubHandle {
        self.handle.clone()
    }
}

impl std::ops::Deref for FakeStub {
    type Target = StubHandle;
    fn deref(&self) -> &StubHandle {
        &self.handle
    }
}

/// Looks into a fake stub and acts on it, beside its client.
#[derive(Clone)]
pub struct StubHandle {
    state: Arc<Mutex<State>>,
}

impl StubHandle {
    /// The guest's RAM of now, from the first piece on.
    #[must_use]
    pub fn ram(&self) -> Vec<u8> {
        lock(&self.state).guest.ram.first().map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    /// A copy of the guest of now.
    #[must_use]
    pub fn guest(&self) -> FakeGuest {
        lock(&self.state).guest.clone()
    }

    /// Changes the guest from inside, as a program in it would.
    pub fn change_guest(&self, change: impl FnOnce(&mut FakeGuest)) {
        change(&mut lock(&self.state).guest);
    }

    /// The content of every packet that was taken, in order.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        lock(&self.state).log.clone()
    }

    /// Forgets the log.
    pub fn clear_log(&self) {
        lock(&self.state).log.clear();
    }

    /// The bytes that arrived while the guest ran, and were dropped.
    #[must_use]
    pub fn lost_bytes(&self) -> Vec<u8> {
        lock(&self.state).lost_bytes.clone()
    }

    /// Whether the guest runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        lock(&self.state).running
    }

    /// Whether addresses are guest physical.
    #[must_use]
    pub fn physical_mode(&self) -> bool {
        lock(&self.state).physical
    }

    /// Arms a fault.
    pub fn arm(&self, fault: StubFault) {
        lock(&self.state).faults.push((fault, 0));
    }

    /// Stops the guest from elsewhere, as `stop` over QMP (2), a panic (2), a shutdown (3) or a
    /// watchdog (14) do. The client gets a stop reply.
    pub fn stop_guest(&self, signal: u8) {
        lock(&self.state).stop(signal);
    }

    /// Resumes the guest from elsewhere, as `cont` over QMP does. The client gets nothing.
    pub fn resume_guest(&self) {
        lock(&self.state).resume();
    }

    /// Ends QEMU with a status: the client gets `W` and the end of the stream.
    pub fn exit(&self, status: u8) {
        lock(&self.state).exit(status);
    }
}

impl fmt::Debug for StubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StubHandle").field("running", &self.is_running()).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Idle,
    Content,
    Escape,
    High,
    Low(u8),
}

struct State {
    guest: FakeGuest,
    packet_size: usize,
    running: bool,
    offers_no_ack: bool,
    no_ack: bool,
    multiprocess: bool,
    has_xml: bool,
    physical: bool,
    line: Line,
    content: Vec<u8>,
    sum: u32,
    /// The last packet sent, until it is acknowledged.
    last_packet: Vec<u8>,
    client: Option<UnixStream>,
    /// Each with the number of packets since it was armed.
    faults: Vec<(StubFault, usize)>,
    monitor: Vec<(String, Vec<String>)>,
    on_monitor: OnMonitor,
    on_resume: OnResume,
    log: Vec<String>,
    lost_bytes: Vec<u8>,
    dead: bool,
}

fn serve(state: &Mutex<State>, mut stream: UnixStream) -> Next {
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
                return Next::Die;
            }
        }
    }
    let mut state = lock(state);
    state.client = None;
    if state.dead { Next::Die } else { Next::Listen }
}

impl State {
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
            (Line::Idle, b'$') => {
                self.line = Line::Content;
                self.content.clear();
                self.sum = 0;
            }
            (Line::Idle, _) => {}
            (Line::Content | Line::Escape, b'#') => self.line = Line::High,
            (Line::Content, b'}') => {
                self.sum += u32::from(byte);
                self.line = Line::Escape;
            }
            // A packet that does not fit is forgotten, without a word.
            (Line::Content | Line::Escape, _) if self.content.len() >= self.packet_size - 1 => {
                self.line = Line::Idle;
            }
            (Line::Content, _) => {
                self.sum += u32::from(byte);
                self.content.push(byte);
            }
            (Line::Escape, _) => {
                self.sum += u32::from(byte);
                self.content.push(byte ^ 0x20);
                self.line = Line::Content;
            }
            (Line::High, _) => match char::from(byte).to_digit(16) {
                Some(digit) => self.line = Line::Low(digit as u8),
                None => self.line = Line::Content,
            },
            (Line::Low(high), _) => match char::from(byte).to_digit(16) {
                Some(low) => {
                    self.line = Line::Idle;
                    self.end_of_line(u32::from(high) << 4 | low);
                }
                None => self.line = Line::Content,
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

    fn write_register(&mut self, request: &str) {
        let Some((number, data)) = request.split_once('=') else { return self.reply(b"E22") };
        let number = u32::from_str_radix(number, 16).ok();
        let bytes = unhex(data);
        for register in &mut self.guest.registers {
            if Some(register.number) == number && !register.read_only {
                let width = register.bytes.len().min(bytes.len());
                register.bytes[..width].copy_from_slice(&bytes[..width]);
            }
        }
        // QEMU says so whatever became of it.
        self.reply(b"OK");
    }

    fn stop(&mut self, signal: u8) {
        if std::mem::replace(&mut self.running, false) {
            self.reply(format!("T{signal:02x}thread:01;").as_bytes());
        }
    }

    fn resume(&mut self) {
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

    fn exit(&mut self, status: u8) {
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|it| it as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
