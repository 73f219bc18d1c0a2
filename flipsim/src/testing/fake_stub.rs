//! A gdb stub with a small guest in memory, which behaves as QEMU 7.1's does: how a test makes one, and looks into it.
//!
//! Source of the behaviour: QEMU's `gdb_read_byte`, `gdb_handle_packet` and `gdb_vm_state_change`.
//!
//! Invariant: its traps are QEMU's. Stop replies that were not asked for; `p` empty until the description
//! was read; bytes that stop a running guest and are lost; a physical mode that outlives its client.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::server::{Server, lock};
use crate::testing::fake_guest::{FakeGuest, FakeRegister};
use crate::testing::stub_server::{AfterResume, OnMonitor, OnResume, StubFault, StubLine, StubState, serve};
use crate::wire::net::Endpoint;

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

    /// The guest is stopped until a client resumes it, as with `-S`. Otherwise it runs.
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
        let state = Arc::new(Mutex::new(StubState {
            guest: self.guest,
            packet_size: self.packet_size,
            running: self.running,
            offers_no_ack: self.offers_no_ack,
            no_ack: false,
            multiprocess: self.multiprocess,
            has_xml: false,
            physical: self.physical,
            line: if self.half_packet { StubLine::Content } else { StubLine::Idle },
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
    state: Arc<Mutex<StubState>>,
}

impl StubHandle {
    /// The guest's present RAM, from the first piece on.
    #[must_use]
    pub fn ram(&self) -> Vec<u8> {
        lock(&self.state).guest.ram.first().map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    /// A copy of the guest as it is now.
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
