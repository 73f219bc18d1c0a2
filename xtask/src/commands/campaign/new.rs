//! `campaign new`: draws the plan of a campaign and stores it.
//!
//! Invariant: the plan is whole in the store before any trial runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use flipsim::campaign::size::{Size, Step};
use flipsim::campaign::spec::{Sharing, StratumSpec};
use flipsim::campaign::{
    CampaignSpec, IdleTime, KNOWN, KnownParts, LIVE_MAP, Plan, RawSpec, SpecFlags, Store, StoreError, When,
    remedy,
};
use flipsim::fault::{Count, Ecc, Operations, Pattern, parse_pattern};
use flipsim::files::Stream;
use flipsim::stats::{Confidence, Share};
use flipsim::text::{shown, visible};
use flipsim::trial::golden::{Golden, Window};
use flipsim::units::{format_duration, parse_number};

use super::space::{self, GuestSpaces, by_profile};
use super::{pilot, rehearsal, templates};
use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::accesses::{Recorded, accesses_of};
use crate::guest::consent::{self, Trust};
use crate::guest::golden::{TrialGuest, length_of, prepare};
use crate::guest::prepared::{guest_of, manifest};
use crate::guest::spec::GuestSpec;
use crate::guest::workers;
use crate::host::proc::quote;
use crate::lab::campaigns::files::{path_of, store_error};
use crate::progress::ProgressStep;
use crate::{interrupt, paths};

/// The longest specification that is read, in bytes: that of ten thousand strata.
const LONGEST_SPEC: u64 = 16 << 20;
/// How many strata are listed.
const LISTED: usize = 50;

/// Draw the plan of a campaign, whole, and store it.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("by_rate").args(["relative", "to_detect"]))]
#[command(group = clap::ArgGroup::new("by_difference").args(["to_detect", "detect"]))]
#[command(after_help = "Examples:
  cargo xtask campaign new second --trials 200
  cargo xtask campaign new several --trials 20 --templates 2 --workload sha256
  cargo xtask campaign new kernel --stratum 'data=region:Kernel data' --trials 500 --workload fs
  cargo xtask campaign new calls --trials 200 --at syscall:write --stratum class:core
  cargo xtask campaign new decay --trials 200 --operation set0
  cargo xtask campaign new worn --trials 50 --operation 'stuck0 for 5ms'
  cargo xtask campaign new shower --trials 50 --faults poisson:2.5
  cargo xtask campaign new coded --trials 50 --pattern adjacent:3 --ecc secded
  cargo xtask campaign new precise --margin 1% --confidence 95% --workload fs --seed 7
  cargo xtask campaign new before --to-detect 0.5 --rate 3% --power 80% --workload fs
  cargo xtask campaign new nightly --detect '12% -> 20%' --power 90% --workload fs
  cargo xtask campaign new mine --spec campaign.toml --check
  cargo xtask campaign new mine --spec campaign.toml

