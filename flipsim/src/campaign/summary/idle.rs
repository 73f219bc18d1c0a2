//! Which trials struck a guest that idled.
//!
//! Invariant: a moment is busy or idle by the golden run, whatever the guest did after its flip.

use std::collections::BTreeMap;

use crate::campaign::idle::IdleTime;
use crate::campaign::moments::Run;
use crate::campaign::spec::Times;
use crate::campaign::summary::hang;
use crate::campaign::summary::model::StratumSummary;
use crate::campaign::summary::times::Looks;
use crate::campaign::summary::warning::Warning;
use crate::campaign::when::When;
use crate::trial::golden::Golden;
use crate::units::VirtualNs;

/// What is known of the golden run.
pub(super) struct Known {
    /// When its guest is looked at.
    pub(super) looks: Option<Looks>,
    /// What hangs by which limit; nothing where a run ends at a given time.
    pub(super) hang: Option<hang::Run>,
    /// What its workload counts.
    pub(super) counts: BTreeMap<String, u64>,
    run: Option<Run>,
}

impl Known {
    pub(super) fn of(golden: Option<&Golden>, hang_factor: f64) -> Known {
        Known {
            looks: golden.map(Looks::of),
            hang: golden.and_then(|golden| hang::Run::of(golden, hang_factor)),
            counts: golden.map(|golden| golden.signals.count.of(&golden.console)).unwrap_or_default(),
            run: golden.map(Run::from),
        }
    }

    /// How much of it the guest idles.
    pub(super) fn idle_time(&self, times: &Times) -> Option<IdleTime> {
        IdleTime::of(self.run.as_ref()?, times)
    }

    /// The key of a moment in a breakdown.
    pub(super) fn moment(&self, after: VirtualNs) -> Option<&'static str> {
        let idle = self.run.as_ref()?.idle.as_ref()?.is_idle(after);
        Some(if idle { When::Idle.name() } else { When::Busy.name() })
    }
}

