//! Campaigns without a guest: a plan as any other, and results that are drawn instead of observed.
//!
//! Invariant: the same specification gives the same results, those of a trial whatever the others are;
//! costs and times of recording are the only ones that differ.

use std::path::Path;

use rand::RngExt;

use crate::campaign::size::Size;
use crate::campaign::spec::StratumSpec;
use crate::campaign::store::StoreError;
use crate::campaign::{
    CampaignSpec, KNOWN, KNOWN_FORMAT, Known, KnownParts, LIVE_MAP, LiveCell, LiveMap, Manifest, Plan,
    PlannedTrial, Recording, Shard, Store,
};
use crate::console::classify::Kind;
use crate::console::signals::Signals;
use crate::fault::{FaultSpace, FaultTarget, FlippableRegister, Operation, RamSpace, RegSpace, fault_rng};
use crate::machine::End;
use crate::memory::RangeSet;
use crate::target::{Capabilities, Digest128, StateDigest};
use crate::trial::golden::{Checkpoint, Golden, Window};
use crate::trial::{Because, Costs, Outcome, RestoreMethod, Settled, TrialRecord};
use crate::units::VirtualNs;

/// The quiescent point.
pub const BEGIN: VirtualNs = VirtualNs(40_000_000);
/// How long the golden run is.
pub const LENGTH: VirtualNs = VirtualNs(400_000_000);

const TEMPLATE: &str = "template-of-a-fake";

/// A campaign of so many trials, equally many each, over these strata, such as `range:0x1000+4K` and
/// `class:core` (16 registers of 64 bits). A target of another form has no faults here.
#[must_use]
pub fn spec(trials: u64, targets: &[&str]) -> CampaignSpec {
    let stratum = |target: &&str| {
        let places: Vec<FaultTarget> = target.parse().into_iter().collect();
        StratumSpec::new(target.split([':', '+']).next_back().unwrap_or(target), places)
    };
    CampaignSpec {
        name: "fake".to_owned(),
        seed: 42,
        size: Some(Size::Trials(trials)),
        sharing: crate::campaign::spec::Sharing::Equal,
        strata: targets.iter().map(stratum).collect(),
        ..CampaignSpec::default()
    }
}

/// Draws the plan of a specification and stores it.
///
/// # Errors
/// The plan cannot be drawn or stored.
pub fn create(path: &Path, spec: &CampaignSpec) -> Result<Store, Box<dyn std::error::Error>> {
    create_of(path, spec, &golden())
}

/// The same of another golden run of [`LENGTH`].
///
/// # Errors
/// As [`create`].
pub fn create_of(
    path: &Path,
    spec: &CampaignSpec,
    golden: &Golden,
) -> Result<Store, Box<dyn std::error::Error>> {
    create_with(path, spec, golden, &[])
}

/// The shares of a stratum of RAM that is [settled](create_settled): never read again, overwritten first, live.
pub const SHARES: [f64; 3] = [0.75, 0.125, 0.125];

/// The same as [`create`], with what a recorded golden run says: of each stratum of RAM [`SHARES`], and that the first
/// quarter of it is live for half of the time.
///
/// # Errors
/// As [`create`].
pub fn create_settled(path: &Path, spec: &CampaignSpec) -> Result<Store, Box<dyn std::error::Error>> {
    let known = |stratum: &StratumSpec| {
        (!stratum.is_register()).then_some(Known { never: 6 << 70, overwritten: 1 << 70, live: 1 << 70 })
    };
    let recording =
        Recording { intervals: 400, interval_ns: 1_000_000, events: 12_345, bytes: 99_000, seconds: 2.5 };
    let strata = spec.strata.iter().map(|stratum| (stratum.name.clone(), known(stratum)));
    let parts = KnownParts { format: KNOWN_FORMAT, recording, strata: strata.collect() };
    let ranges = spec.strata.iter().flat_map(|stratum| &stratum.targets).filter_map(|place| match place {
        FaultTarget::Range(range) => Some(range),
        _ => None,
    });
    let cells =
        ranges.map(|range| LiveCell { from: range.first.0, bytes: range.len() / 4, live: 0.5 }).collect();
    let (parts, map) =
        (serde_json::to_vec(&parts)?, serde_json::to_vec(&LiveMap { format: KNOWN_FORMAT, cells })?);
    create_with(path, spec, &golden(), &[(KNOWN, &parts), (LIVE_MAP, &map)])
}

