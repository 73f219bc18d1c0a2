//! The figures of a page: what of a summary goes into which chart, and what the chart says in words.
//!
//! Invariant: every chart has a text alternative with its main numbers, and what a chart leaves out for
//! want of room is said below it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::charts::{Column, Dot, Group, Labels, Stack, columns, dots, stacks};
use super::look::{legend, visible};
use super::map::{Places, Spot, faults, map};
use super::rates::{below, rate_words};
use super::svg::{count, percent};
use super::trials::Trials;
use crate::campaign::Summary;
use crate::campaign::summary::{Breakdown, BreakdownRow, By, SpaceKind, StratumSummary};
use crate::stats::tally::{Method, Rate};
use crate::trial::{Class, Outcome};

/// So many strata have bars and rates in the first charts.
pub(super) const STRATA: usize = 12;
/// So many strata have separate charts by bit, register, symbol and title.
pub(super) const OWN: usize = 6;
/// So many rows a chart by register, region, symbol or title has.
const ROWS: usize = 24;
/// So many columns a chart by bit has.
const COLUMNS: usize = 128;

/// A chart with heading, words, and numbers below.
pub(super) fn figure(title: &str, words: &str, chart: &Markup, numbers: &Markup, left_out: &str) -> Markup {
    html! {
        figure {
            figcaption {
                h3 { (title) }
                @if !words.is_empty() { p { (words) } }
            }
            (chart)
            @if !left_out.is_empty() { p.note { (left_out) } }
            @if !numbers.0.is_empty() {
                details { summary { "The numbers" } (numbers) }
            }
        }
    }
}

pub(super) fn more(what: &str, shown: usize, all: usize) -> String {
    if all > shown { format!("The first {shown} of {all} {what} are shown.") } else { String::new() }
}

fn trials_of(number: u64) -> String {
    format!("{} trial{}", count(number), if number == 1 { "" } else { "s" })
}

/// The ends of a whisker.
fn whisker(rate: &Rate) -> (f64, f64) {
    let interval = rate.estimate(Method::default()).interval;
    (interval.lower, interval.upper)
}

/// What the interval that is shown is called.
pub(super) fn interval_name(summary: &Summary) -> &'static str {
    if summary.stages.len() > 1 { "always-valid" } else { "exact" }
}

fn confidence(summary: &Summary) -> String {
    summary.confidence.to_string().replace('%', " %")
}

/// The outcomes of the faults: counts and rates by stratum, and `tables` of them.
pub(super) fn outcomes(summary: &Summary, tables: &Markup) -> Markup {
    let strata = &summary.strata[..summary.strata.len().min(STRATA)];
    let bars: Vec<Stack> = strata
        .iter()
        .map(|stratum| Stack {
            label: visible(&stratum.name),
            note: trials_of(stratum.counted),
            parts: Outcome::WORST_FIRST.iter().map(|outcome| (*outcome, stratum.count(*outcome))).collect(),
        })
        .collect();
    let groups: Vec<Group> = strata
        .iter()
        .map(|stratum| Group {
            title: visible(&stratum.name),
            dots: Outcome::WORST_FIRST.iter().filter_map(|outcome| dot_of(stratum, *outcome)).collect(),
        })
        .filter(|group| !group.dots.is_empty())
        .collect();
    let shown = summary.outcomes();
    let mut words = String::new();
    for stratum in strata {
        let parts: Vec<String> =
            shown.iter().map(|o| format!("{} {}", o.name(), count(stratum.count(*o)))).collect();
        words += &format!("{}: {}. ", visible(&stratum.name), parts.join(", "));
    }
    let left_out = more("strata", STRATA, summary.strata.len());
    let rates_title = format!("Rates with {} intervals", confidence(summary));
    let live = match strata.iter().any(|stratum| stratum.known_part().is_some()) {
        true => {
            ", and where a part of the faults is known without a trial that of the live rest, times its share"
        }
        false => "",
    };
    let interval_words = format!(
        "The interval is {}{live}. Where there is no mark, the outcome never came; the line ends at its bound.",
        interval_name(summary)
    );
    html! {
        div.figures {
            (figure(
                "Outcomes by stratum",
                "Trials, in parts of one bar a stratum.",
                &html! { (legend(&shown, false)) (stacks("f-outcomes", "Outcomes by stratum", &words, &bars)) (tables) },
                &html! {},
                &left_out,
            ))
            (figure(
                &rates_title,
                &interval_words,
                &html! { (legend(&shown, true)) (dots("f-rates", "Rates by stratum and outcome", &words, &groups, Labels::Outcomes)) },
                &html! {},
                &left_out,
            ))
        }
    }
}

