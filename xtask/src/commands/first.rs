//! From an empty machine to the first flips, and to the report of a first campaign.
//!
//! Invariant: the campaign is run by the very commands that are shown.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;
use flipsim::arch::Arch;
use flipsim::fault::{FaultSpace, Pattern, RamSpace, random_seed};
use flipsim::machine::spec::CONSOLE_LOG;
use flipsim::trial::TrialOptions;
use flipsim::units::format_duration;

use super::campaign::{new, run as campaign_run};
use super::inject::args::WholeArgs;
use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::choice::GuestChoice;
use crate::guest::flips::{Advance, Draws, Pace, Until};
use crate::guest::golden::{TrialGuest, prepare};
use crate::guest::session::Session;
use crate::guest::spec::GuestSpec;
use crate::guest::watcher::Watcher;
use crate::guest::workload;
use crate::host::proc::quote;
use crate::lab::campaigns::files::path_of;
use crate::lab::config::Config;
use crate::progress::ProgressStep;
use crate::{interrupt, paths};

/// How often the workload is run while bits flip.
const REPEAT: u32 = 24;

/// How long a round of a workload may take where nothing is known of it: on the guest's clock where that is exact.
const WORKLOAD_WAIT: Duration = Duration::from_secs(120);

/// How long it is given at least where times are the host's, which is busy at times.
const SHORTEST_WAIT: Duration = Duration::from_secs(10);

/// Sets up what is missing, boots a guest, flips, and says how the guest fared.
pub fn run(args: &WholeArgs) -> Result<()> {
    let config = Config::load()?;
    let workload = args.workload.clone().unwrap_or(config.guest.workload);
    let arch = args.arch.map_or_else(|| workload::arch_for(Some(&workload)), Ok)?;
    // Checked before an hour's set-up, not after it.
    workload::check(&workload, arch)?;
    if workload == workload::SHELL {
        bail!(exit_error(Code::Usage, "--workload none: a verdict needs a workload whose result is known"));
    }
    super::setup::ensure(arch, args.yes)?;
    let seed = args.seed.unwrap_or_else(random_seed);
    // The workload is run over and over, so that it is long enough for the flips to hit it.
    let choice = GuestChoice::fresh(arch, &workload, format!("flipsim.repeat={REPEAT}"));
    let mut session = Session::attach(&choice)?;
    let folder = session.run.as_ref().map(|(run, _)| run.path().to_owned());
    let name = session.run.as_ref().map(|(_, record)| record.name.clone()).unwrap_or_default();
    eprintln!(
        "guest {name} runs workload {workload} {REPEAT} times; flipping {} single bits in its RAM",
        args.count
    );
    let outcome = flips_and_verdict(&mut session, args, seed, arch, &workload);
    session.release().exit_with(Code::GuestLost)?;
    if let Some(folder) = folder {
        eprintln!("records: {}", paths::show(&folder.join("flips.jsonl")));
        eprintln!("console: {}", paths::show(&folder.join(CONSOLE_LOG)));
    }
    let health = outcome?;
    eprintln!("");
    eprintln!("How the guest fared: {health}");
    eprintln!(
        "The same faults at the same instants again: cargo xtask inject --seed {seed} --count {} --interval {}ns \
         --workload {workload} --arch {arch}",
        args.count,
        args.interval.as_nanos()
    );
    if args.trials > 0 && !args.json {
        campaign(args, &workload, arch, seed)?;
    }
    eprintln!("Next: README.md is the tour; `cargo xtask` alone says where the lab stands");
    Ok(())
}

/// Lets clap read words as one command's arguments.
#[derive(clap::Parser)]
struct Words<A: clap::Args> {
    #[command(flatten)]
    args: A,
}

/// Shows a command, and reads its words as it would.
fn command<A: clap::Args>(name: &str, words: &[&str]) -> Result<A> {
    let quoted: Vec<String> = words.iter().map(quote).collect();
    eprintln!("");
    eprintln!("$ cargo xtask {name} {}", quoted.join(" "));
    Ok(Words::try_parse_from([&[name], words].concat())?.args)
}