fn create_with(
    path: &Path,
    spec: &CampaignSpec,
    golden: &Golden,
    attachments: &[(&str, &[u8])],
) -> Result<Store, Box<dyn std::error::Error>> {
    let plan = plan_of(spec, golden)?;
    let manifest = Manifest {
        created: "2026-01-02T03:04:05Z".parse()?,
        command: vec!["campaign".into(), "new".into()],
        host: [("cores".to_owned(), "2".to_owned())].into(),
        versions: [("flipsim".to_owned(), "0.1.0".to_owned())].into(),
        template: TEMPLATE.to_owned(),
        golden: "digest-of-a-fake".to_owned(),
        inputs: [("qemu".to_owned(), "aaaa".to_owned())].into(),
    };
    let golden = serde_json::to_vec(golden)?;
    let attachments: Vec<(&str, &[u8])> =
        [("golden", golden.as_slice())].into_iter().chain(attachments.iter().copied()).collect();
    Ok(Store::create(path, &manifest, spec, &plan, &attachments, &mut |_| ())?)
}

fn plan_of(spec: &CampaignSpec, golden: &Golden) -> Result<Plan, Box<dyn std::error::Error>> {
    let spaces: Result<Vec<FaultSpace>, _> = spec.strata.iter().map(|stratum| space(spec, stratum)).collect();
    Ok(Plan::new(spec, golden, spaces?)?)
}

/// Has a campaign grow to so many trials in all.
///
/// # Errors
/// It has as many already, or cannot be written.
pub fn grow(store: &mut Store, total: u64) -> Result<(), Box<dyn std::error::Error>> {
    let golden = store.golden()?.ok_or("it has no golden run")?;
    let mut plan = plan_of(store.spec(), &golden)?;
    for stage in &store.stages()[1..] {
        plan = plan.grown(&stage.trials)?;
    }
    let added = plan.added_for(total)?;
    Ok(store.grow(plan, &added, &mut |_| true)?)
}

fn space(spec: &CampaignSpec, stratum: &StratumSpec) -> Result<FaultSpace, crate::fault::SpaceError> {
    let pattern = spec.pattern_of(stratum);
    if stratum.is_register() {
        let register = |number: u8| FlippableRegister {
            name: format!("x{number}"),
            bits: 64,
            class: "core".to_owned(),
            writable: vec![0xff; 8],
        };
        let registers: Vec<FlippableRegister> = (0..16).map(register).collect();
        return RegSpace::new(&registers, pattern).map(FaultSpace::Reg)?.under(spec.operations_of(stratum));
    }
    let ranges = stratum.targets.iter().filter_map(|place| match place {
        FaultTarget::Range(range) => Some(*range),
        _ => None,
    });
    let bytes: RangeSet = ranges.collect();
    RamSpace::new(&bytes, pattern).map(FaultSpace::Ram)?.under(spec.operations_of(stratum))
}

/// A golden run of [`LENGTH`].
#[must_use]
pub fn golden() -> Golden {
    let point = |at: u64| {
        let digest = Digest128::default();
        let state = StateDigest {
            digest: Some(digest),
            ram: digest,
            devices: Some(digest),
            disks: Some(digest),
            virtual_ns: at,
            instructions: Some(at),
            pages_differing: 0,
            pages_hashed: 0,
            sections: None,
            pages: None,
        };
        Checkpoint { at: VirtualNs(at), state: Some(state), console: 0 }
    };
    Golden {
        format: 1,
        template: TEMPLATE.to_owned(),
        window: Window::Done,
        spacing: VirtualNs(LENGTH.0 / 4),
        looks: None,
        start: point(BEGIN.0),
        checkpoints: (1..=4).map(|number| point(BEGIN.0 + number * LENGTH.0 / 4)).collect(),
        console: Vec::new(),
        registers: Vec::new(),
        difference: None,
        pages_apart: Vec::new(),
        capabilities: Capabilities::ALL,
        signals: Signals::default(),
        idle: None,
        done: None,
        events: std::collections::BTreeMap::new(),
        run_seconds: 0.4,
        compare_seconds: 0.01,
    }
}