A stratum is NAME=TARGET[,TARGET…]: ram, region:NAME, symbol:GLOB, section:NAME, range:FIRST-LAST, reg:GLOB,
class:NAME. The same seed draws the same plan, on any machine. docs/campaigns.md has the TOML file's keys.
With --check the guest boots, goes through its dialogue and runs its golden run, and what it said is shown.")]
pub struct Args {
    /// Its name; the file is .lab/campaigns/NAME.sqlite
    name: String,
    /// A TOML file that says what the campaign is to be; flags that are given as well win
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// How many trials
    #[arg(long, value_name = "N", conflicts_with_all = ["margin", "relative", "to_detect", "detect"], value_parser = clap::value_parser!(u64).range(1..))]
    trials: Option<u64>,
    /// Make so many campaigns, NAME-1 and so on, each with a golden run of its own; they share the trials equally
    #[arg(long, value_name = "N", conflicts_with = "pilot", value_parser = clap::value_parser!(u32).range(2..))]
    templates: Option<u32>,
    /// So many trials that any rate is known to within this, as in 1%
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["relative", "to_detect"])]
    margin: Option<Share>,
    /// So many trials that a rate of --rate is known to within this part of itself, as in 20%
    #[arg(long, value_name = "SHARE", requires = "rate", conflicts_with = "to_detect")]
    relative: Option<Share>,
    /// So many trials that a comparison with another campaign of as many shows this ratio of failures, as in 0.5
    #[arg(long, value_name = "RATIO", requires = "rate")]
    to_detect: Option<f64>,
    /// So many trials in each stratum that `report gate` shows such a rise of failures, as in '12% -> 20%'
    #[arg(long, value_name = "STEP", conflicts_with_all = ["margin", "relative", "to_detect", "confidence", "pilot"])]
    detect: Option<Step>,
    /// The chance of a false alarm of the gate that --detect is about
    #[arg(long, value_name = "SHARE", requires = "detect", default_value = "1%")]
    alpha: Share,
    /// The rate that is expected: of the rare outcome of --relative, of the failures of --to-detect
    #[arg(long, value_name = "SHARE", requires = "by_rate")]
    rate: Option<Share>,
    /// In how many campaigns the precision of --relative is reached, if the rate is right
    #[arg(long, value_name = "SHARE", requires = "relative", default_value = "80%")]
    assurance: Share,
    /// How likely the comparison shows the ratio of --to-detect, or the gate the step of --detect
    #[arg(long, value_name = "SHARE", requires = "by_difference", default_value = "80%")]
    power: Share,
    /// How surely
    #[arg(long, value_name = "SHARE", default_value = "95%")]
    confidence: Confidence,
    /// A part of the fault space that is sampled by itself [default: ram]
    #[arg(long, value_name = "NAME=TARGET")]
    stratum: Vec<StratumSpec>,
    /// How strata share the trials: by the number of their faults, or equally
    #[arg(long, value_enum)]
    sharing: Option<SharingArg>,
    /// Share the trials by what this campaign of the same strata has shown: more where outcomes spread more
    #[arg(long, value_name = "CAMPAIGN", conflicts_with = "sharing")]
    pilot: Option<String>,
    /// Which bits flip together: single, bit:3, adjacent:2, adjacent:2@5, mask:0x81; clusters take a file
    #[arg(long, value_parser = parse_pattern, value_name = "PATTERN")]
    pattern: Option<Pattern>,
    /// What is done to them: flip, set0, set1, overwrite:NUMBER, overwrite:random, skip or opcode (of reg:pc), stuck0,
    /// stuck1, stuck (each with "for 5ms", or "for 100us every 1ms" behind it), nothing [default: flip]
    #[arg(long, value_name = "OPERATION")]
    operation: Option<Operations>,
    /// How many faults a trial has, drawn independently: a number, or poisson:MEAN for one that is drawn [default: 1]
    #[arg(long, value_name = "COUNT")]
    faults: Option<Count>,
    /// Whether memory corrects errors: none, or secded (one wrong bit of 64; two are detected) [default: none]
    #[arg(long, value_name = "CODE")]
    ecc: Option<Ecc>,
    /// At which moments faults strike: time (any), instructions or busy (executed ones), idle; or those of an event, as in
    /// symbol:vfs_read, syscall:read, exception:irq, pc:ADDRESS, console:TEXT, with #N the N-th alone; or while
    /// something runs, as in during:user, during:kernel, during:symbol:schedule [default: time]
    #[arg(long, value_name = "MOMENTS", visible_alias = "at")]
    when: Option<When>,
    /// What everything is drawn from [default: a new one, which is printed]
    #[arg(long, value_parser = parse_number)]
    seed: Option<u64>,
    /// Take the place of a campaign of that name, whose results are lost; it stays until the new plan is whole
    #[arg(long, conflicts_with = "check")]
    replace: bool,
    /// Try the guest out: boot it, show its console and its golden run, and draw nothing
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    guest: TrialGuest,
}

/// How strata share the trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SharingArg {
    /// By the number of their faults
    Proportional,
    /// The same number each
    Equal,
}