fn dot_of(stratum: &StratumSummary, outcome: Outcome) -> Option<Dot> {
    let rate = stratum.outcome(outcome)?.rate?;
    Some(Dot {
        label: outcome.name().to_owned(),
        outcome: Some(outcome),
        value: rate.value,
        interval: whisker(&rate),
        note: match rate.upper_bound {
            Some(bound) => format!("0, {}", below(bound)),
            None => percent(rate.value),
        },
    })
}

/// Where the faults struck.
pub(super) fn places(summary: &Summary, trials: &Trials) -> Markup {
    let strata = || summary.strata.iter().take(OWN);
    html! {
        div.figures {
            @if !trials.ram.is_empty() { (fault_map("f-map", "Fault map of RAM", &Places::Addresses(trials.live.clone()), &trials.ram)) }
            @if !trials.reg.is_empty() {
                (fault_map("f-regmap", "Fault map of registers", &Places::Rows(trials.registers.clone()), &trials.reg))
            }
            @for (index, stratum) in strata().enumerate() { (by_bit(index, stratum)) }
            @for (index, stratum) in strata().enumerate() {
                @for by in [By::Register, By::Region, By::Symbol] { (by_name(index, stratum, by)) }
            }
        }
        @if summary.strata.len() > OWN {
            p.note { "Bits, registers, regions and symbols are shown for the first " (OWN) " of " (summary.strata.len())
                " strata; " code { "report --json" } " has all." }
        }
    }
}

fn fault_map(id: &str, title: &str, places: &Places, spots: &[Spot]) -> Markup {
    let of = |outcome: Outcome| faults(spots.iter().filter(|spot| spot.outcome == outcome)) as u64;
    let counts: BTreeMap<Outcome, u64> =
        Outcome::WORST_FIRST.map(|outcome| (outcome, of(outcome))).into_iter().collect();
    let shown = Outcome::shown(&counts);
    let parts: Vec<String> =
        shown.iter().map(|outcome| format!("{} {}", outcome.name(), count(counts[outcome]))).collect();
    let live = places.live_words(spots).map(|words| format!(" {words}")).unwrap_or_default();
    let words = format!(
        "{} faults by place and time: {}.{live}",
        count(faults(spots.iter()) as u64),
        parts.join(", ")
    );
    let chart = html! {
        (legend(&shown, true))
        (map(id, title, &words, places, 0, spots))
    };
    figure(title, &words, &chart, &html! {}, "")
}

/// The row that words single out: of those whose interval lies above the rate of all trials the one that lies highest. That
/// one of one failed says nothing.
fn highest<'a>(rows: &[&'a BreakdownRow], stratum: &StratumSummary) -> Option<&'a BreakdownRow> {
    let all = stratum.class(Class::Failure)?.rate?.value;
    let least = |row: &BreakdownRow| whisker(&row.failure).0;
    let above = rows.iter().copied().filter(|row| least(row) > all);
    above.max_by(|a, b| least(a).total_cmp(&least(b)).then(a.trials.cmp(&b.trials)))
}

