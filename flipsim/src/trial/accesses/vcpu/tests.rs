//! Registers: where they are in the vCPU's state, when they are used, and how a file keeps both.

use super::super::stream::{Kind, Record};
use super::super::{Accesses, Block, Next, PAGE, RamBlocks, Recorder, Shares};
use super::*;
use crate::units::VirtualNs;

#[test]
fn a_register_is_where_its_bytes_were_changed_whatever_their_order() {
    let mut vcpu = Vcpu::new((0..40).collect());
    let with = |changes: &[(usize, u8)]| {
        let mut content: Vec<u8> = (0..40).collect();
        changes.iter().for_each(|(at, bits)| content[*at] ^= bits);
        content
    };
    // The most significant byte first; then a register that something else changed with.
    vcpu.locate(4, &with(&[(13, 1), (12, 2), (11, 3), (10, 4)]));
    vcpu.locate(2, &with(&[(20, 1), (21, 2), (30, 9)]));
    vcpu.locate(2, &with(&[(20, 1)]));
    vcpu.locate(2, &with(&[(20, 1), (21, 2)])[..39]);
    assert_eq!(vcpu.places, [vec![13, 12, 11, 10], vec![], vec![], vec![]]);
    let changed = Vcpu::new(with(&[(13, 0x80), (10, 1)]));
    assert_eq!(vcpu.digest_with(0, &[0x80, 0, 0, 1]), Some(changed.digest()));
    assert_eq!(vcpu.digest_with(0, &[0; 4]), Some(vcpu.digest()));
    assert_ne!(vcpu.digest(), changed.digest());
    // Not as wide, of another register, of none.
    let none = [(0, &[1u8; 3][..]), (1, &[1, 0]), (4, &[1])].map(|(at, mask)| vcpu.digest_with(at, mask));
    assert_eq!(none, [None; 3]);
}

/// A run of 4 intervals of 100 ns from 1,000 on: `x0` is used at 1,110, `v0` never, and of `x1` nothing is known.
fn recorded() -> Accesses {
    let ram = Block { number: 3, name: "ram".to_owned(), length: PAGE as u64 };
    let names = ["x0", "x1", "v0"].map(str::to_owned).to_vec();
    let blocks = RamBlocks::new([ram], []).unwrap().with_registers(names).unwrap();
    assert_eq!(blocks.register("x1"), Some((4, 1)));
    let record = |at: u64, kind, dt| Record { offset: at, dt, length: 1, block: 4, kind }.to_bytes();
    let mut recorder = Recorder::new(VirtualNs(1000), blocks, |_, _, _: &mut [u8]| Ok(()));
    for (interval, stream) in
        [vec![], record(0, Kind::Read, 10).to_vec(), record(1, Kind::Walked, 0).to_vec(), vec![]]
            .into_iter()
            .enumerate()
    {
        let end = VirtualNs(1100 + 100 * interval as u64);
        recorder.interval(end, &stream, &mut |_, _, _| panic!("no page of it is written")).unwrap();
    }
    let mut vcpu = Vcpu::new(vec![5; 9]);
    for at in [1, 2, 3] {
        let mut changed = [5; 9];
        changed[at] = 4;
        vcpu.locate(1, &changed);
    }
    recorder.finish().with_vcpu(vcpu)
}

#[test]
fn a_register_is_used_never_or_from_an_instant_on_or_nothing_is_known_of_it() {
    let accesses = recorded();
    let next = |name: &str, at| {
        let (block, offset) = accesses.blocks().register(name)?;
        Some(accesses.next_of(block, offset, VirtualNs(at)))
    };
    assert_eq!(next("x0", 1000), Some(Next::Read { from: VirtualNs(1110) }));
    assert_eq!((next("x0", 1111), next("x0", 1200)), (Some(Next::Unknown), Some(Next::Never)));
    assert_eq!((next("x1", 1000), next("x1", 1399)), (Some(Next::Unknown), Some(Next::Unknown)));
    assert_eq!((next("v0", 1000), next("v1", 1000)), (Some(Next::Never), None));
    let shares = |name| accesses.register_shares(name, &[(VirtualNs(0), VirtualNs(u64::MAX))]);
    assert_eq!(shares("x0"), Shares { never: 200, overwritten: 0, live: 200, read: 111 });
    assert_eq!(shares("v0"), Shares { never: 400, ..Shares::default() });
    assert_eq!((shares("x1").live, shares("v1").live), (400, 400));
    let elsewhere = recorded().with_vcpu(Vcpu::default());
    assert_eq!(elsewhere.register_shares("v0", &[(VirtualNs(0), VirtualNs(u64::MAX))]).live, 400);
}

#[test]
fn registers_and_the_vcpu_are_saved_and_read_as_the_same() {
    let accesses = recorded();
    let mut file = Vec::new();
    accesses.save(&mut file).unwrap();
    assert_eq!(Accesses::load(&file[..]).unwrap(), accesses);
    assert_eq!(
        accesses.vcpu().digest_with(0, &[1]),
        Some(Vcpu::new(vec![5, 4, 5, 5, 5, 5, 5, 5, 5]).digest())
    );
}
