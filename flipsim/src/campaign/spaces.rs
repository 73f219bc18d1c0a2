//! From the strata of a specification to the fault spaces of one guest.
//!
//! Invariant: **two names of one place are the same place**: no fault is in a stratum's space twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::campaign::spec::{CampaignSpec, Per, StratumSpec, Times};
use crate::fault::{
    Align, Borders, FaultSpace, FaultTarget, FaultTargetError, FlippableRegister, Like, Listed, ListedFault,
    ListedPlace, Moment, Operations, PairedSpace, SpaceError, TargetGuest, UsedHere, used_space,
};
use crate::memory::PhysRange;
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
    let moment = |listed: &&Listed| {
        let mut spaces = Vec::with_capacity(listed.faults.len());
        for fault in &listed.faults {
            spaces.push((fault.after, space(fault)?));
        }
        // The first that strikes is the trial's fault, as of all trials.
        spaces.sort_by_key(|(after, _)| *after);
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
mod tests {
    use super::*;
    use crate::fault::symbols::map_of;
    use crate::fault::{Executed, GuestNames, Profile};
    use crate::memory::MemoryMap;
    use crate::units::GuestPhys;

    #[test]
    fn a_space_of_registers_says_which_class_it_is_mostly_of() {
        let register = |name: &str, class: &str, bits: u32| FlippableRegister {
            name: name.into(),
            bits,
            class: class.into(),
            writable: vec![0xff; bits as usize / 8],
        };
        let registers: Vec<FlippableRegister> = (0..32)
            .flat_map(|n| [register(&format!("x{n}"), "core", 64), register(&format!("v{n}"), "fpu", 128)])
            .collect();
        let iomem = "40000000-4000ffff : System RAM\n";
        let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
        let names =
            GuestNames::without_symbols(MemoryMap::new(Some(iomem), mtree).unwrap(), "none are known");
        let guest = TargetGuest { names: &names, registers: &registers, profile: None, used: None };
        let leading = |text: &str| {
            let spec = CampaignSpec { strata: vec![text.parse().unwrap()], ..CampaignSpec::default() };
            leading_class(&spaces(&spec, &guest).unwrap()[0], &registers)
        };
        assert_eq!(leading("r=reg:*"), Some(("fpu", 2.0 / 3.0)));
        assert_eq!((leading("r=class:core"), leading("r=reg:x1,reg:v1")), (None, Some(("fpu", 2.0 / 3.0))));
    }

    #[test]
    fn a_stratum_per_symbol_is_one_for_each_by_its_name() {
        let (map, symbols) =
            map_of(&[("tcp_one", 0x200, 0x40), ("tcp_two", 0x300, 0x10), ("tcp_too", 0x300, 0x10)]);
        let names = GuestNames::with_symbols(map, symbols);
        let executed = [(0x200, 90), (0x108, 9), (0x300, 1)].map(|(at, runs)| Executed {
            first: GuestPhys(0x4000_1000 + at),
            instructions: 1,
            runs,
        });
        let profile = Profile::new(executed.into_iter(), names.symbols().unwrap());
        let guest = TargetGuest { names: &names, registers: &[], profile: Some(&profile), used: None };
        let of = |text: &str, trials| {
            let stratum =
                StratumSpec { per: Some(Per::Symbol), trials: Some(trials), ..text.parse().unwrap() };
            let rest: StratumSpec = "ram".parse().unwrap();
            let strata = vec![stratum, rest];
            per_symbol(&CampaignSpec { strata, ..CampaignSpec::default() }, &guest)
        };
        let shown = |text, trials| -> Vec<String> {
            let spec = of(text, trials).unwrap();
            spec.strata.iter().map(|s| format!("{} {} {:?}", s.name, s.targets[0], s.trials)).collect()
        };
        // Two names of one place are one stratum, and the rest is as it was.
        let tcp = ["t/tcp_one symbol:tcp_one Some(4)", "t/tcp_two symbol:tcp_two Some(3)", "ram ram None"];
        assert_eq!(shown("t=symbol:tcp_*", 7), tcp);
        let hot = [
            "t/do_one_thing symbol:do_one_thing Some(3)",
            "t/tcp_one symbol:tcp_one Some(2)",
            "ram ram None",
        ];
        assert_eq!(shown("t=profile:98%", 5), hot);
        // What is no symbol stays what it is.
        assert_eq!(
            shown("t=range:0x40001000+16", 5)[0],
            "t/range:0x40001000-0x4000100f range:0x40001000-0x4000100f Some(5)"
        );
        let error = of("t=symbol:tcp_*", 1).unwrap_err().to_string();
        assert_eq!(error, "stratum t has 2 symbols and 1 trials; give it 2 at least");
        let unknown = TargetGuest { profile: None, ..guest };
        let spec = CampaignSpec { strata: vec!["t=profile:50%".parse().unwrap()], ..CampaignSpec::default() };
        let error = spaces(&spec, &unknown).unwrap_err().to_string();
        assert!(
            error.starts_with("stratum t: profile:50%: it is not known what the golden run executes"),
            "{error}"
        );
        assert_eq!(spaces(&spec, &guest).unwrap()[0].len(), 0x40 * 8);
    }

    #[test]
    fn each_stratum_has_its_space_and_an_error_that_names_it() {
        let iomem = "40000000-4000ffff : System RAM\n  40001000-40001fff : Kernel code\n";
        let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
        let map = MemoryMap::new(Some(iomem), mtree).unwrap();
        let names = GuestNames::without_symbols(map, "none are known");
        let guest = TargetGuest { names: &names, registers: &[], profile: None, used: None };
        let spec = |strata: &[&str]| CampaignSpec {
            strata: strata.iter().map(|text| text.parse::<StratumSpec>().unwrap()).collect(),
            ..CampaignSpec::default()
        };
        let found = spaces(&spec(&["ram", "code=region:Kernel code"]), &guest).unwrap();
        assert_eq!(found.iter().map(FaultSpace::len).collect::<Vec<_>>(), [0x10000 * 8, 0x1000 * 8]);
        // Two that overlap and touch are joined.
        let joined = spaces(&spec(&["range:0x40000000+2,range:0x40000001+2,range:0x40000003+1"]), &guest);
        assert_eq!(joined.unwrap()[0].len(), 32);
        for (stratum, error) in [
            ("t=symbol:tcp_*", "stratum t: symbol:tcp_*: none are known"),
            (
                "r=class:core",
                "stratum r: no register that takes a flip is class:core; this guest has none that takes one",
            ),
        ] {
            assert_eq!(spaces(&spec(&[stratum]), &guest).unwrap_err().to_string(), error);
        }
        let error = spaces(&spec(&["r=range:0x50000000+4"]), &guest).unwrap_err();
        assert!(matches!(error, StratumError::Refused(_)), "{error}");
    }
}
