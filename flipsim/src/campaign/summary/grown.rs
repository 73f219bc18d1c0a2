//! The rates of a campaign that grew: with intervals that hold at any look.
//!
//! Invariant: **every rate of a campaign that grew has such an interval**, and none of another campaign has.

use std::collections::BTreeMap;

use crate::campaign::plan::Stratum;
use crate::campaign::summary::basis::{Basis, KnownPart};
use crate::campaign::summary::model::{Pooled, PooledRate, StratumSummary, space_of};
use crate::stats::anytime::{anytime, anytime_of, anytime_pooled};
use crate::stats::known::PartlyKnown;
use crate::stats::strata::{Drawing, Strata};
use crate::stats::tally::Rate;
use crate::stats::{Confidence, Observed, StatsError};
use crate::trial::Outcome;

/// Gives all rates of these strata, which are the plan's in its order, their interval.
pub(super) fn mark(
    plan: &[Stratum],
    strata: &mut [StratumSummary],
    pooled: &mut [Pooled],
    confidence: Confidence,
) {
    let counts: Vec<BTreeMap<Outcome, u64>> = strata.iter().map(StratumSummary::counts).collect();
    let known: Vec<Option<KnownPart>> = strata.iter().map(|summary| summary.known.clone()).collect();
    let basis = |at: usize, stratum: &Stratum| {
        Basis::new(&counts[at], known[at].as_ref(), space_of(stratum), confidence)
    };
    for pooled in pooled {
        let members: Vec<(usize, &Stratum)> =
            plan.iter().enumerate().filter(|(_, stratum)| pooled.strata.contains(&stratum.name)).collect();
        let together = |of: &dyn Fn(Outcome) -> bool| {
            let parts =
                members.iter().map(|(at, stratum)| basis(*at, stratum).stratum(&stratum.name, of, [0, 0]));
            let parts = parts.collect::<Result<Vec<_>, _>>().ok()?;
            let strata = Strata::new(parts, Drawing::WithoutReplacement).ok()?;
            Some(anytime_pooled(&strata, confidence).interval)
        };
        for PooledRate { outcome, anytime, .. } in &mut pooled.outcomes {
            *anytime = together(&|one| one == *outcome);
        }
        for PooledRate { outcome, anytime, .. } in &mut pooled.classes {
            *anytime = together(&|one| outcome.has(one));
        }
    }
    for (at, (stratum, summary)) in plan.iter().zip(strata).enumerate() {
        let basis = basis(at, stratum);
        let set = |rate: &mut Option<Rate>, known: Result<PartlyKnown, StatsError>| {
            if let (Some(rate), Ok(known)) = (rate, known) {
                *rate = rate.at_any_look(anytime_of(&known, confidence), known.size());
            }
        };
        for entry in &mut summary.outcomes {
            set(&mut entry.rate, basis.of(&|one| one == entry.outcome));
        }
        for entry in &mut summary.classes {
            set(&mut entry.rate, basis.of(&|one| entry.outcome.has(one)));
        }
        for grade in summary.sdc.iter_mut().flat_map(|sdc| &mut sdc.grades) {
            set(&mut grade.rate, basis.live(grade.count));
        }
        let by = &mut summary.by;
        for table in [&mut by.bit, &mut by.register, &mut by.region, &mut by.symbol, &mut by.moment] {
            for row in &mut table.rows {
                let observed = Observed::new(row.failures(), row.trials).ok();
                row.failure.anytime = observed.map(|observed| anytime(observed, confidence, None));
            }
        }
        for row in by.title.rows.iter_mut().chain(&mut by.subsystem.rows) {
            let known = basis.without_size().live(row.failures()).ok();
            row.failure.anytime = known.map(|known| anytime_of(&known, confidence));
        }
    }
}
