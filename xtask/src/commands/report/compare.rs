//! `report compare`: two campaigns side by side.
//!
//! Invariant: what makes the comparison unfair is printed before any number.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use flipsim::campaign::Summary;
use flipsim::campaign::summary::SummaryOptions;
use flipsim::report::compare::{
    Answer, CompareOptions, Comparison, ComparisonRow, NOT_OF_ONE, Per, Same, Side, StratumComparison,
    SumComparison, UNEQUAL, compare, estimate_text, p_text, ratio_text, verdict_text,
};
use flipsim::report::svg::{count, large, percent};
use flipsim::report::{BesideOptions, beside};
use flipsim::stats::equivalence::Margin;
use flipsim::stats::{Confidence, StatsError};
use flipsim::text::visible;

use super::output::{default_page, one_to_stdout, open, tell, write};
use crate::exit::{Code, exit_error};
use crate::host::proc::quote;
use crate::lab::campaigns::files::store_error;
use crate::lab::campaigns::mission;

/// Compare two campaigns: what is shown, in a sentence each, then counts and rates, each with a test.
///
/// Strata of the same name are compared: A is the first campaign, B the second. Where both have the same plan, or the same
/// draws, their trials are compared as pairs.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask report compare first second
  cargo xtask report compare first second --per upset
  cargo xtask report compare first second --mission mission.toml
  cargo xtask report compare first second --html both.html
  cargo xtask report compare first second --json - | jq .unfair
  cargo xtask report compare first second --equivalent 1.25
  cargo xtask report compare first second --not-worse 1.1

The page is .lab/reports/A+B.html unless --html says otherwise; with --json alone none is written.
Per run, extrapolated counts are compared: the rate of a longer or larger program falls, although more faults make
it fail. Per upset, rates are; per year, rates times the bits that are exposed (docs/statistics.md).
Exit code 11: there was nothing to compare. `report gate` decides whether the second is worse.")]
pub struct Args {
    /// A campaign's name, or its file
    #[arg(value_name = "A")]
    a: String,
    /// Another one's
    #[arg(value_name = "B")]
    b: String,
    /// Write the page to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the comparison as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What the sentences count by: upset, run or year [default: run; with --mission year]
    #[arg(long, value_name = "WHAT")]
    per: Option<Per>,
    /// The field that both are to be in: a file with raw rates and their sources (docs/field.md)
    #[arg(long, value_name = "FILE")]
    mission: Option<PathBuf>,
    /// Whether the second's failures are the first's to within this factor, either way
    #[arg(long, value_name = "RATIO", conflicts_with = "not_worse", value_parser = equivalent)]
    equivalent: Option<Margin>,
    /// Whether the second's failures are at most so many times the first's
    #[arg(long, value_name = "RATIO", value_parser = not_worse)]
    not_worse: Option<Margin>,
    /// The confidence of all intervals
    #[arg(long, value_name = "SHARE", default_value = "95%")]
    confidence: Confidence,
}

impl Args {
    /// The flags that a page depends on, as they are typed.
    fn flags(&self) -> Vec<String> {
        let per = self.per.map(|per| format!("--per {}", per.name()));
        let mission = self.mission.as_ref().map(|file| format!("--mission {}", quote(file)));
        let equivalent = self.equivalent.map(|margin| format!("--equivalent {}", margin.upper));
        let not_worse = self.not_worse.map(|margin| format!("--not-worse {}", margin.upper));
        let confidence =
            (self.confidence != Confidence::P95).then(|| format!("--confidence {}", self.confidence));
        [per, mission, equivalent, not_worse, confidence].into_iter().flatten().collect()
    }
}

fn factor(text: &str, margin: fn(f64) -> Result<Margin, StatsError>) -> Result<Margin, String> {
    let number = text.trim().parse().map_err(|_| "write a ratio of failures, as in 1.25".to_owned())?;
    margin(number).map_err(|error| error.to_string())
}

fn equivalent(text: &str) -> Result<Margin, String> {
    factor(text, Margin::equivalent)
}

