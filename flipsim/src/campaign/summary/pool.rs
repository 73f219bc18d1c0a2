//! One rate over several strata.
//!
//! Invariant: only strata of one kind of space and of one pattern are pooled, and only where all have
//! trials and none overlaps another; else it says why not.

use std::collections::BTreeMap;

use crate::campaign::plan::Stratum;
use crate::campaign::store::open::Store;
use crate::campaign::summary::model::{Pooled, PooledRate, SpaceKind, StratumSummary, space_of};
use crate::stats::strata::Drawing;
use crate::stats::tally::Tally;
use crate::stats::{Confidence, Estimate};
use crate::trial::{Class, Outcome};

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
        return Err("this campaign's file does not say whether they overlap; make it again".to_owned());
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
    let counted = Outcome::ALL.into_iter().filter(|outcome| outcome.is_counted());
    let outcomes = counted.map(|outcome| {
        let (rate, failures) = estimate(&|one| *one == outcome)?;
        Ok(PooledRate { outcome, rate, failures, anytime: None })
    });
    let classes = Class::ALL.into_iter().map(|class| {
        let (rate, failures) = estimate(&|one| class.has(*one))?;
        Ok(PooledRate { outcome: class, rate, failures, anytime: None })
    });
    Ok((outcomes.collect::<Result<_, String>>()?, classes.collect::<Result<_, String>>()?))
}
