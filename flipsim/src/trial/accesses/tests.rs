//! The index against a model that keeps each byte's accesses and each instant's content as they are.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::stream::{Kind, Record};
use super::*;
use crate::memory::PhysRange;
use crate::units::{GuestPhys, VirtualNs};

const BEGIN: u64 = 1_000_000;

/// What happens to bytes in an interval, before those that were accessed already are left out.
#[derive(Clone, Copy, Debug)]
struct Happening {
    /// Of all RAM: the first block, then the second.
    at: usize,
    length: usize,
    kind: Kind,
    dt: u32,
    value: u8,
}

#[derive(Clone, Debug)]
struct Interval {
    length: u32,
    happenings: Vec<Happening>,
}

const PAGES: usize = 4;
const RAM: usize = PAGES * PAGE;

/// Two blocks: three pages of the first, of which the guest sees two; and one page that it sees twice, the second time
/// from the middle of a page on.
fn blocks() -> RamBlocks {
    let block = |number, name: &str, length| Block { number, name: name.to_owned(), length };
    let part = |first: u64, length: u64, block, offset| {
        let range = PhysRange::new(GuestPhys(first), GuestPhys(first + length - 1)).unwrap();
        Part { range, block, offset }
    };
    RamBlocks::new(
        [block(0, "ram", 3 * PAGE as u64), block(5, "rom", PAGE as u64)],
        [part(0x10000, 0x2000, 0, 0x1000), part(0x40000, 0x1000, 5, 0), part(0x80100, 0x800, 5, 0x80)],
    )
    .unwrap()
}

/// A byte of all RAM, as block and offset.
fn place(at: usize) -> (u8, u64) {
    if at < 3 * PAGE { (0, at as u64) } else { (5, (at - 3 * PAGE) as u64) }
}

fn byte_of(block: u8, offset: u64) -> usize {
    offset as usize + if block == 5 { 3 * PAGE } else { 0 }
}

/// Where the guest sees a byte of all RAM first.
fn address(at: usize) -> Option<GuestPhys> {
    match at {
        PAGE..=0x2fff => Some(GuestPhys(0x10000 + (at - PAGE) as u64)),
        0x3000.. => Some(GuestPhys(0x40000 + (at - 0x3000) as u64)),
        _ => None,
    }
}

