//! Tests of a campaign's file: what it says is read, written and refused.

use super::*;
use crate::fault::{Count, Operation};

#[test]
fn what_is_written_is_read_back_as_the_same() {
    for file in [
        "name = 'a'\nseed = 1\ntrials = 10\n[[stratum]]\ntargets = ['ram']\n",
        "name = 'b'\nseed = 2\nmargin = '1%'\nconfidence = '99%'\nwindow = '400ms'\nfrom = '10ms'\nto = '390ms'\n\
             pattern = 'adjacent:2'\nhang-factor = 2.5\nwall = '30s'\nspacing = '5ms'\nrestore = 'clone'\n\
             attempts = 5\nsharing = 'equal'\n[guest]\nworkload = 'fs'\nmemory = 134217728\n\
             [[stratum]]\nname = 'odd \"name\" = [x]'\ntargets = ['region:Kernel code', 'symbol:tcp_*']\n\
             [[stratum]]\ntargets = ['class:core', 'reg:v*']\npattern = 'mask:0x81'\ntrials = 100\n",
        "name = 'c'\nseed = 3\nrelative = '20%'\nrate = '0.1%'\nat = ['1ms', '2ms']\n[[stratum]]\n\
             targets = ['range:0x40000000-0x4000ffff']\n",
        "name = 'c'\nseed = 3\nrelative = '20%'\nrate = '0.1%'\nassurance = 'none'\n[[stratum]]\ntargets = ['ram']\n",
        "name = 'g'\nseed = 4\ntrials = 100\n[[stratum]]\ntargets = ['ram']\n[[grade]]\nname = 'negligible'\n\
             lines = '^x='\nrelative = 1e-6\n[[grade]]\nname = 'small'\nbytes = 2\nbits = 1\n[[grade]]\nname = 'serious'\n",
        "name = 'c'\nseed = 3\nto-detect = 0.5\nrate = '1%'\npower = '90%'\n[[stratum]]\ntargets = ['ram']\n",
        "name = 'd'\nseed = 4\ntrials = 100\n[[stratum]]\nname = 'x'\ntargets = ['ram']\nshare = '7%'\n\
             [[stratum]]\ntargets = ['reg:x1']\n",
        "name = 'e'\nseed = 5\ntrials = 100\nwhen = 'busy'\nfrom = '1ms'\n[[stratum]]\nname = 'x'\n\
             targets = ['ram']\nwhen = 'idle'\n[[stratum]]\nname = 'y'\ntargets = ['ram']\nwhen = 'time'\n",
        "name = 'p'\nseed = 6\nfirst-use = true\n[[stratum]]\nname = 'hot'\ntargets = ['profile:95%', 'symbol:tcp_*']\nper = 'symbol'\n\
             align = 4\npattern = 'mask:0xfc000000'\ntrials = 100\n",
    ] {
        let spec = CampaignSpec::from_toml(file).unwrap();
        let written = spec.to_toml();
        assert_eq!(CampaignSpec::from_toml(&written).unwrap(), spec, "{written}");
    }
    let nothing = serde_json::json!({ "workload": null, "append": "" });
    let spec = CampaignSpec { guest: nothing, size: Some(Size::Trials(5)), ..CampaignSpec::default() };
    let again = CampaignSpec::from_toml(&spec.to_toml()).unwrap();
    assert_eq!(again.guest, serde_json::json!({ "append": "" }));
}

#[test]
fn the_largest_seed_and_the_smallest_share_survive() {
    let share = crate::stats::Share::new(f64::MIN_POSITIVE).unwrap();
    let strata = vec![StratumSpec { share: Some(share), ..CampaignSpec::default().strata[0].clone() }];
    let size = Some(Size::Trials(5));
    let spec = CampaignSpec { seed: u64::MAX, size, strata, ..CampaignSpec::default() };
    let written = spec.to_toml();
    let again = CampaignSpec { guest: Value::Null, ..CampaignSpec::from_toml(&written).unwrap() };
    assert_eq!(again, spec, "{written}");
}