/// What must be known where much of the time that faults strike at is idle.
pub(super) fn warning_of(idle: &IdleTime, strata: &[StratumSummary]) -> Option<Warning> {
    let at_any_time = || strata.iter().filter(|stratum| stratum.when.is_time());
    if !idle.is_much() || at_any_time().next().is_none() {
        return None;
    }
    let failed = [When::Idle, When::Busy].map(|when| {
        let rows = at_any_time().flat_map(|stratum| &stratum.by.moment.rows);
        let rows = rows.filter(|row| row.key.as_deref() == Some(when.name()));
        rows.fold((0, 0), |(failed, trials), row| (failed + row.failures(), trials + row.trials))
    });
    let strata = at_any_time().map(|stratum| stratum.name.clone()).collect();
    Some(Warning::Idle { strata, idle: Box::new(*idle), failed })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::campaign::store::open::Store;
    use crate::campaign::summary::{By, Class, Summary, SummaryOptions};
    use crate::campaign::{CampaignSpec, Shard};
    use crate::testing::fake_campaign as fake;
    use crate::trial::Outcome;
    use crate::trial::golden::{Idle, Span};

    const IDLE: u64 = 20_000_000;

    /// A campaign whose guest idles for the first 20 of 400 ms, and in which a fault kills it then and only then.
    fn campaign(folder: &Path, spec: &CampaignSpec, idle: bool) -> Store {
        let mut golden = fake::golden();
        let spans = [Span { from: golden.begin(), length: IDLE }];
        golden.idle = idle.then(|| Idle::new(golden.begin(), golden.end(), spans));
        let mut store = fake::create_of(&folder.join("c.sqlite"), spec, &golden).unwrap();
        for id in store.pending(Shard::WHOLE).unwrap() {
            let trial = store.planned(id).unwrap();
            let mut record = fake::record(&trial);
            (record.flipped, record.error) = (true, None);
            let idles = trial.plan.after.0 < IDLE;
            record.outcome = Some(if idles { Outcome::Crash } else { Outcome::Masked });
            store.record(id, &record).unwrap();
        }
        store
    }

    #[test]
    fn failures_of_idle_moments_are_shown_beside_the_others_and_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let store = campaign(folder.path(), &fake::spec(400, &["range:0x40000000+1M"]), true);
        let found = Summary::new(&store, &SummaryOptions::default()).unwrap();
        let rows = &found.strata[0].by.get(By::Moment).rows;
        let rows: Vec<_> =
            rows.iter().map(|row| (row.key.as_deref().unwrap(), row.failures(), row.trials)).collect();
        let [("busy", 0, busy), ("idle", failed, idle)] = rows[..] else { panic!("{rows:?}") };
        assert_eq!((failed, busy + idle), (idle, 400));
        // A twentieth of the time: 20 are expected, with a standard deviation of 4.4.
        assert!((5..40).contains(&idle), "{idle}");
        let warning = found.warnings.iter().find(|warning| warning.kind() == "idle").unwrap().to_string();
        let says = format!(
            "the faults of 1M strike at any time, and at 5.0 % of it the guest idles (20000000 of 400000000 moments; nine \
             in ten of it between 0 ns and 20.0 ms after the quiescent point): there a fault strikes a CPU that waits, \
             and no instruction; {idle} of {idle} trials failed there, 0 of {busy} elsewhere: `when = \"busy\"` "
        );
        assert!(warning.starts_with(&says), "{warning}");
        // In short as well, and in what a status says.
        let short =
            Summary::new(&store, &SummaryOptions { short: true, ..SummaryOptions::default() }).unwrap();
        assert!(short.warnings.iter().any(|other| other.to_string() == warning));
        let status = store.status().unwrap();
        assert_eq!((status.idle, &status.strata[0].when), (found.idle, &When::Time));
        assert_eq!(found.idle.unwrap().share, 0.05);
    }

    #[test]
    fn busy_and_idle_strata_have_a_rate_each_and_one_together_by_their_weights() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = fake::spec(400, &["range:0x40000000+1M", "range:0x40000000+1M"]);
        for (stratum, when) in spec.strata.iter_mut().zip([When::Busy, When::Idle]) {
            (stratum.name, stratum.when) = (when.to_string(), Some(when));
        }
        let store = campaign(folder.path(), &spec, true);
        assert_eq!(store.overlaps(), Some(&[][..]));
        let found = Summary::new(&store, &SummaryOptions::default()).unwrap();
        let rates: Vec<f64> = found
            .strata
            .iter()
            .map(|stratum| stratum.class(Class::Failure).unwrap().rate.unwrap().value)
            .collect();
        assert_eq!(rates, [0.0, 1.0]);
        let [pooled] = &found.pooled[..] else { panic!("{:?}", found.pooled) };
        assert_eq!(pooled.why_not, None);
        assert!((pooled.class(Class::Failure).unwrap().rate.value - 0.05).abs() < 1e-12);
        // The same bits, now busy and now idle, are exposed once.
        assert_eq!(pooled.bits, Some(1 << 23));
        assert!(found.warnings.iter().all(|warning| warning.kind() != "idle"));
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(
            (&json["strata"][0]["when"], &json["strata"][1]["when"]),
            (&"busy".into(), &"idle".into())
        );
        assert_eq!(json["strata"][1]["times"], IDLE);
    }

    #[test]
    fn where_idle_times_are_not_known_nothing_is_claimed() {
        let folder = tempfile::tempdir().unwrap();
        let store = campaign(folder.path(), &fake::spec(50, &["range:0x40000000+1M"]), false);
        let found = Summary::new(&store, &SummaryOptions::default()).unwrap();
        assert_eq!(found.idle, None);
        assert!(found.strata[0].by.get(By::Moment).rows.iter().all(|row| row.key.is_none()));
        assert!(found.warnings.iter().all(|warning| warning.kind() != "idle"));
    }
}