impl From<SharingArg> for Sharing {
    fn from(sharing: SharingArg) -> Sharing {
        match sharing {
            SharingArg::Proportional => Sharing::Proportional,
            SharingArg::Equal => Sharing::Equal,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let path = path_of(&args.name)?;
    let exists = || {
        let text = format!(
            "{} exists already; `campaign run {}` goes on with it, --replace takes its place",
            paths::show(&path),
            args.name
        );
        exit_error(Code::Usage, text)
    };
    // What costs nothing is said first.
    if args.spec.is_none() && args.templates.is_none() && path.exists() && !args.check {
        may_replace(args, &path, exists)?;
    }
    let (spec, count) = specification(args)?;
    if let Some(count) = count {
        let (check, pilot) = (args.check, args.pilot.is_some());
        if args.replace {
            bail!(exit_error(
                Code::Usage,
                "--replace is of one campaign; remove those of --templates before"
            ));
        }
        let wanted = templates::Wanted { name: &args.name, count, check, pilot };
        return templates::run(&wanted, &spec, &|spec| make(args, spec));
    }
    if path.exists() && !args.check {
        may_replace(args, &path, exists)?;
    }
    make(args, spec)?;
    if !args.check {
        outln!("next: cargo xtask campaign run {}", quote(&args.name));
    }
    Ok(())
}

/// Refuses a name that is taken, unless it is that of a campaign which may be replaced.
fn may_replace(args: &Args, path: &Path, exists: impl FnOnce() -> anyhow::Error) -> Result<()> {
    if !args.replace {
        bail!(exists());
    }
    // What is no campaign is not ours to remove, and one that is run now is not lost.
    let store = Store::open_readonly(path).map_err(store_error)?;
    match store.running() {
        Some(pid) => {
            bail!("{} is being worked on by process {pid}; wait for it, or stop it", paths::show(path))
        }
        None => Ok(()),
    }
}

/// Makes one campaign, or shows what it would stand on.
fn make(args: &Args, mut spec: CampaignSpec) -> Result<()> {
    let path = path_of(&spec.name)?;
    let guest = guest_of(&spec)?;
    let mut prepared = prepare(&guest, spec.trial.spacing)?;
    let recorded = if by_profile(&spec) || !args.check { accesses_of(&prepared)? } else { None };
    let accesses = recorded.as_ref().map(|recorded| &recorded.accesses);
    let GuestSpaces { spec: of_symbols, spaces, events, led, lacks } =
        space::of_guest(&spec, &prepared, accesses)?;
    (spec, prepared.golden.events) = (of_symbols, events);
    if args.check {
        return rehearsal::show(&spec, &prepared, &spaces, &lacks);
    }
    let golden = &prepared.golden;
    let pilot = match &args.pilot {
        Some(pilot) => Some(pilot::share(&mut spec, pilot, golden, spaces.clone())?),
        None => None,
    };
    let known = recorded
        .map(|Recorded { accesses, recording }| KnownParts::of(&spec, &spaces, golden, &accesses, recording));
    let plan = Plan::new(&spec, golden, spaces).exit_with(Code::Usage)?;
    let folder = path.parent().context("a campaign's file is in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let kept = serde_json::to_vec(golden)?;
    let step = ProgressStep::parts(format!("drawing {} trials", plan.len()), plan.len());
    let mut go_on = |drawn| {
        step.set(drawn);
        !interrupt::raised()
    };
    let known = match &known {
        Some((parts, map)) => vec![(KNOWN, serde_json::to_vec(parts)?), (LIVE_MAP, serde_json::to_vec(map)?)],
        None => Vec::new(),
    };
    let known = known.iter().map(|(name, json)| (*name, json.as_slice()));
    let kept: Vec<_> = [("golden", kept.as_slice())].into_iter().chain(known).collect();
    let manifest = manifest(&prepared)?;
    let create = match args.replace && path.exists() {
        true => Store::replace_unless_stopped,
        false => Store::create_unless_stopped,
    };
    let store = create(&path, &manifest, &spec, &plan, &kept, &mut go_on).map_err(|error| match error {
        StoreError::Full { path, cause } => anyhow!(
            "cannot write {}: {cause}; make room and run the same command again; no campaign was made",
            paths::show(&path)
        ),
        other => store_error(other),
    })?;
    step.done();
    consent::made_here(&store);
    outln!("campaign {}: {} trials, seed {}", shown(&spec.name, 100), plan.len(), spec.seed);
    for (stratum, of) in plan.strata().iter().zip(&spec.strata).take(LISTED) {
        outln!(
            "  {:16} {:>8} trials of {}  ({})",
            shown(&stratum.name, 60),
            stratum.trials,
            spec.when_of(of).space(stratum.faults, stratum.times, |number| number.to_string()),
            shown(&stratum.targets, 200)
        );
    }
    if let Some(more) = plan.strata().len().checked_sub(LISTED).filter(|more| *more > 0) {
        outln!("  and {more} strata more");
    }
    if let Some(shares) = &pilot {
        outln!("{}", visible(shares.trim_end()));
    }
    outln!("golden run: {}, {} checkpoints", length_of(golden), golden.checkpoints.len());
    for line in idle_lines(&spec, golden) {
        outln!("{line}");
    }
    for line in space::event_lines(golden) {
        outln!("{line}");
    }
    for (stratum, led) in plan.strata().iter().zip(led) {
        let Some((class, share)) = led else { continue };
        outln!(
            "note: {:.0} % of the bits of {} are in registers of class {}, and its rate is mostly theirs; strata by `class:` \
             have rates of their own",
            share * 100.0,
            shown(&stratum.name, 60),
            visible(&class)
        );
    }
    for line in &lacks {
        outln!("note: {}", visible(line));
    }
    if let Some(difference) = &golden.difference {
        outln!("only outputs are compared: {}", visible(difference));
    }
    let workers = workers::default_workers(prepared.template.info().plan.spec.memory);
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let each = golden.run_seconds / 2.0 + golden.compare_seconds * golden.most_looks() as f64 + 0.02;
    let known = store.known_parts().map_err(store_error)?;
    let share = |stratum: &str| known.as_ref().map_or(1.0, |known| known.run_share(stratum));
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let run: f64 = plan.strata().iter().map(|stratum| stratum.trials as f64 * share(&stratum.name)).sum();
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let whole = each * run / workers as f64;
    outln!(
        "with {workers} workers it takes about {} or less; it can be interrupted and resumed at any time",
        format_duration(std::time::Duration::from_secs_f64(whole.min(1e9)))
    );
    outln!("plan: {} (sha256 {})", paths::show(store.path()), &store.plan_digest()[..16]);
    Ok(())
}

/// How much of the run the guest idles, and what that means for what is drawn.
fn idle_lines(spec: &CampaignSpec, golden: &Golden) -> Vec<String> {
    let Some(idle) = IdleTime::of(&golden.into(), &spec.times) else { return Vec::new() };
    let any_time = spec.strata.iter().any(|stratum| spec.when_of(stratum).is_time());
    let mut lines = vec![idle.line()];
    if idle.is_much() && any_time {
        lines.push(format!(
            "warning: faults strike at any time, {} of {} moments are idle ones, and a fault there strikes a CPU that \
             waits; --when busy draws from the others alone, and two strata with when = \"busy\" and \"idle\" have a \
             rate each",
            idle.idle_moments, idle.moments
        ));
    }
    lines
}

/// One trial of each golden run, where a guest is only tried out.
fn any_size(args: &Args) -> Size {
    Size::Trials(args.templates.map_or(1, u64::from))
}

/// The size that `--detect` asks for.
fn step_of(args: &Args, strata: usize) -> Result<Option<Size>> {
    let size = args.detect.map(|step| step.size(args.power, args.alpha, strata));
    size.transpose().exit_with(Code::Usage)
}

/// What the file and the flags say together, and how many golden runs where they say so.
fn specification(args: &Args) -> Result<(CampaignSpec, Option<u32>)> {
    let confidence = args.confidence;
    let flags = SpecFlags {
        name: args.name.clone(),
        seed: args.seed,
        size: match (args.trials, args.margin, args.relative, args.rate) {
            (Some(trials), ..) => Some(Size::Trials(trials)),
            _ if args.detect.is_some() => step_of(args, args.stratum.len())?,
            (.., Some(rate)) if args.to_detect.is_some() => args.to_detect.map(|to_detect| {
                let power = args.power;
                Size::Detect { to_detect, rate, power, confidence }
            }),
            (None, Some(margin), ..) => Some(Size::Margin { margin, confidence }),
            (None, None, Some(relative), Some(rate)) => {
                Some(Size::Relative { relative, rate, confidence, assurance: Some(args.assurance) })
            }
            // A guest that is only tried out needs no number, and a file may have one.
            _ if args.check && args.spec.is_none() => Some(any_size(args)),
            _ => None,
        },
        strata: args.stratum.clone(),
        templates: args.templates,
        // By the pilot they are shared once their faults are known.
        // The step of a gate is one of each stratum.
        sharing: args
            .pilot
            .as_ref()
            .map(|_| Sharing::Proportional)
            .or(args.sharing.map(Sharing::from))
            .or(args.detect.map(|_| Sharing::Equal)),
        pattern: args.pattern,
        operation: args.operation,
        faults: args.faults,
        ecc: args.ecc,
        window: args.guest.window.map(Window::Time),
        when: args.when.clone(),
    };
    let mut templates = args.templates;
    let mut spec = match &args.spec {
        Some(path) => {
            let text = text_of(path)?;
            let mapping = mapping_of(&text, path)?;
            let mut under = |flags: &SpecFlags| {
                let mut keys = RawSpec::from_toml(&text)?;
                if let Some(mapping) = &mapping {
                    keys = keys.with_mapping(mapping)?;
                }
                let keys = keys.under(flags);
                templates = keys.templates();
                keys.resolved(&text)
            };
            under(&flags)
                // A guest that is only tried out needs no number of trials.
                .or_else(|error| match args.check && flags.size.is_none() {
                    true => {
                        under(&SpecFlags { size: Some(any_size(args)), ..flags.clone() }).map_err(|_| error)
                    }
                    false => Err(error),
                })
                .with_context(|| path.display().to_string())
                .exit_with(Code::Usage)?
        }
        None => RawSpec::whole_ram().under(&flags).resolved("").exit_with(Code::Usage)?,
    };
    // How many strata a file has is only known now.
    if let Some(size) = step_of(args, spec.strata.len())? {
        spec.size = Some(size);
    }
    let file: GuestSpec = match &spec.guest {
        serde_json::Value::Null => GuestSpec::default(),
        value => serde_json::from_value(value.clone()).map_err(|error: serde_json::Error| {
            let error = error.to_string();
            exit_error(Code::Usage, format!("the file's table [guest]: {error}{}", remedy(&error)))
        })?,
    };
    file.check_units()?;
    let folder = args.spec.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    let flags = args.guest.spec.clone().rooted(Path::new("."))?;
    if let Some(path) = &args.spec {
        consent::of_spec_file(&path.display().to_string(), &file, &flags, args.trust)?;
    }
    // What is stored says what it is, whatever the default is later.
    let guest = file.rooted(folder)?.overlaid(&flags)?.with_defaults()?;
    spec.guest = serde_json::to_value(guest)?;
    Ok((spec, templates))
}

/// What a file of keys holds.
fn text_of(path: &Path) -> Result<String> {
    Stream::open(path, interrupt::check_read)
        .and_then(|file| file.text(LONGEST_SPEC))
        .with_context(|| format!("cannot read {}", path.display()))
        .exit_with(Code::Usage)
}

/// What the file holds that a specification has its mapping in, beside which it lies.
fn mapping_of(text: &str, path: &Path) -> Result<Option<String>> {
    // What is wrong with the keys is said later, with what flags say.
    let keys = RawSpec::from_toml(text).ok();
    let file = keys.as_ref().and_then(RawSpec::mapping_file);
    file.map(|file| text_of(&path.parent().unwrap_or(Path::new("")).join(file))).transpose()
}
