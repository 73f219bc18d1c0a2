//! The page of a comparison: two campaigns, stratum by stratum.
//!
//! Invariants: as of a campaign's page, without any script. **What makes the comparison unfair stands before
//! every number, and absolute counts before rates.**

use jiff::Timestamp;
use maud::{Markup, html};

use super::charts::{Dot, Pair, SIDES, pairs};
use super::compare::{
    Comparison, ComparisonRow, Same, StratumComparison, SumComparison, TrialComparison, UNEQUAL,
    estimate_text, p_text, ratio_text, verdict_text,
};
use super::figures::figure;
use super::look::visible;
use super::page::{document, outcome_words, second, warnings};
use super::svg::{count, large, number, percent, tick_percent};
use super::verdict;
use crate::campaign::Summary;
use crate::stats::{Confidence, Estimate};

/// How the page speaks of the two campaigns.
#[derive(Clone, Debug)]
pub struct BesideOptions {
    /// What the command line calls each: a name or a file, quoted for a shell.
    pub campaigns: [String; 2],
    /// What else is on the command line, quoted.
    pub flags: Vec<String>,
    /// When the page is made.
    pub made: Timestamp,
}

/// Makes the page of a comparison; the summaries are those that were compared.
#[must_use]
pub fn beside(found: &Comparison, summaries: [&Summary; 2], options: &BesideOptions) -> String {
    let names = [&found.names[0], &found.names[1]].map(|name| visible(name));
    let confidence = summaries[0].confidence.to_string().replace('%', " %");
    let legend = [0, 1].map(|side| format!("{}: {}", SIDES[side], names[side]));
    let body = html! {
        header {
            h1 { (names[0]) " and " (names[1]) }
            p.soft { "This page was made at " (second(options.made)) " by " code { (command(options)) } "." }
            nav {
                a href="#answers" { "What is shown" }
                @if found.field.is_some() { a href="#field" { "In the field" } }
                @for (index, stratum) in found.strata.iter().enumerate() { a href={ "#s" (index) } { (visible(&stratum.name)) } }
                a href="#tests" { "The tests" } a href="#differs" { "What differs" } a href="#words" { "Words" }
            }
        }
        (warnings(found.warnings().into_iter()))
        table.rates {
            thead { tr { th {} th { "campaign" } th.n { "done" } th.n { "planned" } th.n { "in no rate" } } }
            tbody {
                @for (side, summary) in summaries.into_iter().enumerate() {
                    @let totals = &summary.totals;
                    tr {
                        th scope="row" { (SIDES[side]) }
                        td.wrap { (names[side]) }
                        td.n { (count(totals.done)) }
                        td.n { (count(totals.planned)) }
                        td.n { (count(totals.infra + totals.not_flipped)) }
                    }
                }
            }
        }
        (verdict::section(found, &confidence))
        @if let Some(trials) = &found.trials { (one_plan(trials, &options.campaigns[0])) }
        @for of in &found.sums { (sum(of, &confidence, summaries[0].confidence)) }
        @for (index, of) in found.strata.iter().enumerate() { (stratum(index, of, &legend, summaries[0].confidence)) }
        @let about = found.about_tests();
        @if !about.is_empty() {
            h2 id="tests" { "The tests" }
            ul { @for text in about { li { (text) "." } } }
        }
        h2 id="differs" { "What differs" }
        @if found.differs.is_empty() {
            p { "Seed, template, golden run, versions and inputs are the same." }
        } @else {
            p { "What the comparison is about, as a rule:" }
            ul { @for what in &found.differs { li { (visible(what)) } } }
        }
        h2 id="words" { "Words" }
        dl {
            @for side in 0..2 { dt { (SIDES[side]) } dd { "the campaign " (names[side]) } }
            dt { "B / A, B − A" } dd { "ratios and differences: below 1 and below 0 there is less in B" }
            dt { "extrapolated count" } dd { "of all (fault, moment) pairs so many would end like this: what two versions are compared by. "
                "The rate of a longer or larger program falls, although more faults make it fail." }
            dt { "ratio" } dd { "of the extrapolated counts, where nothing else is said; where its interval contains 1, the difference may be chance" }
            dt { "difference" } dd { "of the rates, with Newcombe's interval, of pairs with Tango's; where it contains 0, the difference may be chance" }
            dt { "pairs" } dd { "trials of one number in two campaigns of one plan, or of the same draws: the same place in the stratum at the same moment, or the same fraction of both runs" }
            (outcome_words())
        }
    };
    document(&format!("{} and {}", names[0], names[1]), &body, "script-src 'none'", &html! {})
}

