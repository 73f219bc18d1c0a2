//! Tests of `spec`.

use super::*;
use crate::fault::{Ecc, Mapping, Shape, format_pattern, parse_pattern};
use crate::stats::Confidence;

fn share(value: f64) -> Share {
    Share::new(value).unwrap()
}

const FULL: &str = r#"
name = "kernel"
seed = 42
margin = "1%"
confidence = "99%"
sharing = "equal"
window = "400ms"
from = "10ms"
to = "390ms"
pattern = "adjacent:2"
mapping = "permuted"
operation = "stuck1"
for = "5ms"
faults = 2
hang-factor = 2.5
wall = "30s"
spacing = "5ms"
restore = "clone"
attempts = 5

[guest]
workload = "sort"
memory = 134217728

[[stratum]]
name = "text"
targets = ["region:Kernel code", "symbol:tcp_*"]

[[stratum]]
targets = ["class:core", "reg:v*"]
pattern = "mask:0x81"
operation = "overwrite:random"
faults = "poisson:2.5"
trials = 100

[[stratum]]
name = "cells"
targets = ["ram"]
pattern = "cluster"

[[cluster]]
cells = [[0, 0], [1, 0]]
weight = 0.5

[[grade]]
name = "negligible"
lines = "^x="
relative = 1e-6
"#;

#[test]
fn a_file_says_all_there_is_to_say() {
    let spec = CampaignSpec::from_toml(FULL).unwrap();
    let expected = CampaignSpec {
        name: "kernel".into(),
        seed: 42,
        size: Some(Size::Margin { margin: share(0.01), confidence: Confidence::new(0.99).unwrap() }),
        sharing: Sharing::Equal,
        window: Window::Time(VirtualNs(400_000_000)),
        times: Times::Within { from: VirtualNs(10_000_000), to: Some(VirtualNs(390_000_000)) },
        when: When::Time,
        draw: Draw::Moments,
        pattern: Pattern::Adjacent(2),
        operation: "stuck1 for 5ms".parse().unwrap(),
        faults: Count::Fixed(2),
        ecc: Ecc::None,
        mapping: Some(Mapping::ready("permuted").unwrap()),
        clusters: vec![Shape { cells: vec![[0, 0], [1, 0]], weight: 0.5 }],
        strata: vec![
            StratumSpec::new(
                "text",
                vec![FaultTarget::Region("Kernel code".into()), FaultTarget::Symbol("tcp_*".into())],
            ),
            StratumSpec {
                pattern: Some(Pattern::Mask(0x81)),
                operation: Some(Operations::Random),
                faults: Some(Count::Poisson(2.5)),
                trials: Some(100),
                ..StratumSpec::new(
                    "class:core,reg:v*",
                    vec![FaultTarget::Class("core".into()), FaultTarget::Register("v*".into())],
                )
            },
            StratumSpec {
                pattern: Some(Pattern::Cluster),
                ..StratumSpec::new("cells", vec![FaultTarget::Ram])
            },
        ],
        trial: TrialSpec {
            hang_factor: 2.5,
            wall: Duration::from_secs(30),
            spacing: Some(VirtualNs(5_000_000)),
            restore: RestoreMethod::Clone,
            attempts: 5,
            first_use: false,
        },
        guest: serde_json::json!({ "workload": "sort", "memory": 134_217_728 }),
        grades: vec![toml::from_str("name = 'negligible'\nlines = '^x='\nrelative = 1e-6").unwrap()],
        words: Words::default(),
    };
    assert_eq!(spec, expected);
    assert_eq!(spec.pattern_of(&spec.strata[0]), Pattern::Adjacent(2));
    assert_eq!(spec.pattern_of(&spec.strata[1]), Pattern::Mask(0x81));
}

