//! What makes two campaigns different: what a comparison is about, and what spoils it.
//!
//! Invariant: a fault space of another size is no fault of a comparison: F is compared for that.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::campaign::store::stages_text;
use crate::campaign::{IDLE_LIMIT, Store, Summary};
use crate::units::Timing;

/// One campaign of two.
#[derive(Debug)]
pub struct Side<'a> {
    /// Its file.
    pub store: &'a Store,
    /// What it says.
    pub summary: &'a Summary,
}

/// Something that both have: what it is called, and what it is in each.
struct Pair {
    what: String,
    texts: [String; 2],
}

impl Pair {
    fn new<T>(what: impl Into<String>, a: &T, b: &T, text: impl Fn(&T) -> String) -> Pair {
        Pair { what: what.into(), texts: [text(a), text(b)] }
    }

    fn said(self) -> Option<String> {
        let [a, b] = self.texts;
        (a != b).then(|| format!("{}: {a} in the first, {b} in the second", self.what))
    }
}

/// A word without the quotes of JSON.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Why the numbers may not be compared as they are.
pub(super) fn unfair(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let mut found = unlike(a, b);
    found.extend([a, b].into_iter().flat_map(lacks));
    found
}

/// In what both differ so that their numbers are of other things.
pub(super) fn unlike(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let (one, other) = (a.store.spec(), b.store.spec());
    let mut found: Vec<String> = [
        Pair::new("the window of the workload", &one.window, &other.window, json),
        Pair::new("the times of the faults", &one.times, &other.times, json),
        Pair::new("the workload", &one.guest, &other.guest, |guest| json(&guest["workload"])),
        Pair::new("when a guest counts as hung", &one.trial, &other.trial, |trial| {
            format!("{} times the golden run", trial.hang_factor)
        }),
        Pair::new("how guests are restored", &one.trial.restore, &other.trial.restore, ToString::to_string),
    ]
    .into_iter()
    .filter_map(Pair::said)
    .collect();
    // Files of before do not say which the default was.
    for (what, key) in
        [("the architecture", "arch"), ("the guest's memory", "memory"), ("the guest's vCPUs", "cpus")]
    {
        let (here, there) = (&one.guest[key], &other.guest[key]);
        if !here.is_null() && !there.is_null() {
            found.extend(Pair::new(what, here, there, word).said());
        }
    }
    for stratum in &a.summary.strata {
        let Some(there) = b.summary.stratum(&stratum.name) else { continue };
        let name = &stratum.name;
        let pairs = [
            Pair::new(format!("the fault model of {name}"), stratum, there, |s| s.pattern.clone()),
            Pair::new(format!("the moments of {name}"), stratum, there, |s| s.when.name().to_owned()),
            Pair::new(format!("the targets of {name}"), stratum, there, |s| s.targets.clone()),
        ];
        found.extend(pairs.into_iter().filter_map(Pair::said));
    }
    let idles = |side: &Side<'_>| Some(side.summary.idle.as_ref()?.share_of_moments);
    if let Some((here, there)) = idles(a).zip(idles(b))
        && (here - there).abs() > IDLE_LIMIT
        && a.summary.strata.iter().any(|stratum| stratum.when.is_time())
    {
        found.push(format!(
            "the guest idles at {:.1} % of the moments in the first, {:.1} % in the second: rates of busy strata (`when = \"busy\"`) are \
             of what executes",
            here * 100.0,
            there * 100.0
        ));
    }
    found
}

/// What spoils the numbers of one.
pub(super) fn lacks(side: &Side<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(stages) = stages_text(&side.summary.stages) {
        found.push(format!(
            "{} {stages}; intervals and p here are those of a size that was fixed beforehand",
            side.summary.name
        ));
    }
    let totals = &side.summary.totals;
    let name = &side.summary.name;
    if totals.output_only > 0 {
        found.push(format!(
            "{} trials of {name} compared outputs only: what is latent there is called masked",
            totals.output_only
        ));
    }
    if totals.timing == Some(Timing::Approximate) {
        found.push(format!("flips of {name} were not at exactly their planned times"));
    }
    if totals.pending > 0 {
        found.push(format!(
            "{name} is not finished: {} of {} trials are pending",
            totals.pending, totals.planned
        ));
    }
    if totals.infra > 0 {
        found.push(format!("{} trials of {name} were given up and are in no rate", totals.infra));
    }
    found
}

/// What else is different.
pub(super) fn differs(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let mut found = of_runs(a, b);
    found.extend(made_from(a, b));
    found
}

/// A manifest's digest, short.
fn short(text: &str) -> String {
    text.chars().take(16).collect()
}

/// What is different where only the run is another.
pub(super) fn of_runs(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let (one, other) = (a.store.manifest(), b.store.manifest());
    let mut pairs = vec![
        Pair::new("seed", &a.store.spec().seed, &b.store.spec().seed, u64::to_string),
        Pair::new("template", &one.template, &other.template, |text| short(text)),
        Pair::new("golden run", &one.golden, &other.golden, |text| short(text)),
    ];
    for stratum in &a.summary.strata {
        let Some(there) = b.summary.stratum(&stratum.name) else { continue };
        pairs.push(Pair::new(format!("the fault space of {}", stratum.name), stratum, there, |s| {
            format!("{} faults × {} moments", s.faults, s.times)
        }));
    }
    pairs.into_iter().filter_map(Pair::said).collect()
}

/// What guests were made from, where that is different.
pub(super) fn made_from(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let (one, other) = (a.store.manifest(), b.store.manifest());
    let mut pairs = Vec::new();
    for (what, here, there) in
        [("version of", &one.versions, &other.versions), ("", &one.inputs, &other.inputs)]
    {
        let names: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        for name in names {
            let text = |map: &BTreeMap<String, String>| {
                map.get(name).map_or("nothing".to_owned(), |text| short(text))
            };
            pairs.push(Pair {
                what: format!("{what} {name}").trim().to_owned(),
                texts: [text(here), text(there)],
            });
        }
    }
    pairs.into_iter().filter_map(Pair::said).collect()
}
