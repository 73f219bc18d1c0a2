//! `campaign stats`: what the results of a campaign say, in as much detail as is asked for.
//!
//! Invariant: it reads; the numbers are `flipsim`'s.

use anyhow::Result;
use flipsim::campaign::Summary;
use flipsim::campaign::summary::By;
use flipsim::text::visible;

use crate::exit::{Code, exit_error};
use crate::lab::campaigns::field::FieldArgs;
use crate::lab::campaigns::files::{open_to_read, store_error};
use crate::lab::campaigns::tables::{self, IntervalMethods};
use crate::lab::campaigns::{activation, corrected, reached, wrong};

/// Show what the results of a campaign say.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign stats first
  cargo xtask campaign stats first --by bit --by symbol
  cargo xtask campaign stats first --survival --simultaneous --confidence 99%
  cargo xtask campaign stats first --rate 2e-7/bit/day --raw-factor 3 --gib 0.125
  cargo xtask campaign stats first --rate 1e-14cm2/bit --flux sea-level --raw-factor 2
  cargo xtask campaign stats first --raw-fit 1700
  cargo xtask campaign stats first --cross-section 1e-14cm2/bit --flux sea-level --raw-factor 2
  cargo xtask campaign stats first --upsets-per-bit-day 2e-7 --raw-factor 3 --gib 0.125
  cargo xtask campaign stats first --flips-per-gib-month 10 --years 5 --gib 1
  cargo xtask campaign stats first --json | jq '.strata[0].classes'

docs/statistics.md says what each number is, and what it is not; docs/field.md where raw rates come from.")]
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
    /// Intervals of the outcomes of each stratum that hold all at once
    #[arg(long)]
    simultaneous: bool,
    /// How long guests live after a flip
    #[arg(long)]
    survival: bool,
    #[command(flatten)]
    intervals: IntervalMethods,
    #[command(flatten)]
    field: FieldArgs,
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
    /// Whether the guest of the golden run was busy or idle
    Moment,
    /// The part of the kernel that the first report is of
    Subsystem,
}

impl From<ByArg> for By {
    fn from(by: ByArg) -> By {
        match by {
            ByArg::Bit => By::Bit,
            ByArg::Register => By::Register,
            ByArg::Region => By::Region,
            ByArg::Symbol => By::Symbol,
            ByArg::Title => By::Title,
            ByArg::Moment => By::Moment,
            ByArg::Subsystem => By::Subsystem,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let store = open_to_read(&args.name)?;
    let mut options = args.intervals.options();
    options.top = args.top;
    let summary = Summary::new(&store, &options).map_err(store_error)?;
    let (method, confidence) = (args.intervals.method(), summary.confidence);
    let field = args.field.answer(&summary, method).map_err(|why| exit_error(Code::Usage, why))?;
    if args.json {
        let mut json = serde_json::to_value(&summary)?;
        if let Some(field) = &field {
            field.json(&mut json);
        }
        outln!("{}", serde_json::to_string_pretty(&json)?);
        return Ok(());
    }
    let mut text = tables::overview(&summary, store.running(), method);
    if summary.totals.counted > 0 {
        text += &format!("{}\n", Summary::ONE_RUN);
    }
    for stratum in &summary.strata {
        for by in &args.by {
            text += &tables::breakdown(stratum, (*by).into(), confidence, method);
        }
        if args.simultaneous {
            text += &tables::simultaneous(stratum, confidence);
        }
        text += &tables::coverage(stratum, confidence, method);
        text += &tables::hang_limits(stratum);
        text += &tables::times(stratum);
        text += &wrong::wrong(stratum, confidence, method);
        text += &activation::activation(stratum, confidence, method);
        text += &corrected::corrected(stratum, confidence, method);
        text += &reached::reached(stratum);
        if args.survival {
            text += &tables::survival(stratum, confidence);
        }
    }
    if let Some(field) = &field {
        text += &field.text(confidence);
        for stratum in
            summary.strata.iter().filter(|stratum| !stratum.when.is_time() && stratum.bits.is_some())
        {
            text += &format!(
                "  {}: of {} moments alone, as if there were no others; several strata together have each its weight\n",
                stratum.name,
                stratum.when.name()
            );
        }
    }
    if let Some(costs) = &summary.costs {
        text += &tables::cost_table(costs);
    }
    outln!("{}", visible(text.trim_end()));
    Ok(())
}
