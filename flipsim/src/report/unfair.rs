//! What makes two campaigns different: what a comparison is about, and what spoils it.
//!
//! Invariant: **not comparable is only what is of other work, of other faults, or by another rule**; a fault space of another
//! size is what F is compared for.

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

/// What two campaigns are called where they are named in passing: in a comparison, and where others are compared with the first.
pub(super) const COMPARED: [&str; 2] = ["A", "B"];
const WITH_FIRST: [&str; 2] = ["the first", "the second"];

/// Something that both have: what it is called, and what it is in each.
struct Pair {
    what: String,
    texts: [String; 2],
}

impl Pair {
    fn new<T>(what: impl Into<String>, a: &T, b: &T, text: impl Fn(&T) -> String) -> Pair {
        Pair { what: what.into(), texts: [text(a), text(b)] }
    }

    fn said(self, names: [&str; 2]) -> Option<String> {
        let [a, b] = self.texts;
        (a != b).then(|| format!("{}: {a} in {}, {b} in {}", self.what, names[0], names[1]))
    }
}

/// A word without the quotes of JSON.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What a difference does to a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// The numbers are of other things, or by another rule: no ratio of them says anything of the two.
    Unfair,
    /// The two are different, which is what they are compared for; it is said.
    Different,
}

/// In what both differ, of what they were asked to be; a row each, with what it does to a comparison and why.
///
/// | | is | for |
/// |---|---|---|
/// | the window | unfair | a piece of a run by the clock is other work than the whole run |
/// | the times of faults | unfair | faults at other times strike other work |
/// | the workload | unfair where the two print nothing alike without a fault, else different | a hardening has another name, another image and another length, and the same output |
/// | the hang limit | unfair | by another limit the same run is a hang here and none there |
/// | the architecture | unfair | registers and code are others |
/// | pattern, moments and targets of a stratum | unfair | the faults are others |
/// | how guests are restored | different | a trial depends on its fault alone, however the guest came to its start |
/// | memory, vCPUs | different | a hardening may take more of them; a larger space is what F is for |
/// | the idle share | different | F has the idle moments in it; rates of busy strata are without |
fn looked_at(a: &Side<'_>, b: &Side<'_>, names: [&str; 2]) -> Vec<(Weight, String)> {
    let (one, other) = (a.store.spec(), b.store.spec());
    let is_same_work = one.guest["workload"] == other.guest["workload"] || do_the_same(a, b);
    let mut found: Vec<(Weight, String)> = [
        (Weight::Unfair, Pair::new("the window of the workload", &one.window, &other.window, json)),
        (Weight::Unfair, Pair::new("the times of the faults", &one.times, &other.times, json)),
        (
            if is_same_work { Weight::Different } else { Weight::Unfair },
            Pair::new("the workload", &one.guest, &other.guest, |guest| json(&guest["workload"])),
        ),
        (
            Weight::Unfair,
            Pair::new("when a guest counts as hung", &one.trial, &other.trial, |trial| {
                format!("{} times the golden run", trial.hang_factor)
            }),
        ),
        (
            Weight::Different,
            Pair::new(
                "how guests are restored",
                &one.trial.restore,
                &other.trial.restore,
                ToString::to_string,
            ),
        ),
    ]
    .into_iter()
    .filter_map(|(weight, pair)| Some((weight, pair.said(names)?)))
    .collect();
    // Files of before do not say which the default was.
    for (weight, what, key) in [
        (Weight::Unfair, "the architecture", "arch"),
        (Weight::Different, "the guest's memory", "memory"),
        (Weight::Different, "the guest's vCPUs", "cpus"),
    ] {
        let (here, there) = (&one.guest[key], &other.guest[key]);
        if !here.is_null() && !there.is_null() {
            found.extend(Pair::new(what, here, there, word).said(names).map(|said| (weight, said)));
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
        let said = pairs.into_iter().filter_map(|pair| pair.said(names));
        found.extend(said.map(|said| (Weight::Unfair, said)));
    }
    let idles = |side: &Side<'_>| Some(side.summary.idle.as_ref()?.share_of_moments);
    if let Some((here, there)) = idles(a).zip(idles(b))
        && (here - there).abs() > IDLE_LIMIT
        && a.summary.strata.iter().any(|stratum| stratum.when.is_time())
    {
        let said = format!(
            "the guest idles at {:.1} % of the moments in {}, {:.1} % in {}: rates of busy strata (`when = \"busy\"`) are \
             of what executes",
            here * 100.0,
            names[0],
            there * 100.0,
            names[1]
        );
        found.push((Weight::Different, said));
    }
    found
}

/// Whether workloads of other names do the same work, as far as that shows: without a fault they print a line that is the
/// same but for their names. What a line counts is no output.
fn do_the_same(a: &Side<'_>, b: &Side<'_>) -> bool {
    let lines = |side: &Side<'_>| -> BTreeSet<String> {
        let name = side.store.spec().guest["workload"].as_str().unwrap_or_default().to_owned();
        let golden = side.store.golden().ok().flatten();
        let lines = golden.map(|golden| golden.output_lines()).unwrap_or_default();
        let lines = lines.into_iter().map(|line| match name.is_empty() {
            true => line,
            false => line.replace(&format!("workload={name} "), "workload= "),
        });
        lines.filter(|line| !line.trim().is_empty()).collect()
    };
    !lines(a).is_disjoint(&lines(b))
}

/// Why the numbers may not be compared.
pub(super) fn unfair(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let found = looked_at(a, b, COMPARED).into_iter();
    found.filter(|(weight, _)| *weight == Weight::Unfair).map(|(_, said)| said).collect()
}

/// In what both differ although they were to be the same, as two runs or two nights of one campaign are.
pub(super) fn unlike(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    looked_at(a, b, WITH_FIRST).into_iter().map(|(_, said)| said).collect()
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

/// What else is different, with what it is in A and in B.
pub(super) fn differs(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let looked_at = looked_at(a, b, COMPARED).into_iter();
    let mut found: Vec<String> =
        looked_at.filter(|(weight, _)| *weight == Weight::Different).map(|(_, said)| said).collect();
    let (runs, parts) = (runs_differ(a, b), parts_differ(a, b));
    found.extend(runs.into_iter().chain(parts).filter_map(|pair| pair.said(COMPARED)));
    found
}

/// A manifest's digest, short.
fn short(text: &str) -> String {
    text.chars().take(16).collect()
}

/// What is different where only the run is another.
pub(super) fn of_runs(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    runs_differ(a, b).into_iter().filter_map(|pair| pair.said(WITH_FIRST)).collect()
}

fn runs_differ(a: &Side<'_>, b: &Side<'_>) -> Vec<Pair> {
    let (one, other) = (a.store.manifest(), b.store.manifest());
    let mut pairs = vec![
        Pair::new("seed", &a.store.spec().seed, &b.store.spec().seed, u64::to_string),
        Pair::new("template", &one.template, &other.template, |text| short(text)),
        Pair::new("golden run", &one.golden, &other.golden, |text| short(text)),
    ];
    for stratum in &a.summary.strata {
        let Some(there) = b.summary.stratum(&stratum.name) else { continue };
        pairs.push(Pair::new(format!("the fault space of {}", stratum.name), stratum, there, |s| {
            s.when.space(s.faults, s.times, |number| number.to_string())
        }));
    }
    pairs
}

/// What guests were made from, where that is different.
pub(super) fn made_from(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    parts_differ(a, b).into_iter().filter_map(|pair| pair.said(WITH_FIRST)).collect()
}

fn parts_differ(a: &Side<'_>, b: &Side<'_>) -> Vec<Pair> {
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
    pairs
}
