//! Tests of `target`.

use super::*;
use crate::memory::MemoryMap;

fn map() -> MemoryMap {
    let iomem = "40000000-4000ffff : System RAM\n  40001000-40001fff : Kernel code\n  40002000-40002fff : Kernel data\n\
                 50000000-50000fff : uart\n";
    let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
    MemoryMap::new(Some(iomem), mtree).unwrap()
}

fn targets(texts: &[&str]) -> Vec<FaultTarget> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_share_of_a_profile_is_one_above_0() {
    let error = |text: &str| text.parse::<FaultTarget>().unwrap_err().to_string();
    assert_eq!("profile:95 %".parse::<FaultTarget>().unwrap().to_string(), "profile:95%");
    assert_eq!(error("profile:0"), "`profile:0` has no function; write a share above 0, as in profile:95%");
    assert!(
        error("profile:x").starts_with("`profile:x` is no share of a profile: "),
        "{}",
        error("profile:x")
    );
    assert!(error("profile:120%").contains("no share"));
}

#[test]
fn ranges_that_touch_are_one_or_stay_apart() {
    let names = GuestNames::without_symbols(map(), "");
    let guest = TargetGuest { names: &names, registers: &[], profile: None, used: None };
    let both = targets(&["region:Kernel code", "region:Kernel data"]);
    let len =
        |borders| FaultSpace::of(&both, Pattern::Adjacent(2), Align::BYTE, &guest, borders).unwrap().len();
    // One pair of bits more lies across the border.
    assert_eq!(len(Borders::Joined), 0x2000 * 8 - 1);
    assert_eq!(len(Borders::Kept), 0x2000 * 8 - 2);
    // A byte that is chosen twice is there once.
    let twice = targets(&["range:0x40001000+16", "range:0x40001008+16"]);
    for borders in [Borders::Joined, Borders::Kept] {
        let space = FaultSpace::of(&twice, Pattern::SINGLE, Align::BYTE, &guest, borders).unwrap();
        assert_eq!(space.len(), 24 * 8);
    }
}

#[test]
fn registers_come_in_the_order_of_the_targets_and_once() {
    let register = |name: &str, class: &str| FlippableRegister {
        name: name.into(),
        bits: 8,
        class: class.into(),
        writable: vec![0xff],
    };
    let registers = [register("x0", "core"), register("x1", "core"), register("v0", "fpu")];
    let known = GuestNames::without_symbols(map(), "");
    let guest = TargetGuest { names: &known, registers: &registers, profile: None, used: None };
    let of = |texts: &[&str]| {
        FaultSpace::of(&targets(texts), Pattern::SINGLE, Align::BYTE, &guest, Borders::Joined)
            .map_err(|e| e.to_string())
    };
    let space = of(&["class:fpu", "reg:x1", "class:core"]).unwrap();
    let names: Vec<String> = (0..3).map(|number| space.nth(number * 8).unwrap().place()).collect();
    assert_eq!((space.len(), names), (24, vec!["v0".to_owned(), "x1".to_owned(), "x0".to_owned()]));
    let all = "; `cargo xtask inject list reg` shows them all";
    assert_eq!(
        of(&["reg:x0", "reg:r*"]).unwrap_err(),
        format!("no register that takes a flip is reg:r*{all}")
    );
    let error = of(&["reg:x11"]).unwrap_err();
    assert_eq!(error, format!("no register that takes a flip is reg:x11 (did you mean `x1` or `x0`?){all}"));
    let classes = "; the classes there are: core, fpu";
    assert_eq!(
        of(&["class:general"]).unwrap_err(),
        format!("no register that takes a flip is class:general{classes}")
    );
    let error = of(&["class:cor"]).unwrap_err();
    assert_eq!(error, format!("no register that takes a flip is class:cor (did you mean `core`?){classes}"));
}

#[test]
fn what_a_guest_does_not_have_is_refused() {
    let names = GuestNames::without_symbols(map(), "no vmlinux is known");
    let guest = TargetGuest { names: &names, registers: &[], profile: None, used: None };
    let error = |text: &str| {
        let error = FaultSpace::of(&targets(&[text]), Pattern::SINGLE, Align::BYTE, &guest, Borders::Joined)
            .unwrap_err();
        (error.finds_nothing(), error.to_string())
    };
    assert_eq!(error("symbol:jiffies"), (true, "symbol:jiffies: no vmlinux is known".into()));
    assert_eq!(error("section:.data"), (true, "section:.data: no vmlinux is known".into()));
    for (text, says) in [
        ("region:Kernel text", "Kernel text"),
        ("region:uart", "uart"),
        ("range:0x4000ff00-0x40010000", "0x40010000"),
    ] {
        let (nothing, error) = error(text);
        assert!(!nothing && error.contains(says), "{error}");
    }
}
