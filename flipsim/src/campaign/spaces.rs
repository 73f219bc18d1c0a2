//! From the strata of a specification to the fault spaces of one guest.
//!
//! Invariant: **two names of one place are the same place**: no fault is in a stratum's space twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::campaign::part::fits;
use crate::campaign::spec::{CampaignSpec, Per, StratumSpec, Times};
use crate::fault::{
    Align, Borders, FaultSpace, FaultTarget, FaultTargetError, FlippableRegister, Like, Listed, ListedFault,
    ListedPlace, Moment, Operations, PairedSpace, SpaceError, TargetGuest, UsedHere, used_space,
};
use crate::memory::PhysRange;
use crate::trial::LaterFault;
use crate::units::{GuestPhys, VirtualNs};

/// A stratum that has no fault space in this guest.
#[derive(Debug, thiserror::Error)]
pub enum StratumError {
    /// A target that finds nothing.
    #[error("stratum {name}: {cause}")]
    Nothing {
        /// The stratum's name.
        name: String,
        /// What the target is, and why.
        cause: FaultTargetError,
    },
    /// A stratum with fewer trials than symbols.
    #[error("stratum {name} has {symbols} symbols and {trials} trials; give it {symbols} at least")]
    TooMany {
        /// The stratum's name.
        name: String,
        /// How many symbols it has.
        symbols: u64,
        /// How many trials.
        trials: u64,
    },
    /// What a part of the guest says of a name, an address or a pattern.
    #[error(transparent)]
    Refused(FaultTargetError),
}

/// The specification with a stratum for each symbol in those that are `per` symbol, which share their trials evenly: what a
/// remainder is, the first have.
///
/// # Errors
/// A target names nothing of this guest, or a stratum has more symbols than trials.
pub fn per_symbol(spec: &CampaignSpec, guest: &TargetGuest<'_>) -> Result<CampaignSpec, StratumError> {
    let mut strata = Vec::with_capacity(spec.strata.len());
    for stratum in &spec.strata {
        let (Some(Per::Symbol), Some(trials)) = (stratum.per, stratum.trials) else {
            strata.push(stratum.clone());
            continue;
        };
        let mut parts: Vec<(String, PhysRange)> = Vec::new();
        for target in &stratum.targets {
            parts.extend(target.named(guest).map_err(|cause| refused(stratum, cause))?);
        }
        // Two names of one place are the same place.
        parts.sort_by_key(|(_, range)| *range);
        parts.dedup_by_key(|(_, range)| *range);
        let count = parts.len() as u64;
        if count > trials {
            return Err(StratumError::TooMany { name: stratum.name.clone(), symbols: count, trials });
        }
        let mut names = BTreeSet::new();
        for ((symbol, range), number) in parts.into_iter().zip(0u64..) {
            // By its name where that means these bytes: it then is the same stratum in another build.
            let named = guest.names.symbol(&symbol).is_ok_and(|found| found == range);
            let own = match names.insert(symbol.clone()) {
                true => format!("{}/{symbol}", stratum.name),
                false => format!("{}/{symbol}@{}", stratum.name, range.first),
            };
            strata.push(StratumSpec {
                name: own,
                targets: vec![if named { FaultTarget::Symbol(symbol) } else { FaultTarget::Range(range) }],
                trials: Some(trials / count + u64::from(number < trials % count)),
                per: None,
                ..stratum.clone()
            });
        }
    }
    Ok(CampaignSpec { strata, ..spec.clone() })
}

fn refused(stratum: &StratumSpec, cause: FaultTargetError) -> StratumError {
    match cause.finds_nothing() {
        true => StratumError::Nothing { name: stratum.name.clone(), cause },
        false => StratumError::Refused(cause),
    }
}

/// The fault spaces of the strata, in their order.
///
/// # Errors
/// A target names nothing of this guest, or what is no RAM.
pub fn spaces(spec: &CampaignSpec, guest: &TargetGuest<'_>) -> Result<Vec<FaultSpace>, StratumError> {
    let space = |stratum: &StratumSpec| {
        let align = stratum.align.unwrap_or(Align::BYTE);
        let listed: Vec<&Listed> = stratum.targets.iter().filter_map(FaultTarget::listed).collect();
        if !listed.is_empty() {
            return listed_space(&listed, guest).map_err(|cause| refused(stratum, cause));
        }
        if let [FaultTarget::Used(used)] = stratum.targets[..] {
            let like =
                Like { pattern: spec.pattern_of(stratum), align, operations: spec.operations_of(stratum) };
            let here = used_by(spec, stratum, guest);
            let space = used_space(used, &here, like, guest.registers, &guest.names.map.system_ram());
            return space.map_err(|cause| refused(stratum, cause.into()));
        }
        let space = FaultSpace::of(&stratum.targets, spec.pattern_of(stratum), align, guest, Borders::Joined);
        let space = space.and_then(|space| {
            let clusters = spec.clusters_in(stratum, &guest.names.map.system_ram());
            Ok(match clusters.map_err(SpaceError::from)? {
                Some(clusters) => {
                    FaultSpace::Clustered { space: Box::new(space), clusters: Box::new(clusters) }
                }
                None => space,
            })
        });
        let space = space.and_then(|space| Ok(space.under(spec.operations_of(stratum))?));
        space.map_err(|cause| refused(stratum, cause))
    };
    spec.strata.iter().map(space).collect()
}

