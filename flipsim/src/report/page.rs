//! The page: one file, readable without script, with everything that it takes to repeat the campaign.
//!
//! Invariants: **the page asks for nothing outside of itself** (its policy forbids it), and runs no script
//! but its own, which the policy names by digest. Every text is escaped by [`maud`], and the page's data
//! cannot end the element that it stands in.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::look::{legend, letter, mark, patterns, style, visible};
use super::public::{spec_without_paths, without_path};
use super::rates::{bounds_words, count_words, ends, missing_words, rates_table};
use super::svg::{count, number, percent};
use super::trials::{Detail, Trials};
use super::{activation, corrected, figures, mission, reached, times, ways, wrong};
use crate::campaign::summary::{Class, Pooled, StratumSummary};
use crate::campaign::{MissionFile, Store, StoreError, Summary, Words};
use crate::stats::tally::Method;
use crate::text::shell_line;
use crate::trial::{OUTCOMES, Outcome};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// So many trials are in the page for readers without script.
const UNSCRIPTED: usize = 40;

/// How the page speaks of the campaign.
#[derive(Clone, Debug)]
pub struct PageOptions {
    /// What the command line calls the campaign: a name or a file, quoted for a shell.
    pub campaign: String,
    /// When the page is made.
    pub made: Timestamp,
    /// Whether it is for readers elsewhere: paths of this machine are left out.
    pub public: bool,
    /// The field that it is to be in.
    pub mission: Option<MissionFile>,
}

/// Makes the page of a campaign.
///
/// # Errors
/// The campaign cannot be read.
pub fn page(store: &Store, summary: &Summary, options: &PageOptions) -> Result<String, StoreError> {
    let trials = Trials::read(store)?;
    let name = visible(&summary.name);
    let options = &PageOptions { campaign: named(options), ..options.clone() };
    let replay = format!("cargo xtask campaign replay {} --trial ", options.campaign);
    let body = html! {
        (head(summary, &store.spec().words, &name, options))
        @if summary.totals.done == 0 {
            p { "No trial has a result yet, so that there is nothing to show but what is to be done. "
                code { "cargo xtask campaign run " (options.campaign) } " runs the trials." }
        } @else {
            @if let Some(field) = &options.mission {
                (mission::section(field, &summary.outlook(&field.field(), Method::default())))
            }
            (results(summary, &trials))
            (table(summary, &trials, &replay))
        }
        (how(store, options))
        h2 id="words" { "Words" }
        dl {
            (outcome_words())
            dt { "golden run" } dd { "the same guest without a fault" }
            dt { "time" } dd { "virtual: of the guest's clock" @if trials.all > 0 { ", from the quiescent point on where nothing else is said" } }
            dt { "interval" } dd { "of the trials that were not drawn; it knows nothing of whether the model is the hardware" }
        }
    };
    let scripts = html! {
        @if summary.totals.done > 0 {
            script type="application/json" id="data" { (PreEscaped(data(&trials, &replay))) }
            script { (PreEscaped(SCRIPT)) }
        }
    };
    let policy = format!("script-src '{}'", digest(SCRIPT));
    let title = store.spec().words.title.as_deref().map_or_else(|| format!("Campaign {name}"), visible);
    Ok(document(&title, &body, &policy, &scripts))
}

/// What the page calls the campaign on a command line.
fn named(options: &PageOptions) -> String {
    match options.public {
        true => shell_line([&*without_path(options.campaign.trim_matches('\''))]),
        false => options.campaign.clone(),
    }
}

/// A whole page: one file with its own policy, style and hatchings.
pub(super) fn document(title: &str, body: &Markup, policy: &str, scripts: &Markup) -> String {
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; {policy}; base-uri 'none'; form-action 'none'"
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="generator" content={ "flipsim " (env!("CARGO_PKG_VERSION")) };
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(style())) }
            }
            body {
                (patterns())
                main { (body) }
                (scripts)
            }
        }
    };
    page.into_string()
}

/// The digest by which a policy names a script.
fn digest(script: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(script.as_bytes())))
}

