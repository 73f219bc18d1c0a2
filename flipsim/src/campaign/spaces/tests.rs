//! Tests of `spaces`.

use super::*;
use crate::campaign::plan::{Plan, TrialId};
use crate::fault::{Executed, GuestNames, Profile};
use crate::kernel::symbols::map_of;
use crate::memory::MemoryMap;
use crate::units::GuestPhys;

#[test]
fn a_space_of_registers_says_which_class_it_is_mostly_of() {
    let register = |name: &str, class: &str, bits: u32| FlippableRegister {
        name: name.into(),
        bits,
        class: class.into(),
        writable: vec![0xff; bits as usize / 8],
    };
    let registers: Vec<FlippableRegister> = (0..32)
        .flat_map(|n| [register(&format!("x{n}"), "core", 64), register(&format!("v{n}"), "fpu", 128)])
        .collect();
    let iomem = "40000000-4000ffff : System RAM\n";
    let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
    let names = GuestNames::without_symbols(MemoryMap::new(Some(iomem), mtree).unwrap(), "none are known");
    let guest = TargetGuest { names: &names, registers: &registers, profile: None, used: None };
    let leading = |text: &str| {
        let spec = CampaignSpec { strata: vec![text.parse().unwrap()], ..CampaignSpec::default() };
        leading_class(&spaces(&spec, &guest).unwrap()[0], &registers)
    };
    assert_eq!(leading("r=reg:*"), Some(("fpu", 2.0 / 3.0)));
    assert_eq!((leading("r=class:core"), leading("r=reg:x1,reg:v1")), (None, Some(("fpu", 2.0 / 3.0))));
}

#[test]
fn a_stratum_per_symbol_is_one_for_each_by_its_name() {
    let (map, symbols) =
        map_of(&[("tcp_one", 0x200, 0x40), ("tcp_two", 0x300, 0x10), ("tcp_too", 0x300, 0x10)]);
    let names = GuestNames::with_symbols(map, symbols);
    let executed = [(0x200, 90), (0x108, 9), (0x300, 1)].map(|(at, runs)| Executed {
        first: GuestPhys(0x4000_1000 + at),
        instructions: 1,
        runs,
    });
    let profile = Profile::new(executed.into_iter(), names.symbols().unwrap());
    let guest = TargetGuest { names: &names, registers: &[], profile: Some(&profile), used: None };
    let of = |text: &str, trials| {
        let stratum = StratumSpec { per: Some(Per::Symbol), trials: Some(trials), ..text.parse().unwrap() };
        let rest: StratumSpec = "ram".parse().unwrap();
        let strata = vec![stratum, rest];
        per_symbol(&CampaignSpec { strata, ..CampaignSpec::default() }, &guest)
    };
    let shown = |text, trials| -> Vec<String> {
        let spec = of(text, trials).unwrap();
        spec.strata.iter().map(|s| format!("{} {} {:?}", s.name, s.targets[0], s.trials)).collect()
    };
    // Two names of one place are one stratum, and the rest is as it was.
    let tcp = ["t/tcp_one symbol:tcp_one Some(4)", "t/tcp_two symbol:tcp_two Some(3)", "ram ram None"];
    assert_eq!(shown("t=symbol:tcp_*", 7), tcp);
    let hot =
        ["t/do_one_thing symbol:do_one_thing Some(3)", "t/tcp_one symbol:tcp_one Some(2)", "ram ram None"];
    assert_eq!(shown("t=profile:98%", 5), hot);
    // What is no symbol stays what it is.
    assert_eq!(
        shown("t=range:0x40001000+16", 5)[0],
        "t/range:0x40001000-0x4000100f range:0x40001000-0x4000100f Some(5)"
    );
    let error = of("t=symbol:tcp_*", 1).unwrap_err().to_string();
    assert_eq!(error, "stratum t has 2 symbols and 1 trials; give it 2 at least");
    let unknown = TargetGuest { profile: None, ..guest };
    let spec = CampaignSpec { strata: vec!["t=profile:50%".parse().unwrap()], ..CampaignSpec::default() };
    let error = spaces(&spec, &unknown).unwrap_err().to_string();
    assert!(
        error.starts_with("stratum t: profile:50%: it is not known what the golden run executes"),
        "{error}"
    );
    assert_eq!(spaces(&spec, &guest).unwrap()[0].len(), 0x40 * 8);
}

#[test]
fn each_stratum_has_its_space_and_an_error_that_names_it() {
    let iomem = "40000000-4000ffff : System RAM\n  40001000-40001fff : Kernel code\n";
    let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
    let map = MemoryMap::new(Some(iomem), mtree).unwrap();
    let names = GuestNames::without_symbols(map, "none are known");
    let guest = TargetGuest { names: &names, registers: &[], profile: None, used: None };
    let spec = |strata: &[&str]| CampaignSpec {
        strata: strata.iter().map(|text| text.parse::<StratumSpec>().unwrap()).collect(),
        ..CampaignSpec::default()
    };
    let found = spaces(&spec(&["ram", "code=region:Kernel code"]), &guest).unwrap();
    assert_eq!(found.iter().map(FaultSpace::len).collect::<Vec<_>>(), [0x10000 * 8, 0x1000 * 8]);
    // Two that overlap and touch are joined.
    let joined = spaces(&spec(&["range:0x40000000+2,range:0x40000001+2,range:0x40000003+1"]), &guest);
    assert_eq!(joined.unwrap()[0].len(), 32);
    for (stratum, error) in [
        ("t=symbol:tcp_*", "stratum t: symbol:tcp_*: none are known"),
        (
            "r=class:core",
            "stratum r: no register that takes a flip is class:core; this guest has none that takes one",
        ),
    ] {
        assert_eq!(spaces(&spec(&[stratum]), &guest).unwrap_err().to_string(), error);
    }
    let error = spaces(&spec(&["r=range:0x50000000+4"]), &guest).unwrap_err();
    assert!(matches!(error, StratumError::Refused(_)), "{error}");
}

