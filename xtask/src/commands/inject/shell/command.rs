//! `inject shell`: a prompt with the words of the gdb scripts that this lab replaces, and more; the
//! same words from a file.
//!
//! Invariant: between two commands the guest stands still, unless `cont` let it run; it is let go as
//! it was found, or as `cont` and `stop` said last.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flipsim::fault::schedule::Intervals;
use flipsim::fault::{Fault, Pattern, Units, fault_rng, random_seed};
use flipsim::files::Stream;
use flipsim::machine::HoldNote;
use flipsim::memory::PhysRange;
use flipsim::target::Target;
use flipsim::trial::judge::alone::Health;
use flipsim::units::{BitIndex, GuestPhys, Timing, VirtualNs, format_duration, parse_number, parse_virtual};

use super::complete::Completion;
use super::words::{Asked, Word, parse_line, parse_words};
use crate::commands::inject::args::ListWhat;
use crate::commands::inject::timed::Words;
use crate::commands::inject::{range, snap};
use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::choice::GuestChoice;
use crate::guest::flags::{BitsArgs, KindArg, RamPlace};
use crate::guest::flips::{Advance, Draws, FAULTS, FlipsDone, Logs, Pace, open_csv, show};
use crate::guest::session::Session;
use crate::guest::snapshot::{self, hmp};
use crate::guest::watcher::Watcher;
use crate::interrupt;
use crate::paths;

/// A prompt: every command by its short name, and scripts from standard input
#[derive(clap::Args, Debug)]
#[command(
    // The last form is a shell's: what stands behind `<` is a file with these words, one a line.
    after_help = "Examples:
  cargo xtask inject shell
  cargo xtask inject shell --fresh --workload sha256 --seed 7
  cargo xtask inject shell --fresh --json

Words: listram, listreg, regions, inject, inject_reg, inject_range, autoinject, snapinject,
loginject, stop_delayed, run, cont, stop, time, status, seed, loop, monitor, help, quit.
Tab completes words, regions, symbols and registers. From a file (`inject shell < words.txt`)
the first command that fails ends it, with that command's exit code; # starts a comment."
)]
pub struct Args {
    /// The seed of the first command's draws; each command after it has the next one [default: a new one,
    /// which is printed]
    #[arg(long, value_parser = parse_number)]
    seed: Option<u64>,
    /// One JSON line a flip
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    guest: GuestChoice,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let session = Session::attach(&args.guest)?;
    let mut shell = Shell {
        watcher: Watcher::new(session.run.as_ref()),
        session,
        seed: args.seed.unwrap_or_else(random_seed),
        json: args.json,
        free: false,
        csv: None,
    };
    eprintln!("seed {}", shell.seed);
    let result = if std::io::stdin().is_terminal() { shell.prompt() } else { shell.script() };
    let released = shell.session.release();
    // A guest that is gone cannot be let go; why it is gone has been reported.
    result.and(released.exit_with(Code::GuestLost))
}

/// Whether another line is to be read.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    End,
}

struct Shell {
    session: Session,
    watcher: Watcher,
    /// Of the next command that draws.
    seed: u64,
    json: bool,
    /// `cont` has let the guest run.
    free: bool,
    /// Where `loginject` writes.
    csv: Option<BufWriter<File>>,
}