/// What the script works on. No `<` is in it, so that it can neither end its element nor begin a comment.
fn data(trials: &Trials, replay: &str) -> String {
    // From the worst on; a flip that did not take stands before what says as little.
    let mut rows: Vec<_> = OUTCOMES.iter().collect();
    rows.sort_by_key(|row| row.rank);
    let mut outcomes = Vec::new();
    for row in rows {
        if !row.counted {
            outcomes.push(json!({ "letter": letter(None), "name": "not flipped" }));
        }
        let mark = mark(row.outcome, 8.0, 7.0, 4.0);
        outcomes.push(json!({ "letter": row.letter, "name": row.name, "mark": mark }));
    }
    let data = json!({
        "trials": trials.data, "details": trials.details, "outcomes": outcomes, "replay": replay,
    });
    data.to_string().replace('<', "\\u003c")
}

fn small_mark(outcome: Outcome) -> Markup {
    html! {
        svg width="16" height="14" viewBox="0 0 16 14" aria-hidden="true" focusable="false" {
            path class={ "m-" (outcome.name()) } d=(mark(outcome, 8.0, 7.0, 4.0)) {}
        }
    }
}

fn head(summary: &Summary, words: &Words, name: &str, options: &PageOptions) -> Markup {
    let totals = &summary.totals;
    let others = [
        ("pending", totals.pending),
        ("waiting", totals.waiting),
        (Outcome::Infra.name(), totals.infra),
        ("not flipped", totals.not_flipped),
    ];
    html! {
        header {
            @match &words.title {
                Some(title) => { h1 { (visible(title)) } p.soft { "Campaign " (name) @if let Some(author) = &words.author { ", by " (visible(author)) } } }
                None => { h1 { "Campaign " (name) } @if let Some(author) = &words.author { p.soft { "By " (visible(author)) } } }
            }
            @for part in words.about.as_deref().unwrap_or_default().split("\n\n").filter(|part| !part.trim().is_empty()) {
                p { (visible(part.trim())) }
            }
            p.soft {
                (count(totals.done)) " of " (count(totals.planned)) " trials are done"
                @if let (Some(first), Some(last)) = (totals.first, totals.last) {
                    ", " (second(first)) " to " (second(last))
                }
                ". This page was made at " (second(options.made)) "."
            }
            nav {
                @if totals.done > 0 {
                    @if options.mission.is_some() { a href="#field" { "In the field" } }
                    a href="#outcomes-by-stratum" { "Outcomes" } a href="#where" { "Where" } a href="#when" { "When" }
                    a href="#reports" { "Reports" } a href="#all-trials" { "Trials" }
                }
                a href="#how" { "How it was done" } a href="#words" { "Words" }
            }
        }
        (warnings(summary.warnings.iter().map(ToString::to_string)))
        @if totals.done > 0 {
            ul.tiles {
                @for outcome in summary.outcomes() {
                    li { (small_mark(outcome)) (outcome.name()) b { (count(totals.outcomes.get(&outcome).copied().unwrap_or(0))) } }
                }
                @for (what, number) in others.into_iter().filter(|(_, number)| *number > 0) {
                    li { (what) b { (count(number)) } }
                }
            }
            p.note { "Trials by outcome, over all strata as they were drawn. Rates are below, by stratum and over several strata with their weight; infra and not flipped are in none"
                @if totals.waiting > 0 { ", nor what waits for the rest of its batch" } "."
                @if let Some(idle) = &summary.idle { " In time, " (idle.line()) "." }
                @if totals.counted > 0 { " Note: " (typed(Summary::ONE_RUN)) "." }
            }
        }
    }
}

/// What a reader must know first; nothing where there is nothing.
pub(super) fn warnings(texts: impl ExactSizeIterator<Item = String>) -> Markup {
    html! {
        @if texts.len() > 0 {
            section.warnings aria-label="Warnings" {
                strong { "Before you read on" }
                ul {
                    @for text in texts {
                        li { (typed(&text)) }
                    }
                }
            }
        }
    }
}