fn not_worse(text: &str) -> Result<Margin, String> {
    factor(text, Margin::not_worse)
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let piped = one_to_stdout(&[("--html", &args.html), ("--json", &args.json)])?;
    let mission = args.mission.as_deref().map(mission::read).transpose()?;
    if args.per == Some(Per::Year) && mission.is_none() {
        bail!(exit_error(
            Code::Usage,
            "failures a year take the rates of the field: give --mission FILE (docs/field.md)"
        ));
    }
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let options = SummaryOptions { confidence: args.confidence, ..SummaryOptions::default() };
    let summary = |store| Summary::new(store, &options).map_err(store_error);
    let (first, second) = (summary(&a)?, summary(&b)?);
    let sides = [Side { store: &a, summary: &first }, Side { store: &b, summary: &second }];
    let options = CompareOptions {
        per: args.per,
        margin: args.equivalent.or(args.not_worse),
        mission: mission.as_ref(),
    };
    let found = compare(&sides[0], &sides[1], &options).map_err(store_error)?;
    if !piped {
        for line in lines(&found, args.confidence) {
            outln!("{line}");
        }
    }
    let page_to = match &args.html {
        Some(path) => Some(path.clone()),
        None if args.json.is_some() => None,
        None => Some(default_page(&[&a, &b])?),
    };
    let mut written = Vec::new();
    if let Some(path) = page_to {
        let campaigns = [quote(&args.a), quote(&args.b)];
        let options = BesideOptions { campaigns, flags: args.flags(), made: jiff::Timestamp::now() };
        let text = beside(&found, [&first, &second], &options);
        write(&path, &mut |out| Ok(out.write_all(text.as_bytes())?))?;
        written.push(("page", path));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&found).context("cannot write the comparison as JSON")?;
        write(path, &mut |out| Ok(writeln!(out, "{text}")?))?;
        written.push(("json", path.clone()));
    }
    tell(&written, piped);
    if !found.has_numbers() {
        eprintln!("nothing was compared: no stratum has trials that count in both");
        return Ok(Code::Open.into());
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(found: &Comparison, confidence: Confidence) -> Vec<String> {
    let [a, b] = [&found.names[0], &found.names[1]].map(|name| visible(name));
    let mut lines = vec![format!("A: {a}"), format!("B: {b}")];
    lines.extend(found.warnings().iter().map(|text| format!("warning: {}", visible(text))));
    lines.extend(found.differs.iter().map(|what| format!("  differs: {}", visible(what))));
    lines.extend(answers(found, confidence));
    if let Some(field) = &found.field {
        lines.push(String::new());
        lines.extend(mission::of_both(field));
    }
    lines.push(String::new());
    if let Some(trials) = &found.trials {
        let same = match trials.same {
            Same::Plan => "one plan",
            Same::Draws => "the same draws",
        };
        lines.push(format!(
            "{same}: {} trials have a result in both, {} came out differently",
            count(trials.both),
            count(trials.different)
        ));
        let first: Vec<String> = trials.first.iter().map(|id| format!("--trial {id}")).collect();
        if !first.is_empty() {
            lines.push(format!("  cargo xtask campaign replay {a} {}", first.join(" ")));
        }
        lines.push(
            "  ratios, differences and tests are of these pairs; sums are of campaigns as if drawn independently"
                .to_owned(),
        );
        lines.extend(trials.whole.iter().map(|total| {
            let (first, second) = (count(total.pairs.first), count(total.pairs.second));
            let p = p_text(Some(total.p));
            format!("    {:9} in all strata: {first} only in A, {second} only in B  {p}", total.outcome)
        }));
    }
    lines.extend(found.sums.iter().flat_map(|sum| of_sum(sum, [&a, &b], confidence)));
    lines.extend(found.strata.iter().flat_map(|stratum| of_stratum(stratum, [&a, &b], confidence)));
    let about = found.about_tests();
    if !about.is_empty() {
        lines.push(String::new());
        lines.extend(about);
    }
    lines
}

/// What is shown, and the ratios that it rests on.
fn answers(found: &Comparison, confidence: Confidence) -> Vec<String> {
    if found.strata.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new()];
    if !found.unfair.is_empty() {
        lines.push(format!("({NOT_OF_ONE})"));
    }
    let sentence = found.field.as_ref().and_then(|field| field.sentence(found.sentence_names()));
    lines.extend(sentence.map(|sentence| visible(&sentence)));
    lines.extend(found.said().into_iter().map(|answer| visible(&answer.sentence)));
    lines.push(format!("  numbers are {}", found.per.about()));
    lines.extend(found.notes.iter().map(|note| format!("  note: {}", visible(note))));
    if found.answers().any(Answer::has_ratio) {
        lines.push(String::new());
        lines.push(format!("B / A, counted each way, {} intervals:", said(confidence)));
    }
    for stratum in &found.strata {
        for answer in stratum.answers.iter().filter(|answer| answer.has_ratio()) {
            let ratios = answer.ratios.iter();
            let ratios = ratios.map(|one| format!("per {} {}", one.per.name(), ratio_text(&one.ratio)));
            let ratios = ratios.collect::<Vec<_>>().join("   ");
            lines.push(format!("  {} {:9} {ratios}", visible(&stratum.name), answer.outcome));
        }
    }
    lines
}