fn command(options: &BesideOptions) -> String {
    let words = options.campaigns.iter().chain(&options.flags).map(String::as_str);
    format!("cargo xtask report compare {}", words.collect::<Vec<_>>().join(" "))
}

/// The trials of one plan.
fn one_plan(trials: &TrialComparison, campaign: &str) -> Markup {
    let first: Vec<String> = trials.first.iter().map(|id| format!("--trial {id}")).collect();
    html! {
        p { strong { @match trials.same { Same::Plan => "One plan: ", Same::Draws => "The same draws: " } }
            (count(trials.both)) " trials have a result in both, " (count(trials.different)) " came out differently. "
            "Ratios, differences and tests are of these pairs; sums are of campaigns as if drawn independently." }
        @if !first.is_empty() {
            p { "The first of them again:" }
            pre { "cargo xtask campaign replay " (campaign) " " (first.join(" ")) }
        }
        @if !trials.whole.is_empty() {
            table.rates {
                thead { tr { th { "all strata" } th.n { "only in A" } th.n { "only in B" } th.n { "test" } } }
                tbody {
                    @for total in &trials.whole {
                        tr {
                            th scope="row" { (total.outcome) }
                            td.n { (count(total.pairs.first)) }
                            td.n { (count(total.pairs.second)) }
                            td.n { (p_text(Some(total.p))) }
                        }
                    }
                }
            }
        }
    }
}

/// ΣF over the strata of one kind.
fn sum(of: &SumComparison, confidence: &str, level: Confidence) -> Markup {
    let [a, b] = of
        .strata
        .each_ref()
        .map(|names| names.iter().map(|name| visible(name)).collect::<Vec<_>>().join(" + "));
    let names = if a == b { a } else { format!("A: {a}; B: {b}") };
    html! {
        h2 { "All strata of " (of.kind.to_string()) }
        p.note { "Sums of the extrapolated counts (" (names) "), " (confidence) " intervals: failures that moved from one stratum to another are in both." }
        @if let Some(why) = &of.why_not { p { "There is no sum: " (visible(why)) "." } }
        @if !of.rows.is_empty() {
            table.rates {
                thead { tr { th { "outcome" } th.n { "A" } th.n { "B" } th.n { "B / A" } th.n { "test" } } }
                tbody {
                    @for row in &of.rows {
                        tr {
                            th scope="row" { (row.outcome) }
                            @for side in 0..2 { td.n { (estimate_text(Some(row.failures[side]), &large)) } }
                            td.n { (ratio_text(&row.ratio)) }
                            td.n { (p_text(Some(row.p))) }
                        }
                    }
                }
            }
            @for row in of.rows.iter().take(1) {
                @if let Some(verdict) = &row.verdict { p { strong { (verdict_text(verdict, row.outcome, SIDES, level)) "." } } }
            }
        }
    }
}