#[test]
fn trials_that_are_written_out_are_drawn_once_each_with_their_own_faults_and_times() {
    let iomem = "40000000-4000ffff : System RAM\n";
    let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
    let names = GuestNames::without_symbols(MemoryMap::new(Some(iomem), mtree).unwrap(), "none are known");
    let registers =
        [FlippableRegister { name: "x5".into(), bits: 64, class: "core".into(), writable: vec![0xff; 8] }];
    let guest = TargetGuest { names: &names, registers: &registers, profile: None, used: None };
    let plan = |targets: &str| {
        let text = format!("name = 'x'\nseed = 3\n[[stratum]]\nname = 's'\ntargets = [{targets}]\n");
        let spec = CampaignSpec::from_toml(&text).unwrap();
        let spaces = spaces(&spec, &guest).map_err(|error| error.to_string())?;
        Plan::new(&spec, VirtualNs(1_000), spaces).map_err(|error| error.to_string())
    };
    let plan_of =
        plan("'at:7ns 0x40001001 mask:0x101 set1; 5ns reg:x5 bit:9', 'at:900ns reg:x5 bit:63'").unwrap();
    let mut trials: Vec<String> = (0..plan_of.len())
        .map(|id| {
            let plan = plan_of.nth(TrialId(id)).unwrap().plan;
            let faults = [(plan.after, &plan.fault)].into_iter();
            let all = faults.chain(plan.more.iter().map(|more| (more.after, &more.fault)));
            all.map(|(after, fault)| format!("{} {} {}", after.0, fault.place(), fault.operation()))
                .collect::<Vec<_>>()
                .join(", ")
        })
        .collect();
    trials.sort();
    assert_eq!(trials, ["5 x5 flip, 7 0x40001001 set1", "900 x5 flip"]);
    assert_eq!(plan_of.strata()[0].population(), 2);
    for (targets, says) in [
        ("'at:7ns reg:x5 adjacent:2'", "63 faults fit this; say which bits"),
        ("'at:7ns reg:x6 bit:1'", "no register that takes a flip is reg:x6"),
        ("'at:1000ns reg:x5 bit:1'", "faults would strike up to 1.0 µs after"),
        ("'at:7ns 0x50000000 bit:1'", "0x50000000"),
        ("'at:7ns reg:x5 bit:1; 7ns reg:x5 mask:0x3'", "change one bit at one time"),
        ("'at:7ns reg:x5 bit:1 stuck1; 9ns reg:x5 bit:1'", "one that is stuck"),
        ("'at:7ns reg:x5 bit:1', 'at:7ns reg:x5 bit:1'", "the same trial is there twice"),
    ] {
        let error = plan(targets).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    plan("'at:7ns reg:x5 bit:1; 9ns reg:x5 bit:1'").unwrap();
    // All of a list is there: growth adds to the others.
    let text = "name = 'x'\nseed = 3\ntrials = 9\n[[stratum]]\nname = 's'\ntargets = ['at:7ns reg:x5 bit:1', 'at:9ns reg:x5 \
                bit:1', 'at:9ns reg:x5 bit:2']\n[[stratum]]\ntargets = ['ram']\n";
    let spec = CampaignSpec::from_toml(text).unwrap();
    let listed = Plan::new(&spec, VirtualNs(1_000), spaces(&spec, &guest).unwrap()).unwrap();
    assert_eq!(listed.added_for(listed.len() + 10).unwrap(), [0, 10]);
    assert_eq!(listed.grown(&[0, 10]).unwrap().strata()[1].trials, 16);
    let made: Vec<_> = spec.templates(2).unwrap().iter().map(|spec| spec.strata[0].trials).collect();
    assert_eq!(made, [Some(3), Some(3)]);
    for (keys, says) in [
        ("per = 'symbol'", "drop `pattern`"),
        ("align = 4", "drop `pattern`"),
        ("share = '50%'", "drop `pattern`"),
        ("ecc = 'secded'", "`ecc` is of faults that are drawn"),
    ] {
        let text =
            format!("name = 'x'\n[[stratum]]\nname = 's'\ntargets = ['at:7ns 0x40001001 bit:1']\n{keys}\n");
        let error = CampaignSpec::from_toml(&text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let secded = |own: &str| {
        let text = format!(
            "name = 'x'\necc = 'secded'\n[[stratum]]\nname = 's'\ntargets = ['at:7ns 0x40001001 bit:1']\n{own}"
        );
        CampaignSpec::from_toml(&text).map(|_| ()).map_err(|error| error.to_string())
    };
    assert!(secded("").is_err_and(|error| error.contains("say `ecc = \"none\"`")));
    assert_eq!(secded("ecc = 'none'\n"), Ok(()));
}
