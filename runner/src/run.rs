//! A run: unpack, take slices, run them, bring them home.
//!
//! Invariant: a slice is `done` at home only once all its results are there.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use flipsim::campaign::run::{CampaignError, Progress, RunOptions, run as run_trials};
use flipsim::campaign::{Shortcuts, Store};
use flipsim::fault::GuestNames;
use flipsim::machine::host;
use flipsim::pack::{BEAT, Pack, Slices, State, Taken, Unpacked};
use flipsim::trial::accesses::Accesses;
use flipsim::trial::clone::{CloneDisk, CloneOptions};
use flipsim::trial::golden::Golden;
use flipsim::trial::{Runner, Settling, TrialOptions};
use flipsim::units::format_duration;

use crate::args::{Args, Which};
use crate::element::Element;
use crate::errors::{Error, io_error};
use crate::home::{Courier, take_up};
use crate::join::join;
use crate::progress::{Lines, say};
use crate::{consent, scratch, signals};

/// How often results are brought home while a slice is run.
const HOME: Duration = Duration::from_secs(60);

/// After a signal trials may go on for so long; then they are given up.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Error> {
    let pack = Pack::open(&args.pack)?;
    if args.merge {
        return join(&pack, &args.out);
    }
    consent::require(&pack, args.trust.as_deref())?;
    let folder = scratch::make(args.scratch.as_deref(), pack.unpacked())?;
    let began = Instant::now();
    let unpacked = pack.unpack(folder.path(), signals::raised);
    signals::check()?;
    let unpacked = unpacked?;
    let clones = folder.path().join("clones");
    let clone = CloneOptions { interrupted: signals::raised, ..CloneOptions::below(&clones) };
    let verified = unpacked.template.verify(&clone);
    signals::check()?;
    verified?;
    say(&format!("{}: unpacked and compared in {}", args.pack.display(), format_duration(began.elapsed())));
    if args.check {
        return Ok(());
    }
    let element = Element::here();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let info = pack.info();
    let slices = Slices::join(&args.out, &info.name, &info.seal, &element.name, &host)?;
    // Opened once: that reads the plan whole.
    let mut store = Store::open(&unpacked.campaign)?;
    let results = Mutex::new(Store::open_readonly(&unpacked.campaign)?);
    let machine = Machine::new(args, &unpacked, folder.path(), &store)?;
    let trial = store.spec().trial.options(given_up);
    let settling = machine.settling(&trial)?;
    let shortcuts = settling.map(|settling| Shortcuts::new(&store, settling)).transpose()?;
    let (count, first) = match args.shard {
        Which::Auto => (info.slices, element.first_of(info.slices)),
        Which::Part(shard) => (shard.count(), shard.index()),
    };
    loop {
        let taken = match args.shard {
            Which::Auto => slices.take(count, first)?,
            Which::Part(shard) => slices.take_this(shard)?,
        };
        match taken {
            Taken::Slice(claim) => {
                let courier =
                    Courier { results: &results, scratch: folder.path(), slices: &slices, claim: &claim };
                machine.slice(&mut store, &courier, &trial, shortcuts.as_ref())?;
            }
            Taken::Nothing(0) => {
                say("all is done");
                return Ok(());
            }
            Taken::Nothing(others) => {
                say(&format!("nothing is left to take; others run {others} more"));
                return Ok(());
            }
        }
        if args.shard != Which::Auto {
            return Ok(());
        }
    }
}

/// What a machine has for all slices that it runs.
struct Machine<'a> {
    unpacked: &'a Unpacked,
    scratch: &'a Path,
    golden: Golden,
    accesses: Option<Accesses>,
    names: GuestNames,
    workers: usize,
}

impl<'a> Machine<'a> {
    fn new(args: &Args, unpacked: &'a Unpacked, scratch: &'a Path, store: &Store) -> Result<Self, Error> {
        let golden = store.golden()?.ok_or_else(|| {
            Error::Usage("the campaign in the pack has no golden run that this runner knows".to_owned())
        })?;
        let accesses = match unpacked.accesses.as_deref().filter(|_| !args.whole) {
            None => None,
            Some(path) => {
                let file = File::open(path).map_err(io_error("read", path))?;
                let loaded = Accesses::load(file).map_err(|error| {
                    Error::Usage(format!("the recorded accesses in the pack cannot be used: {error}"))
                });
                Some(loaded?)
            }
        };
        let clones = scratch.join("clones");
        let mut runner =
            Runner::start_persistently(&unpacked.template, &clones, CloneDisk::Memory, signals::raised)?;
        let names = runner.names(&unpacked.template).map_err(|error| Error::Here(error.to_string()))?;
        drop(runner);
        let workers = match args.workers {
            Some(workers) => usize::try_from(workers).unwrap_or(1),
            None => workers(unpacked.template.info().plan.spec.memory),
        };
        Ok(Machine { unpacked, scratch, golden, accesses, names, workers })
    }

