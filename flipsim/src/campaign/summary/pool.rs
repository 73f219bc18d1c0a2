//! One rate over several strata.
//!
//! Invariant: only strata of one kind of space and of one pattern are pooled, and only where all have
//! trials and none overlaps another; else it says why not.

use std::collections::BTreeMap;

use crate::campaign::store::open::Store;
use crate::campaign::summary::basis::{Basis, KnownPart, counted_outcomes};
use crate::campaign::summary::missing::{Member, Missing};
use crate::campaign::summary::model::{Pooled, PooledRate, SpaceKind, StratumSummary, space_of};
use crate::campaign::when::When;
use crate::stats::strata::{Drawing, Strata};
use crate::stats::{Confidence, Estimate};
use crate::trial::{Class, Outcome};

/// What rates of strata are made of, of these indices of the plan, with their counts.
fn bases<'a>(
    store: &Store,
    indices: &[usize],
    members: &[&'a StratumSummary],
    counts: &'a [BTreeMap<Outcome, u64>],
    confidence: Confidence,
) -> Vec<Member<'a>> {
    let sizes = indices.iter().filter_map(|index| store.strata().get(*index)).map(space_of);
    let of = members.iter().zip(counts).zip(sizes);
    of.map(|((stratum, counts), size)| Member {
        name: &stratum.name,
        basis: Basis::new(counts, stratum.known.as_ref(), size, confidence).behind(stratum.has_ecc()),
        missing: stratum.infra + stratum.not_flipped,
    })
    .collect()
}

/// Pools the strata of each kind and pattern of which there are several.
pub(super) fn pooled(store: &Store, strata: &[StratumSummary], confidence: Confidence) -> Vec<Pooled> {
    let mut groups: BTreeMap<(SpaceKind, &str), Vec<usize>> = BTreeMap::new();
    for (index, stratum) in strata.iter().enumerate() {
        groups.entry((stratum.kind, &stratum.pattern)).or_default().push(index);
    }
    let several = groups.into_iter().filter(|(_, members)| members.len() > 1);
    several
        .map(|((kind, pattern), indices)| {
            let members: Vec<&StratumSummary> = indices.iter().map(|index| &strata[*index]).collect();
            let counts: Vec<_> = members.iter().map(|stratum| stratum.counts()).collect();
            let members_of = bases(store, &indices, &members, &counts, confidence);
            let rates = rates(store, &indices, &members_of, confidence);
            let (why_not, (outcomes, classes, few)) = match rates {
                Ok(rates) => (None, rates),
                Err(why) => (Some(why), (Vec::new(), Vec::new(), Vec::new())),
            };
            let known = members.iter().filter(|stratum| stratum.known_part().is_some());
            Pooled {
                kind,
                pattern: pattern.to_owned(),
                strata: members.iter().map(|stratum| stratum.name.clone()).collect(),
                population: members.iter().map(|stratum| stratum.population).sum(),
                bits: bits(&members),
                counted: members.iter().map(|stratum| stratum.counted).sum(),
                method: if few.is_empty() { "beta" } else { "beta, small strata as one" },
                few,
                known: known.map(|stratum| stratum.name.clone()).collect(),
                missing: if why_not.is_none() { Missing::of_several(&members_of, confidence) } else { None },
                why_not,
                outcomes,
                classes,
            }
        })
        .collect()
}

/// How many bits strata have together. Those that are struck while the guest is busy in one stratum and while it idles
/// in another are exposed once, for as long as both take.
fn bits(members: &[&StratumSummary]) -> Option<u64> {
    let all: u64 = members.iter().map(|stratum| stratum.bits).sum::<Option<u64>>()?;
    let longest = |of: fn(&When) -> bool| {
        members.iter().filter(|stratum| of(&stratum.when)).map(|stratum| stratum.times).max()
    };
    let (busy, idle) =
        (longest(|when| !when.is_time() && *when != When::Idle), longest(|when| *when == When::Idle));
    let moments = match (longest(|when| when.is_time()), busy, idle) {
        (Some(all), Some(_), _) | (Some(all), _, Some(_)) => all,
        (None, Some(busy), Some(idle)) => busy.saturating_add(idle),
        // All strike at the same moments.
        _ => return Some(all),
    };
    let pairs: u128 =
        members.iter().map(|stratum| u128::from(stratum.faults) * u128::from(stratum.times)).sum();
    let moments = u128::from(moments.max(1));
    u64::try_from((pairs + moments / 2) / moments).ok()
}

/// The rates, and the strata that count as one.
type Rates = (Vec<PooledRate<Outcome>>, Vec<PooledRate<Class>>, Vec<String>);

fn rates(
    store: &Store,
    indices: &[usize],
    members: &[Member<'_>],
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
    let seen = |is_hit: &dyn Fn(Outcome) -> bool| -> Result<Strata, String> {
        let parts = members.iter().map(|member| member.basis.stratum(member.name, is_hit, [0, 0]));
        let strata =
            parts.collect::<Result<_, _>>().and_then(|parts| Strata::new(parts, Drawing::WithoutReplacement));
        strata.map_err(|error| error.to_string())
    };
    let estimate = |is_hit: &dyn Fn(Outcome) -> bool| -> Result<(Estimate, Estimate), String> {
        let strata = seen(is_hit)?;
        let rate = strata.estimate(confidence);
        Ok((rate, rate.failures(strata.space())))
    };
    let ecc = members.iter().any(|member| member.basis.ecc);
    let outcomes = counted_outcomes(ecc).map(|outcome| {
        let (rate, failures) = estimate(&|one| one == outcome)?;
        Ok(PooledRate { outcome, rate, failures, anytime: None })
    });
    let classes = Class::ALL.into_iter().map(|class| {
        let (rate, failures) = estimate(&|one| class.has(one))?;
        Ok(PooledRate { outcome: class, rate, failures, anytime: None })
    });
    let few = seen(&|_| true)?.few().map(|part| part.name().to_owned()).collect();
    Ok((outcomes.collect::<Result<_, String>>()?, classes.collect::<Result<_, String>>()?, few))
}

impl StratumSummary {
    /// Whether its trials have memory that corrects errors.
    #[must_use]
    pub fn has_ecc(&self) -> bool {
        self.outcome(Outcome::EccDetected).is_some()
    }

    /// What is known of it without a trial, where its intervals are made of that.
    #[must_use]
    pub fn known_part(&self) -> Option<&KnownPart> {
        self.known.as_ref().filter(|known| known.used)
    }

    /// How often each outcome came.
    pub(super) fn counts(&self) -> BTreeMap<Outcome, u64> {
        self.outcomes.iter().map(|entry| (entry.outcome, entry.count)).collect()
    }
}