#[test]
fn how_long_a_fault_holds_on_is_said_in_one_place() {
    let operation = |keys: &str, of_stratum: &str| {
        let text = format!("name = 'a'\ntrials = 10\n{keys}\n[[stratum]]\ntargets = ['ram']\n{of_stratum}\n");
        let spec = CampaignSpec::from_toml(&text).map_err(|error| error.to_string())?;
        Ok::<_, String>(spec.operations_of(&spec.strata[0]).to_string())
    };
    for (keys, of_stratum, expected) in [
        ("operation = 'stuck0'\nfor = '5ms'", "", "stuck0 for 5ms"),
        ("operation = 'stuck0'", "for = '100us'\nevery = '1ms'", "stuck0 for 100us every 1ms"),
        ("", "operation = 'stuck'\nfor = '7ns'", "stuck for 7ns"),
        ("operation = 'stuck1 for 1500us'", "", "stuck1 for 1500us"),
    ] {
        assert_eq!(operation(keys, of_stratum).unwrap(), expected);
    }
    for (keys, of_stratum, expected) in [
        ("for = '5ms'", "", "`for` and `every` are of an `operation` that holds on; name it"),
        ("", "every = '5ms'", "line 4: `for` and `every` are of an `operation` that holds on; name it"),
        ("operation = 'set0'\nfor = '5ms'", "", "`set0`: it is over at once, and has no length"),
        ("operation = 'stuck0 for 1ms'\nfor = '5ms'", "", "`stuck0 for 1ms`: it has a length in itself"),
        (
            "operation = 'stuck0'",
            "for = '5ms'\nevery = '5ms'",
            "`stuck0`: it comes again before it has ended",
        ),
    ] {
        let said = operation(keys, of_stratum).unwrap_err();
        assert!(said.starts_with(expected) || said.contains(&format!(": {expected}")), "{said}");
    }
}

#[test]
fn what_a_qemu_lacks_is_said_and_flags_win_over_how_long() {
    let text = "name = 'a'\ntrials = 9\noperation = 'stuck0'\nfor = '5ms'\n[[stratum]]\ntargets = ['ram']\n";
    let spec = CampaignSpec::from_toml(text).unwrap();
    assert_eq!(spec.lacking(Capabilities::ALL), None);
    let said = spec.lacking(Capabilities { stuck: false, ..Capabilities::ALL }).unwrap();
    assert!(said.contains("stratum `ram`: the QEMU of this guest cannot do stuck0 for 5ms"), "{said}");
    assert_eq!(CampaignSpec { operation: Operations::default(), ..spec }.lacking(Capabilities::NONE), None);
    for operation in ["flip", "stuck1", "stuck for 1ms"] {
        let flags = crate::campaign::SpecFlags {
            name: "a".to_owned(),
            operation: Some(operation.parse().unwrap()),
            ..Default::default()
        };
        let spec = crate::campaign::RawSpec::from_toml(text).unwrap().under(&flags).resolved(text).unwrap();
        assert_eq!(spec.operation.to_string(), operation);
    }
}

