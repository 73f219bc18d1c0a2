//! `campaign stats`: what the results of a campaign say, in as much detail as is asked for.
//!
//! Invariant: it reads; the numbers are `flipsim`'s.

use std::str::FromStr;

use anyhow::Result;
use flipsim::campaign::Summary;
use flipsim::campaign::summary::By;
use flipsim::stats::fit::FitPerMbit;
use flipsim::stats::mission::{MONTH, Mission, UpsetRate};
use flipsim::text::visible;

use crate::lab::campaigns::files::{open_to_read, store_error};
use crate::lab::campaigns::tables::{self, IntervalMethods};
use crate::lab::campaigns::wrong;

/// Show what the results of a campaign say.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign stats first
  cargo xtask campaign stats first --by bit --by symbol
  cargo xtask campaign stats first --survival --interval exact --confidence 99%
  cargo xtask campaign stats first --raw-fit 1700
  cargo xtask campaign stats first --flips-per-gib-month 10 --years 5 --gib 1
  cargo xtask campaign stats first --json | jq '.strata[0].classes'

docs/statistics.md says what each number is, and what it is not.")]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
    /// As JSON, with everything
    #[arg(long)]
    json: bool,
    /// Break the trials of each stratum down by this
    #[arg(long, value_enum, value_name = "WHAT")]
    by: Vec<ByArg>,
    /// How many rows a table by symbol or title has
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// How long guests live after a flip
    #[arg(long)]
    survival: bool,
    #[command(flatten)]
    intervals: IntervalMethods,
    /// The raw rate of flips in FIT/Mbit (2^20 bits): shows the FIT of each kind of failure
    #[arg(long, value_name = "FIT")]
    raw_fit: Option<FitPerMbit>,
    /// The raw rate of flips of a mission: so many in 1 GiB in a month of 30 days
    #[arg(long, value_name = "FLIPS", requires_all = ["years", "gib"])]
    flips_per_gib_month: Option<Positive>,
    /// How long the mission is, in years of 360 days
    #[arg(long, value_name = "YEARS", requires = "flips_per_gib_month")]
    years: Option<Positive>,
    /// How much memory it has, in GiB
    #[arg(long, value_name = "GIB", requires = "flips_per_gib_month")]
    gib: Option<Positive>,
}

/// What a table is by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ByArg {
    /// The bit of the byte in RAM, or of the register
    Bit,
    /// The register
    Register,
    /// The region of the guest's memory map
    Region,
    /// The kernel symbol
    Symbol,
    /// The title of the console's report
    Title,
}

impl From<ByArg> for By {
    fn from(by: ByArg) -> By {
        match by {
            ByArg::Bit => By::Bit,
            ByArg::Register => By::Register,
            ByArg::Region => By::Region,
            ByArg::Symbol => By::Symbol,
            ByArg::Title => By::Title,
        }
    }
}

/// A number above 0.
#[derive(Clone, Copy, Debug)]
struct Positive(f64);

impl FromStr for Positive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
        number.map(Positive).ok_or_else(|| "it must be a number above 0, as in 10 or 0.5".to_owned())
    }
}

impl Args {
    /// The mission and its length in seconds.
    fn mission(&self) -> Option<(Mission, f64)> {
        let (Positive(flips), Positive(years), Positive(gib)) =
            (self.flips_per_gib_month?, self.years?, self.gib?);
        const GIB: f64 = (1u64 << 30) as f64;
        let rate = UpsetRate { per_byte_second: flips / GIB / MONTH };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "above 0; a cast saturates"
        )]
        let bytes = (gib * GIB) as u64;
        Some((Mission { rate, bytes, accelerate: 1.0 }, years * 12.0 * MONTH))
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let store = open_to_read(&args.name)?;
    let mut options = args.intervals.options();
    options.top = args.top;
    let summary = Summary::new(&store, &options).map_err(store_error)?;
    let (method, confidence) = (args.intervals.method(), summary.confidence);
    let fit = args.raw_fit.map(|raw| (raw, summary.fit(raw, method)));
    let mission = args
        .mission()
        .map(|(mission, seconds)| (mission, seconds, summary.mission(&mission, seconds, method)));
    if args.json {
        let mut json = serde_json::to_value(&summary)?;
        if let Some((raw, rows)) = &fit {
            json["fit"] = serde_json::json!({ "raw_fit_per_mbit": raw, "rows": rows });
        }
        if let Some((mission, seconds, rows)) = &mission {
            json["mission"] = serde_json::json!({ "upsets": mission.upsets_in(*seconds), "rows": rows });
        }
        outln!("{}", serde_json::to_string_pretty(&json)?);
        return Ok(());
    }
    let mut text = tables::overview(&summary, store.running(), method);
    for stratum in &summary.strata {
        for by in &args.by {
            text += &tables::breakdown(stratum, (*by).into(), confidence, method);
        }
        text += &tables::times(stratum);
        text += &wrong::wrong(stratum, confidence, method);
        if args.survival {
            text += &tables::survival(stratum, confidence);
        }
    }
    if let Some((raw, rows)) = &fit {
        text += &tables::fit(rows, *raw, confidence);
    }
    if let Some((mission, seconds, rows)) = &mission {
        text += &tables::mission(rows, mission, *seconds, confidence);
    }
    if let Some(costs) = &summary.costs {
        text += &tables::cost_table(costs);
    }
    outln!("{}", visible(text.trim_end()));
    Ok(())
}
