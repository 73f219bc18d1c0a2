//! Several campaigns one after the other, night by night: how a rate went.
//!
//! Invariant: a night's rate and interval are those of its campaign; nothing is tested here, as among many nights some differ
//! by chance ([`super::gate`] tests two).

use jiff::Timestamp;
use maud::{Markup, html};
use serde::Serialize;

use super::charts::{Dot, Group, Labels, dots};
use super::compare::{Side, estimate_text, ratio_text};
use super::figures::figure;
use super::look::visible;
use super::page::{document, outcome_words, second, warnings};
use super::svg::{count, percent};
use super::unfair::unlike;
use crate::campaign::Summary;
use crate::campaign::summary::StratumSummary;
use crate::stats::Estimate;
use crate::stats::compare::{Ratio, ratio};
use crate::stats::tally::{Method, Rate};
use crate::trial::{Class, Outcome};

/// The version of these keys.
pub const FORMAT: u32 = 1;

/// An outcome or class over several campaigns.
#[derive(Clone, Debug, Serialize)]
pub struct Trend {
    /// The version of these keys.
    pub format: u32,
    /// The outcome or class.
    pub outcome: &'static str,
    /// What each campaign is called, in the order that was given.
    pub nights: Vec<String>,
    /// When the last trial of each was recorded.
    pub last: Vec<Option<Timestamp>>,
    /// The strata, in the order in which they first come.
    pub strata: Vec<StratumTrend>,
    /// What a reader must know before any number.
    pub warnings: Vec<String>,
}

/// One stratum over all campaigns.
#[derive(Clone, Debug, Serialize)]
pub struct StratumTrend {
    /// Its name.
    pub name: String,
    /// One entry a campaign; `None` where it has no such stratum, or no trial there that counts.
    pub nights: Vec<Option<Night>>,
}

/// One campaign's numbers of a stratum.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Night {
    /// How many trials had the outcome.
    pub count: u64,
    /// The trials that count.
    pub counted: u64,
    /// The rate, with the interval that the campaign's report shows.
    pub rate: Estimate,
    /// The extrapolated count over that of the first campaign that has the stratum; `None` for that one.
    pub of_first: Option<Ratio>,
}

/// The outcomes and classes that have a rate, by name.
#[must_use]
pub fn outcome_named(name: &str) -> Option<&'static str> {
    let outcomes = Outcome::ALL.into_iter().filter(|outcome| outcome.is_counted()).map(Outcome::name);
    Class::ALL.into_iter().map(Class::name).chain(outcomes).find(|other| *other == name)
}

fn of(stratum: &StratumSummary, name: &str) -> Option<(u64, Rate)> {
    let class = Class::ALL.into_iter().find(|class| class.name() == name);
    match class {
        Some(class) => stratum.class(class).and_then(|row| Some((row.count, row.rate?))),
        None => {
            let row = stratum.outcomes.iter().find(|row| row.outcome.name() == name)?;
            Some((row.count, row.rate?))
        }
    }
}