/// The result of a trial: six of ten are masked, about one in 200 did not take. Of one of which memory lets nothing through
/// the record that it has.
#[must_use]
pub fn record(trial: &PlannedTrial) -> TrialRecord {
    if trial.plan.is_decided() {
        let at = VirtualNs(BEGIN.0 + trial.plan.after.0);
        return TrialRecord::begun(TEMPLATE, &trial.plan, at, RestoreMethod::Rewind).decided();
    }
    let mut rng = fault_rng(7, trial.id.0);
    let outcome = match rng.random_range(0..200) {
        0 => None,
        1..=120 => Some(Outcome::Masked),
        121..=160 => Some(Outcome::Latent),
        161..=170 => Some(Outcome::Sdc),
        171..=175 => Some(Outcome::Detected),
        176..=196 => Some(Outcome::Crash),
        _ => Some(Outcome::Hang),
    };
    let flip_ns = BEGIN.0 + trial.plan.after.0;
    let end = BEGIN.0 + LENGTH.0;
    // Between the flip and the end of the run.
    let between = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of 400 ms"
        )]
        let after = (end.saturating_sub(flip_ns) as f64 * part) as u64;
        flip_ns + after
    };
    let soon = between(rng.random::<f64>().powi(2));
    let end_ns = match outcome {
        None => flip_ns,
        Some(Outcome::Masked | Outcome::Crash) => soon,
        Some(Outcome::Hang) => BEGIN.0 + 3 * LENGTH.0,
        Some(_) => end,
    };
    let crashed = outcome == Some(Outcome::Crash);
    let function = ["do_idle", "schedule", "vfs_read"][rng.random_range(0..3)];
    let in_ram = trial.plan.fault.address().is_some();
    let symbol: u32 = rng.random_range(0..3000);
    let run_us = rng.random_range(500..2000);
    let record = TrialRecord {
        flipped: outcome.is_some(),
        error: outcome.is_none().then(|| "the flip did not take".to_owned()),
        old: "0x00".to_owned(),
        new: "0x01".to_owned(),
        region: in_ram.then(|| ["Kernel code", "Kernel data", "System RAM"][symbol as usize % 3].to_owned()),
        symbol: (in_ram && !symbol.is_multiple_of(4))
            .then(|| format!("symbol_{}+{symbol:#x}", symbol.isqrt())),
        outcome,
        because: outcome.map(|outcome| because(outcome, soon, function)),
        converged_ns: (outcome == Some(Outcome::Masked)).then_some(end_ns),
        console_differs_ns: crashed.then_some(end_ns),
        detected_ns: (outcome == Some(Outcome::Detected)).then_some(soon),
        end_ns,
        end: crashed.then_some(End::Panic),
        kind: crashed.then_some(Kind::Panic),
        title: crashed.then(|| format!("panic in {function}")),
        costs: Costs {
            restore_us: 20,
            walk_us: 100,
            mark_us: 50,
            run_us,
            compare_us: 300,
            total_us: run_us + 500,
        },
        ..TrialRecord::begun(TEMPLATE, &trial.plan, VirtualNs(flip_ns), RestoreMethod::Rewind)
    };
    set(trial, record)
}