/// The trials that are written out, one fault of the space each, with those that strike beside it.
fn listed_space(listed: &[&Listed], guest: &TargetGuest<'_>) -> Result<FaultSpace, FaultTargetError> {
    let space = |fault: &ListedFault| -> Result<FaultSpace, FaultTargetError> {
        let from = |first: GuestPhys| {
            let last = GuestPhys(first.0.saturating_add(fault.pattern.bytes() - 1));
            FaultTarget::Range(PhysRange { first, last })
        };
        let target = match &fault.place {
            ListedPlace::Register(name) => FaultTarget::Register(name.clone()),
            ListedPlace::Address(address) => from(*address),
            ListedPlace::Symbol(name) => from(guest.names.symbol(name)?.first),
        };
        let space = FaultSpace::of(&[target], fault.pattern, Align::BYTE, guest, Borders::Joined)?;
        let space = space.under(Operations::One(fault.operation))?;
        match space.len() {
            1 => Ok(space),
            count => Err(FaultTargetError::Several { text: fault.to_string(), count }),
        }
    };
    let mut known = BTreeSet::new();
    let moment = |one: &&Listed| {
        let mut spaces = Vec::with_capacity(one.faults.len());
        for fault in &one.faults {
            spaces.push((fault.after, space(fault)?));
        }
        // The first that strikes is the trial's fault, as of all trials.
        spaces.sort_by_key(|(after, _)| *after);
        let mut faults: Vec<LaterFault> = Vec::new();
        for (after, space) in &spaces {
            faults.extend(space.nth(0).map(|fault| LaterFault { after: *after, fault }));
        }
        let clash = (1..faults.len()).any(|at| !fits(&faults[at], &faults[..at]));
        if clash || !known.insert(one.to_string()) {
            return Err(FaultTargetError::Clash(one.to_string()));
        }
        let mut spaces = spaces.into_iter();
        let first = spaces.next().map(|(after, space)| (after, Arc::new(space)));
        let more = spaces.filter_map(|(after, space)| Some((after, space.nth(0)?))).collect();
        Ok(first.map(|(after, space)| Moment { after, space, more }))
    };
    let moments: Vec<Option<Moment>> = listed.iter().map(moment).collect::<Result<_, FaultTargetError>>()?;
    Ok(FaultSpace::Paired(PairedSpace::new(moments.into_iter().flatten().collect())?))
}

/// What is used at the instants of a stratum, of those that its times allow.
fn used_by(spec: &CampaignSpec, stratum: &StratumSpec, guest: &TargetGuest<'_>) -> Vec<UsedHere> {
    let trigger = spec.when_of(stratum).trigger().map(ToString::to_string);
    let here = trigger.zip(guest.used).and_then(|(trigger, used)| used.get(&trigger));
    let (from, to) = match spec.times {
        Times::Within { from, to } => (from, to),
        Times::At(_) => (VirtualNs(0), None),
    };
    let inside = |one: &&UsedHere| from <= one.after && to.is_none_or(|to| one.after < to);
    here.into_iter().flatten().filter(inside).cloned().collect()
}

/// The class of registers that most faults of a space are in, with its share, where there are others: a rate of the whole
/// is then mostly that of this class.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a share of some thousand bits")]
pub fn leading_class<'a>(space: &FaultSpace, registers: &'a [FlippableRegister]) -> Option<(&'a str, f64)> {
    let space = space.registers()?;
    let mut classes: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, faults) in space.by_register().filter(|(_, faults)| *faults > 0) {
        let register = registers.iter().find(|register| register.name == name)?;
        *classes.entry(&register.class).or_default() += faults;
    }
    let all: u64 = classes.values().sum();
    let (class, most) = classes.iter().max_by_key(|(_, faults)| **faults)?;
    (classes.len() > 1 && 2 * most > all).then(|| (*class, *most as f64 / all as f64))
}

#[cfg(test)]
mod tests;
