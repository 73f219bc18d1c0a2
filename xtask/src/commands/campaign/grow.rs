//! `campaign grow`: draws more trials behind those of a campaign.
//!
//! Invariant: trials that are there stay, results and all, and none is drawn twice.

use anyhow::Result;
use flipsim::campaign::plan::PlanError;
use flipsim::campaign::store::stages_text;
use flipsim::campaign::{Plan, Shard, Store, StoreError};
use flipsim::text::shown;

use super::space::{self, by_profile};
use crate::exit::{Code, ExitWith};
use crate::guest::accesses::accesses_of;
use crate::guest::consent::{self, Trust};
use crate::guest::prepared::prepared_of;
use crate::host::proc::quote;
use crate::interrupt;
use crate::lab::campaigns::files::{path_of, store_error};
use crate::progress::ProgressStep;

/// Draw more trials of a campaign, finished or not, behind those that it has.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign grow second --trials 400
  cargo xtask campaign run second

The trials that are there stay as they are, and no fault is drawn twice at one time. What is added is shared over the
strata as what is there. From then on rates have intervals that are valid at any look, and wider: a campaign may be
looked at, and grow if that did not suffice. Parts on other machines grow by the same steps (docs/campaigns.md).")]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
    /// How many trials it is to have in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    trials: u64,
    #[command(flatten)]
    trust: Trust,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let path = path_of(&args.name)?;
    let mut store = Store::open(&path).map_err(store_error)?;
    // Before a guest is started.
    if args.trials <= store.len() {
        return Err(PlanError::NotMore { has: store.len() }).exit_with(Code::Usage);
    }
    // Every result is read for this: a campaign that is damaged does not grow.
    let pending = store.pending(Shard::WHOLE).map_err(store_error)?.len() as u64;
    let spec = store.spec().clone();
    let prepared = prepared_of(&store, args.trust)?;
    let recorded = if by_profile(&spec) { accesses_of(&prepared)? } else { None };
    let accesses = recorded.as_ref().map(|recorded| &recorded.accesses);
    let spaces = space::of_guest(&spec, &prepared, accesses)?.spaces;
    let golden = &prepared.golden;
    let mut plan = Plan::new(&spec, golden, spaces).exit_with(Code::Usage)?;
    for stage in &store.stages()[1..] {
        plan = plan.grown(&stage.trials).exit_with(Code::Usage)?;
    }
    let added = plan.added_for(args.trials).exit_with(Code::Usage)?;
    let more = args.trials - plan.len();
    let step = ProgressStep::parts(format!("drawing {more} trials"), more);
    let mut go_on = |drawn| {
        step.set(drawn);
        !interrupt::raised()
    };
    store.grow(plan, &added, &mut go_on).map_err(|error| match error {
        StoreError::Stopped => interrupt::Interrupted.into(),
        other => store_error(other),
    })?;
    step.done();
    consent::made_here(&store);
    let stages = stages_text(&store.status().map_err(store_error)?.stages).unwrap_or_default();
    outln!("campaign {}: {stages}, {} pending", shown(&spec.name, 100), pending + more);
    for (stratum, added) in store.strata().iter().zip(&added).take(50) {
        outln!("  {:16} {:>8} trials, {added} of them new", shown(&stratum.name, 60), stratum.trials);
    }
    outln!("plan: sha256 {}", &store.plan_digest()[..16]);
    outln!("next: cargo xtask campaign run {}", quote(&args.name));
    Ok(())
}