fn stratum(index: usize, of: &StratumComparison, legend: &[String; 2], level: Confidence) -> Markup {
    let name = visible(&of.name);
    let confidence = level.to_string().replace('%', " %");
    if of.counted == [0, 0] {
        return html! {
            h2 id={ "s" (index) } { (name) }
            p { "Neither campaign has a trial here that counts." }
        };
    }
    let absolute = figure(
        &format!("Extrapolated counts: {name}"),
        &format!(
            "(fault, moment) pairs, with {confidence} intervals. {}",
            said(of, |row| {
                format!(
                    "A {}, B {}, {}",
                    estimate_text(row.failures[0], &large),
                    estimate_text(row.failures[1], &large),
                    row.ratio_text()
                ) + ", "
                    + &row.p_failures_text()
            })
        ),
        &html! { (chart(&format!("s{index}-count"), "Extrapolated counts", "extrapolated count (logarithmic)", legend, of, |row| row.failures)) },
        &html! {},
        "",
    );
    let relative = figure(
        &format!("Rates: {name}"),
        &format!(
            "Shares of the trials that count, with {confidence} intervals. {}",
            said(of, |row| {
                // Without one there is nothing to say of it.
                let p = Some(row.p_text()).filter(|p| *p != p_text(None)).map(|p| format!(", {p}"));
                format!(
                    "A {}, B {}, difference {}{}",
                    estimate_text(row.rate[0], &percent),
                    estimate_text(row.rate[1], &percent),
                    row.difference_text(),
                    p.unwrap_or_default()
                )
            })
        ),
        &html! { (chart(&format!("s{index}-rate"), "Rates", "rate (logarithmic)", legend, of, |row| row.rate)) },
        &html! {},
        "",
    );
    html! {
        h2 id={ "s" (index) } { (name) }
        p.note {
            @for side in 0..2 {
                (SIDES[side]) ": " (count(of.counted[side])) " trials that count, of " (large(of.population[side])) " (fault, moment) pairs. "
            }
        }
        div.figures { (absolute) (relative) }
        h3 { "Extrapolated counts, " (confidence) " intervals" }
        table.rates {
            thead { tr { th { "outcome" } th.n { "A" } th.n { "B" } th.n { "B / A" } th.n { "test" } } }
            tbody {
                @for row in &of.rows {
                    tr {
                        th scope="row" { (row.outcome) }
                        @for side in 0..2 { td.n { (estimate_text(row.failures[side], &large)) } }
                        td.n { (row.ratio_text()) }
                        td.n { (row.p_failures_text()) }
                    }
                }
            }
        }
        @for row in of.rows.iter().take(1) {
            @if let Some(verdict) = &row.verdict { p { strong { (verdict_text(verdict, row.outcome, SIDES, level)) "." } } }
        }
        h3 { "Rates, " (confidence) " intervals" }
        @if of.is_unequal() { p.note { (UNEQUAL) "." } }
        table.rates {
            thead { tr {
                th { "outcome" } th.n { "A" } th.n { "B" }
                @if of.pairs.is_some() { th.n { "pairs that differ" } }
                th.n { "B − A" } th.n { "test" }
            } }
            tbody {
                @for row in &of.rows {
                    tr {
                        th scope="row" { (row.outcome) }
                        @for side in 0..2 { td.n { (count(row.count[side])) ": " (estimate_text(row.rate[side], &percent)) } }
                        @if of.pairs.is_some() { td.n { (row.pairs_text()) } }
                        td.n { (row.difference_text()) }
                        td.n { (row.p_text()) }
                    }
                }
            }
        }
    }
}

/// The failures of a stratum in words: what its charts are about.
fn said(of: &StratumComparison, text: impl Fn(&ComparisonRow) -> String) -> String {
    of.rows.first().map_or(String::new(), |row| format!("{}: {}.", row.outcome, text(row)))
}

fn chart(
    id: &str,
    title: &str,
    axis: &str,
    legend: &[String; 2],
    of: &StratumComparison,
    value: impl Fn(&ComparisonRow) -> [Option<Estimate>; 2],
) -> Markup {
    // Rates are shares; counts are any number.
    let is_rate = title == "Rates";
    let text: &dyn Fn(f64) -> String = if is_rate { &percent } else { &large };
    let tick: &dyn Fn(f64) -> String = if is_rate { &tick_percent } else { &power };
    let dot = |side: usize, estimate: Estimate| Dot {
        label: SIDES[side].to_owned(),
        outcome: None,
        value: estimate.value,
        interval: (estimate.interval.lower, estimate.interval.upper),
        note: text(estimate.value),
    };
    let pair = |row: &ComparisonRow| {
        let [a, b] = value(row);
        Pair { label: row.outcome.to_owned(), sides: [a.map(|a| dot(0, a)), b.map(|b| dot(1, b))] }
    };
    let rows: Vec<Pair> = of.rows.iter().map(pair).collect();
    let words: Vec<String> = of
        .rows
        .iter()
        .map(|row| {
            let [a, b] = value(row).map(|estimate| estimate_text(estimate, text));
            format!("{}: A {a}, B {b}.", row.outcome)
        })
        .collect();
    pairs(id, title, &words.join(" "), axis, legend, &rows, tick)
}

/// Powers of ten at the ticks of an axis.
fn power(value: f64) -> String {
    if value < 1e5 { number(value) } else { format!("{value:.0e}") }
}
