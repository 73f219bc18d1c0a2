//! A campaign that nobody carried out: made-up results in a real store, for what reads stores.
//!
//! Some of its names and consoles are hostile: a guest that was hit can print anything.
//!
//! Invariant: the same number of trials gives the same campaign, but for the times of recording.

use std::path::Path;

use crate::campaign::size::Size;
use crate::campaign::spec::{Place, Sharing, StratumSpec};
use crate::campaign::store::Shard;
use crate::campaign::{CampaignSpec, Manifest, Plan, PlannedTrial, Store};
use crate::classify::Kind;
use crate::fault::{Fault, FaultSpace, FlippableRegister, Pattern, RamSpace, RegSpace};
use crate::golden::End;
use crate::memory::{PhysRange, RangeSet};
use crate::trial::{Costs, EndState, FORMAT, Outcome, RegisterDifference, Restore, TrialRecord};
use crate::units::{GuestPhys, VirtualNs};

/// What would run, or break out of its place, where a text is not escaped.
pub const HOSTILE: &str = "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">'\"&<!--";

/// How long the golden run is, and when it begins.
const LENGTH: u64 = 370_000_000;
const BEGIN: u64 = 40_000_000;

fn manifest() -> Manifest {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Manifest {
        created: "2026-01-02T03:04:05Z".parse().expect("a time"),
        command: ["xtask", "campaign", "new", "sample", "--stratum", "kernel code=region:Kernel code"]
            .map(str::to_owned)
            .to_vec(),
        host: map(&[("architecture", "x86_64"), ("cores", "2")]),
        versions: map(&[("flipsim", "0.1.0"), ("qemu", "QEMU emulator version 7.2.22")]),
        template: "sample-template".to_owned(),
        golden: "0f".repeat(32),
        inputs: map(&[("qemu", &"a1".repeat(32)), ("kernel", &"b2".repeat(32)), ("image", &"c3".repeat(32))]),
    }
}

/// A specification of so many trials in three strata.
#[must_use]
pub fn spec(trials: u64) -> CampaignSpec {
    CampaignSpec {
        name: "sample".to_owned(),
        seed: 42,
        size: Some(Size::Trials(trials)),
        sharing: Sharing::Equal,
        strata: vec![
            StratumSpec::new("kernel code", vec![Place::Region("Kernel code".to_owned())]),
            StratumSpec::new("ram", vec![Place::Ram]),
            StratumSpec::new("core <b>registers</b>", vec![Place::Class("core".to_owned())]),
        ],
        guest: serde_json::json!({ "workload": "sha256", "append": "" }),
        ..CampaignSpec::default()
    }
}

fn plan(spec: &CampaignSpec) -> Plan {
    let ram = |text: &str| -> FaultSpace {
        let bytes: RangeSet = text.parse::<PhysRange>().into_iter().collect();
        FaultSpace::Ram(RamSpace::new(&bytes, Pattern::SINGLE).expect("some bytes"))
    };
    let names = (0..31).map(|number| format!("x{number}")).chain(["sp".to_owned(), "pc".to_owned()]);
    let registers: Vec<FlippableRegister> = names
        .map(|name| FlippableRegister { name, bits: 64, class: "core".to_owned(), writable: vec![0xff; 8] })
        .collect();
    let spaces = vec![
        ram("0x40210000+0x520000"),
        ram("0x40000000+128M"),
        FaultSpace::Reg(RegSpace::new(&registers, Pattern::SINGLE).expect("some registers")),
    ];
    Plan::new(spec, VirtualNs(LENGTH), spaces).expect("a plan of a known space")
}

/// A number that depends on another one alone, and looks as if it did not.
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

const TITLES: [&str; 5] = [
    "Unable to handle kernel paging request in do_idle",
    "Internal error: Oops - Undefined instruction in vfs_read",
    "Kernel panic - not syncing: Attempted to kill init!",
    "Unable to handle kernel NULL pointer dereference in __schedule",
    HOSTILE,
];

/// What came of a trial; `None` is a flip that did not take.
fn outcome(trial: &PlannedTrial, dice: u64) -> Option<Outcome> {
    let limits: [u64; 6] = match &trial.plan.fault {
        Fault::Ram { .. } => [920, 955, 980, 988, 995, 999],
        Fault::Reg { .. } => [120, 560, 710, 900, 970, 996],
    };
    let outcomes = [
        Outcome::Latent,
        Outcome::Masked,
        Outcome::Sdc,
        Outcome::Detected,
        Outcome::Crash,
        Outcome::Hang,
    ];
    let at = limits.iter().position(|limit| dice % 1000 < *limit)?;
    outcomes.get(at).copied()
}

