//! `cargo xtask profile`: in which of the kernel's functions a workload spends its instructions.
//!
//! Invariant: what is shown is the golden run's, the same as `targets = ["profile:95%"]` chooses by.

use anyhow::Result;
use flipsim::fault::{Function, Profile};
use flipsim::report::svg::{count, percent};
use flipsim::stats::Share;
use flipsim::text::{glob_matches, near_names, visible};

use crate::exit::{Code, exit_error};
use crate::guest::accesses::{accesses_of, profile_of};
use crate::guest::golden::{TrialGuest, length_of, names_of, prepare};

/// Show in which kernel functions a workload spends its instructions.
///
/// And how often each is called: counted in the golden run, from READY to DONE or over --window. A campaign draws from these functions with the target
/// profile:SHARE, as in --stratum code=profile:95%.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask profile --workload fs --top 20
  cargo xtask profile --workload sha256 --window 100ms --json | jq '.functions[0]'
  cargo xtask profile --workload fs --functions 'ext4_*'

Instructions are counted by blocks of code, each as often as it was begun; one that an exception leaves early counts as a
whole. Calls are how often a function was entered at its begin.")]
pub struct Args {
    /// How many functions are shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// How many functions have this share of the kernel's instructions
    #[arg(long, value_name = "SHARE", default_value = "95%")]
    share: Share,
    /// Only functions of this name, with * and ?
    #[arg(long, value_name = "GLOB")]
    functions: Option<String>,
    /// All of them, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    guest: TrialGuest,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let prepared = prepare(&args.guest, None)?;
    let names = names_of(&prepared.template)?;
    let missing = |why: &str| exit_error(Code::Missing, format!("no profile: {why}"));
    if let Err(why) = names.symbols() {
        return Err(missing(why));
    }
    let recorded =
        accesses_of(&prepared)?.ok_or_else(|| missing("the golden run's accesses are not known"))?;
    let profile = profile_of(&recorded.accesses, &names).ok_or_else(|| {
        missing("this QEMU does not count what it executes; `cargo xtask setup qemu --reset` builds one that does")
    })?;
    let chosen =
        |function: &&Function| args.functions.as_ref().is_none_or(|glob| glob_matches(glob, &function.name));
    let functions: Vec<&Function> = profile.functions().iter().filter(chosen).collect();
    if let Some(glob) = args.functions.as_ref().filter(|_| functions.is_empty()) {
        let near = near_names(glob, profile.functions().iter().map(|function| function.name.as_str()));
        return Err(exit_error(Code::Usage, format!("no function that was executed is `{glob}`{near}")));
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&json(&profile, &functions))?);
        return Ok(());
    }
    let (kernel, elsewhere) = (profile.in_kernel(), profile.elsewhere());
    outln!(
        "golden run: {}; {} instructions, {} in functions of the kernel, the others in programs",
        length_of(&prepared.golden),
        count(kernel + elsewhere),
        percent(part(kernel, kernel + elsewhere))
    );
    outln!(
        "{} of the kernel's instructions are in {} of its {} functions that were executed",
        percent(args.share.value()),
        count(profile.covering(args.share.value()).len() as u64),
        count(profile.functions().len() as u64)
    );
    outln!("  {:>14} {:>8} {:>8} {:>12}  function", "instructions", "share", "so far", "calls");
    let mut sum = 0;
    for function in functions.iter().take(args.top) {
        sum += function.instructions;
        outln!(
            "  {:>14} {:>8} {:>8} {:>12}  {}",
            count(function.instructions),
            percent(part(function.instructions, kernel)),
            percent(part(sum, kernel)),
            count(function.calls),
            visible(&function.name)
        );
    }
    if let Some(more) = functions.len().checked_sub(args.top).filter(|more| *more > 0) {
        outln!("  and {} more (--top, --json)", count(more as u64));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn part(some: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { some as f64 / all as f64 }
}

fn json(profile: &Profile, functions: &[&Function]) -> serde_json::Value {
    let functions: Vec<serde_json::Value> = functions
        .iter()
        .map(|function| {
            serde_json::json!({
                "name": function.name,
                "first": function.range.first.to_string(),
                "bytes": function.range.len(),
                "instructions": function.instructions,
                "share": part(function.instructions, profile.in_kernel()),
                "calls": function.calls,
            })
        })
        .collect();
    serde_json::json!({
        "kernel_instructions": profile.in_kernel(),
        "other_instructions": profile.elsewhere(),
        "functions": functions,
    })
}