#[test]
fn during_says_where_the_instruction_lies() {
    let read = |keys: &str, of_stratum: &str| {
        let text = format!("name = 'a'\ntrials = 9\n{keys}\n[[stratum]]\ntargets = ['ram']\n{of_stratum}\n");
        let spec = CampaignSpec::from_toml(&text).map_err(|error| error.to_string())?;
        assert_eq!(CampaignSpec::from_toml(&spec.to_toml()).unwrap(), spec);
        Ok::<_, String>(spec.when_of(&spec.strata[0]).to_string())
    };
    for (keys, of_stratum, expected) in [
        ("during = 'user'", "", "during:user"),
        ("during = 'user'", "during = 'kernel'", "during:kernel"),
        ("", "during = 'symbol:schedule'", "during:symbol:schedule"),
        ("at = 'during:kernel'", "", "during:kernel"),
    ] {
        assert_eq!(read(keys, of_stratum).unwrap(), expected);
    }
    for (keys, of_stratum, expected) in [
        ("during = 'usr'", "", "`usr` is no place; write user, kernel, irq or symbol:NAME"),
        ("during = 'symbol:'", "", "`symbol:` is no place"),
        ("during = 'user'\nwhen = 'busy'", "", "both say at which moments; drop one"),
        ("", "during = 'user'\nat = 'symbol:x'", "both say at which moments; drop one"),
        ("at = 'during:user#3'", "", "`during:user#3` is no trigger"),
    ] {
        let said = read(keys, of_stratum).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_cluster_takes_a_mapping_a_shape_and_a_stratum() {
    let read = |keys: &str, rest: &str| {
        let text = format!("name = 'a'\ntrials = 9\n{keys}\n[[stratum]]\ntargets = ['ram']\n{rest}");
        CampaignSpec::from_toml(&text).map_err(|error| error.to_string())
    };
    let shape = "[[cluster]]\ncells = [[0,0],[0,1]]\nweight = 1\n";
    let own = format!("{shape}[mapping]\nname = 'own'\ncolumn = [8, 16]\nrow = [32]\n");
    for (keys, rest) in [("pattern = 'cluster'\nmapping = 'linear'", shape), ("pattern = 'cluster'", &own)] {
        let spec = read(keys, rest).unwrap();
        assert_eq!(CampaignSpec::from_toml(&spec.to_toml()).unwrap(), spec);
        assert_eq!(serde_json::from_str::<CampaignSpec>(&spec.json()).unwrap(), spec);
    }
    for (keys, rest, expected) in [
        ("pattern = 'cluster'", shape, "clusters take three things"),
        ("pattern = 'cluster'\nmapping = 'linear'", "", "clusters take three things"),
        ("mapping = 'linear'", shape, "clusters take three things"),
        (
            "pattern = 'cluster'\nmapping = 'liner'",
            shape,
            "there is no mapping `liner` (did you mean `linear`?)",
        ),
        (
            "pattern = 'cluster'\nmapping = 'linear'",
            "[[cluster]]\ncells = [[0,1]]\nweight = 1\n",
            "[[cluster]]: a cluster has",
        ),
        (
            "pattern = 'cluster'",
            &own.replace("32", "16"),
            "[mapping]: mapping `own`: two addresses have the same",
        ),
        ("pattern = 'cluster'", &own.replace("32", "'x'"), "[mapping]: invalid type"),
    ] {
        let said = read(keys, rest).unwrap_err();
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn little_is_needed() {
    let spec = CampaignSpec::from_toml("name = 'a'\ntrials = 10\n[[stratum]]\ntargets = ['ram']\n").unwrap();
    let expected = CampaignSpec {
        name: "a".into(),
        seed: spec.seed,
        size: Some(Size::Trials(10)),
        ..CampaignSpec::default()
    };
    assert_eq!(spec, expected);
}

#[test]
fn the_stored_form_is_read_back_and_is_the_same_for_the_same_choices() {
    let spec = CampaignSpec::from_toml(FULL).unwrap();
    let text = spec.json();
    assert_eq!(serde_json::from_str::<CampaignSpec>(&text).unwrap(), spec);
    let turned =
        FULL.replace("workload = \"sort\"\nmemory = 134217728", "memory = 134217728\nworkload = \"sort\"");
    assert_ne!(turned, FULL);
    assert_eq!(CampaignSpec::from_toml(&turned).unwrap().json(), text);
    insta::assert_snapshot!(text, @r#"{"clusters":[{"cells":[[0,0],[1,0]],"weight":0.5}],"faults":2,"grades":[{"lines":"^x=","name":"negligible","relative":1e-6}],"guest":{"memory":134217728,"workload":"sort"},"mapping":{"bank":[139264,278528,557056,1114112],"column":[8,16,32,64,128,256,512,1024,2048,4096],"name":"permuted","row":[131072,262144,524288,1048576,2097152,4194304,8388608,16777216,33554432,67108864,134217728,268435456,536870912,1073741824,2147483648,4294967296],"source":"linear, with the bank exclusive-ored with the lowest bits of the row (Zhang, Zhu, Zhang: A permutation-based page interleaving scheme, MICRO 2000)"},"name":"kernel","operation":"stuck1 for 5ms","pattern":"adjacent:2","seed":42,"sharing":"equal","size":{"margin":{"confidence":0.99,"margin":0.01}},"strata":[{"name":"text","pattern":null,"share":null,"targets":["region:Kernel code","symbol:tcp_*"],"trials":null},{"faults":"poisson:2.5","name":"class:core,reg:v*","operation":"overwrite:random","pattern":"mask:0x81","share":null,"targets":["class:core","reg:v*"],"trials":100},{"name":"cells","pattern":"cluster","share":null,"targets":["ram"],"trials":null}],"times":{"within":{"from":10000000,"to":390000000}},"trial":{"attempts":5,"hang-factor":2.5,"restore":"clone","spacing":5000000,"wall":{"nanos":0,"secs":30}},"window":{"time":400000000}}"#);
}

#[test]
fn moments_of_a_kind_are_asked_for_by_campaign_or_stratum_and_only_then_stored() {
    let text = "name = 'a'\ntrials = 9\nwhen = 'busy'\n[[stratum]]\ntargets = ['ram']\n[[stratum]]\nname = 'i'\n\
                targets = ['ram']\nwhen = 'idle'\n[[stratum]]\nname = 't'\ntargets = ['ram']\nwhen = 'time'\n";
    let spec = CampaignSpec::from_toml(text).unwrap();
    let whens: Vec<When> = spec.strata.iter().map(|stratum| spec.when_of(stratum)).collect();
    assert_eq!(whens, [When::Busy, When::Idle, When::Time]);
    assert_eq!(serde_json::from_str::<CampaignSpec>(&spec.json()).unwrap(), spec);
    let old = CampaignSpec::from_toml("name = 'a'\ntrials = 9\nwhen = 'time'\n").unwrap();
    assert!(!old.json().contains("when"), "{}", old.json());
    let error = CampaignSpec::from_toml("name = 'a'\ntrials = 9\nat = ['1ms']\nwhen = 'idle'\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`at` lists the times, and `when = \"idle\"` chooses among all of them; drop one"
    );
    let error = CampaignSpec::from_toml("name = 'a'\ntrials = 9\nwhen = 'bussy'\n").unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("did you mean `busy`?"), "{error}");
}

/// The error of the file above with something replaced.
fn refused(from: &str, to: &str) -> String {
    assert!(FULL.contains(from), "{from}");
    CampaignSpec::from_toml(&FULL.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn the_demonstration_s_file_is_a_specification() {
    let spec = CampaignSpec::from_toml(include_str!("../../../../docs/examples/demo.toml")).unwrap();
    let trials: Vec<_> = spec.strata.iter().map(|stratum| stratum.trials).collect();
    assert_eq!(trials, [Some(2000), Some(1000), Some(1000)]);
    for (file, strata) in [
        (
            include_str!("../../../../docs/examples/demo-large.toml"),
            ["ram", "data+bss", "registers"].as_slice(),
        ),
        (include_str!("../../../../docs/examples/functions.toml"), &["code", "busy"]),
        (include_str!("../../../../docs/examples/tmr.toml"), &["ram", "registers"]),
    ] {
        let named = crate::campaign::SpecFlags { name: "x".into(), ..Default::default() };
        let spec = crate::campaign::RawSpec::from_toml(file).unwrap().under(&named).resolved(file).unwrap();
        assert_eq!(spec.strata.iter().map(|stratum| stratum.name.as_str()).collect::<Vec<_>>(), strata);
    }
}

#[test]
fn what_is_wrong_is_shown_with_its_line() {
    for (from, to, line, says) in [
        ("seed", "sed", "line 3", "unknown field `sed`"),
        ("\"1%\"", "\"1 percent\"", "line 4", "is not a share"),
        ("\"99%\"", "\"100%\"", "line 5", "is not a confidence"),
        ("\"10ms\"", "\"ten\"", "line 8", "is not a duration"),
        ("adjacent:2", "adjacent:two", "line 10", "is no pattern"),
        ("stuck1", "stuck2", "line 12", "there is no operation `stuck2`; write flip"),
        ("\"clone\"", "\"magic\"", "line 18", "unknown variant `magic`"),
        ("symbol:", "symbl:", "line 27", "is no target (did you mean `symbol`?); write ram, region:NAME"),
        ("mask:0x81", "mask", "line 31", "is no pattern"),
        ("name = \"text\"", "nam = \"text\"", "line 26", "unknown field `nam`"),
        ("\"symbol:tcp_*\"", "\"reg:pc\"", "line 25", "mixes RAM and registers"),
        ("trials = 100", "trials = 100\nshare = \"5%\"", "line 29", "gives both `trials` and `share`"),
        ("trials = 100", "share = \"5%\"", "line 29", "a share of a number that is not known"),
        ("trials = 100", "trials = 0", "line 29", "has 0 trials"),
        ("[[stratum]]\ntargets", "[[stratum]]\nname = \"text\"\ntargets", "line 29", "are called `text`"),
        ("seed = 42", "trials = 9", "line 4", "keep one"),
        ("margin = \"1%\"", "trials = 9", "line 5", "`confidence` belongs to"),
        ("confidence = \"99%\"", "rate = \"1%\"", "line 5", "`rate` belongs to"),
        ("margin = \"1%\"", "relative = \"20%\"", "line 4", "say which rate you expect"),
        ("from = \"10ms\"", "at = [\"1ms\"]", "line 8", "drop one"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(line) && error.contains(says), "{from} → {to}: {error}");
    }
    for (from, to, says) in [
        ("to = \"390ms\"", "to = \"10ms\"", "`from` is not before `to`"),
        ("hang-factor = 2.5", "hang-factor = 0.5", "hang-factor is below 1"),
        ("attempts = 5", "attempts = 0", "must be more than 0"),
        ("\"1%\"", "\"0%\"", "a margin of 0 at a rate of 0.5 takes no number of trials"),
        ("name = \"kernel\"", "name = \" \"", "has no name"),
        ("from = \"10ms\"\nto = \"390ms\"", "at = []", "the list of times is empty"),
        ("from = \"10ms\"\nto = \"390ms\"", "at = [\"1ms\", \"1000us\"]", "a time is listed twice"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(says), "{from} → {to}: {error}");
    }
    let none = CampaignSpec { strata: Vec::new(), ..CampaignSpec::default() };
    assert!(none.check().unwrap_err().to_string().starts_with("there is no stratum"));
    let error = CampaignSpec::default().check().unwrap_err().to_string();
    assert!(error.starts_with("nothing says how many trials stratum `ram` has"), "{error}");
}

#[test]
fn a_value_of_the_wrong_form_is_answered_with_the_right_one() {
    for (from, to, says) in [
        ("\"400ms\"", "200", "200 has no unit; write \"200ms\": a time in quotes with its unit"),
        ("\"400ms\"", "0.5", "0.5 has no unit; write \"0.5ms\""),
        ("\"400ms\"", "true", "expected a time in quotes with its unit (ns, us, ms, s, m), or \"done\""),
        ("\"10ms\"", "10", "write \"10ms\""),
        ("\"390ms\"", "390", "write \"390ms\""),
        ("from = \"10ms\"\nto = \"390ms\"", "at = [1, 2]", "write \"1ms\""),
        ("from = \"10ms\"\nto = \"390ms\"", "at = \"1ms\"", "write a list"),
        ("\"30s\"", "30", "write \"30s\""),
        ("\"5ms\"", "5", "write \"5ms\""),
        ("\"1%\"", "1", "1 is a number; write a share in quotes, as in \"1%\""),
        ("\"1%\"", "0.01", "write a share in quotes"),
        ("\"99%\"", "99", "write a confidence in quotes, as in \"95%\""),
        ("\"adjacent:2\"", "2", "write a pattern in quotes, as in \"single\""),
        ("42", "\"42\"", "write a whole number without quotes"),
        ("42", "-1", "write a whole number without quotes"),
        ("trials = 100", "trials = 1.5", "write a whole number without quotes"),
        ("attempts = 5", "attempts = \"5\"", "write a whole number without quotes"),
        ("2.5", "\"2.5\"", "write a number without quotes"),
        ("\"kernel\"", "5", "write it in quotes"),
        ("[\"class:core\", \"reg:v*\"]", "\"class:core\"", "write a list"),
        ("seed", "sed", "did you mean `seed`?"),
        ("hang-factor", "hang_factor", "did you mean `hang-factor`?"),
        ("\"equal\"", "\"equl\"", "did you mean `equal`?"),
        ("\"clone\"", "\"clne\"", "did you mean `clone`?"),
        ("targets = [\"class", "target = [\"class", "did you mean `targets`?"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(says) && error.contains("line "), "{from} → {to}: {error}");
    }
    let error = CampaignSpec::from_toml("name = 'a'\ntrials = 1\nstratum = 'ram'\n").unwrap_err().to_string();
    assert!(error.contains("write a list") || error.contains("write [[stratum]]"), "{error}");
}

#[test]
fn a_file_need_not_repeat_the_name_nor_say_that_all_of_the_ram_is_meant() {
    let spec = CampaignSpec::from_toml("name = 'a'\ntrials = 5\n").unwrap();
    assert_eq!(spec.strata, CampaignSpec::default().strata);
    let flags = crate::campaign::SpecFlags { name: "b".into(), ..Default::default() };
    let text = "trials = 5\n";
    let named = crate::campaign::RawSpec::from_toml(text).unwrap().under(&flags).resolved(text).unwrap();
    assert_eq!((named.name.as_str(), &named.strata), ("b", &spec.strata));
    assert!(CampaignSpec::from_toml(text).unwrap_err().to_string().contains("has no name"));
}

#[test]
fn each_key_is_in_the_manual() {
    let manual = include_str!("../../../../docs/campaigns.md");
    for text in ["no-such-key = 1", "[[stratum]]\nno-such-key = 1", "[[grade]]\nno-such-key = 1"] {
        let error = crate::campaign::RawSpec::from_toml(text).unwrap_err().to_string();
        let keys: Vec<&str> = error.split('`').skip(1).step_by(2).skip(1).collect();
        assert!(keys.len() >= 5, "{error}");
        for key in keys {
            assert!(manual.contains(&format!("| `{key}`")), "docs/campaigns.md has no row for `{key}`");
        }
    }
}

#[test]
fn a_rare_outcome_and_fixed_times_can_be_asked_for() {
    let text =
        "name = 'a'\nrelative = '20%'\nrate = '1%'\nat = ['1ms', '2ms']\n[[stratum]]\ntargets = ['ram']\n";
    let spec = CampaignSpec::from_toml(text).unwrap();
    let confidence = Confidence::P95;
    let size =
        Size::Relative { relative: share(0.2), rate: share(0.01), confidence, assurance: Some(share(0.8)) };
    assert_eq!(spec.size, Some(size));
    assert_eq!(spec.times, Times::At(vec![VirtualNs(1_000_000), VirtualNs(2_000_000)]));
}

#[test]
fn targets_are_written_as_they_are_read() {
    for text in [
        "ram",
        "region:System RAM/Kernel code",
        "symbol:*",
        "section:.data",
        "range:0x40000000-0x4000ffff",
        "reg:x*",
        "class:core",
    ] {
        assert_eq!(text.parse::<FaultTarget>().unwrap().to_string(), text);
    }
    for bad in ["", "rom", "ram:", "region:", "range:5", "range:2-1", "register:x1"] {
        assert!(bad.parse::<FaultTarget>().is_err(), "{bad}");
    }
    let stratum: StratumSpec = "code = region:Kernel code, symbol:memcpy".parse().unwrap();
    assert_eq!((stratum.name.as_str(), stratum.targets.len()), ("code", 2));
    assert_eq!("reg:x1".parse::<StratumSpec>().unwrap().name, "reg:x1");
}

#[test]
fn patterns_are_written_as_they_are_read() {
    for text in ["single", "adjacent:2", "bit:3", "adjacent:2@5", "mask:0x81"] {
        assert_eq!(format_pattern(parse_pattern(text).unwrap()), text);
    }
    assert_eq!(parse_pattern("adjacent:1").unwrap(), Pattern::SINGLE);
    for bad in ["", "double", "bit:", "bit:x", "adjacent:2@", "mask:", "adjacent:99999999999"] {
        assert!(parse_pattern(bad).is_err(), "{bad}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    // Every prefix, which cuts lines and values anywhere.
    for end in 0..FULL.len() {
        let _ = CampaignSpec::from_toml(&FULL[..end]);
    }
}

#[test]
fn error_correcting_memory_is_of_flips_in_ram_one_upset_a_trial() {
    let read = |keys: &str, stratum: &str| {
        let text = format!("name = 'a'\ntrials = 9\n{keys}\n[[stratum]]\n{stratum}");
        CampaignSpec::from_toml(&text).map_err(|error| error.to_string())
    };
    for (keys, stratum, ecc) in [
        ("ecc = 'secded'", "targets = ['ram']", Ecc::Secded),
        ("ecc = 'secded'", "targets = ['ram']\necc = 'none'", Ecc::None),
        ("ecc = 'secded'", "targets = ['class:core']", Ecc::None),
        ("", "targets = ['ram']\necc = 'secded'\npattern = 'adjacent:2'", Ecc::Secded),
        ("", "targets = ['ram']", Ecc::None),
    ] {
        let spec = read(keys, stratum).unwrap();
        assert_eq!(spec.ecc_of(&spec.strata[0]), ecc, "{keys} {stratum}");
        assert_eq!(CampaignSpec::from_toml(&spec.to_toml()).unwrap(), spec);
        assert_eq!(serde_json::from_str::<CampaignSpec>(&spec.json()).unwrap(), spec);
    }
    for (keys, stratum, expected) in [
        ("", "targets = ['class:core']\necc = 'secded'", "these are registers; drop it"),
        ("faults = 2\necc = 'secded'", "targets = ['ram']", "`ecc` is of one upset in a trial"),
        ("ecc = 'secded'", "targets = ['ram']\noperation = 'stuck1'", "`ecc` is of flips alone"),
        ("ecc = 'seeded'", "targets = ['ram']", "did you mean `secded`?"),
    ] {
        let said = read(keys, stratum).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}
