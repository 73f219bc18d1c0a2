//! The golden run's accesses: QEMU's records of them, and the file that they are kept in, as it is or with a sum that fits.
#![no_main]

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use flipsim::memory::PhysRange;
use flipsim::trial::accesses::{Accesses, Block, Next, NextOfAll, Page, Part, RamBlocks, Recorder};
use flipsim::units::{GuestPhys, VirtualNs};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

/// How a file begins: its magic and its version.
const HEAD: usize = 20;

fn range(first: u64, length: u64) -> PhysRange {
    PhysRange::new(GuestPhys(first), GuestPhys(first + length - 1)).expect("a range")
}

fn zeros(_: u8, _: u64, to: &mut [u8]) -> std::io::Result<()> {
    to.fill(0);
    Ok(())
}

/// Two blocks of two pages; the guest sees three of these.
fn blocks() -> RamBlocks {
    let block = |number| Block { number, name: format!("ram{number}"), length: 0x2000 };
    let part = |first, length, block| Part { range: range(first, length), block, offset: 0 };
    RamBlocks::new([block(0), block(1)], [part(0x1000, 0x2000, 0), part(0x8000, 0x1000, 1)]).expect("a table")
}

fn saved(accesses: &Accesses) -> Vec<u8> {
    let mut file = Vec::new();
    accesses.save(&mut file).expect("it is written to memory");
    file
}

/// Whatever it holds, it can be asked, and it does not contradict itself.
fn ask(accesses: &Accesses) {
    let [begin, .., end] = accesses.instants() else { return };
    let contents = accesses.contents(&zeros);
    let length = end.0 - begin.0;
    for part in accesses.blocks().parts().iter().take(3) {
        let few = part.range.len().min(16);
        for byte in part.range.first.0..=part.range.first.0 + (few - 1) {
            for at in [0, 1, length / 2, length - 1] {
                let (byte, at) = (GuestPhys(byte), VirtualNs(begin.0 + at));
                let next = accesses.next(byte, at);
                match next {
                    Next::Read { from } => assert!(from >= at && from < *end),
                    Next::Overwritten { from, by } => assert!(from >= at && from < by && by <= *end),
                    Next::Never | Next::Unknown => {}
                }
                let of = accesses.of(&[byte], at);
                assert_eq!(of == NextOfAll::Unknown, next == Next::Unknown);
                let value = contents.value(byte, at).expect("there is a base");
                assert_eq!(value.is_none(), next == Next::Unknown);
            }
        }
        let ranges =
            [PhysRange::new(part.range.first, GuestPhys(part.range.first.0 + (few - 1))).expect("some")];
        let shares = accesses.shares(&ranges);
        assert_eq!(shares.total(), u128::from(few) * u128::from(length));
        assert!(shares.read <= shares.live);
    }
    let last = accesses.instants().len() - 1;
    for block in accesses.blocks().blocks().iter().filter(|block| block.length > 0) {
        contents.page(block.number, 0, last).expect("it is there");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let recorded = |stream: &[u8]| {
        let mut recorder = Recorder::new(VirtualNs(1), blocks(), zeros);
        // Intervals end where a record would be all ones.
        let mut ends = 100u64..;
        let mut rest = stream;
        loop {
            let at = rest.chunks(16).position(|record| *record == [0xff; 16]);
            let (one, behind) = rest.split_at(at.map_or(rest.len(), |at| 16 * at));
            let end = ends.nth(50).expect("there are many");
            let mut page = |block: u8, offset: u64, page: &mut Page| {
                page.fill(one.len() as u8 ^ block ^ (offset >> 12) as u8);
                Ok(())
            };
            if recorder.interval(VirtualNs(end), one, &mut page).is_err() || behind.is_empty() {
                return recorder.finish();
            }
            rest = &behind[16..];
        }
    };
    let accesses = match kind % 3 {
        0 => recorded(data),
        1 => match Accesses::load(data) {
            Ok(accesses) => accesses,
            Err(_) => return,
        },
        _ => {
            let mut file = saved(&recorded(&[]));
            file.truncate(HEAD);
            let mut content = DeflateEncoder::new(file, Compression::none());
            content.write_all(data).expect("it is written to memory");
            let mut file = content.finish().expect("it is written to memory");
            let sum = Sha256::digest(&file);
            file.extend_from_slice(&sum);
            match Accesses::load(&file[..]) {
                Ok(accesses) => accesses,
                Err(_) => return,
            }
        }
    };
    ask(&accesses);
    assert_eq!(Accesses::load(&saved(&accesses)[..]).ok().as_ref(), Some(&accesses));
});
