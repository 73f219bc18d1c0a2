//! Tests of runs beside each other: what is one run, and what the interval takes into account.

use super::*;
use crate::campaign::summary::SummaryOptions;
use crate::campaign::{CampaignSpec, Shard, Store, Summary};
use crate::stats::Interval;
use crate::testing::fake_campaign as fake;
use crate::trial::Outcome;

/// Campaigns of 200 trials with so many crashes each.
fn made(folder: &std::path::Path, crashes: &[u64], each: impl Fn(u64, &mut CampaignSpec)) -> Vec<Store> {
    let of = |(number, crashes): (u64, &u64)| {
        let mut spec = fake::spec(200, &["range:0x40000000+1M"]);
        spec.name = format!("run-{number}");
        spec.seed = number;
        spec.guest = serde_json::json!({ "workload": "sha256", "append": format!("flipsim.seed={number}") });
        each(number, &mut spec);
        let mut store = fake::create(&folder.join(format!("{number}.sqlite")), &spec).unwrap();
        for id in store.pending(Shard::WHOLE).unwrap() {
            let trial = store.planned(id).unwrap();
            let mut record = fake::record(&trial);
            let outcome = if id.0 < *crashes { Outcome::Crash } else { Outcome::Masked };
            (record.flipped, record.error, record.outcome) = (true, None, Some(outcome));
            store.record(id, &record).unwrap();
        }
        store
    };
    (1..).zip(crashes).map(of).collect()
}

fn found(stores: &[Store]) -> Runs {
    let summaries: Vec<Summary> =
        stores.iter().map(|store| Summary::new(store, &SummaryOptions::default()).unwrap()).collect();
    let sides: Vec<Side<'_>> =
        stores.iter().zip(&summaries).map(|(store, summary)| Side { store, summary }).collect();
    runs(&sides).unwrap()
}

fn width(interval: Interval) -> f64 {
    interval.upper - interval.lower
}

#[test]
fn runs_that_differ_have_an_interval_several_times_as_wide() {
    let folder = tempfile::tempdir().unwrap();
    let differ = found(&made(folder.path(), &[5, 40, 12, 60, 3], |_, _| {}));
    let row = &differ.strata[0].rows[0];
    let together = row.together.unwrap();
    assert_eq!((row.outcome, row.count.as_slice()), ("failure", &[5, 40, 12, 60, 3][..]));
    assert!((together.mean.value - 0.12).abs() < 1e-12, "{together:?}");
    assert!(width(together.mean.interval) > 4.0 * width(together.ignoring_runs.interval), "{together:?}");
    let other = tempfile::tempdir().unwrap();
    let equal = found(&made(other.path(), &[24; 5], |_, _| {})).strata[0].rows[0].together.unwrap();
    assert!((width(equal.mean.interval) / width(equal.ignoring_runs.interval) - 1.0).abs() < 1e-9);
    assert_eq!(equal.between_sd, 0.0);
    let outcomes: Vec<&str> = differ.strata[0].rows.iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes[..3], ["failure", "noticed", "unmasked"]);
    assert!(outcomes.contains(&"sdc") && outcomes.ends_with(&["masked"]));
}

#[test]
fn seeds_and_command_lines_may_differ_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let same = found(&made(folder.path(), &[5, 6], |_, _| {}));
    // The made-up campaigns have one digest of a golden run.
    assert_eq!(same.unfair.len(), 1, "{:?}", same.unfair);
    assert!(same.unfair[0].contains("they are one run"));
    assert!(same.differs.iter().any(|what| what.starts_with("run-2: seed")), "{:?}", same.differs);
    assert!(same.warnings().iter().any(|what| what.starts_with("2 runs say little")));
    let other = tempfile::tempdir().unwrap();
    let unlike = found(&made(other.path(), &[5, 6, 7], |number, spec| {
        if number == 3 {
            spec.guest["workload"] = "sort".into();
            spec.guest["cpu"] = "max".into();
            spec.strata[0].name = "another".to_owned();
        }
    }));
    for what in ["run-3: the workload", "run-3: the guest"] {
        assert!(unlike.unfair.iter().any(|why| why.starts_with(what)), "{what}: {:?}", unlike.unfair);
    }
    assert!(unlike.strata.is_empty());
    assert_eq!(unlike.alone.len(), 2);
    assert!(unlike.warnings().iter().any(|what| what.contains("nothing to estimate")));
}
