//! `inject range`: a flip in every unit of ranges of addresses, or in a random choice of them.

use anyhow::{Result, bail};
use flipsim::fault::{Units, fault_rng, random_seed};
use flipsim::memory::PhysRange;
use flipsim::units::{BitIndex, VirtualNs, parse_number, parse_virtual};

use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::flags::Flipping;
use crate::guest::flips::{Advance, FAULTS, FlipsDone, Logs, open_csv, show};
use crate::guest::session::Session;
use crate::guest::watcher::Watcher;
use crate::interrupt;

/// Flip a bit in every unit of ranges of addresses, one after the other or a random choice of them.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask inject range 4 random 0x41000000-0x41ffffff 100
  cargo xtask inject range 1 sequential 0x41000000-0x4100000f 0x42000000-0x4200000f
  cargo xtask inject range 8 random 0x41000000+1M 10 --interval 2ms --fresh --seed 7

Ranges include both ends. In each unit one bit flips, drawn or chosen with --bit.")]
pub struct Args {
    /// The width of a unit in bytes
    #[arg(value_parser = parse_number)]
    width: u64,
    /// Every unit in order, or COUNT different ones
    #[arg(value_enum)]
    mode: Mode,
    /// Ranges of physical addresses, FIRST-LAST (both included) or FIRST+LENGTH; for `random` the number of flips
    /// comes last
    #[arg(required = true, value_name = "RANGE… [COUNT]")]
    what: Vec<String>,
    /// The time between two flips, on the guest's clock; without one all strike at the same instant
    #[arg(long, value_parser = parse_virtual, value_name = "TIME")]
    interval: Option<VirtualNs>,
    #[command(flatten)]
    flip: Flipping,
}

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Every unit, in order
    Sequential,
    /// So many different units, drawn
    Random,
}

/// Reads the ranges, and the number at the end.
pub fn parse_what(mode: Mode, words: &[String]) -> Result<(Vec<PhysRange>, Option<u64>)> {
    let usage = |text: String| exit_error(Code::Usage, text);
    let (ranges, count) = match (mode, words.split_last()) {
        (Mode::Random, Some((last, rest))) => {
            let count = parse_number(last).ok().filter(|count| *count > 0).ok_or_else(|| {
                usage(format!("`{last}` is no number of flips; random wants one behind the ranges"))
            })?;
            (rest, Some(count))
        }
        _ => (words, None),
    };
    let parse = |text: &String| text.parse::<PhysRange>().exit_with(Code::Usage);
    let ranges: Vec<PhysRange> = ranges.iter().map(parse).collect::<Result<_>>()?;
    if ranges.is_empty() {
        bail!(usage("no range is given; write FIRST-LAST, as in 0x41000000-0x41ffffff".to_owned()));
    }
    Ok((ranges, count))
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let (ranges, count) = parse_what(args.mode, &args.what)?;
    if args.flip.bits.mask.is_some() || args.flip.bits.bits.is_some_and(|bits| bits != 1) {
        bail!(exit_error(Code::Usage, "range flips single bits: leave out --mask and --bits"));
    }
    if args.flip.bits.operation.is_some_and(|operation| !operation.is_flip()) {
        bail!(exit_error(
            Code::Usage,
            "range only flips: leave out --operation, or use `inject ram --range`"
        ));
    }
    // All that can be wrong without a guest is said before one is booted.
    Units::new(&ranges, args.width).exit_with(Code::Usage)?;
    let mut session = Session::attach(&args.flip.guest)?;
    let mut watcher = Watcher::new(session.run.as_ref());
    if session.is_fresh() {
        watcher.read_from_start();
    }
    let seed = args.flip.seed.unwrap_or_else(random_seed);
    let csv = args.flip.csv.as_deref().map(open_csv).transpose()?;
    let mut logs = Logs::open(&session, csv)?;
    let plan = RangePlan {
        ranges,
        width: args.width,
        count,
        bit: args.flip.bits.bit.map(BitIndex),
        interval: args.interval,
        seed,
        json: args.flip.json,
    };
    let done = session.range(&plan, &mut logs, &mut watcher)?;
    session.finish(done, args.flip.observe, watcher)
}

/// What `range` is to do.
pub struct RangePlan {
    /// The ranges.
    pub ranges: Vec<PhysRange>,
    /// The width of a unit in bytes.
    pub width: u64,
    /// How many units; all of them, in order, without.
    pub count: Option<u64>,
    /// Always this bit of a unit.
    pub bit: Option<BitIndex>,
    /// The time between two flips.
    pub interval: Option<VirtualNs>,
    /// The seed.
    pub seed: u64,
    /// Print JSON lines.
    pub json: bool,
}

impl Session {
    /// Runs a plan of `range`.
    pub fn range(&mut self, plan: &RangePlan, logs: &mut Logs, watcher: &mut Watcher) -> Result<FlipsDone> {
        let units = Units::new(&plan.ranges, plan.width).exit_with(Code::Usage)?;
        for range in &plan.ranges {
            self.names.map.check_ram(*range).exit_with(Code::Usage)?;
        }
        let mut rng = fault_rng(plan.seed, FAULTS);
        let drawn = plan.count.map(|count| units.draw(count, &mut rng)).transpose().exit_with(Code::Usage)?;
        let count = plan.count.unwrap_or(units.len());
        if !plan.json {
            outln!("seed {}, {count} of {} units of {} bytes", plan.seed, units.len(), plan.width);
        }
        let mut done = FlipsDone { seed: plan.seed, drawn: count, ..FlipsDone::default() };
        for index in 1..=count {
            if interrupt::raised() {
                done.interrupted = true;
                break;
            }
            if let Some(interval) = plan.interval.filter(|interval| index > 1 && interval.0 > 0) {
                match self.advance(interval, watcher).map_err(|error| watcher.lost(index, count, &error))? {
                    Advance::There => {}
                    Advance::Over(end) => done.crash = Some(end),
                    Advance::Interrupted => done.interrupted = true,
                }
                if done.crash.is_some() || done.interrupted {
                    break;
                }
            }
            let place = usize::try_from(index - 1).ok();
            let number = match &drawn {
                Some(drawn) => place.and_then(|place| drawn.get(place).copied()).unwrap_or_default(),
                None => index - 1,
            };
            let fault = units.fault(number, plan.bit, &mut rng).exit_with(Code::Usage)?;
            let attempt = self.attempt(index, &fault, None, plan.seed, logs)?;
            show(&attempt.record, count, plan.json);
            done.count(&attempt, index, watcher)?;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(mode: Mode, text: &str) -> Result<(Vec<PhysRange>, Option<u64>)> {
        parse_what(mode, &text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn ranges_and_the_number_behind_them_are_read() {
        let (ranges, count) = parse(Mode::Random, "0x1000-0x1fff 0x3000+16 5").unwrap();
        assert_eq!((ranges.len(), ranges[1].last.0, count), (2, 0x300f, Some(5)));
        let (ranges, count) = parse(Mode::Sequential, "0x1000-0x1fff").unwrap();
        assert_eq!((ranges.len(), count), (1, None));
    }

    #[test]
    fn what_is_missing_is_reported() {
        assert!(parse(Mode::Random, "0x1000-0x1fff").unwrap_err().to_string().contains("no number of flips"));
        assert!(parse(Mode::Random, "5").unwrap_err().to_string().contains("no range is given"));
        assert!(parse(Mode::Sequential, "0x1000").is_err());
    }
}