/// A text in which what stands between two backticks is to be typed.
fn typed(text: &str) -> Markup {
    html! {
        @for (index, part) in visible(text).split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A time of the host without parts of a second.
pub(super) fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn results(summary: &Summary, trials: &Trials) -> Markup {
    html! {
        h2 id="outcomes-by-stratum" { "Outcomes of the faults" }
        (figures::outcomes(summary, &html! {
            @for stratum in &summary.strata { (rates(summary, stratum)) }
            @for pooled in &summary.pooled { (together(pooled)) }
        }))
        @for stratum in &summary.strata {
            @if let Some(missing) = &stratum.missing {
                @if let Some(bounds) = missing.of(Class::Failure.name()) {
                    p.note { (visible(&stratum.name)) ": " (missing_words(missing)) " Failures: " (bounds_words(bounds)) "." }
                }
            }
        }
        (ways::section(summary))
        h2 id="where" { "Where" }
        (figures::places(summary, trials))
        h2 id="when" { "When" }
        (times::times(summary))
        h2 id="reports" { "What the guest reported" }
        (figures::reports(summary))
        (wrong::section(summary))
        (activation::section(summary))
        (corrected::section(summary))
        (reached::section(summary))
        @if let Some(costs) = &summary.costs {
            details {
                summary { "What the trials cost" }
                p { (count(costs.trials)) " trials in " (number(costs.working_seconds)) " s of work, "
                    (number(costs.trials_per_second)) " a second, " (number(costs.at_once)) " at once." }
                table.rates {
                    thead { tr { th { "part" } th.n { "share" } th.n { "median [µs]" } th.n { "mean [µs]" } th.n { "in all [s]" } } }
                    tbody {
                        @for part in costs.parts.iter().chain([&costs.total]) {
                            tr { th scope="row" { (part.name) } td.n { (percent(part.share)) } td.n { (count(part.median_us)) }
                                td.n { (number(part.mean_us)) } td.n { (number(part.total_seconds)) } }
                        }
                    }
                }
            }
        }
    }
}

fn rates(summary: &Summary, stratum: &StratumSummary) -> Markup {
    html! {
        details {
            summary { "Rates of " (visible(&stratum.name)) " as a table" }
            p.note {
                (visible(&stratum.targets)) ", " (stratum.kind) ", pattern " (visible(&stratum.pattern)) ": "
                (stratum.when.space(stratum.faults, stratum.times, count)) ", "
                (count(stratum.counted)) " trials that count."
                @if let Some(margin) = stratum.margin { " A rate is known to within ±" (percent(margin)) " at worst." }
                " The extrapolated count is of (fault, moment) pairs, with the " (figures::interval_name(summary)) " interval: it is what two versions are compared by."
            }
            @if let Some(known) = &stratum.known { p.note { "Live: " (known.line()) "." } }
            @if let Some(unchanged) = &stratum.unchanged { p.note { (unchanged.line()) "." } }
            (rates_table(stratum))
        }
    }
}

fn together(pooled: &Pooled) -> Markup {
    let names: Vec<String> = pooled.strata.iter().map(|name| visible(name)).collect();
    let entry = |name: String, (rate, failures): (crate::stats::Estimate, crate::stats::Estimate)| {
        html! {
            tr {
                th scope="row" { (name) }
                td.n { (percent(rate.value)) }
                td.n { (ends(rate.interval)) }
                @if let Some(missing) = &pooled.missing { td.n { (missing.of(&name).map_or_else(String::new, bounds_words)) } }
                td.n { (count_words(failures)) }
            }
        }
    };
    html! {
        details {
            summary { "Rates over " (names.join(", ")) " together" }
            @if let Some(why) = &pooled.why_not {
                p { "There is none: " (visible(why)) }
            } @else {
                p.note { "Each stratum with the weight of its faults and moments; " (pooled.kind) ", pattern " (visible(&pooled.pattern)) ", "
                    (count(pooled.counted)) " trials. The interval is a beta distribution's."
                    @if !pooled.known.is_empty() { " Of " (visible(&pooled.known.join(", "))) " the live part alone is uncertain." }
                    @if !pooled.few.is_empty() { " Strata of fewer than six trials (" (visible(&pooled.few.join(", "))) ") count as one." } }
                table.rates {
                    thead { tr { th { "outcome" } th.n { "rate" } th.n { "interval" }
                        @if pooled.missing.is_some() { th.n { "with missing" } } th.n { "extrapolated count" } } }
                    tbody {
                        @for rate in &pooled.outcomes { (entry(rate.outcome.name().to_owned(), rate.shown())) }
                        @for class in Class::ALL {
                            @if let Some(rate) = pooled.class(class) { (entry(class.name().to_owned(), rate.shown())) }
                        }
                    }
                }
            }
        }
    }
}

fn table(summary: &Summary, trials: &Trials, replay: &str) -> Markup {
    let (consoles, shown) = trials.consoles;
    let heads = [
        ("trial", "trial"),
        ("outcome", "outcome"),
        ("stratum", "stratum"),
        ("at", "time"),
        ("place", "fault"),
        ("symbol", "symbol or region"),
        ("report", "report"),
    ];
    let outcomes = summary.outcomes();
    let choices = outcomes.iter().map(|outcome| (letter(Some(*outcome)), outcome.name()));
    html! {
        h2 id="all-trials" { "The trials" }
        p.note {
            @if trials.listed == trials.all { "All " (count(trials.all)) " trials that have a result are in this page" }
            @else {
                "Of " (count(trials.all)) " trials that have a result " (count(trials.listed))
                " are in this page, the worst outcomes whole, and the first of the outcome for which there was no more room"
            }
            ", and the details of "
            (count(trials.details.len() as u64)) ": of each outcome and title some, from the worst on. "
            "Of " (count(consoles)) " consoles that are not the golden run's, " (count(shown)) " are here, long ones cut. "
            "Left out are the other details and consoles; " code { "cargo xtask campaign export" } " prints them all, and "
            "the command at each trial runs it again."
        }
        (legend(&outcomes, true))
        div.controls.scripted hidden {
            fieldset id="outcomes" {
                legend { "outcomes" }
                @for (letter, name) in choices.chain([(letter(Some(Outcome::Infra)), Outcome::Infra.name()), ('-', "not flipped")]) {
                    label { input type="checkbox" value=(letter) checked; " " (name) }
                }
            }
            label { "stratum"
                select id="stratum" {
                    option value="" { "all" }
                    @for (index, stratum) in summary.strata.iter().enumerate() { option value=(index) { (visible(&stratum.name)) } }
                }
            }
            label { "search" input type="search" id="search" placeholder="x19:5, vfs_read, Oops, 17" autocomplete="off"; }
        }
        div.pager.scripted hidden {
            button type="button" id="previous" { "previous" }
            button type="button" id="next" { "next" }
            span id="count" role="status" {}
        }
        table.trials.scripted id="trials" hidden {
            thead { tr { @for (key, name) in heads { th scope="col" data-key=(key) { (name) } } } }
            tbody id="rows" {}
        }
        div.unscripted {
            p.note { "Without script the first " (UNSCRIPTED.min(trials.details.len())) " are shown." }
            table.trials {
                thead { tr { @for (_, name) in heads { th scope="col" { (name) } } } }
                tbody { @for detail in trials.details.iter().take(UNSCRIPTED) { (unscripted(detail, replay)) } }
            }
        }
    }
}

/// A trial for readers without script.
fn unscripted(detail: &Detail, replay: &str) -> Markup {
    let fact = |name: &str| {
        detail.facts.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str()).unwrap_or_default()
    };
    html! {
        tr {
            td data-label="trial" { (detail.id) }
            td.outcome data-label="outcome" {
                @match detail.outcome {
                    Some(outcome) => { (small_mark(outcome)) (outcome.name()) },
                    None => "not flipped",
                }
            }
            td data-label="stratum" { (detail.stratum) }
            td.n data-label="time" { (detail.at) }
            td.code data-label="fault" { (detail.place) }
            td.empty[fact("place").is_empty()] data-label="symbol or region" { (fact("place")) }
            td.empty[fact("report").is_empty()] data-label="report" { (fact("report")) }
        }
        tr.more {
            td colspan="7" {
                details {
                    summary { "Evidence of trial " (detail.id) }
                    dl {
                        @for (name, text) in &detail.facts { dt { (name) } dd { (text) } }
                        dt { "again" } dd { code { (replay) (detail.id) } }
                    }
                    @if let Some(console) = &detail.console { pre { (console) } }
                }
            }
        }
    }
}

/// What was done, so that it can be done again.
fn how(store: &Store, options: &PageOptions) -> Markup {
    let manifest = store.manifest();
    let (spec, command) = match options.public {
        true => (
            spec_without_paths(store.spec()),
            manifest.command.iter().map(|word| without_path(word)).collect(),
        ),
        false => (store.spec().clone(), manifest.command.clone()),
    };
    html! {
        h2 id="how" { "How it was done" }
        p { "To do it again: put this into a file " code { "campaign.toml" } ", with the same QEMU, kernel and image (their digests are below). "
            "The plan's digest must come out the same; so must every trial." }
        @if options.public { p.note { "Files are named without their folders." } }
        pre { (visible(&spec.to_toml())) }
        pre {
            "cargo xtask campaign new again --spec campaign.toml\n"
            @for total in grown_to(store) { "cargo xtask campaign grow again --trials " (total) "\n" }
            "cargo xtask campaign run again\n"
            "cargo xtask report compare " (options.campaign) " again"
        }
        dl {
            dt { "command" } dd { code { (visible(&command_line(&command))) } }
            dt { "made" } dd { (second(manifest.created)) }
            dt { "seed" } dd { (spec.seed) }
            dt { "plan" } dd { "SHA-256 " code { (store.plan_digest()) } }
            dt { "golden run" } dd { "SHA-256 " code { (visible(&manifest.golden)) } }
            dt { "template" } dd { code { (visible(&manifest.template)) } }
            @for (name, text) in &manifest.versions { dt { (visible(name)) } dd { (visible(text)) } }
            @for (name, digest) in &manifest.inputs { dt { (visible(name)) } dd { "SHA-256 " code { (visible(digest)) } } }
            @for (name, text) in &manifest.host { dt { "host's " (visible(name)) } dd { (visible(text)) } }
            dt { "this page" } dd { "flipsim " (env!("CARGO_PKG_VERSION")) ", " code { "cargo xtask report " (options.campaign) } }
        }
    }
}

/// How many trials it had in all each time that it had grown.
fn grown_to(store: &Store) -> Vec<u64> {
    let totals = store.stages().iter().scan(0, |sum, stage| {
        *sum += stage.len();
        Some(*sum)
    });
    totals.skip(1).collect()
}

/// The command that made the campaign, for a shell. Its first word is the program's file.
fn command_line(command: &[String]) -> String {
    let mut words = command.iter().map(String::as_str);
    let program = words.next().map(|_| ["cargo", "xtask"]).into_iter().flatten();
    shell_line(program.chain(words))
}

/// What the outcomes and their classes mean.
pub(super) fn outcome_words() -> Markup {
    let uncounted = Outcome::ALL.into_iter().filter(|outcome| !outcome.is_counted());
    html! {
        @for outcome in Outcome::WORST_FIRST.into_iter().chain(uncounted) {
            dt { (outcome.name()) } dd { (outcome.row().sentence) }
        }
        dt { "not flipped" } dd { "read back, the flip had not taken: in no rate" }
        dt { "failure" } dd { (Class::Failure.members()) }
        dt { "noticed" } dd { (Class::Noticed.members()) }
        dt { "unmasked" } dd { (Class::Unmasked.members()) }
        dt { "no-effect" } dd { (Class::NoEffect.members()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_a_script_by_its_digest_in_base64() {
        // Content Security Policy Level 3, section 2.3.1: the standard alphabet, with padding.
        assert_eq!(digest(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(digest("alert(1)"), "sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI=");
    }

    #[test]
    fn the_command_of_a_campaign_can_be_pasted_into_a_shell() {
        let of =
            |words: &[&str]| command_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), "");
        assert_eq!(of(&["/t/xtask", "campaign", "new", "first"]), "cargo xtask campaign new first");
        let line = of(&["xtask", "campaign", "new", "it's", "--stratum", "region:Kernel code", "$(id)", ""]);
        assert_eq!(line, "cargo xtask campaign new \"it's\" --stratum 'region:Kernel code' '$(id)' ''");
    }
}
