//! What a campaign's rates mean in the field: FIT, and the failures of a mission.
//!
//! Invariant: a raw rate is one of single bits; what flips several at once has no FIT.

use serde::Serialize;

use crate::campaign::summary::model::{SpaceKind, Summary};
use crate::stats::Estimate;
use crate::stats::fit::{Bits, FitPerMbit, MissionOutlook, fit_of_class, mission_outlook};
use crate::stats::mission::Mission;
use crate::stats::tally::Method;
use crate::trial::{Class, Outcome};

/// The FIT of a part of the fault space.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FitRow {
    /// The names of its strata, joined by ` + `.
    pub space: String,
    /// What its faults strike.
    pub kind: SpaceKind,
    /// Its bits, all of them exposed.
    pub bits: u64,
    /// One entry an outcome that is a failure, then `failure` itself: name and FIT.
    pub fit: Vec<(&'static str, Estimate)>,
}

/// What a mission of memory like a part of the fault space has to expect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MissionRow {
    /// The names of its strata, joined by ` + `.
    pub space: String,
    /// One entry an outcome that is a failure, then `failure` itself.
    pub outlook: Vec<(&'static str, MissionOutlook)>,
}

/// A part of the fault space with the rates of its failures.
struct Exposed {
    space: String,
    kind: SpaceKind,
    bits: u64,
    rates: Vec<(&'static str, Estimate)>,
}

impl Summary {
    /// The FIT of each stratum of single bits, and of those that are pooled: raw rate × bits × rate.
    #[must_use]
    pub fn fit(&self, raw: FitPerMbit, method: Method) -> Vec<FitRow> {
        let rows = self.exposed(method).into_iter().map(|Exposed { space, kind, bits, rates }| {
            let fit = |(name, rate)| (name, fit_of_class(raw, Bits(bits), rate));
            FitRow { space, kind, bits, fit: rates.into_iter().map(fit).collect() }
        });
        rows.collect()
    }

    /// What a mission has to expect if all its memory were like each stratum of RAM, or like those that are
    /// pooled.
    #[must_use]
    pub fn mission(&self, mission: &Mission, field_seconds: f64, method: Method) -> Vec<MissionRow> {
        let ram = self.exposed(method).into_iter().filter(|exposed| exposed.kind == SpaceKind::Ram);
        ram.map(|Exposed { space, rates, .. }| {
            let outlook = |(name, rate)| (name, mission_outlook(mission, field_seconds, rate));
            MissionRow { space, outlook: rates.into_iter().map(outlook).collect() }
        })
        .collect()
    }

    fn exposed(&self, method: Method) -> Vec<Exposed> {
        let is_failure = |outcome: Outcome| Class::Failure.has(outcome);
        let strata = self.strata.iter().filter_map(|stratum| {
            let of = stratum.outcomes.iter().filter(|entry| is_failure(entry.outcome));
            let mut rates: Vec<_> =
                of.filter_map(|entry| Some((entry.outcome.name(), entry.rate?.estimate(method)))).collect();
            let class = stratum.class(Class::Failure)?.rate?.estimate(method);
            rates.push((Class::Failure.name(), class));
            Some(Exposed { space: stratum.name.clone(), kind: stratum.kind, bits: stratum.bits?, rates })
        });
        let pooled = self.pooled.iter().filter_map(|pooled| {
            let of = pooled.outcomes.iter().filter(|entry| is_failure(entry.outcome));
            let mut rates: Vec<_> = of.map(|entry| (entry.outcome.name(), entry.rate)).collect();
            rates.push((Class::Failure.name(), pooled.class(Class::Failure)?.rate));
            Some(Exposed { space: pooled.strata.join(" + "), kind: pooled.kind, bits: pooled.bits?, rates })
        });
        strata.chain(pooled).collect()
    }
}
