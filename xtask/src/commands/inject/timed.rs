//! `inject auto`: faults at drawn times.

use anyhow::{Result, bail};
use flipsim::fault::schedule::Intervals;
use flipsim::stats::flux::Flux;
use flipsim::stats::mission::{Mission, UpsetRate, format_field_time, parse_field_time};
use flipsim::stats::upsets::Written;
use flipsim::units::{VirtualNs, format_size, parse_number, parse_size, parse_virtual};

use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::flags::{Flipping, KindArg, RamPlace};
use crate::guest::flips::Pace;
use crate::guest::session::Session;

/// Flip bits at drawn times.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask inject auto 10 20ns 100ns ram
  cargo xtask inject auto 100 1ms 5ms ram --region 'Kernel data' --fresh --workload sha256 --seed 7
  cargo xtask inject auto 50 reg --mtbf 2ms --fresh
  cargo xtask inject auto 100 ram --rate 10/GiB/month --accelerate 1e10 --fresh
  cargo xtask inject auto ram --rate 10/GiB/month --mission 5years --accelerate 1e9 --fresh

Times are virtual: with the exact clock every flip happens at the very nanosecond drawn for it.
Units: ns (also for a bare number), us, ms, s, m.")]
pub struct AutoArgs {
    /// How many flips, the shortest and the longest interval, and what to flip. With --mtbf or --rate no
    /// intervals; with --mission no number either
    #[arg(num_args = 1..=4, required = true, value_names = ["COUNT", "MIN", "MAX", "ram|reg"])]
    what: Vec<String>,
    /// How intervals are drawn
    #[arg(long, value_enum, value_name = "NAME")]
    distribution: Option<Distribution>,
    /// The mean time between two flips, of a Poisson process
    #[arg(long, value_parser = parse_virtual, value_name = "TIME", conflicts_with = "rate")]
    mtbf: Option<VirtualNs>,
    /// The raw rate of upsets in the field: 10/GiB/month, 2e-7/bit/day, 1700FIT/Mbit, 1e-14cm2/bit with --flux
    #[arg(long, value_name = "RATE")]
    rate: Option<Written>,
    /// The flux for the cross section of a bit: 13/cm2/h, or a name of docs/field.md
    #[arg(long, value_name = "FLUX", requires = "rate")]
    flux: Option<Flux>,
    /// How many times faster than in the field the upsets come
    #[arg(long, default_value_t = 1.0, value_name = "N", requires = "rate")]
    accelerate: f64,
    /// The memory that is exposed in the field [default: what is flipped here]
    #[arg(long, value_parser = parse_size, value_name = "SIZE", requires = "rate")]
    exposed: Option<u64>,
    /// The length of the mission, as in 5years; gives the number of flips
    #[arg(long, value_parser = parse_field_time, value_name = "TIME", requires = "rate")]
    mission: Option<f64>,
    #[command(flatten)]
    place: RamPlace,
    /// Registers, by name or glob; may be given more than once
    #[arg(long, value_name = "GLOB")]
    register: Vec<String>,
    #[command(flatten)]
    flip: Flipping,
}

/// How intervals are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Distribution {
    /// Every time from the shortest to the longest is as likely
    Uniform,
    /// A Poisson process: each nanosecond has the same small chance
    Geometric,
}

/// What the words of the command mean.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// How many flips, where it is said.
    pub count: Option<u64>,
    /// The shortest and the longest interval, where they are said.
    pub bounds: Option<(VirtualNs, VirtualNs)>,
    /// RAM or registers.
    pub kind: KindArg,
}

impl Words {
    /// Reads `COUNT MIN MAX ram|reg`, `COUNT ram|reg` or `ram|reg`.
    pub fn parse(words: &[String]) -> Result<Words> {
        let usage = |text: String| exit_error(Code::Usage, text);
        let Some((kind, rest)) = words.split_last() else {
            bail!(usage("what to flip is not said".to_owned()))
        };
        let kind = match kind.as_str() {
            "ram" => KindArg::Ram,
            "reg" => KindArg::Reg,
            other => bail!(usage(format!(
                "`{other}` is neither `ram` nor `reg`; it stands last, as in 10 20ns 100ns ram"
            ))),
        };
        let count = |text: &String| {
            parse_number(text).ok().filter(|count| *count > 0).ok_or_else(|| {
                usage(format!("`{text}` is no number of flips; the order is COUNT MIN MAX ram|reg"))
            })
        };
        Ok(match rest {
            [] => Words { count: None, bounds: None, kind },
            [number] => Words { count: Some(count(number)?), bounds: None, kind },
            [number, min, max] => {
                let bounds =
                    (parse_virtual(min).exit_with(Code::Usage)?, parse_virtual(max).exit_with(Code::Usage)?);
                Words { count: Some(count(number)?), bounds: Some(bounds), kind }
            }
            _ => bail!(usage("one interval is missing; the order is COUNT MIN MAX ram|reg".to_owned())),
        })
    }
}

