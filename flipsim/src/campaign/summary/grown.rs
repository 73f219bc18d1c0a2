//! The rates of a campaign that grew: with intervals that hold at any look.
//!
//! Invariant: **every rate of a campaign that grew has such an interval**, and none of another campaign has.

use crate::campaign::plan::Stratum;
use crate::campaign::summary::model::{Pooled, PooledRate, StratumSummary, of_class, space_of};
use crate::stats::anytime::{anytime, anytime_pooled};
use crate::stats::strata::{Drawing, Strata, StratumCount};
use crate::stats::tally::{Method, Rate};
use crate::stats::{Confidence, Observed, SpaceSize};

/// Gives all rates of these strata, which are the plan's in its order, their interval.
pub(super) fn mark(
    plan: &[Stratum],
    strata: &mut [StratumSummary],
    pooled: &mut [Pooled],
    confidence: Confidence,
) {
    for pooled in pooled {
        let members: Vec<(&Stratum, &StratumSummary)> = plan
            .iter()
            .zip(strata.iter())
            .filter(|(_, summary)| pooled.strata.contains(&summary.name))
            .collect();
        let together = |hits: &dyn Fn(&StratumSummary) -> u64| {
            let parts = members.iter().map(|(stratum, summary)| {
                StratumCount::new(&stratum.name, space_of(stratum), hits(summary), summary.counted)
            });
            let parts = parts.collect::<Result<Vec<_>, _>>().ok()?;
            let strata = Strata::new(parts, Drawing::WithoutReplacement).ok()?;
            Some(anytime_pooled(&strata, confidence).interval)
        };
        for PooledRate { outcome, anytime, .. } in &mut pooled.outcomes {
            *anytime = together(&|summary| summary.count(*outcome));
        }
        for PooledRate { outcome, anytime, .. } in &mut pooled.classes {
            *anytime = together(&|summary| {
                let counts = summary.outcomes.iter().map(|entry| (entry.outcome, entry.count)).collect();
                of_class(&counts, *outcome)
            });
        }
    }
    for (stratum, summary) in plan.iter().zip(strata) {
        let (space, counted) = (Some(space_of(stratum)), summary.counted);
        let set = |rate: &mut Option<Rate>, count, trials, space: Option<SpaceSize>| {
            if let (Some(rate), Ok(observed)) = (rate, Observed::new(count, trials)) {
                rate.anytime = Some(anytime(observed, confidence, space));
                rate.extrapolated = space.map(|space| rate.estimate(Method::default()).failures(space));
            }
        };
        for entry in &mut summary.outcomes {
            set(&mut entry.rate, entry.count, counted, space);
        }
        for entry in &mut summary.classes {
            set(&mut entry.rate, entry.count, counted, space);
        }
        for grade in summary.sdc.iter_mut().flat_map(|sdc| &mut sdc.grades) {
            set(&mut grade.rate, grade.count, counted, space);
        }
        let by = &mut summary.by;
        for table in [&mut by.bit, &mut by.register, &mut by.region, &mut by.symbol, &mut by.moment] {
            for row in &mut table.rows {
                let observed = Observed::new(row.failures(), row.trials).ok();
                row.failure.anytime = observed.map(|observed| anytime(observed, confidence, None));
            }
        }
        for row in &mut by.title.rows {
            let observed = Observed::new(row.failures(), counted).ok();
            row.failure.anytime = observed.map(|observed| anytime(observed, confidence, None));
        }
    }
}