/// Runs a small campaign and reports its results.
fn campaign(args: &WholeArgs, workload: &str, arch: Arch, seed: u64) -> Result<()> {
    // An earlier one is a result that is kept.
    let names = (1..).map(|number: u32| if number == 1 { "first".into() } else { format!("first-{number}") });
    let mut free = names.filter(|name: &String| path_of(name).is_ok_and(|path| !path.exists()));
    let Some(name) = free.next() else { return Ok(()) };
    eprintln!("");
    eprintln!(
        "What share of faults does harm? A campaign of {} trials: each one fault in a separate guest, compared \
         with a run without a fault. Ctrl-C ends it, and nothing that was finished is lost.",
        args.trials
    );
    let (trials, seed) = (args.trials.to_string(), seed.to_string());
    let words = [
        &[&*name, "--trials", &trials, "--seed", &seed, "--workload", workload, "--arch", arch.name][..],
        &["--stratum", "ram=ram", "--stratum", "core=class:core", "--sharing", "equal"],
    ];
    new::run(&command("campaign new", &words.concat())?)?;
    campaign_run::run(&command("campaign run", &[&name, "--quiet"])?)?;
    super::report::run(&command("report", &[&name])?).map(|_| ())
}

fn flips_and_verdict(
    session: &mut Session,
    args: &WholeArgs,
    seed: u64,
    arch: Arch,
    workload: &str,
) -> Result<String> {
    let space = FaultSpace::Ram(RamSpace::new(&session.names.map.system_ram(), Pattern::SINGLE)?);
    let mut watcher = Watcher::new(session.run.as_ref());
    watcher.read_from_start();
    let draws = Draws {
        space: &space,
        count: args.count,
        pace: Pace::Every(args.interval),
        seed,
        json: args.json,
        quiet: false,
        csv: None,
        until_done: true,
    };
    let done = session.flips(draws, &mut watcher)?;
    if done.interrupted || done.refused > 0 {
        done.result(None)?;
    }
    if let Some(end) = done.crash {
        return Ok(format!("{end} (after {} of {} flips)", done.flipped, done.drawn));
    }
    if watcher.evidence.done.is_some() {
        return Ok(watcher.verdict(&done.in_words(), ""));
    }
    let patience = Patience::of(arch, workload)?;
    if session.is_exact() {
        let ended = session.watch_exactly(patience.round, Until::Rounds, &mut watcher);
        if ended.map_err(|error| watcher.lost(done.drawn, done.drawn, &error))? == Advance::Interrupted {
            return Err(interrupt::Interrupted.into());
        }
    } else {
        let what =
            format!("Waiting for the workload's result, {} for a round", format_duration(patience.round));
        let _step = ProgressStep::quiet(what);
        session.let_run().map_err(|error| watcher.lost(done.drawn, done.drawn, &error))?;
        let (mut since, mut rounds) = (Instant::now(), watcher.rounds);
        let limit = patience.round.max(SHORTEST_WAIT);
        while since.elapsed() < limit && !watcher.look().is_over() && watcher.evidence.done.is_none() {
            if watcher.rounds != rounds {
                (since, rounds) = (Instant::now(), watcher.rounds);
            }
            interrupt::sleep(Duration::from_millis(20))?;
        }
    }
    watcher.look();
    let given = patience.words(watcher.rounds);
    Ok(watcher.verdict(&done.in_words(), &given))
}

/// How long a round of a workload is waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Patience {
    /// From the last round's end on, or from the last flip.
    round: Duration,
    /// How many times that is of what a round takes without a fault, where this is known.
    factor: Option<f64>,
}

impl Patience {
    /// For as long as a trial of a campaign is, by the same golden run: it is one round.
    fn of(arch: Arch, workload: &str) -> Result<Patience> {
        let spec =
            GuestSpec { arch: Some(arch), workload: Some(workload.to_owned()), ..GuestSpec::default() };
        match prepare(&TrialGuest { window: None, spec }, None) {
            Ok(prepared) => {
                let factor = TrialOptions::default().hang_factor;
                let round = Duration::from_nanos(prepared.golden.limit(factor).0);
                Ok(Patience { round, factor: Some(factor) })
            }
            Err(error) => {
                interrupt::check()?;
                eprintln!("note: how long the workload takes without a fault is not known: {error:#}");
                Ok(Patience { round: WORKLOAD_WAIT, factor: None })
            }
        }
    }

    /// What a workload was given that had done so many rounds.
    fn words(self, rounds: u32) -> String {
        let time = format_duration(self.round);
        let usual = match self.factor {
            Some(factor) => format!(", {factor} times what a round takes without a fault"),
            None => String::new(),
        };
        format!("{time} of virtual time{usual}; it was in round {} of {REPEAT}", rounds + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_workload_was_given_is_said_in_words() {
        let patience = Patience { round: Duration::from_millis(1110), factor: Some(3.0) };
        let words =
            "1.11 s of virtual time, 3 times what a round takes without a fault; it was in round 3 of 24";
        assert_eq!(patience.words(2), words);
        let unknown = Patience { round: WORKLOAD_WAIT, factor: None };
        assert_eq!(unknown.words(0), "2 min 00 s of virtual time; it was in round 1 of 24");
    }
}