fn by_bit(index: usize, stratum: &StratumSummary) -> Markup {
    let rows: Vec<&BreakdownRow> = stratum.by.bit.rows.iter().filter(|row| row.key.is_some()).collect();
    if rows.len() < 2 {
        return html! {};
    }
    // A bit without a trial keeps its place.
    let of = |bit: usize| rows.iter().find(|row| row.key.as_deref() == Some(bit.to_string().as_str()));
    let bits = rows
        .iter()
        .filter_map(|row| row.key.as_deref()?.parse::<usize>().ok())
        .max()
        .map_or(0, |most| most + 1);
    let bars: Vec<Column> = (0..bits.min(COLUMNS))
        .map(|bit| Column {
            label: bit.to_string(),
            trials: of(bit).map_or(0, |row| row.trials),
            parts: Outcome::FAILURES
                .iter()
                .map(|outcome| {
                    (*outcome, of(bit).and_then(|row| row.outcomes.get(outcome)).copied().unwrap_or(0))
                })
                .collect(),
            interval: of(bit).map(|row| whisker(&row.failure)),
        })
        .collect();
    let axis = match stratum.kind {
        SpaceKind::Ram => "bit of the byte",
        SpaceKind::Registers => "bit of the register",
    };
    let title = format!("Failures by bit: {}", visible(&stratum.name));
    let failed = rows.iter().any(|row| row.failures() > 0);
    let failures: Vec<Outcome> =
        Outcome::FAILURES.into_iter().filter(|outcome| stratum.outcome(*outcome).is_some()).collect();
    let words = match highest(&rows, stratum) {
        Some(row) => format!(
            "{} bits; the interval that lies highest above the rate of all is bit {}'s, {}.",
            rows.len(),
            row.key.as_deref().unwrap_or("?"),
            rate_words(&row.failure)
        ),
        None if failed => format!("{} bits; none has an interval above the rate of all.", rows.len()),
        None => format!("No failure in any of {} bits.", rows.len()),
    };
    let id = format!("f-bit{index}");
    // Without a failure there is nothing to draw.
    let chart = match failed {
        true => html! { (legend(&failures, false)) (columns(&id, &title, &words, axis, &bars)) },
        false => html! {},
    };
    figure(&title, &words, &chart, &table_of(&stratum.by.bit, "bit"), &more("bits", COLUMNS, bits))
}

pub(super) fn by_name(index: usize, stratum: &StratumSummary, by: By) -> Markup {
    let breakdown = stratum.by.get(by);
    let mut rows: Vec<&BreakdownRow> = breakdown.rows.iter().filter(|row| row.key.is_some()).collect();
    if rows.is_empty() || (matches!(by, By::Region | By::Moment) && rows.len() < 2) {
        return html! {};
    }
    let all = rows.len();
    rows.retain(|row| row.failures() > 0);
    // The order of a picture is by what it shows.
    rows.sort_by(|a, b| b.failure.value.total_cmp(&a.failure.value).then(b.trials.cmp(&a.trials)));
    let dot = |row: &&BreakdownRow| Dot {
        label: visible(row.key.as_deref().unwrap_or_default()),
        outcome: None,
        value: row.failure.value,
        interval: whisker(&row.failure),
        note: format!("{} of {}", count(row.failures()), count(row.trials)),
    };
    let group = Group { title: String::new(), dots: rows.iter().take(ROWS).map(dot).collect() };
    let title = format!("Failures by {}: {}", by.name(), visible(&stratum.name));
    let none = match rows.is_empty() {
        true => format!("No failure in any of {all}."),
        false => "None has an interval above the rate of all.".to_owned(),
    };
    let words = highest(&rows, stratum).map_or(none, |row| {
        format!(
            "The interval that lies highest above the rate of all is that of {}: {}; {}. Each row has its own interval: the most striking row of many is no evidence \
             by that; its q in the table is.",
            visible(row.key.as_deref().unwrap_or_default()),
            rate_words(&row.failure),
            row.discovery.map_or_else(|| "no other row to compare it with".to_owned(), |row| format!("q {}", row.q_text()))
        )
    });
    let labels = if matches!(by, By::Register | By::Moment) { Labels::Beside } else { Labels::Above };
    let id = format!("f-{}{index}", by.name());
    let chart = if rows.is_empty() {
        html! {}
    } else {
        dots(&id, &title, &words, &[group], labels)
    };
    let what = match by {
        By::Register => "registers",
        By::Region => "regions",
        By::Moment => "moments",
        _ => "symbols",
    };
    let shown = rows.len().min(ROWS);
    let left_out = if all > shown {
        format!("{shown} of {all} {what} are shown: of those with a failure the ones with the highest rates.")
    } else {
        String::new()
    };
    let numbers = table_of(breakdown, by.name());
    figure(&title, &words, &chart, &numbers, if rows.is_empty() { "" } else { &left_out })
}

