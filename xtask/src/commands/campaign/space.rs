//! The fault spaces of a campaign's strata, asked of its guest.
//!
//! Invariant: the guest stands at its quiescent point, and is over when this returns.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use flipsim::campaign::spec::StratumSpec;
use flipsim::campaign::{CampaignSpec, leading_class, per_symbol, spaces};
use flipsim::fault::{FaultSpace, FaultTarget, GuestNames, Profile, TargetGuest, Used, UsedByTrigger};
use flipsim::text::shown;
use flipsim::trial::accesses::Accesses;
use flipsim::trial::clone::CloneDisk;
use flipsim::trial::golden::{EventError, EventGuest, Golden};
use flipsim::trial::{Runner, Trigger};
use flipsim::units::VirtualNs;

use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::accesses::profile_of;
use crate::guest::errors::{not_started, run_error};
use crate::guest::golden::{Prepared, registers};
use crate::guest::headless;
use crate::guest::template::clones_dir;
use crate::interrupt;
use crate::progress::ProgressStep;

/// What a guest says of a campaign's strata.
pub struct GuestSpaces {
    /// The specification, with a stratum for each symbol where it asks for that.
    pub spec: CampaignSpec,
    /// The fault space of each.
    pub spaces: Vec<FaultSpace>,
    /// The instants of the triggers of its strata.
    pub events: BTreeMap<String, Vec<VirtualNs>>,
    /// Of each, the class of registers that most of its bits are of, and their share.
    pub led: Vec<Option<(String, f64)>>,
    /// What the guest lacks, a line each.
    pub lacks: Vec<&'static str>,
}

/// Whether it takes to know what the golden run executes.
pub fn by_profile(spec: &CampaignSpec) -> bool {
    spec.strata.iter().flat_map(|stratum| &stratum.targets).any(FaultTarget::is_profile)
}

/// Asks the guest. What its golden run executes is known from its accesses.
pub fn of_guest(
    spec: &CampaignSpec,
    prepared: &Prepared,
    accesses: Option<&Accesses>,
) -> Result<GuestSpaces> {
    lacking(spec, prepared)?;
    let parent = clones_dir()?;
    let mut runner =
        Runner::start_persistently(&prepared.template, &parent, CloneDisk::Memory, interrupt::raised)
            .map_err(not_started)?;
    let names = runner.names(&prepared.template)?;
    let registers = match spec.strata.iter().any(StratumSpec::is_register) {
        true => registers(prepared, &mut runner)?,
        false => Vec::new(),
    };
    let profile = accesses.and_then(|accesses| profile_of(accesses, &names));
    let profile = profile.as_ref();
    let guest = TargetGuest { names: &names, registers: &registers, profile, used: None };
    let spec = per_symbol(spec, &guest).exit_with(Code::Usage)?;
    let (events, used) = events(&spec, prepared, &names, profile)?;
    let guest = TargetGuest { used: Some(&used), ..guest };
    let spaces = spaces(&spec, &guest).exit_with(Code::Usage)?;
    let led = |space| leading_class(space, &registers).map(|(class, share)| (class.to_owned(), share));
    let led = spaces.iter().map(led).collect();
    let template = &prepared.template;
    let lacks = match runner.guest.target().qmp() {
        Some(qmp) => headless::lacks(template.iomem().is_some(), qmp, &template.info().plan.spec.arch)?,
        None => Vec::new(),
    };
    Ok(GuestSpaces { spec, spaces, events, led, lacks })
}

/// Refuses a campaign that the guest's QEMU cannot do.
pub fn lacking(spec: &CampaignSpec, prepared: &Prepared) -> Result<()> {
    spec.lacking(prepared.golden.capabilities).map_or(Ok(()), |why| Err(exit_error(Code::Usage, why)))
}

/// When the events come that strata wait for, and what is used then where a stratum asks for it.
fn events(
    spec: &CampaignSpec,
    prepared: &Prepared,
    names: &GuestNames,
    profile: Option<&Profile>,
) -> Result<(BTreeMap<String, Vec<VirtualNs>>, UsedByTrigger)> {
    let asked = spec.strata.iter().filter_map(|stratum| spec.when_of(stratum).trigger().cloned());
    let triggers: Vec<Trigger> = asked.collect::<BTreeSet<_>>().into_iter().collect();
    let parent = clones_dir()?;
    let (template, wall) = (&prepared.template, spec.trial.wall);
    let guest = EventGuest {
        template,
        names,
        profile,
        parent: &parent,
        wall,
        seed: spec.seed,
        interrupted: interrupt::raised,
    };
    let failed = |error| match error {
        EventError::Run(error) => run_error(error),
        wrong @ (EventError::Disturbed(_) | EventError::Accesses { .. } | EventError::Recording(_)) => {
            anyhow::Error::from(wrong)
        }
        wrong => exit_error(Code::Usage, wrong.to_string()),
    };
    // A campaign that grows has them.
    let kept = &prepared.golden.events;
    let found = match triggers.iter().all(|trigger| kept.contains_key(&trigger.to_string())) {
        true => kept.clone(),
        false => {
            let step = ProgressStep::spinner("when the events come in the golden run".to_owned());
            let found = prepared.golden.resolve(&triggers, guest).map_err(failed)?;
            step.done();
            found
        }
    };
    let uses = |stratum: &&StratumSpec| stratum.targets.iter().any(|target| target.used().is_some());
    let strata: Vec<&StratumSpec> = spec.strata.iter().filter(uses).collect();
    let of = |stratum: &&StratumSpec| spec.when_of(stratum).trigger().map(ToString::to_string);
    let at: BTreeSet<String> = strata.iter().filter_map(of).collect();
    if at.is_empty() {
        return Ok((found, UsedByTrigger::new()));
    }
    let is_stack = |target: &FaultTarget| matches!(target.used(), Some(Used::Stack(_)));
    let stack = strata.iter().any(|stratum| stratum.targets.iter().any(is_stack));
    let step = ProgressStep::spinner("what the golden run uses at these instants".to_owned());
    let golden = Golden { events: found.clone(), ..prepared.golden.clone() };
    let used = golden.used_at(&at.into_iter().collect::<Vec<_>>(), stack, guest).map_err(failed)?;
    step.done();
    Ok((found, used))
}

/// The instants of each event, a line each.
pub fn event_lines(golden: &Golden) -> Vec<String> {
    let after = |at: &VirtualNs| VirtualNs(at.0.saturating_sub(golden.begin().0));
    let from = if golden.signals.start_at_power_on() { "power-on" } else { "READY" };
    let line = |(trigger, all): (&String, &Vec<VirtualNs>)| {
        let (first, last) = (after(all.first()?), after(all.last()?));
        let trigger = shown(trigger, 200);
        Some(match all.len() {
            1 => format!("{trigger}: {} after {from}", first.exact()),
            count => format!("{trigger}: {count} instants, from {first} to {last} after {from}"),
        })
    };
    golden.events.iter().filter_map(line).collect()
}
