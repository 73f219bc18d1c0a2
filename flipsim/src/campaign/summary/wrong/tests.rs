//! Tests of `wrong`.

use std::path::Path;

use super::*;
use crate::campaign::Summary;
use crate::campaign::shard::Shard;
use crate::campaign::summary::SummaryOptions;
use crate::stats::{Observed, SpaceSize};
use crate::testing::fake_campaign as fake;
use crate::trial::{Outcome, TrialRecord};

const TARGET: &str = "range:0x40000000+1M";

/// A campaign whose golden run says `x=100` and a digest; trial 0 to 9 are sdc with these consoles, 10 to 99 are masked.
fn campaign(folder: &Path, consoles: &[Option<&str>]) -> Store {
    let mut spec = fake::spec(100, &[TARGET]);
    spec.grades = toml::from_str::<std::collections::BTreeMap<String, Vec<Grade>>>(
        "[[grade]]\nname = 'negligible'\nlines = '^x='\nrelative = 0.01\n[[grade]]\nname = 'serious'\nlines = '^x='\n",
    )
    .unwrap()
    .remove("grade")
    .unwrap();
    let golden = Golden { console: b"[    0.100000] up\nx=100\ndigest=00\n".to_vec(), ..fake::golden() };
    let mut store = fake::create_of(&folder.join("c.sqlite"), &spec, &golden).unwrap();
    for id in store.pending(Shard::WHOLE).unwrap() {
        let console = usize::try_from(id.0).ok().and_then(|at| consoles.get(at));
        let record = fake::record(&store.planned(id).unwrap());
        let record = TrialRecord {
            outcome: Some(if console.is_some() { Outcome::Sdc } else { Outcome::Masked }),
            flipped: true,
            console: console.and_then(|console| console.map(str::to_owned)),
            ..record
        };
        store.record(id, &record).unwrap();
    }
    store
}

#[test]
fn how_wrong_sdc_is_follows_from_the_consoles_that_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let consoles = [
        // The stamp of the kernel's does not count.
        Some("[    0.200000] up\nx=101\ndigest=00\n"),
        Some("[    0.100000] up\nx=150\ndigest=01\n"),
        Some("[    0.100000] up\nx=100\ndigest=03\n"),
        Some("[    0.100000] up\nx=100\n"),
        None,
    ];
    let store = campaign(folder.path(), &consoles);
    let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
    let sdc = summary.strata[0].sdc.as_ref().unwrap();
    assert_eq!((sdc.trials, sdc.of), (4, 5));
    // 101: 1 bit; 150: 5 is 0x35, 2 bits, and 1 of the digest; 03: 2 bits; a line of ten bytes.
    let bits = sdc.bits.as_ref().unwrap();
    assert_eq!((bits.trials, bits.largest, bits.quantiles[0].value.value), (4, 80, 2));
    assert_eq!(sdc.bytes.as_ref().unwrap().largest, 10);
    assert_eq!(sdc.lines.as_ref().unwrap().largest, 2);
    let relative = sdc.relative.as_ref().unwrap();
    assert_eq!((relative.trials, relative.largest.value()), (2, 0.5));
    let grades: Vec<(Option<&str>, u64)> =
        sdc.grades.iter().map(|grade| (grade.name.as_deref(), grade.count)).collect();
    // What differs in the digest alone is within any limit of the lines that are looked at.
    assert_eq!(grades, [(Some("negligible"), 3), (Some("serious"), 1), (None, 1)]);
    let sum: u64 = sdc.grades.iter().map(|grade| grade.count).sum();
    assert_eq!(sum, summary.strata[0].outcome(Outcome::Sdc).unwrap().count);
    assert_eq!(sdc.grades[0].rate.unwrap().value, 0.03);
    // A short summary reads no console, and a campaign without sdc has none.
    let short = Summary::new(&store, &SummaryOptions { short: true, ..SummaryOptions::default() }).unwrap();
    assert_eq!(short.strata[0].sdc, None);
}

#[test]
fn a_campaign_that_grew_has_intervals_that_hold_at_any_look_and_no_other_has() {
    let folder = tempfile::tempdir().unwrap();
    let targets = ["range:0x40000000+1M", "range:0x50000000+3M"];
    let mut store = fake::create(&folder.path().join("c.sqlite"), &fake::spec(200, &targets)).unwrap();
    fake::fill(&mut store, 200).unwrap();
    let before = serde_json::to_value(Summary::new(&store, &SummaryOptions::default()).unwrap()).unwrap();
    assert!(!before.to_string().contains("anytime") && before["stages"].as_array().unwrap().len() == 1);
    fake::grow(&mut store, 500).unwrap();
    fake::fill(&mut store, 300).unwrap();
    let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
    let stages: Vec<u64> = summary.stages.iter().map(|stage| stage.trials).collect();
    assert_eq!(stages, [200, 300]);
    let said: Vec<String> = summary.warnings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|text| text.starts_with("grown once: 200 + 300 trials; ")), "{said:?}");
    for stratum in &summary.strata {
        let space = SpaceSize(u128::from(stratum.faults) * u128::from(stratum.times));
        for entry in &stratum.outcomes {
            let rate = entry.rate.unwrap();
            let observed = Observed::new(entry.count, stratum.counted).unwrap();
            let expected = crate::stats::anytime::anytime(observed, Confidence::P95, Some(space));
            assert_eq!(rate.anytime, Some(expected));
            // What is shown is what holds.
            assert_eq!(rate.estimate(crate::stats::tally::Method::Wilson).interval, expected);
        }
        assert!(stratum.classes.iter().all(|entry| entry.rate.unwrap().anytime.is_some()));
        assert!(stratum.by.symbol.rows.iter().all(|row| row.failure.anytime.is_some()));
    }
    let pooled = &summary.pooled[0];
    for rate in &pooled.outcomes {
        let (anytime, (shown, failures)) = (rate.anytime.unwrap(), rate.shown());
        assert!(anytime.contains(rate.rate.value) && shown.interval == anytime);
        assert!((failures.interval.upper / (anytime.upper * pooled.population) - 1.0).abs() < 1e-9);
    }
}