/// Runs the command.
pub fn run(args: &AutoArgs) -> Result<()> {
    let words = Words::parse(&args.what)?;
    if words.kind == KindArg::Ram && !args.register.is_empty() {
        bail!(exit_error(Code::Usage, "--register goes with `reg`, not with `ram`"));
    }
    // All that can be wrong without a guest is said before one is booted.
    if args.rate.is_none() {
        intervals(args, &words, None, 0)?;
    }
    let rate = args.rate.clone().map(|rate| rate.in_flux(args.flux));
    let rate = rate.transpose().exit_with(Code::Usage)?.map(|rate| rate.upsets());
    let mut session = Session::attach(&args.flip.guest)?;
    let space = session.space(words.kind, &args.place, &args.register, &args.flip.bits)?;
    let bytes = if rate.is_some() { space.places() / 8 } else { 0 };
    let (intervals, count) = intervals(args, &words, rate, bytes)?;
    if !args.flip.json {
        outln!("{count} flips, {intervals}");
    }
    session.inject(&space, count, Pace::Drawn(intervals), &args.flip)
}

/// The distribution of the intervals and the number of flips; `bytes` is what can be flipped here.
fn intervals(
    args: &AutoArgs,
    words: &Words,
    rate: Option<UpsetRate>,
    bytes: u64,
) -> Result<(Intervals, u64)> {
    let usage = |text: &str| exit_error(Code::Usage, text);
    let geometric = args.distribution == Some(Distribution::Geometric);
    if let Some(rate) = rate {
        if args.distribution == Some(Distribution::Uniform) || words.bounds.is_some() {
            bail!(usage("--rate gives the intervals; leave out MIN, MAX and --distribution uniform"));
        }
        let mission = Mission { rate, bytes: args.exposed.unwrap_or(bytes), accelerate: args.accelerate };
        let mean = mission.mean().exit_with(Code::Usage)?;
        let count = match (words.count, args.mission) {
            (Some(count), None) => count,
            (None, Some(length)) => expected(mission.upsets_in(length))?,
            (None, None) => bail!(usage("say how many flips, or how long the mission is: --mission 5years")),
            (Some(_), Some(_)) => bail!(usage("--mission gives the number of flips; leave out COUNT")),
        };
        outln_mission(&mission, mean, count);
        return Ok((Intervals::geometric(mean).exit_with(Code::Usage)?, count));
    }
    let Some(count) = words.count else { bail!(usage("say how many flips: COUNT MIN MAX ram|reg")) };
    let intervals = match (args.mtbf, words.bounds) {
        (Some(_), Some(_)) => bail!(usage("--mtbf gives the intervals; leave out MIN and MAX")),
        (Some(_), None) if args.distribution == Some(Distribution::Uniform) => {
            bail!(usage("--mtbf is the mean of a Poisson process; for uniform intervals give MIN and MAX"))
        }
        (Some(mean), None) => Intervals::geometric(mean),
        (None, Some(_)) if geometric => {
            bail!(usage("--distribution geometric needs --mtbf, and no MIN and MAX"))
        }
        (None, Some((min, max))) => Intervals::uniform(min, max),
        (None, None) => bail!(usage("say when: MIN MAX, or --mtbf TIME, or --rate 10/GiB/month")),
    };
    Ok((intervals.exit_with(Code::Usage)?, count))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, above 0, and far below 2^53"
)]
fn expected(upsets: f64) -> Result<u64> {
    let count = upsets.round();
    if !(1.0..1e9).contains(&count) {
        bail!(exit_error(
            Code::Usage,
            format!(
                "in such a mission {upsets:.3} upsets are expected; from 1 to 999,999,999 can be injected"
            )
        ));
    }
    Ok(count as u64)
}

/// The arithmetic, for the reader to check.
fn outln_mission(mission: &Mission, mean: VirtualNs, count: u64) {
    let field = mission.mean_in_field();
    eprintln!(
        "in the field: one upset every {} in {} (months of 30 days)",
        format_field_time(field),
        format_size(mission.bytes)
    );
    eprintln!("here: {:e} times faster, one every {mean} of virtual time on average", mission.accelerate);
    eprintln!(
        "{count} flips stand for {} in the field, and take about {} of virtual time",
        format_field_time(mission.field_seconds(count)),
        VirtualNs(mean.0.saturating_mul(count))
    );
    // Virtual time hardly runs faster than the host's.
    if mean.0 > SLOW.0 {
        eprintln!(
            "warning: that is {mean} of waiting for each flip; --accelerate 1e9, say, makes them come sooner"
        );
    }
}

/// Who waits so long for one flip has forgotten something.
const SLOW: VirtualNs = VirtualNs(60_000_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Words> {
        Words::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_words_are_read_in_the_originals_order() {
        let parsed = words("10 20ns 100 ram").unwrap();
        assert_eq!(parsed.bounds, Some((VirtualNs(20), VirtualNs(100))));
        assert_eq!((parsed.count, parsed.kind), (Some(10), KindArg::Ram));
        assert_eq!(words("7 reg").unwrap(), Words { count: Some(7), bounds: None, kind: KindArg::Reg });
        assert_eq!(words("ram").unwrap().count, None);
    }

    #[test]
    fn wrong_words_are_reported() {
        for (text, part) in [
            ("10 20ns 100ns", "neither `ram` nor `reg`"),
            ("0 1ns 2ns ram", "no number of flips"),
            ("10 20ns ram", "one interval is missing"),
            ("10 20x 100ns ram", "20x"),
        ] {
            let error = words(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
