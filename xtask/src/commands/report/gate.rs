//! `report gate`: whether a campaign is worse than a baseline, as an exit code.
//!
//! Invariant: **0 is only said of what was looked at**: a comparison that could not have shown a rise exits with 11.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use flipsim::campaign::Summary;
use flipsim::campaign::summary::SummaryOptions;
use flipsim::report::compare::{CompareOptions, Side, compare};
use flipsim::report::gate::{
    Condition, Gate, GateOptions, GatePageOptions, gate, gate_page, junit, markdown, row_text, word,
};
use flipsim::stats::Share;
use flipsim::stats::gate::{Change, Rule};
use flipsim::text::visible;

use super::output::{default_page, one_to_stdout, open, tell, write};
use crate::exit::Code;
use crate::host::proc::quote;
use crate::lab::campaigns::files::store_error;

/// Say in the exit code whether a campaign is worse than a baseline: for a build that is to fail then.
///
/// Strata of the same name are tested, each for each condition; all tests together have the chance of a false alarm that
/// --alpha says. The last line of the output begins with `gate:`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask report gate first second
  cargo xtask report gate first second --fail-if 'sdc worse' --fail-if 'crash worse'
  cargo xtask report gate first second --alpha 5% --by-at-least 10%
  cargo xtask report gate first second --junit gate.xml --markdown gate.md

Exit codes:
  0    not worse: a rise of --by-at-least is refuted, or would have been shown with 80 %, and none was
  10   worse: a rise is shown, and not that it is smaller than --by-at-least
  11   nothing can be said: trials are pending, no stratum is common, or too few trials to see such a rise

The page is .lab/reports/gate-BASELINE+CAMPAIGN.html unless --html says otherwise. docs/ci.md has a nightly script.")]
pub struct Args {
    /// The campaign to compare with: its name, or its file
    #[arg(value_name = "BASELINE")]
    baseline: String,
    /// The one that is looked at
    #[arg(value_name = "CAMPAIGN")]
    campaign: String,
    /// When it is worse: an outcome, or a class of outcomes, has become more frequent; several times for several
    #[arg(long, value_name = "CONDITION", default_value = "failure worse")]
    fail_if: Vec<Condition>,
    /// The chance of a false alarm, over all tests
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = alpha)]
    alpha: Share,
    /// The smallest rise that counts, in percentage points of the trials
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = least)]
    by_at_least: Share,
    /// Take the finished batches of an unfinished campaign, as of one that `run --max-time` ended
    #[arg(long)]
    unfinished: bool,
    /// Write the page to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the tests as JUnit's XML; - is standard output
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a summary in Markdown; - is standard output
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the decision as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn inside(text: &str, most: f64, example: &str) -> Result<Share, String> {
    let share: Share = text.parse().map_err(|error: flipsim::stats::StatsError| error.to_string())?;
    match share.value() > 0.0 && share.value() < most {
        true => Ok(share),
        false => Err(format!("it must lie above 0 and below {most}, as in {example}")),
    }
}

fn alpha(text: &str) -> Result<Share, String> {
    inside(text, 0.5, "1%")
}

fn least(text: &str) -> Result<Share, String> {
    inside(text, 1.0, "2%")
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let Args { html, junit: xml, markdown: summary_to, json, .. } = args;
    let outputs = [("--html", html), ("--junit", xml), ("--markdown", summary_to), ("--json", json)];
    let piped = one_to_stdout(&outputs)?;
    let (a, b) = (open(&args.baseline)?, open(&args.campaign)?);
    let options = SummaryOptions { short: true, ..SummaryOptions::default() };
    let summary = |store| Summary::new(store, &options).map_err(store_error);
    let (first, second) = (summary(&a)?, summary(&b)?);
    let sides = [Side { store: &a, summary: &first }, Side { store: &b, summary: &second }];
    let found = compare(&sides[0], &sides[1], &CompareOptions::default()).map_err(store_error)?;
    let asked = GateOptions {
        conditions: distinct(&args.fail_if),
        rule: Rule { alpha: args.alpha, by_at_least: args.by_at_least, power: Share::P80 },
        unfinished: args.unfinished,
    };
    let found = gate(&found, [&first, &second], &asked);
    let page_to = match html {
        Some(path) => path.clone(),
        None => {
            let page = default_page(&[&a, &b])?;
            let name = page.file_name().context("a page has a name")?.to_string_lossy().into_owned();
            page.with_file_name(format!("gate-{name}"))
        }
    };
    let page_options = GatePageOptions {
        campaigns: [&args.baseline, &args.campaign].map(quote),
        made: jiff::Timestamp::now(),
    };
    let mut written = Vec::new();
    let forms = [
        ("page", Some(page_to), gate_page(&found, &page_options)),
        ("junit", xml.clone(), junit(&found)),
        ("markdown", summary_to.clone(), markdown(&found)),
        (
            "json",
            json.clone(),
            serde_json::to_string_pretty(&found).context("cannot write the decision as JSON")? + "\n",
        ),
    ];
    for (what, path, text) in forms {
        let Some(path) = path else { continue };
        write(&path, &mut |out| Ok(out.write_all(text.as_bytes())?))?;
        written.push((what, path));
    }
    if !piped {
        for line in lines(&found) {
            outln!("{line}");
        }
    }
    tell(&written, piped);
    match piped {
        true => eprintln!("{}", found.line()),
        false => outln!("{}", visible(&found.line())),
    }
    Ok(match found.change {
        Change::NotWorse => ExitCode::SUCCESS,
        Change::Worse => Code::Worse.into(),
        Change::Open => Code::Open.into(),
    })
}

/// A condition that is given twice is one test.
fn distinct(conditions: &[Condition]) -> Vec<Condition> {
    let mut found: Vec<Condition> = Vec::new();
    for condition in conditions {
        if !found.contains(condition) {
            found.push(*condition);
        }
    }
    found
}

/// What stands above the decision.
fn lines(found: &Gate) -> Vec<String> {
    let [a, b] = [&found.names[0], &found.names[1]].map(|name| visible(name));
    let mut lines = vec![format!("{b} against {a}")];
    lines.extend(found.warnings.iter().map(|text| format!("warning: {}", visible(text))));
    lines.extend(found.left_out.iter().map(|text| format!("  in no test: {}", visible(text))));
    lines.extend(found.rows.iter().map(|row| {
        let pairs = row.pairs.map_or(String::new(), |_| " (of pairs)".to_owned());
        format!("  {}: {}{pairs}", word(row.change()), visible(&row_text(row, &found.rule)))
    }));
    lines
}