impl Shell {
    /// Reads lines from a person.
    fn prompt(&mut self) -> Result<()> {
        use rustyline::error::ReadlineError;
        let mut editor = rustyline::Editor::new().context("cannot use this terminal")?;
        editor.set_helper(Some(Completion::new(&self.session)));
        let history = paths::lab_dir()?.join("shell_history");
        // The first time there is none.
        let _ = editor.load_history(&history);
        let name = self.session.run.as_ref().map_or("flipsim", |(_, record)| record.name.as_str()).to_owned();
        eprintln!("guest {name} stands still at this prompt; `help` lists the words, Ctrl-D leaves");
        let prompt = format!("{name}> ");
        loop {
            match editor.readline(&prompt) {
                Ok(line) => {
                    // A line that cannot be kept can still be run.
                    let _ = editor.add_history_entry(&line);
                    match self.line(&line) {
                        Ok(Next::Line) => {}
                        Ok(Next::End) => break,
                        Err(_) if interrupt::raised() => {
                            interrupt::clear();
                            eprintln!("interrupted");
                        }
                        Err(error) => eprintln!("error: {error:#}"),
                    }
                }
                Err(ReadlineError::Interrupted) => eprintln!("Ctrl-D or `quit` leaves"),
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error).context("cannot read from the terminal"),
            }
        }
        let _ = editor.save_history(&history);
        Ok(())
    }

    /// Runs the lines of standard input, up to the first that fails.
    fn script(&mut self) -> Result<()> {
        // A guest is held meanwhile: a signal ends the wait for the next line.
        let input = Stream::stdin(interrupt::check_read).context("cannot read standard input")?;
        for (number, line) in BufReader::new(input).lines().enumerate() {
            let line = line.context("cannot read standard input")?;
            interrupt::check()?;
            let next = self.line(&line).with_context(|| format!("line {}, `{}`", number + 1, line.trim()))?;
            if next == Next::End {
                break;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<Next> {
        match parse_line(line)? {
            Asked::Nothing => Ok(Next::Line),
            Asked::Help(text) => {
                outln!("{}", text.trim_end());
                Ok(Next::Line)
            }
            Asked::Command(word) => self.run_word(*word),
        }
    }

    fn run_word(&mut self, word: Word) -> Result<Next> {
        match word {
            Word::Quit => return Ok(Next::End),
            Word::Listram => self.stopped(|shell| shell.session.list(ListWhat::Ram, "*", shell.json))?,
            Word::Listreg => self.stopped(|shell| shell.session.list(ListWhat::Reg, "*", shell.json))?,
            Word::Regions => self.stopped(|shell| shell.session.list(ListWhat::Regions, "*", shell.json))?,
            Word::Inject { at, width, bit, place } => {
                self.stopped(|shell| shell.inject(at.as_deref(), width, bit, &place))?;
            }
            Word::InjectReg { glob, bit } => self.stopped(|shell| shell.inject_reg(glob, bit))?,
            Word::InjectRange { width, mode, what, interval } => {
                let (ranges, count) = range::parse_what(mode, &what)?;
                self.inject_range(ranges, count, width, interval)?;
            }
            Word::Autoinject { what, place, register } => self.autoinject(&what, &place, &register)?,
            Word::Snapinject { what, loops, place, register } => {
                self.snapinject(&what, loops, &place, &register)?;
            }
            Word::Loginject { file } if file == "off" => self.csv = None,
            Word::Loginject { file } => self.csv = Some(open_csv(Path::new(&file))?),
            Word::StopDelayed { time } => self.run_for(time)?,
            Word::Run { time, until } => {
                self.halt()?;
                let time = match (time, until) {
                    (Some(time), _) => time,
                    (None, until) => self.time_until(until.unwrap_or(VirtualNs(0)))?,
                };
                self.run_for(time)?;
            }
            Word::Cont => self.go_on()?,
            Word::Stop => {
                self.halt()?;
                self.session.target.set_was_running(false);
                self.note()?;
                self.time()?;
            }
            Word::Time => self.time()?,
            Word::Status => self.status()?,
            Word::Seed { seed } => {
                self.seed = seed.unwrap_or(self.seed);
                outln!("seed {}", self.seed);
            }
            Word::Loop { count, command } => return self.repeat(count, &command),
            Word::Monitor { text } => self.monitor(&text.join(" "))?,
        }
        Ok(Next::Line)
    }

    fn repeat(&mut self, count: u64, command: &[String]) -> Result<Next> {
        for _ in 0..count {
            interrupt::check()?;
            match parse_words(command)? {
                Asked::Command(word) if !matches!(*word, Word::Loop { .. }) => {
                    if self.run_word(*word)? == Next::End {
                        return Ok(Next::End);
                    }
                }
                _ => bail!(exit_error(Code::Usage, "loop takes a number and one command: loop 20 inject")),
            }
        }
        Ok(Next::Line)
    }

    /// Does something that needs the guest to stand still, and lets it run on if it ran.
    fn stopped<T>(&mut self, act: impl FnOnce(&mut Shell) -> Result<T>) -> Result<T> {
        self.session.target.stop().exit_with(Code::GuestLost)?;
        let result = act(self);
        if self.free {
            self.session.let_run().exit_with(Code::GuestLost)?;
        }
        result
    }

    /// Stops the guest, which then stands.
    fn halt(&mut self) -> Result<()> {
        self.free = false;
        self.session.target.stop().exit_with(Code::GuestLost)
    }

    fn go_on(&mut self) -> Result<()> {
        self.session.let_run().exit_with(Code::GuestLost)?;
        self.free = true;
        self.session.target.set_was_running(true);
        self.note()
    }

    /// What the next command must put right, were this one killed.
    fn note(&mut self) -> Result<()> {
        let was_running = self.session.target.was_running();
        self.session.note(HoldNote { was_running, ..HoldNote::default() })
    }

    /// The seed of this command's draws; the next command's is so many further on.
    fn draw_seeds(&mut self, count: u64) -> u64 {
        let seed = self.seed;
        self.seed = seed.wrapping_add(count);
        seed
    }

    fn inject(&mut self, at: Option<&str>, width: u64, bit: Option<u32>, place: &RamPlace) -> Result<()> {
        let seed = self.draw_seeds(1);
        let mut rng = fault_rng(seed, FAULTS);
        let fault = match at {
            None => self.session.ram_space(place, Pattern::SINGLE)?.draw(&mut rng),
            Some(text) => {
                let first = self.address(text)?;
                let last = GuestPhys(first.0.saturating_add(width.max(1) - 1));
                let range = PhysRange { first, last };
                self.session.names.map.check_ram(range).exit_with(Code::Usage)?;
                let units = Units::new(&[range], width).exit_with(Code::Usage)?;
                units.fault(0, bit.map(BitIndex), &mut rng).exit_with(Code::Usage)?
            }
        };
        self.flip(&fault, seed)
    }

    /// `NUMBER`, `NUMBER+NUMBER`, or a symbol with or without an offset.
    fn address(&self, text: &str) -> Result<GuestPhys> {
        let (first, offset) = text.split_once('+').map_or((text, None), |(first, rest)| (first, Some(rest)));
        let Ok(first) = parse_number(first) else {
            return Ok(self.session.symbol(text)?.first);
        };
        let offset = offset.map(parse_number).transpose().exit_with(Code::Usage)?.unwrap_or(0);
        let sum = first.checked_add(offset).map(GuestPhys);
        sum.ok_or_else(|| exit_error(Code::Usage, format!("{text} is more than an address can be")))
    }

    fn inject_reg(&mut self, glob: Option<String>, bit: Option<u32>) -> Result<()> {
        let pattern = match bit {
            Some(bit) => Pattern::AdjacentAt { count: 1, bit: BitIndex(bit) },
            None => Pattern::SINGLE,
        };
        let space = self.session.reg_space(glob.as_slice(), pattern)?;
        let seed = self.draw_seeds(1);
        let fault = space.draw(&mut fault_rng(seed, FAULTS));
        self.flip(&fault, seed)
    }

    fn flip(&mut self, fault: &Fault, seed: u64) -> Result<()> {
        let mut logs = Logs::open(&self.session, self.csv.take())?;
        let attempt = self.session.attempt(1, fault, None, seed, &mut logs)?;
        self.csv = logs.into_csv();
        show(&attempt.record, 1, self.json);
        let mut done = FlipsDone { seed, drawn: 1, ..FlipsDone::default() };
        done.count(&attempt, 1, &mut self.watcher)?;
        done.result(None)
    }

    fn inject_range(
        &mut self,
        ranges: Vec<PhysRange>,
        count: Option<u64>,
        width: u64,
        interval: Option<VirtualNs>,
    ) -> Result<()> {
        let was_free = self.free;
        self.halt()?;
        let seed = self.draw_seeds(1);
        let plan = range::RangePlan { ranges, width, count, bit: None, interval, seed, json: self.json };
        let mut logs = Logs::open(&self.session, self.csv.take())?;
        let done = self.session.range(&plan, &mut logs, &mut self.watcher);
        self.csv = logs.into_csv();
        // With intervals it is stopped where the last flip was, as after `autoinject`.
        if was_free && interval.is_none() {
            self.go_on()?;
        }
        done?.result(None)
    }

    fn autoinject(&mut self, what: &[String], place: &RamPlace, registers: &[String]) -> Result<()> {
        let (kind, count, intervals) = timed_words(what)?;
        self.halt()?;
        let space = self.session.space(kind, place, registers, &BitsArgs::default())?;
        let draws = Draws {
            space: &space,
            count,
            pace: Pace::Drawn(intervals),
            seed: self.draw_seeds(1),
            json: self.json,
            quiet: false,
            csv: self.csv.take(),
            until_done: false,
        };
        let start = Instant::now();
        let mut done = self.session.flips(draws, &mut self.watcher)?;
        self.csv = done.csv.take();
        done.result(None)?;
        eprintln!("{} flips in {}", done.flipped, format_duration(start.elapsed()));
        Ok(())
    }

    fn snapinject(
        &mut self,
        what: &[String],
        loops: u64,
        place: &RamPlace,
        registers: &[String],
    ) -> Result<()> {
        // clap lets five or six words pass.
        let (timed, rest) = what.split_at(4);
        let (kind, count, intervals) = timed_words(timed)?;
        let observe = parse_virtual(&rest[0]).exit_with(Code::Usage)?;
        let tag = rest.get(1).cloned();
        tag.as_deref().map(snapshot::check_tag).transpose()?;
        self.halt()?;
        let space = self.session.space(kind, place, registers, &BitsArgs::default())?;
        let seed = self.draw_seeds(loops);
        let mut plan = snap::SnapPlan {
            count,
            intervals,
            observe: Duration::from_nanos(observe.0),
            tag,
            loops,
            seed,
            json: self.json,
            csv: self.csv.take(),
        };
        let tally = self.session.snap(&space, &mut plan);
        self.csv = plan.csv.take();
        // What the guest said in these runs is behind it.
        self.watcher = Watcher::new(self.session.run.as_ref());
        tally?.finish(self.json)
    }

    fn run_for(&mut self, time: VirtualNs) -> Result<()> {
        self.halt()?;
        if time.0 > 0 {
            let advanced = self.session.advance(time, &mut self.watcher);
            match advanced.map_err(|error| self.watcher.lost(1, 1, &error))? {
                Advance::There => {}
                Advance::Over(end) => bail!(exit_error(Code::GuestLost, format!("the guest ended: {end}"))),
                Advance::Interrupted => return Err(interrupt::Interrupted.into()),
            }
        }
        self.time()
    }

    fn time_until(&mut self, until: VirtualNs) -> Result<VirtualNs> {
        let now = self.session.target.virtual_time().exit_with(Code::GuestLost)?;
        let Some(now) = now else {
            bail!(exit_error(
                Code::Usage,
                "this QEMU cannot be asked for its virtual clock; say how long: run 10ms"
            ));
        };
        let left = until.0.checked_sub(now.0).map(VirtualNs);
        left.ok_or_else(|| exit_error(Code::Usage, format!("the guest's clock is at {now} already")))
    }

    fn time(&mut self) -> Result<()> {
        match self.session.target.clock().exit_with(Code::GuestLost)? {
            None => outln!("this QEMU cannot be asked for its virtual clock"),
            Some(clock) if self.json => outln!(
                "{}",
                serde_json::json!({ "virtual_ns": clock.virtual_ns, "instructions": clock.instructions })
            ),
            Some(clock) => {
                let count =
                    clock.instructions.map(|count| format!(", {count} instructions")).unwrap_or_default();
                outln!("{} ns{count}", clock.virtual_ns);
            }
        }
        Ok(())
    }

    fn status(&mut self) -> Result<()> {
        let state = match self.session.target.qmp() {
            Some(qmp) => qmp.status().exit_with(Code::GuestLost)?.status,
            None if self.free => "running".to_owned(),
            None => "paused".to_owned(),
        };
        let exact = if self.session.target.timing() == Timing::Exact { "exact" } else { "approximate" };
        let health = match self.watcher.look() {
            Health::Alive => "its console shows nothing wrong".to_owned(),
            other => other.to_string(),
        };
        outln!("{state}; timing: {exact}; {health}");
        self.time()
    }

    fn monitor(&mut self, text: &str) -> Result<()> {
        // What starts and stops the guest goes by the way on which we follow it.
        match text.split_whitespace().next() {
            Some("c" | "cont") => return self.go_on(),
            Some("s" | "stop") => return self.halt(),
            Some("loadvm") => {
                self.halt()?;
                match text.split_whitespace().nth(1) {
                    // From whatever state it is in, one that has ended among them.
                    Some(tag) => snapshot::load(&mut self.session.target, tag)?,
                    None => hmp(&mut self.session.target, text)?,
                }
                self.watcher = Watcher::new(self.session.run.as_ref());
                return self.time();
            }
            _ => {}
        }
        let said = self.session.target.monitor(text).exit_with(Code::GuestLost)?;
        if !said.trim().is_empty() {
            outln!("{}", said.trim_end());
        }
        Ok(())
    }
}

/// `COUNT MIN MAX ram|reg`.
fn timed_words(what: &[String]) -> Result<(KindArg, u64, Intervals)> {
    let words = Words::parse(what)?;
    let (Some(count), Some((min, max))) = (words.count, words.bounds) else {
        bail!(exit_error(Code::Usage, "the order is COUNT MIN MAX ram|reg"));
    };
    Ok((words.kind, count, Intervals::uniform(min, max).exit_with(Code::Usage)?))
}
