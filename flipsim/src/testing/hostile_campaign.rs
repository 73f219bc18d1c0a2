//! A made-up campaign whose guest is hostile: what was hit can print anything, and names may hold anything.
//!
//! Invariant: the same number of trials gives the same campaign, but for the times of recording.

use std::path::Path;

use super::fake_campaign::{create, record as plain, spec as fake_spec};
use crate::campaign::{CampaignSpec, PlannedTrial, Shard, Store};
use crate::console::classify::Kind;
use crate::trial::{EndState, Outcome, RegisterDifference, TrialRecord};

/// What would run, or break out of its place, where a text is not escaped.
pub const HOSTILE: &str =
    "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">'\"&<!--";

const TITLES: [&str; 4] = [
    "Unable to handle kernel paging request in do_idle",
    "Internal error: Oops - Undefined instruction in vfs_read",
    "Kernel panic - not syncing: Attempted to kill init!",
    HOSTILE,
];

/// A specification of so many trials in three strata, one of which has markup in its name.
#[must_use]
pub fn spec(trials: u64) -> CampaignSpec {
    let mut spec = fake_spec(trials, &["range:0x40210000+5M", "range:0x40000000+128M", "class:core"]);
    for (stratum, name) in spec.strata.iter_mut().zip(["kernel", "ram", "core <b>registers</b>"]) {
        name.clone_into(&mut stratum.name);
    }
    "sample".clone_into(&mut spec.name);
    spec.guest = serde_json::json!({ "workload": "sha256", "append": "" });
    spec
}

/// The result of a trial.
#[must_use]
pub fn record(trial: &PlannedTrial) -> TrialRecord {
    let mut record = plain(trial);
    let id = usize::try_from(trial.id.0).unwrap_or(0);
    let (title, kind) = match record.outcome {
        Some(Outcome::Crash) => (Some(TITLES[id % TITLES.len()]), Some(Kind::Panic)),
        Some(Outcome::Sdc) => (Some("wrong result of sha256"), Some(Kind::WrongResult)),
        Some(Outcome::Detected) => {
            (Some("user fault in flipsim-workloa: level 0 translation fault"), Some(Kind::UserFault))
        }
        _ => (None, None),
    };
    record.title = title.map(str::to_owned);
    record.kind = kind;
    record.console = title.map(|title| {
        let more = "[    0.5] and more\n".repeat(8);
        format!("[    0.4] a line before\n\u{1b}[31m{title}\u{1b}[0m\u{202e}\r\n{more}")
    });
    if record.symbol.is_some() && id % 9 == 0 {
        record.symbol = Some(format!("{HOSTILE}+0x10"));
    }
    if record.outcome == Some(Outcome::Latent) {
        record.state = Some(EndState {
            pages_differ: Some(7),
            pages: vec!["ram0+0x7e1000".to_owned(); 7],
            registers: vec![RegisterDifference {
                name: "x3".into(),
                golden: "0x00".into(),
                here: "0x08".into(),
            }],
            ..EndState::default()
        });
    }
    record
}

/// Makes a campaign of so many trials at `path`. Of 500 trials one was given up; of 1,000 and more one is pending.
///
/// # Errors
/// There is no room, or the name is taken.
pub fn sample(path: &Path, trials: u64) -> Result<Store, Box<dyn std::error::Error>> {
    let spec = spec(trials);
    let mut store = create(path, &spec)?;
    for id in store.pending(Shard::WHOLE)? {
        match id.0 % 500 {
            250 if id.0 == 250 && trials >= 1000 => {}
            251 => {
                for _ in 0..spec.trial.attempts {
                    store.fail(id, &format!("QEMU died: {HOSTILE}"))?;
                }
            }
            _ => _ = store.record(id, &record(&store.planned(id)?))?,
        }
    }
    Ok(store)
}