/// Half of the faults that set bits find them as they set them: nothing changes then.
fn set(trial: &PlannedTrial, record: TrialRecord) -> TrialRecord {
    if trial.plan.fault.operation() == Operation::Flip
        || trial.id.0.is_multiple_of(2)
        || record.outcome.is_none()
    {
        return record;
    }
    TrialRecord {
        old: record.new.clone(),
        outcome: Some(Outcome::Masked),
        because: Some(because(Outcome::Masked, record.flip_ns + 1, "")),
        converged_ns: Some(record.flip_ns + 1),
        end_ns: record.flip_ns + 1,
        ..TrialRecord {
            end: None,
            kind: None,
            title: None,
            detected_ns: None,
            console_differs_ns: None,
            ..record
        }
    }
}

/// Why, with evidence that fits.
fn because(outcome: Outcome, soon: u64, function: &str) -> Because {
    let end = BEGIN.0 + LENGTH.0;
    match outcome {
        Outcome::Masked => Because::Converged { checkpoint_ns: soon },
        Outcome::Latent => Because::StateDiffers,
        Outcome::Sdc => Because::OutputDiffers {
            number: 2,
            line: Some("result 41".to_owned()),
            golden: Some("result 42".to_owned()),
        },
        Outcome::Detected => Because::Noticed { line: format!("WARNING: CPU: 0 PID: 1 at {function}") },
        Outcome::Crash => Because::Ended {
            end: End::Panic,
            line: Some(format!("Kernel panic - not syncing: Fatal exception in {function}")),
        },
        Outcome::Hang => Because::NotDone { limit_ns: BEGIN.0 + 3 * LENGTH.0, last_checkpoint_ns: Some(end) },
        _ => Because::Stopped { end: End::Other },
    }
}

/// Records results for the first so many trials of the plan that have none.
///
/// # Errors
/// The store cannot be written.
pub fn fill(store: &mut Store, count: usize) -> Result<(), StoreError> {
    fill_with(store, count, record)
}

/// The same with results of trials of which a part is settled.
///
/// # Errors
/// As [`fill`].
pub fn fill_settled(store: &mut Store, count: usize) -> Result<(), StoreError> {
    fill_with(store, count, settled_record)
}

/// The result of a trial in RAM of which [`SHARES`] are known: of those that are live nine in ten fail, and a third is begun
/// late; one in 25 of what need not be run whole is audited. In a register it is that of [`record`].
#[must_use]
pub fn settled_record(trial: &PlannedTrial) -> TrialRecord {
    let record = record(trial);
    if trial.plan.fault.address().is_none() {
        return record;
    }
    let mut rng = fault_rng(11, trial.id.0);
    let settled = match rng.random_range(0..8) {
        0..6 => Some(Settled::NeverRead),
        6 => Some(Settled::Overwritten),
        _ => None,
    };
    let outcome = match settled {
        Some(Settled::NeverRead) => Outcome::Latent,
        Some(Settled::Overwritten | Settled::Unchanged) => Outcome::Masked,
        None if rng.random_range(0..10) == 0 => Outcome::Masked,
        None => [Outcome::Sdc, Outcome::Crash][rng.random_range(0..2)],
    };
    let audited = rng.random_range(0..25) == 0;
    let late = settled.is_none() && rng.random_range(0..3) == 0;
    TrialRecord {
        flipped: true,
        error: None,
        outcome: Some(outcome),
        because: Some(because(outcome, record.flip_ns, "schedule")),
        kind: None,
        title: None,
        end: None,
        detected_ns: None,
        settled,
        begun_ns: (late && !audited).then_some(record.flip_ns + 1_000),
        audited: audited && (late || settled.is_some()),
        looked_up: true,
        end_ns: BEGIN.0 + LENGTH.0,
        ..record
    }
}

fn fill_with(
    store: &mut Store,
    count: usize,
    record: fn(&PlannedTrial) -> TrialRecord,
) -> Result<(), StoreError> {
    let mut pending = store.pending(Shard::WHOLE)?;
    pending.sort_unstable();
    for id in pending.into_iter().take(count) {
        let record = record(&store.planned(id)?);
        store.record(id, &record)?;
    }
    Ok(())
}