/// What q is.
const Q_WORDS: &str = "q: whether a row's failure rate is another than that of the stratum's other trials (Fisher), given that every \
    row of the table was asked (Benjamini and Hochberg): of the rows with q up to 0.05, one in twenty is chance.";

/// A breakdown as a table, with what it leaves out.
fn table_of(breakdown: &Breakdown, key: &str) -> Markup {
    let counts = |outcomes: &BTreeMap<Outcome, u64>| {
        let parts = Outcome::WORST_FIRST.iter().filter_map(|outcome| {
            outcomes
                .get(outcome)
                .filter(|hits| **hits > 0)
                .map(|hits| format!("{} {}", outcome.name(), count(*hits)))
        });
        parts.collect::<Vec<_>>().join(", ")
    };
    let tested = breakdown.rows.iter().any(|row| row.discovery.is_some());
    html! {
        table.rates {
            thead { tr { th { (key) } th.n { "trials" } th { "outcomes" } th.n { "failures" } @if tested { th.n { "q" } } } }
            tbody {
                @for row in &breakdown.rows {
                    tr {
                        th scope="row" { (row.key.as_deref().map_or_else(|| "none".to_owned(), visible)) }
                        td.n { (count(row.trials)) }
                        td { (counts(&row.outcomes)) }
                        td.n { (rate_words(&row.failure)) }
                        @if tested { td.n { (row.discovery.map_or_else(|| "–".to_owned(), |row| row.q_text())) } }
                    }
                }
                @if let Some(rest) = &breakdown.rest {
                    tr { th scope="row" { (count(rest.keys)) " more" } td.n { (count(rest.trials)) } td { (counts(&rest.outcomes)) } td {} @if tested { td {} } }
                }
            }
        }
        @if tested { p.note { (Q_WORDS) } }
    }
}

/// What the consoles reported.
pub(super) fn reports(summary: &Summary) -> Markup {
    let found = [(By::Title, "titles"), (By::Subsystem, "subsystems")].map(|by| reported(summary, by));
    html! {
        @if found.iter().all(Vec::is_empty) {
            p { "No console reported anything." }
        } @else {
            div.figures { @for one in found.iter().flatten() { (one) } }
        }
    }
}

/// What guests reported, in each stratum: by titles, or by the part of the kernel that the first report is of.
fn reported(summary: &Summary, (by, what): (By, &str)) -> Vec<Markup> {
    let found = summary.strata.iter().take(OWN).enumerate().filter_map(|(index, stratum)| {
        let breakdown = stratum.by.get(by);
        let rows: Vec<&BreakdownRow> = breakdown.rows.iter().filter(|row| row.key.is_some()).collect();
        let first = rows.first()?;
        let dot = |row: &&BreakdownRow| Dot {
            label: visible(row.key.as_deref().unwrap_or_default()),
            outcome: None,
            value: row.failure.value,
            interval: whisker(&row.failure),
            note: trials_of(row.trials),
        };
        let group = Group { title: String::new(), dots: rows.iter().take(ROWS).map(dot).collect() };
        let title = match by {
            By::Subsystem => format!("Where it broke: {}", visible(&stratum.name)),
            _ => format!("Reports: {}", visible(&stratum.name)),
        };
        let words = format!(
            "The commonest is “{}”, in {} of {} trials.",
            visible(first.key.as_deref().unwrap_or_default()),
            count(first.trials),
            count(stratum.counted)
        );
        let chart = dots(&format!("f-{}{index}", by.name()), &title, &words, &[group], Labels::Above);
        let left_out = more(what, ROWS, rows.len());
        Some(figure(&title, &words, &chart, &table_of(breakdown, by.name()), &left_out))
    });
    found.collect()
}
