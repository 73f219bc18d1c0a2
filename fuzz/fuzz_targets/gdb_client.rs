//! The client of the gdb stub against a stub that says anything: no answer makes it panic, wait for ever or keep more
//! than it was sent.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use flipsim::wire::gdb::codec::checksum;
use flipsim::wire::gdb::{GdbClient, GdbError};
use flipsim::wire::net::Timeouts;
use flipsim_fuzz::{Server, parts};
use libfuzzer_sys::fuzz_target;

static STUB: LazyLock<Server> = LazyLock::new(Server::start);
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), reply: Duration::from_secs(5) };

/// Lines as packets with the right checksum, each acknowledged: a stub that is in earnest, but for what it says.
fn framed(lines: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        said.extend_from_slice(b"+$");
        said.extend_from_slice(line);
        said.extend_from_slice(format!("#{:02x}", checksum(line)).as_bytes());
    }
    said
}

fn ask(client: &mut GdbClient, word: u8) -> Result<(), GdbError> {
    let number = u64::from(word >> 4);
    let mut bytes = vec![word; usize::from(word >> 4) * 9];
    match word & 15 {
        0 => client
            .read_memory(number << 60, bytes.len() * 100)
            .map(|read| assert_eq!(read.len(), bytes.len() * 100)),
        1 => client.write_memory(u64::MAX - number, &bytes),
        2 => client.write_memory_read_back(number, &vec![0; bytes.len()], &mut bytes),
        3 => client.read_register(u32::from(word >> 4)).map(drop),
        4 => client.write_register(u32::from(word >> 4), &bytes),
        5 => client.set_physical_memory(number & 1 == 0),
        6 => client.resume(),
        7 => client.stop().map(drop),
        8 => client.step().map(drop),
        9 => client.monitor("info version").map(drop),
        10 => client.wait_stop(Duration::ZERO).map(drop),
        11 => client.run_state().map(drop),
        12 => client.note_resumed(),
        _ => client.wait_stop(Duration::from_secs(5)).map(drop),
    }
}

fuzz_target!(|data: &[u8]| {
    let [words, said] = parts(data);
    let Some((how, words)) = words.split_first() else { return };
    let said = if how & 1 == 0 { framed(said) } else { said.to_vec() };
    let Ok(mut client) = GdbClient::connect(STUB.that_says(said), TIMEOUTS) else { return };
    assert!(client.packet_size() <= 1 << 20);
    for register in client.registers() {
        assert!((1..=1 << 13).contains(&register.bytes()));
    }
    for word in words.iter().take(64) {
        let _ = ask(&mut client, *word);
    }
    let _ = if how & 2 == 0 { client.detach() } else { client.leave_stopped() };
});
