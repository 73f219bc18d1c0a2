//! One rate over several strata.
//!
//! Invariant: only strata of one kind of space and of one pattern are pooled, and only where all have
//! trials and none overlaps another; else it says why not.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::campaign::plan::Stratum;
use crate::campaign::store::open::Store;
use crate::campaign::summary::model::space_of;
use crate::campaign::summary::{Class, SpaceKind, StratumSummary};
use crate::stats::strata::Drawing;
use crate::stats::tally::Tally;
use crate::stats::{Confidence, Estimate};
use crate::trial::Outcome;

/// The strata of one kind together.
#[derive(Clone, Debug, Serialize)]
pub struct Pooled {
    /// What their faults strike. Bits of RAM and of registers are never pooled: a particle does not choose
    /// between them as a draw does.
    pub kind: SpaceKind,
    /// Which bits flip together.
    pub pattern: String,
    /// The names of the strata.
    pub strata: Vec<String>,
    /// The faults × times of all of them, rounded to 53 bits.
    pub population: f64,
    /// The bits of all of them; `None` where a fault is of several bits.
    pub bits: Option<u64>,
    /// Trials that rates are of.
    pub counted: u64,
    /// Why there is no rate, if there is none.
    pub why_not: Option<String>,
    /// One entry an outcome; empty where there is no rate.
    pub outcomes: Vec<PooledRate<Outcome>>,
    /// One entry a class; empty where there is no rate.
    pub classes: Vec<PooledRate<Class>>,
}

impl Pooled {
    /// The rate of a class.
    #[must_use]
    pub fn class(&self, class: Class) -> Option<&PooledRate<Class>> {
        self.classes.iter().find(|entry| entry.outcome == class)
    }
}

/// A rate over several strata, each with the weight of its faults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PooledRate<O> {
    /// Of which outcome or class.
    pub outcome: O,
    /// Σ N_h/N · k_h/n_h with the beta interval of [`crate::stats::strata::Strata::estimate`].
    pub rate: Estimate,
    /// The extrapolated absolute number, N times the rate.
    pub failures: Estimate,
}

/// Pools the strata of each kind and pattern of which there are several.
pub(super) fn pooled(
    store: &Store,
    strata: &[StratumSummary],
    tally: &Tally<String, Outcome>,
    confidence: Confidence,
) -> Vec<Pooled> {
    let mut groups: BTreeMap<(SpaceKind, &str), Vec<usize>> = BTreeMap::new();
    for (index, stratum) in strata.iter().enumerate() {
        groups.entry((stratum.kind, &stratum.pattern)).or_default().push(index);
    }
    let several = groups.into_iter().filter(|(_, members)| members.len() > 1);
    several
        .map(|((kind, pattern), indices)| {
            let members: Vec<&StratumSummary> = indices.iter().map(|index| &strata[*index]).collect();
            let rates = rates(store, &indices, tally, confidence);
            let (why_not, (outcomes, classes)) = match rates {
                Ok(rates) => (None, rates),
                Err(why) => (Some(why), (Vec::new(), Vec::new())),
            };
            Pooled {
                kind,
                pattern: pattern.to_owned(),
                strata: members.iter().map(|stratum| stratum.name.clone()).collect(),
                population: members.iter().map(|stratum| stratum.population).sum(),
                bits: members.iter().map(|stratum| stratum.bits).sum(),
                counted: members.iter().map(|stratum| stratum.counted).sum(),
                why_not,
                outcomes,
                classes,
            }
        })
        .collect()
}

type Rates = (Vec<PooledRate<Outcome>>, Vec<PooledRate<Class>>);

fn rates(
    store: &Store,
    indices: &[usize],
    tally: &Tally<String, Outcome>,
    confidence: Confidence,
) -> Result<Rates, String> {
    let Some(overlaps) = store.overlaps() else {
        return Err("this campaign's file does not say whether they overlap; make it anew".to_owned());
    };
    let among = |number: u32| usize::try_from(number).is_ok_and(|number| indices.contains(&number));
    if let Some((one, other)) = overlaps.iter().find(|(one, other)| among(*one) && among(*other)) {
        let name = |number: u32| store.strata().get(number as usize).map_or("", |stratum| &stratum.name);
        return Err(format!("{} and {} have faults in common", name(*one), name(*other)));
    }
    let members: Vec<&Stratum> = indices.iter().filter_map(|index| store.strata().get(*index)).collect();
    let estimate = |is_hit: &dyn Fn(&Outcome) -> bool| -> Result<(Estimate, Estimate), String> {
        let sizes = members.iter().map(|stratum| (&stratum.name, space_of(stratum)));
        let strata =
            tally.strata(sizes, is_hit, Drawing::WithoutReplacement).map_err(|error| error.to_string())?;
        let rate = strata.estimate(confidence);
        Ok((rate, rate.failures(strata.space())))
    };
    let counted = Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Infra);
    let outcomes = counted.map(|outcome| {
        let (rate, failures) = estimate(&|one| *one == outcome)?;
        Ok(PooledRate { outcome, rate, failures })
    });
    let classes = Class::ALL.into_iter().map(|class| {
        let (rate, failures) = estimate(&|one| class.has(*one))?;
        Ok(PooledRate { outcome: class, rate, failures })
    });
    Ok((outcomes.collect::<Result<_, String>>()?, classes.collect::<Result<_, String>>()?))
}