/// `95 %`
fn said(confidence: Confidence) -> String {
    confidence.to_string().replace('%', " %")
}

fn of_sum(sum: &SumComparison, names: [&str; 2], confidence: Confidence) -> Vec<String> {
    let [a, b] = sum.strata.each_ref().map(|names| visible(&names.join(" + ")));
    let strata = if a == b { a } else { format!("{a} → {b}") };
    let mut lines = vec![
        String::new(),
        format!("all strata of {} together ({strata}), {} intervals:", sum.kind, said(confidence)),
    ];
    lines.extend(sum.why_not.iter().map(|why| format!("  no sum: {}", visible(why))));
    lines.extend(sum.rows.iter().map(|row| {
        let [a, b] = row.failures.map(|estimate| estimate_text(Some(estimate), &large));
        format!("    {:9} {a} → {b}  {}  {}", row.outcome, ratio_text(&row.ratio), p_text(Some(row.p)))
    }));
    let verdicts = sum.rows.iter().take(1).filter_map(|row| Some((row.verdict.as_ref()?, row.outcome)));
    lines.extend(
        verdicts.map(|(verdict, outcome)| format!("  {}", verdict_text(verdict, outcome, names, confidence))),
    );
    lines
}

fn of_stratum(stratum: &StratumComparison, names: [&str; 2], confidence: Confidence) -> Vec<String> {
    let level = said(confidence);
    let mut lines = vec![
        String::new(),
        format!(
            "{}: {} and {} trials that count",
            visible(&stratum.name),
            count(stratum.counted[0]),
            count(stratum.counted[1])
        ),
        format!("  extrapolated number of (fault, moment) pairs, {level} intervals:"),
    ];
    lines.extend(stratum.rows.iter().map(absolute));
    let verdicts = stratum.rows.iter().take(1).filter_map(|row| Some((row.verdict.as_ref()?, row.outcome)));
    lines.extend(
        verdicts.map(|(verdict, outcome)| format!("  {}", verdict_text(verdict, outcome, names, confidence))),
    );
    lines.push(match stratum.pairs {
        Some(pairs) => {
            format!("  rates, and their differences in {} pairs, {level} intervals:", count(pairs))
        }
        None => format!("  rates, {level} intervals:"),
    });
    if stratum.is_unequal() {
        lines.push(format!("  ({UNEQUAL})"));
    }
    lines.extend(stratum.rows.iter().map(relative));
    lines
}

fn absolute(row: &ComparisonRow) -> String {
    let [a, b] = row.failures.map(|estimate| estimate_text(estimate, &large));
    format!("    {:9} {a} → {b}  {}  {}", row.outcome, row.ratio_text(), row.p_failures_text())
}

fn relative(row: &ComparisonRow) -> String {
    let rate = |side: usize| row.rate[side].map_or("–".to_owned(), |rate| percent(rate.value));
    let pairs = row.paired.map(|_| format!("  ({})", row.pairs_text())).unwrap_or_default();
    format!(
        "    {:9} {:>6} {:>8} → {:>6} {:>8}  {}  {}{pairs}",
        row.outcome,
        count(row.count[0]),
        rate(0),
        count(row.count[1]),
        rate(1),
        row.difference_text(),
        row.p_text()
    )
}
