//! `campaign new --pilot`: the trials shared by what another campaign has shown.
//!
//! Invariant: the numbers stand in the specification, so that the plan can be drawn again without the pilot.

use std::fmt::Write as _;

use anyhow::Result;
use flipsim::campaign::size::Size;
use flipsim::campaign::spec::Sharing;
use flipsim::campaign::summary::SummaryOptions;
use flipsim::campaign::{CampaignSpec, PilotShares, Plan, Summary};
use flipsim::fault::FaultSpace;
use flipsim::text::shown;
use flipsim::trial::golden::Golden;

use crate::exit::{Code, ExitWith};
use crate::lab::campaigns::files::{open_to_read, store_error};

/// Shares the trials of a specification, and says how.
pub fn share(
    spec: &mut CampaignSpec,
    pilot: &str,
    golden: &Golden,
    spaces: Vec<FaultSpace>,
) -> Result<String> {
    let options = SummaryOptions { short: true, ..SummaryOptions::default() };
    let summary = Summary::new(&open_to_read(pilot)?, &options).map_err(store_error)?;
    // How many trials there are does not depend on how they are shared, and a small stratum is no hindrance yet.
    let sharing = match spec.size {
        Some(Size::Trials(_)) => Sharing::Equal,
        _ => Sharing::Proportional,
    };
    let probe =
        Plan::new(&CampaignSpec { sharing, ..spec.clone() }, golden, spaces).exit_with(Code::Usage)?;
    let shares = PilotShares::new(spec, probe.strata(), probe.len(), &summary).exit_with(Code::Usage)?;
    shares.write(spec);
    Ok(table(pilot, &shares))
}

fn table(pilot: &str, shares: &PilotShares) -> String {
    let mut text = format!("shared by the failures of {}:\n", shown(pilot, 100));
    let (stratum, seen) = ("stratum", "in the pilot");
    _ = writeln!(text, "  {stratum:16} {seen:>18} {:>8}  by faults alone", "trials");
    for row in &shares.rows {
        let seen = format!("{} of {} ({:.2} %)", row.seen.hits(), row.seen.trials(), row.seen.rate() * 100.0);
        _ = writeln!(text, "  {:16} {seen:>18} {:>8}  {}", shown(&row.name, 60), row.trials, row.by_size);
    }
    let percent =
        |margin: Option<f64>| margin.map_or("none".to_owned(), |margin| format!("±{:.2} %", margin * 100.0));
    _ = writeln!(
        text,
        "  the rate of failures together can be expected to within {} (by faults alone {}); the pilot's trials are in no \
         rate",
        percent(shares.margin),
        percent(shares.margin_by_size)
    );
    text
}