fn record(trial: &PlannedTrial) -> TrialRecord {
    let dice = mixed(trial.id.0);
    let outcome = outcome(trial, dice);
    let flip = BEGIN + trial.plan.after.0;
    let later = flip + 20_000 + mixed(dice) % 3_000_000;
    let title = match outcome {
        Some(Outcome::Crash) => Some(TITLES[usize::try_from(dice >> 20).unwrap_or(0) % TITLES.len()]),
        Some(Outcome::Sdc) => Some("wrong result of sha256"),
        Some(Outcome::Detected) => Some("user fault in flipsim-workloa: level 0 translation fault"),
        _ => None,
    };
    let kind = match outcome {
        Some(Outcome::Crash) => Some(Kind::Panic),
        Some(Outcome::Sdc) => Some(Kind::WrongResult),
        Some(Outcome::Detected) => Some(Kind::UserFault),
        _ => None,
    };
    let (region, symbol) = match &trial.plan.fault {
        Fault::Ram { address: GuestPhys(address), .. } if (0x4021_0000..0x4073_0000).contains(address) => {
            let name = if dice % 97 == 0 { HOSTILE } else { "vfs_read" };
            (Some("Kernel code".to_owned()), Some(format!("{name}+{:#x}", address % 0x400)))
        }
        Fault::Ram { .. } => (Some("System RAM".to_owned()), None),
        Fault::Reg { .. } => (None, None),
    };
    let console = title.map(|title| {
        format!("[    0.4] a line before\n\u{1b}[31m{title}\u{1b}[0m\u{202e}\r\n{}", "[    0.5] and more\n".repeat(8))
    });
    let state = (outcome == Some(Outcome::Latent)).then(|| EndState {
        pages_differ: Some(1 + dice % 3),
        pages: vec!["ram0+0x7e1000".to_owned()],
        registers: vec![RegisterDifference { name: "x3".into(), golden: "0x00".into(), here: "0x08".into() }],
        disk: Some(false),
        ..EndState::default()
    });
    let total_us = 40_000 + dice % 90_000;
    TrialRecord {
        format: FORMAT,
        template: "sample-template".to_owned(),
        plan: trial.plan.clone(),
        flip_ns: flip,
        flipped: outcome.is_some(),
        error: outcome.is_none().then(|| "read back as 0x00, not 0x01".to_owned()),
        old: "0x00".to_owned(),
        new: if outcome.is_some() { "0x01".to_owned() } else { "0x00".to_owned() },
        region,
        symbol,
        outcome,
        converged_ns: (outcome == Some(Outcome::Masked)).then_some(later),
        console_differs_ns: title.map(|_| later),
        detected_ns: matches!(outcome, Some(Outcome::Detected | Outcome::Crash)).then_some(later),
        end_ns: match outcome {
            Some(Outcome::Crash | Outcome::Masked) => later,
            Some(Outcome::Hang) => BEGIN + 3 * LENGTH,
            _ => BEGIN + LENGTH,
        },
        end: (outcome == Some(Outcome::Crash)).then_some(End::Panic),
        kind,
        title: title.map(str::to_owned),
        output_only: false,
        state,
        console,
        restore: Restore::Rewind,
        attempts: 1,
        costs: Costs {
            restore_us: 1400,
            walk_us: 2000,
            mark_us: 900,
            run_us: total_us - 30_000,
            compare_us: 20_000,
            total_us,
        },
    }
}

/// Makes a campaign of so many trials at `path`. Of 500 trials one is pending, and one was given up.
#[expect(clippy::missing_panics_doc, reason = "a test that has no disk may panic")]
pub fn sample(path: &Path, trials: u64) -> Store {
    let spec = spec(trials);
    let made = Store::create(path, &manifest(), &spec, &plan(&spec), &[], &mut |_| ());
    let mut store = made.expect("a new campaign");
    for id in store.pending(Shard::WHOLE).expect("a plan") {
        let planned = store.planned(id).expect("a trial of the plan");
        match id.0 % 500 {
            250 => {}
            251 => {
                for _ in 0..spec.trial.attempts {
                    store.fail(id, &format!("QEMU died: {HOSTILE}")).expect("a failed attempt");
                }
            }
            _ => _ = store.record(id, &record(&planned)).expect("a result"),
        }
    }
    store
}