#[test]
fn a_file_is_written_for_people() {
    let file = "name = 'b'\nseed = 2\nmargin = '1%'\nfrom = '10ms'\n[guest]\nworkload = 'fs'\n\
                    [[stratum]]\nname = 'text'\ntargets = ['region:Kernel code', 'symbol:tcp_*']\nshare = '7%'\n";
    let written = CampaignSpec::from_toml(file).unwrap().to_toml();
    insta::assert_snapshot!(written, @r#"
        name = "b"
        seed = 2
        margin = "0.01"
        confidence = "0.95"
        sharing = "proportional"
        window = "done"
        from = "10ms"
        pattern = "single"
        hang-factor = 3.0
        wall = "60s"
        restore = "rewind"
        attempts = 3

        [guest]
        workload = "fs"

        [[stratum]]
        name = "text"
        targets = ["region:Kernel code", "symbol:tcp_*"]
        share = "0.07"
        "#);
}

#[test]
fn flags_win_over_a_file_and_are_checked_as_it_is() {
    let file = "name = 'f'\nseed = 1\nmargin = '1%'\nconfidence = '99%'\nfrom = '1ms'\n[[stratum]]\n\
                    targets = ['ram']\n";
    let with = |flags: &SpecFlags| RawSpec::from_toml(file).unwrap().under(flags).resolved(file);
    let name = "n".to_owned();
    let kept = with(&SpecFlags { name: name.clone(), ..SpecFlags::default() }).unwrap();
    assert_eq!(kept, CampaignSpec { name: name.clone(), ..CampaignSpec::from_toml(file).unwrap() });
    let flags = SpecFlags {
        name,
        seed: Some(7),
        size: Some(Size::Trials(9)),
        strata: vec!["core=class:core".parse().unwrap()],
        templates: Some(3),
        sharing: Some(Sharing::Equal),
        pattern: Some(Pattern::Adjacent(2)),
        operation: Some(Operations::One(Operation::Set0)),
        ecc: None,
        faults: Some(Count::Fixed(3)),
        window: Some(Window::Time(VirtualNs(5_000_000))),
        when: Some(When::Busy),
    };
    let expected = CampaignSpec {
        name: "n".into(),
        seed: 7,
        size: Some(Size::Trials(9)),
        strata: flags.strata.clone(),
        sharing: Sharing::Equal,
        pattern: Pattern::Adjacent(2),
        operation: Operations::One(Operation::Set0),
        faults: Count::Fixed(3),
        window: Window::Time(VirtualNs(5_000_000)),
        when: When::Busy,
        ..kept
    };
    assert_eq!(with(&flags).unwrap(), expected);
    assert_eq!(RawSpec::whole_ram().under(&flags).templates(), Some(3));
    let file = RawSpec::from_toml("name = \"n\"\ntrials = 10\ntemplates = 5").unwrap();
    assert_eq!(file.under(&SpecFlags::default()).templates(), Some(5));
    let alone = RawSpec::whole_ram().under(&SpecFlags { strata: Vec::new(), ..flags.clone() });
    assert_eq!(alone.resolved("").unwrap().strata, CampaignSpec::default().strata);
    // What flags say is on no line of the file.
    let mixed = SpecFlags { strata: vec!["m=ram,reg:pc".parse().unwrap()], ..flags };
    let error = with(&mixed).unwrap_err().to_string();
    assert_eq!(error, "stratum `m` mixes RAM and registers; make two strata of it");
}

#[test]
fn an_event_is_said_by_at_and_read_back() {
    let file = "name = 'a'\ntrials = 9\nfrom = '1ms'\nat = 'symbol:vfs_read#2'\n[[stratum]]\ntargets = ['ram']\n\
                [[stratum]]\nname = 'b'\ntargets = ['ram']\nat = 'console:round 1'\n[[stratum]]\nname = 'c'\n\
                targets = ['ram']\nwhen = 'time'\n";
    let spec = CampaignSpec::from_toml(file).unwrap();
    let whens: Vec<String> = spec.strata.iter().map(|stratum| spec.when_of(stratum).to_string()).collect();
    assert_eq!(whens, ["symbol:vfs_read#2", "console:round 1", "time"]);
    assert_eq!(CampaignSpec::from_toml(&spec.to_toml()).unwrap(), spec);
    assert_eq!(serde_json::from_str::<CampaignSpec>(&spec.json()).unwrap(), spec);
    // What the command line says wins.
    for when in ["syscall:read", "busy"] {
        let when: When = when.parse().unwrap();
        let flags = SpecFlags { name: "a".into(), when: Some(when.clone()), ..SpecFlags::default() };
        let spec = RawSpec::from_toml(file).unwrap().under(&flags).resolved(file).unwrap();
        assert_eq!((spec.when, spec.strata[2].when.as_ref()), (when, Some(&When::Time)));
    }
    let refused =
        |from: &str, to: &str| CampaignSpec::from_toml(&file.replacen(from, to, 1)).unwrap_err().to_string();
    for (from, to, line, says) in [
        ("at = 'symbol:vfs_read#2'", "at = 'symbol'", "line 4", "an event, as in \"symbol:vfs_read\""),
        ("at = 'symbol:vfs_read#2'", "at = 'symbl:x'", "line 4", "(did you mean `symbol`?)"),
        ("at = 'symbol:vfs_read#2'", "at = 7", "line 4", "expected a sequence of times, or an event"),
        ("from = '1ms'", "when = 'busy'", "line 4", "both say at which moments; drop one"),
        ("when = 'time'", "when = 'idle'\nat = 'pc:1'", "line 11", "both say at which moments; drop one"),
        ("at = 'symbol:vfs_read#2'", "at = ['1ms']", "line 4", "drop one"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(line) && error.contains(says), "{to}: {error}");
    }
}

#[test]
fn a_mapping_in_a_file_is_the_table_that_it_holds() {
    let rest = "name = 'a'\npattern = 'cluster'\ntrials = 9\n[[stratum]]\ntargets = ['ram']\n[[cluster]]\ncells = [[0, 0]]\nweight = 1.0\n";
    let table = "name = 'mine'\nsource = 'a test'\ncolumn = [0x8, 0x10]\nbank = [0x20]\nrow = [0x40, 0x80]\n";
    let named = format!("mapping = 'dimm.toml'\n{rest}");
    let keys = RawSpec::from_toml(&named).unwrap();
    assert_eq!(keys.mapping_file(), Some("dimm.toml"));
    let read = keys.clone().with_mapping(table).unwrap().resolved(&named).unwrap();
    let own = format!("seed = {}\n{rest}[mapping]\n{table}", read.seed);
    assert_eq!(read, CampaignSpec::from_toml(&own).unwrap());
    // It is stored as a table.
    assert!(read.to_toml().contains("[mapping]"), "{}", read.to_toml());
    assert!(keys.with_mapping("column = [").unwrap_err().to_string().starts_with("the mapping's file: "));
    assert_eq!(RawSpec::from_toml(&format!("mapping = 'linear'\n{rest}")).unwrap().mapping_file(), None);
}