/// Puts campaigns one after the other; `nights` is what each is called.
#[must_use]
pub fn trend(sides: &[Side<'_>], nights: Vec<String>, outcome: &'static str) -> Trend {
    let mut names: Vec<&String> = Vec::new();
    for stratum in sides.iter().flat_map(|side| &side.summary.strata) {
        if !names.contains(&&stratum.name) {
            names.push(&stratum.name);
        }
    }
    let strata = names.into_iter().map(|name| {
        let mut first: Option<Estimate> = None;
        let night = |summary: &Summary| {
            let stratum = summary.stratum(name)?;
            let (count, rate) = of(stratum, outcome)?;
            let of_first = first.zip(rate.failures).map(|(first, failures)| ratio(failures, first));
            first = first.or(rate.failures);
            let (counted, rate) = (stratum.counted, rate.estimate(Method::default()));
            Some(Night { count, counted, rate, of_first })
        };
        StratumTrend {
            name: name.clone(),
            nights: sides.iter().map(|side| side.summary).map(night).collect(),
        }
    });
    let strata = strata.collect();
    let mut warnings = Vec::new();
    for (side, name) in sides.iter().zip(&nights) {
        let totals = &side.summary.totals;
        if totals.pending > 0 {
            let (pending, planned) = (count(totals.pending), count(totals.planned));
            warnings.push(format!("{name} is not finished: {pending} of {planned} trials are pending"));
        }
    }
    if let [first, others @ ..] = sides {
        for (other, name) in others.iter().zip(&nights[1..]) {
            let unlike = unlike(first, other).into_iter();
            warnings.extend(unlike.map(|why| format!("{name} is of other things than {}: {why}", nights[0])));
        }
    }
    let last = sides.iter().map(|side| side.summary.totals.last).collect();
    Trend { format: FORMAT, outcome, nights, last, strata, warnings }
}

/// The cells of a night: trials, the rate, its count over the first's.
#[must_use]
pub fn cells(night: Option<&Night>) -> [String; 3] {
    let Some(night) = night else { return ["–".to_owned(), "–".to_owned(), String::new()] };
    [
        format!("{} of {}", count(night.count), count(night.counted)),
        estimate_text(Some(night.rate), &percent),
        night.of_first.as_ref().map_or(String::new(), ratio_text),
    ]
}

/// What a reader must know of the numbers.
pub const ABOUT: &str = "each interval is of one campaign alone, and of many some lie apart by chance: whether one is worse than \
                         another `report gate` says";

/// The page of a trend; `command` is the line that made it.
#[must_use]
pub fn trend_page(trend: &Trend, command: &str, made: Timestamp) -> String {
    let title = format!("{} over {} campaigns", trend.outcome, trend.nights.len());
    let body = html! {
        header {
            h1 { (title) }
            p.soft { "This page was made at " (second(made)) " by " code { (command) } "." }
        }
        (warnings(trend.warnings.iter().cloned()))
        @for (index, stratum) in trend.strata.iter().enumerate() { (section(index, stratum, trend)) }
        p.note { "Rates with exact 95 % intervals; " (ABOUT.replace('`', "")) ". The ratio is of extrapolated counts, over the first campaign's." }
        h2 id="words" { "Words" }
        dl { (outcome_words()) }
    };
    document(&title, &body, "script-src 'none'", &html! {})
}

fn section(index: usize, stratum: &StratumTrend, trend: &Trend) -> Markup {
    let name = visible(&stratum.name);
    let nights = || trend.nights.iter().zip(&trend.last).zip(&stratum.nights);
    let dot = |((label, _), night): ((&String, &Option<Timestamp>), &Option<Night>)| {
        let rate = night.as_ref()?.rate;
        let interval = (rate.interval.lower, rate.interval.upper);
        Some(Dot {
            label: visible(label),
            outcome: None,
            value: rate.value,
            interval,
            note: percent(rate.value),
        })
    };
    let group = Group { title: String::new(), dots: nights().filter_map(dot).collect() };
    let words: Vec<String> = nights()
        .map(|((label, _), night)| format!("{}: {}.", visible(label), cells(night.as_ref())[1]))
        .collect();
    let chart = dots(
        &format!("t{index}"),
        &format!("{} in {name}", trend.outcome),
        &words.join(" "),
        &[group],
        Labels::Above,
    );
    html! {
        h2 id={ "s" (index) } { (name) }
        div.figures { (figure(&format!("{} in {name}", trend.outcome), "", &chart, &html! {}, "")) }
        table.rates {
            thead { tr {
                th { "campaign" } th { "last trial" } th.n { (trend.outcome) } th.n { "rate" } th.n { "of the first" }
            } }
            tbody {
                @for ((label, last), night) in nights() {
                    @let [hits, rate, of_first] = cells(night.as_ref());
                    tr {
                        th.wrap scope="row" { (visible(label)) }
                        td { @if let Some(last) = last { (second(*last)) } @else { "–" } }
                        td.n { (hits) } td.n { (rate) } td.n { (of_first) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::CampaignSpec;
    use crate::campaign::summary::SummaryOptions;
    use crate::testing::fake_campaign as fake;

    #[test]
    fn each_night_has_its_own_numbers_and_a_stratum_that_is_missing_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str, seed, targets: &[&str], done| {
            let spec = CampaignSpec { name: "nightly".into(), seed, ..fake::spec(600, targets) };
            let mut store = fake::create(&folder.path().join(name), &spec).unwrap();
            fake::fill(&mut store, done).unwrap();
            store
        };
        let both = ["range:0x40000000+1M", "class:core"];
        let stores = [
            store("a.sqlite", 1, &both[..1], 600),
            store("b.sqlite", 2, &both, 600),
            store("c.sqlite", 3, &both, 599),
        ];
        let options = SummaryOptions::default();
        let summaries = stores.each_ref().map(|store| Summary::new(store, &options).unwrap());
        let sides: Vec<Side<'_>> =
            stores.iter().zip(&summaries).map(|(store, summary)| Side { store, summary }).collect();
        let nights = ["1 <i>", "2", "3"].map(str::to_owned).to_vec();
        let found = trend(&sides, nights, "failure");
        let names: Vec<&str> = found.strata.iter().map(|stratum| stratum.name.as_str()).collect();
        assert_eq!(names, ["1M", "core"]);
        let [first, second, _] = &found.strata[0].nights[..] else { panic!("{found:?}") };
        let (first, second) = (first.unwrap(), second.unwrap());
        let row = summaries[1].strata[0].class(Class::Failure).unwrap();
        assert_eq!((second.count, second.rate), (row.count, row.rate.unwrap().estimate(Method::default())));
        assert!(first.of_first.is_none() && second.of_first.unwrap().value.unwrap() > 0.5);
        assert!(found.strata[1].nights[0].is_none() && found.strata[1].nights[1].unwrap().of_first.is_none());
        assert!(found.warnings.iter().any(|line| line.starts_with("3 is not finished: 1 of 600")));
        let made = "2026-01-02T03:04:05Z".parse().unwrap();
        let page = trend_page(&found, "cargo xtask report trend 1 2 3", made);
        assert!(page.contains("<h1>failure over 3 campaigns</h1>") && !page.contains("<i>"));
        assert!(page.contains("1 &lt;i&gt;") && page.contains("×"));
        assert_eq!(cells(None)[1], "–");
        assert_eq!((outcome_named("sdc"), outcome_named("infra")), (Some("sdc"), None));
    }
}