    /// What is known of trials before they are run; nothing where all are to be run whole.
    fn settling(&'a self, trial: &'a TrialOptions) -> Result<Option<Settling<'a>>, Error> {
        let template = &self.unpacked.template;
        let Some(accesses) = &self.accesses else { return Ok(None) };
        let settling = Settling::new(template, &self.golden, accesses, trial, Some(&self.names));
        settling.map_err(io_error("read the guest's RAM in", template.folder()))
    }

    /// Runs a slice, from where it was left.
    fn slice(
        &self,
        store: &mut Store,
        courier: &Courier<'_>,
        trial: &TrialOptions,
        shortcuts: Option<&Shortcuts<'_>>,
    ) -> Result<(), Error> {
        let Courier { slices, claim, .. } = courier;
        let shard = claim.shard;
        match take_up(store, slices, shard) {
            Err(error @ Error::Store(_)) if error.code() != 1 => {
                say(&format!("slice {shard}: what was home is not used, and is run again: {error}"));
            }
            taken => taken?,
        }
        let (all, pending) = (courier.trials(), store.pending(shard)?.len() as u64);
        let kept = all - pending;
        let from = if kept > 0 { format!(", {kept} of them are home already") } else { String::new() };
        say(&format!("slice {shard}: {all} trials{from}; {} workers", self.workers));
        slices.say(claim, State::Running, kept, all)?;
        let options = RunOptions {
            names: Some(&self.names),
            workers: self.workers,
            shard,
            trial: trial.clone(),
            stop: signals::raised,
            limit: None,
        };
        let ran = match pending {
            0 => Ok(0),
            pending => self.trials(store, shortcuts, &options, pending, courier),
        };
        if let Err(error @ Error::Campaign(CampaignError::Audit { .. } | CampaignError::Control { .. })) =
            &ran
        {
            slices.condemn(&error.to_string())?;
        }
        // Whatever ended it, what was finished goes home.
        let state = if matches!(ran, Ok(0)) { State::Done } else { State::Left };
        let home = courier.bring(state);
        let left = ran?;
        match home? {
            true => say(&format!("slice {shard}: {} trials are home, {left} are left", all - left)),
            false => say(&format!("slice {shard} was taken over by another element")),
        }
        signals::check()?;
        if left > 0 {
            return Err(Error::Here(format!("{left} trials of slice {shard} could not be run here")));
        }
        Ok(())
    }

    /// Runs the trials of a slice; how many are left.
    fn trials(
        &self,
        store: &mut Store,
        shortcuts: Option<&Shortcuts<'_>>,
        options: &RunOptions<'_>,
        pending: u64,
        courier: &Courier<'_>,
    ) -> Result<u64, Error> {
        let clones = self.scratch.join("clones");
        let mut lines = Lines::new(options.shard, pending);
        let (end, ended) = channel::<()>();
        std::thread::scope(|scope| {
            let home = scope.spawn(move || bring_now_and_then(courier, &ended));
            let summary = run_trials(
                store,
                &self.unpacked.template,
                &self.golden,
                shortcuts,
                &clones,
                options,
                &mut |progress| {
                    match progress {
                        Progress::Done(..) => lines.add(1),
                        Progress::TakenBack(count, why) => {
                            lines.add(-i64::try_from(count).unwrap_or(i64::MAX));
                            say(&format!(
                                "warning: {why}; {count} trials since the last check are run again"
                            ));
                        }
                        Progress::Lost(id, why, _) => say(&format!("note: trial {id} was lost: {why}")),
                        Progress::GivenUp(_, why) => say(&format!("warning: a worker is given up: {why}")),
                        Progress::Unchecked(count, why) if count > 0 => {
                            say(&format!(
                                "warning: the last {count} trials of a worker were not checked: {why}"
                            ));
                        }
                        Progress::Unchecked(..) | Progress::Tick => {}
                    }
                    lines.tick();
                },
            );
            drop(end);
            // It does not panic.
            let _ = home.join();
            Ok(summary?.left)
        })
    }
}

/// Brings results home now and then while a slice is run, and at once when a signal comes, until `ended` is closed.
fn bring_now_and_then(courier: &Courier<'_>, ended: &std::sync::mpsc::Receiver<()>) {
    let mut last = Instant::now();
    let mut beat = Instant::now();
    let mut hurried = false;
    loop {
        match ended.recv_timeout(Duration::from_millis(200)) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
        let hurry = signals::raised() && !hurried;
        if hurry || last.elapsed() >= HOME {
            if let Err(error) = courier.bring(State::Running) {
                say(&format!("warning: results could not be brought home, and will be again: {error}"));
            }
            hurried |= hurry;
            (last, beat) = (Instant::now(), Instant::now());
        } else if beat.elapsed() >= BEAT {
            // The next one may work.
            let _ = courier.beat();
            beat = Instant::now();
        }
    }
}

/// Whether trials under way are given up: some time after a signal.
fn given_up() -> bool {
    use std::sync::OnceLock;
    static SINCE: OnceLock<Instant> = OnceLock::new();
    signals::raised() && SINCE.get_or_init(Instant::now).elapsed() > GRACE
}

/// How many guests run side by side: one for each core that this job has, as far as there is memory for them.
fn workers(guest_ram: u64) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let of_job = ["SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "LSB_DJOB_NUMPROC", "NCPUS"];
    let of_job = of_job.iter().find_map(|name| std::env::var(name).ok()?.parse::<usize>().ok());
    let cores = of_job.filter(|cores| *cores > 0).unwrap_or(cores).min(cores);
    let (count, note) = host::workers(guest_ram, cores);
    if let Some(note) = note {
        say(&note);
    }
    count
}