fn first_content() -> Vec<u8> {
    (0..RAM).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// All accesses of each byte, all instants, and all of RAM at each of them.
struct Model {
    instants: Vec<u64>,
    /// For each interval and byte: the instant that is no later than its first access, and whether it overwrites.
    firsts: Vec<Vec<Option<(u64, bool)>>>,
    /// Read by a page-table walk, or written by what was not seen.
    walked: BTreeSet<usize>,
    unseen: u64,
    contents: Vec<Vec<u8>>,
    streams: Vec<Vec<u8>>,
}

impl Model {
    fn new(intervals: &[Interval]) -> Model {
        let mut model = Model {
            instants: vec![BEGIN],
            firsts: Vec::new(),
            walked: BTreeSet::new(),
            unseen: 0,
            contents: vec![first_content()],
            streams: Vec::new(),
        };
        for interval in intervals {
            let begin = *model.instants.last().unwrap();
            let mut content = model.contents.last().unwrap().clone();
            let mut firsts = vec![None; RAM];
            let mut stream = Vec::new();
            for happening in &interval.happenings {
                // Within a page.
                let end = (happening.at + happening.length).min((happening.at / PAGE + 1) * PAGE);
                let bytes = happening.at..end;
                let dt = happening.dt % interval.length;
                let record = |first: usize, length: usize, kind| {
                    let (block, offset) = place(first);
                    Record { offset, dt, length: length as u16, block, kind }.to_bytes()
                };
                let page = happening.at / PAGE * PAGE;
                match happening.kind {
                    Kind::Walked => {
                        model.walked.extend(bytes.clone());
                        stream.extend(record(bytes.start, bytes.len(), Kind::Walked));
                        continue;
                    }
                    Kind::PageWritten => {
                        // Read before, or by a writer that is not seen.
                        content[happening.at] ^= happening.value;
                        stream.extend(record(page, PAGE, Kind::PageWritten));
                        if happening.value % 2 == 0 {
                            continue;
                        }
                        let read = Some((begin + u64::from(dt), false));
                        if firsts[happening.at].is_none() {
                            firsts[happening.at] = read;
                            stream.extend(record(happening.at, 1, Kind::Read));
                        }
                        continue;
                    }
                    Kind::Read | Kind::Overwritten => {}
                }
                let overwrites = happening.kind == Kind::Overwritten;
                let mut new: Vec<usize> = Vec::new();
                for byte in bytes.clone() {
                    if firsts[byte].is_none() {
                        firsts[byte] = Some((begin + u64::from(dt), overwrites));
                        new.push(byte);
                    }
                }
                for run in new.chunk_by(|one, other| one + 1 == *other) {
                    stream.extend(record(run[0], run.len(), happening.kind));
                }
                if overwrites {
                    content[bytes].fill(happening.value);
                    stream.extend(record(page, PAGE, Kind::PageWritten));
                }
            }
            let before = model.contents.last().unwrap();
            let changed = (0..RAM).filter(|at| before[*at] != content[*at] && firsts[*at].is_none());
            let unseen: Vec<usize> = changed.filter(|at| !model.walked.contains(at)).collect();
            model.unseen += unseen.len() as u64;
            model.walked.extend(unseen);
            model.instants.push(begin + u64::from(interval.length));
            model.firsts.push(firsts);
            model.contents.push(content);
            model.streams.push(stream);
        }
        model
    }

    fn end(&self) -> u64 {
        *self.instants.last().unwrap()
    }

    fn record(&self) -> Accesses {
        self.record_with(1)
    }

    /// With so many contents of pages kept.
    fn record_with(&self, contents: usize) -> Accesses {
        let base = first_content();
        let read = move |block, offset, to: &mut [u8]| {
            let at = byte_of(block, offset);
            to.copy_from_slice(&base[at..at + to.len()]);
            Ok(())
        };
        let mut recorder = Recorder::new(VirtualNs(BEGIN), blocks(), read).with_contents(contents);
        for (at, stream) in self.streams.iter().enumerate() {
            let mut page = |block, offset, to: &mut Page| {
                let first = byte_of(block, offset);
                to.copy_from_slice(&self.contents[at + 1][first..first + PAGE]);
                Ok(())
            };
            recorder.interval(VirtualNs(self.instants[at + 1]), stream, &mut page).unwrap();
        }
        recorder.finish()
    }

    fn interval(&self, at: u64) -> Option<usize> {
        self.instants.windows(2).position(|pair| (pair[0]..pair[1]).contains(&at))
    }

    fn next(&self, address: GuestPhys, at: u64) -> Next {
        let Some((block, offset)) = blocks().place(address) else { return Next::Unknown };
        let Some(interval) = self.interval(at) else { return Next::Unknown };
        let byte = byte_of(block, offset);
        if self.walked.contains(&byte) {
            return Next::Unknown;
        }
        for interval in interval..self.firsts.len() {
            if let Some((from, overwrites)) = self.firsts[interval][byte] {
                let by = VirtualNs(self.instants[interval + 1]);
                return match (from < at, VirtualNs(from)) {
                    (true, _) => Next::Unknown,
                    (_, from) if overwrites => Next::Overwritten { from, by },
                    (_, from) => Next::Read { from },
                };
            }
        }
        Next::Never
    }

    fn of(&self, bytes: &[GuestPhys], at: u64) -> NextOfAll {
        let all: Vec<Next> = bytes.iter().map(|byte| self.next(*byte, at)).collect();
        let froms = all.iter().filter_map(|next| match next {
            Next::Read { from } | Next::Overwritten { from, .. } => Some(*from),
            _ => None,
        });
        let bys = all.iter().filter_map(|next| match next {
            Next::Overwritten { by, .. } => Some(*by),
            _ => None,
        });
        if all.is_empty() || all.contains(&Next::Unknown) {
            NextOfAll::Unknown
        } else if all.iter().any(|next| matches!(next, Next::Read { .. })) {
            NextOfAll::Read { from: froms.min().unwrap() }
        } else if all.contains(&Next::Never) {
            let never = bytes.iter().zip(&all).filter(|(_, next)| **next == Next::Never);
            NextOfAll::Never { bytes: never.map(|(byte, _)| *byte).collect() }
        } else {
            NextOfAll::Overwritten { from: froms.min().unwrap(), by: bys.max().unwrap() }
        }
    }

    fn value(&self, address: GuestPhys, at: u64) -> Option<u8> {
        let (block, offset) = blocks().place(address)?;
        let interval = self.interval(at)?;
        let known = self.next(address, at) != Next::Unknown;
        known.then(|| self.contents[interval][byte_of(block, offset)])
    }

    fn shares(&self, bytes: impl Iterator<Item = u64>, times: &[(u64, u64)]) -> Shares {
        let mut shares = Shares::default();
        for byte in bytes {
            for at in BEGIN..self.end() {
                if !times.iter().any(|(from, to)| (*from..*to).contains(&at)) {
                    continue;
                }
                match self.next(GuestPhys(byte), at) {
                    Next::Never => shares.never += 1,
                    Next::Overwritten { .. } => shares.overwritten += 1,
                    Next::Read { .. } => (shares.live, shares.read) = (shares.live + 1, shares.read + 1),
                    Next::Unknown => shares.live += 1,
                }
            }
        }
        shares
    }

    /// Bytes that were accessed, some beside them, and some that are no RAM.
    fn addresses(&self) -> Vec<GuestPhys> {
        let touched = self.firsts.iter().flat_map(|firsts| (0..RAM).filter(|at| firsts[*at].is_some()));
        let touched: BTreeSet<usize> = touched.chain(self.walked.iter().copied()).collect();
        let near = touched.iter().flat_map(|at| [at.saturating_sub(1), *at, at + 1]);
        let near: BTreeSet<usize> = near.filter(|at| *at < RAM).collect();
        let step = near.len() / 60 + 1;
        let chosen = near.into_iter().step_by(step).filter_map(address);
        chosen
            .chain([0, 0xffff, 0x12000, 0x80100, 0x801ff, 0x808ff, 0x80900, u64::MAX].map(GuestPhys))
            .collect()
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    let at = prop_oneof![
        4 => (0usize..PAGES, 0usize..24).prop_map(|(page, at)| page * PAGE + at),
        1 => (0usize..PAGES, PAGE - 24..PAGE).prop_map(|(page, at)| page * PAGE + at),
        2 => 0..RAM,
        // What the guest sees twice.
        2 => 3 * PAGE + 0x70..3 * PAGE + 0xa0,
    ];
    let length = prop_oneof![8 => 1usize..20, 1 => 1usize..300, 1 => Just(PAGE)];
    let kind = prop_oneof![
        5 => Just(Kind::Read),
        5 => Just(Kind::Overwritten),
        1 => Just(Kind::Walked),
        2 => Just(Kind::PageWritten),
    ];
    let rest = (any::<u32>(), any::<u8>());
    (at, length, kind, rest).prop_map(|(at, length, kind, (dt, value))| {
        let length = if kind == Kind::Walked { length.min(8) } else { length };
        Happening { at, length, kind, dt, value }
    })
}

fn intervals() -> impl Strategy<Value = Vec<Interval>> {
    let interval = (1u32..40, prop::collection::vec(happening(), 0..14))
        .prop_map(|(length, happenings)| Interval { length, happenings });
    prop::collection::vec(interval, 0..7)
}

/// As a file has it: what comes before the content, the content, inflated.
fn opened(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (head, rest) = file.split_at(20);
    let mut content = Vec::new();
    DeflateDecoder::new(&rest[..rest.len() - 32]).read_to_end(&mut content).unwrap();
    (head.to_vec(), content)
}

fn sealed(head: &[u8], content: &[u8]) -> Vec<u8> {
    let mut file = DeflateEncoder::new(head.to_vec(), Compression::fast());
    file.write_all(content).unwrap();
    let mut file = file.finish().unwrap();
    let sum = Sha256::digest(&file);
    file.extend_from_slice(&sum);
    file
}

fn saved(accesses: &Accesses) -> Vec<u8> {
    let mut file = Vec::new();
    accesses.save(&mut file).unwrap();
    file
}

fn range(first: u64, length: u64) -> PhysRange {
    PhysRange::new(GuestPhys(first), GuestPhys(first + length - 1)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn each_byte_and_instant_is_as_the_model_says(intervals in intervals(), pick: u64) {
        let model = Model::new(&intervals);
        let accesses = model.record();
        let first = first_content();
        let base = |block, offset, to: &mut [u8]| {
            let at = byte_of(block, offset);
            to.copy_from_slice(&first[at..at + to.len()]);
            Ok(())
        };
        let contents = accesses.contents(&base);
        prop_assert_eq!(accesses.figures().unseen, model.unseen);
        let addresses = model.addresses();
        let count = addresses.len() as u64;
        for at in BEGIN - 1..model.end() + 2 {
            for address in &addresses {
                prop_assert_eq!(accesses.next(*address, VirtualNs(at)), model.next(*address, at), "{} {}", address, at);
                prop_assert_eq!(contents.value(*address, VirtualNs(at)).unwrap(), model.value(*address, at));
            }
            let bytes = |from: u64, length: u64| -> Vec<GuestPhys> {
                (from..from + length).map(|n| addresses[(n.wrapping_mul(pick | 1) % count) as usize]).collect()
            };
            for length in 0..5 {
                let bytes = bytes(at, length);
                prop_assert_eq!(accesses.of(&bytes, VirtualNs(at)), model.of(&bytes, at));
            }
        }
        for at in 0..model.instants.len() {
            for page in 0..PAGES {
                let (block, offset) = place(page * PAGE);
                let found = contents.page(block, offset + 9, at).unwrap();
                prop_assert!(found[..] == model.contents[at][page * PAGE..(page + 1) * PAGE]);
            }
        }
        prop_assert!(contents.page(0, 0, model.instants.len()).is_err());
        prop_assert!(contents.page(0, 3 * PAGE as u64, 0).is_err() && contents.page(1, 0, 0).is_err());
    }

    #[test]
    fn shares_are_what_is_said_of_each_byte_and_instant(
        intervals in intervals(),
        starts in prop::collection::vec((prop_oneof![
            0xfff0u64..0x10020, 0x10ff0u64..0x11010, 0x3fff0u64..0x40020, 0x40070u64..0x400a0, 0x800f0u64..0x80130,
        ], 1u64..40), 0..4),
        times in prop::collection::vec((BEGIN - 5..BEGIN + 200, 0u64..60), 0..4),
    ) {
        let model = Model::new(&intervals);
        let accesses = model.record();
        let ranges: Vec<PhysRange> = starts.iter().map(|(first, length)| range(*first, *length)).collect();
        let bytes: BTreeSet<u64> = ranges.iter().flat_map(|range| range.first.0..=range.last.0).collect();
        let all = [(0, u64::MAX)];
        prop_assert_eq!(accesses.shares(&ranges), model.shares(bytes.iter().copied(), &all));

        let pairs: Vec<(u64, u64)> = times.iter().map(|(from, length)| (*from, from + length)).collect();
        let stretches: Vec<(VirtualNs, VirtualNs)> =
            pairs.iter().map(|(from, to)| (VirtualNs(*from), VirtualNs(*to))).collect();
        let shares = accesses.shares_within(&ranges, &stretches);
        prop_assert_eq!(shares, model.shares(bytes.iter().copied(), &pairs));

        let mut live: Vec<(GuestPhys, u128)> = Vec::new();
        for page in bytes.iter().map(|byte| byte & !0xfff).collect::<BTreeSet<u64>>() {
            let of_page = bytes.iter().copied().filter(|byte| byte & !0xfff == page);
            let of_page = of_page.filter(|byte| blocks().place(GuestPhys(*byte)).is_some());
            live.push((GuestPhys(page), model.shares(of_page, &pairs).live));
        }
        live.retain(|(_, live)| *live > 0);
        prop_assert_eq!(accesses.live_by_page(&ranges, &stretches), live);
    }

    #[test]
    fn what_is_kept_while_recording_changes_nothing(intervals in intervals()) {
        let model = Model::new(&intervals);
        prop_assert_eq!(model.record_with(1), model.record_with(100));
    }

    #[test]
    fn what_is_saved_is_read_as_the_same(intervals in intervals()) {
        let accesses = Model::new(&intervals).record();
        let file = saved(&accesses);
        let again = Accesses::load(&file[..]).unwrap();
        prop_assert_eq!(&again, &accesses);
        prop_assert_eq!(saved(&again), file);
    }

    #[test]
    fn a_content_that_was_changed_is_refused_or_can_be_asked(
        intervals in intervals(),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut: Option<usize>,
    ) {
        let (head, mut content) = opened(&saved(&Model::new(&intervals).record()));
        for (at, value) in changes {
            let at = at % content.len();
            content[at] = value;
        }
        content.truncate(cut.map_or(content.len(), |cut| cut % (content.len() + 1)));
        if let Ok(accesses) = Accesses::load(&sealed(&head, &content)[..]) {
            let zeros = |_, _, to: &mut [u8]| { to.fill(0); Ok(()) };
            let contents = accesses.contents(&zeros);
            let ranges = [range(0, 0x90000)];
            for at in (BEGIN..BEGIN + 300).step_by(7) {
                let _ = accesses.next(GuestPhys(0x10010), VirtualNs(at));
                let _ = contents.value(GuestPhys(0x10010), VirtualNs(at));
            }
            let _ = (accesses.shares(&ranges), accesses.figures(), contents.page(0, 0, accesses.instants().len() - 1));
        }
    }
}

/// Two intervals, with some of everything.
fn small() -> Accesses {
    let happening = |at, length, kind, dt, value| Happening { at, length, kind, dt, value };
    Model::new(&[
        Interval {
            length: 20,
            happenings: vec![
                happening(PAGE + 8, 8, Kind::Read, 3, 0),
                happening(PAGE + 12, 8, Kind::Overwritten, 4, 9),
                happening(3 * PAGE, 8, Kind::Walked, 4, 9),
            ],
        },
        Interval { length: 30, happenings: vec![happening(PAGE, PAGE, Kind::Overwritten, 4, 0)] },
    ])
    .record()
    .with_code(
        &[code(PAGE as u64 + 64, 1 << 40, 1, 4, 0), code(PAGE as u64, 3, 5, 16, 0), code(8, 1, 1, 4, 0)]
            .concat(),
    )
    .unwrap()
}

/// A record of a block of code, as QEMU writes it.
fn code(offset: u64, runs: u64, instructions: u16, bytes: u16, block: u8) -> Vec<u8> {
    let mut record = [offset.to_le_bytes(), runs.to_le_bytes()].concat();
    record.extend([instructions.to_le_bytes(), bytes.to_le_bytes()].concat());
    record.extend([block, 0, 0, 0]);
    record
}

#[test]
fn executed_code_is_where_the_guest_sees_it_and_lies_in_ram() {
    let accesses = small();
    let found: Vec<_> = accesses.executed().map(|code| (code.instructions, code.runs)).collect();
    // In their order; what the guest sees nowhere is left out.
    assert_eq!(found, [(5, 3), (1, 1 << 40)]);
    let places: Vec<_> = accesses.executed().map(|code| accesses.blocks().place(code.first)).collect();
    assert_eq!(places, [Some((0, PAGE as u64)), Some((0, PAGE as u64 + 64))]);
    let length = accesses.blocks().block(0).unwrap().length;
    for (wrong, says) in [
        (code(length - 3, 1, 1, 4, 0), "record 0"),
        (code(u64::MAX, 1, 1, 4, 0), "outside of RAM"),
        (code(0, 1, 1, 4, 9), "outside of RAM"),
        (code(0, 1, 0, 4, 0), "no instruction"),
        (code(0, 1, 1, 0, 0), "record 0"),
        (code(0, 1, 1, 4, 0)[..23].to_vec(), "cut"),
    ] {
        let error = small().with_code(&wrong).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(small().with_code(&[]).unwrap().executed().next().is_none());
}

#[test]
fn a_file_that_was_changed_is_refused() {
    let file = saved(&small());
    assert_eq!(Accesses::load(&file[..]).unwrap(), small());
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(Accesses::load(&changed[..]).is_err(), "byte {at}");
        assert!(Accesses::load(&file[..at]).is_err(), "cut to {at}");
    }
    let longer = [&file[..], &[0]].concat();
    assert!(Accesses::load(&longer[..]).is_err());

    let said = |file: &[u8]| Accesses::load(file).unwrap_err().to_string();
    let (head, content) = opened(&file);
    assert_eq!(Accesses::load(&sealed(&head, &content)[..]).unwrap(), small());
    assert!(said(&sealed(&head, &content[..content.len() - 1])).contains("contradicts itself"));
    assert!(said(&sealed(&head, &[&content[..], &[0]].concat())).contains("does not end"));
    let mut behind = file[..file.len() - 32].to_vec();
    behind.push(0);
    let sum = Sha256::digest(&behind);
    behind.extend_from_slice(&sum);
    assert!(said(&behind).contains("does not end"));
    let mut other = head.clone();
    other[16] += 1;
    assert!(said(&sealed(&other, &content)).contains(&format!("version {}, this", FORMAT + 1)));
    assert!(said(b"something else, and long enough").contains("does not begin"));
}

#[test]
fn a_file_that_claims_much_takes_little() {
    let (head, _) = opened(&saved(&small()));
    // No blocks, no parts, no registers, and more instants than there is room for.
    let mut claims = vec![0, 0, 0];
    claims.extend([0xff; 8]);
    claims.push(1);
    assert!(Accesses::load(&sealed(&head, &claims)[..]).is_err());
    // A name of an exabyte.
    let mut name = vec![1, 0];
    name.extend([0xff; 8]);
    name.push(0);
    assert!(Accesses::load(&sealed(&head, &name)[..]).is_err());
}

#[test]
fn a_wrong_stream_is_refused_and_then_nothing_is_known() {
    let good = Record { offset: 8, dt: 0, length: 8, block: 0, kind: Kind::Read };
    let with = |change: &dyn Fn(&mut Record)| {
        let mut record = good;
        change(&mut record);
        [good, Record { offset: 64, ..good }, record].map(Record::to_bytes).concat()
    };
    let kind = |kind| {
        let mut bytes = good.to_bytes();
        bytes[15] = kind;
        bytes.to_vec()
    };
    let cases = [
        (with(&|record| record.length = 0), "record 2 of interval 0"),
        (with(&|record| (record.offset, record.length) = (4090, 7)), "not within a page"),
        (with(&|record| (record.offset, record.length) = (4096, 4097)), "not within a page"),
        (with(&|record| record.offset = 3 * PAGE as u64), "outside of RAM block ram"),
        (with(&|record| record.offset = u64::MAX), "not within a page"),
        (with(&|record| record.block = 1), "no RAM block 1"),
        (with(&|record| (record.offset, record.dt) = (128, 100)), "lies outside"),
        (with(&|record| (record.offset, record.dt) = (128, u32::MAX)), "lies outside"),
        (with(&|_| ()), "byte at 0x8 of RAM block ram has two first accesses in interval 0"),
        (with(&|record| (record.offset, record.kind) = (15, Kind::Overwritten)), "byte at 0xf"),
        (good.to_bytes()[..15].to_vec(), "ends after 15 bytes"),
        (kind(4), "4 is no kind"),
        (kind(255), "255 is no kind"),
    ];
    for (stream, expected) in cases {
        let zeros = |_, _, to: &mut [u8]| {
            to.fill(0);
            Ok(())
        };
        let mut recorder = Recorder::new(VirtualNs(7), blocks(), zeros);
        let mut page = |_, _, _: &mut Page| Ok(());
        let error = recorder.interval(VirtualNs(107), &stream, &mut page).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        // An interval that is right does not make up for it.
        recorder.interval(VirtualNs(107), &[], &mut page).unwrap();
        let accesses = recorder.finish();
        assert_eq!(accesses.next(GuestPhys(0x10000), VirtualNs(7)), Next::Unknown);
        assert_eq!(accesses.shares(&[range(0x10000, 4)]), Shares::default());
        assert_eq!(accesses.figures().pages, 0);
    }
}

#[test]
fn an_interval_has_a_length_and_pages_can_be_read() {
    let refused = || io::Error::other("refused");
    let overwritten = Record { offset: 0, dt: 0, length: 8, block: 5, kind: Kind::Overwritten }.to_bytes();
    let begun = |works: bool| {
        Recorder::new(VirtualNs(7), blocks(), move |_, _, to: &mut [u8]| {
            to.fill(0);
            if works { Ok(()) } else { Err(refused()) }
        })
    };
    let mut page = |_, _, _: &mut Page| Ok(());
    let error = begun(true).interval(VirtualNs(7), &[], &mut page).unwrap_err();
    assert!(error.to_string().contains("begins at 0.000007 ms and ends at 0.000007 ms"));
    let error = begun(false).interval(VirtualNs(9), &overwritten, &mut page).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the page at 0x0 of RAM block rom: refused");
    let error = begun(true).interval(VirtualNs(9), &overwritten, &mut |_, _, _| Err(refused())).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the page at 0x0 of RAM block rom: refused");
}

#[test]
fn what_changes_without_an_access_is_unknown_for_the_whole_run() {
    let zeros = |_, _, to: &mut [u8]| {
        to.fill(0);
        Ok(())
    };
    let record = |offset, length, kind| Record { offset, dt: 0, length, block: 5, kind }.to_bytes();
    let mut recorder = Recorder::new(VirtualNs(0), blocks(), zeros);
    let first = [record(0, 8, Kind::Walked), record(8, 8, Kind::Read), record(0, 4096, Kind::PageWritten)];
    // A walk sets bits of the entry that it reads; that is no writer that is missing.
    let mut page = |_, _, to: &mut Page| {
        (to[0], to[8], to[16]) = (1, 2, 3);
        Ok(())
    };
    recorder.interval(VirtualNs(10), &[], &mut page).unwrap();
    recorder.interval(VirtualNs(20), &first.concat(), &mut page).unwrap();
    let accesses = recorder.finish();
    assert_eq!(accesses.figures().unseen, 1);
    let next = |byte: u64, at| accesses.next(GuestPhys(0x40000 + byte), VirtualNs(at));
    assert_eq!((next(0, 0), next(16, 0), next(17, 0)), (Next::Unknown, Next::Unknown, Next::Never));
    assert_eq!((next(8, 0), next(8, 11)), (Next::Read { from: VirtualNs(10) }, Next::Unknown));
}

#[test]
fn figures_count_what_is_kept() {
    let accesses = small();
    let figures = accesses.figures();
    // The read of 8 bytes, the 4 behind it, and the page; what adjoins is one event where all is equal.
    assert_eq!((figures.intervals, figures.records, figures.events), (2, 3, 3));
    assert_eq!((figures.pages, figures.walked, figures.deltas), (2, 1, 2));
    assert!((200..4000).contains(&figures.bytes), "{figures:?}");
}
