//! What a comparison says of each stratum, in one sentence an outcome: for silent data corruption, for what is noticed, and for
//! all failures.
//!
//! Three questions have three answers: whether an upset does more harm ([`Per::Upset`]: rates), whether a run fails more often
//! at the same rate of upsets ([`Per::Run`]: extrapolated counts), and how often a system fails in a year in the field
//! ([`Per::Year`]: rates × exposed bits × raw rate).
//!
//! Invariant: **a difference is claimed only where the interval of the ratio is without 1 and the test says so**; what cannot
//! be shown says what could have been.

use std::str::FromStr;

use serde::Serialize;

use super::field::FieldComparison;
use super::rows::{ComparisonRow, ratio_text};
use super::svg::{percent, rough, times};
use crate::stats::compare::Ratio;
use crate::stats::power::{Detectable, detectable, detectable_in_pairs};
use crate::stats::score::{Against, ratio_p};
use crate::stats::{Confidence, Estimate, Observed, Share};
use crate::text::end_text;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// Of upsets that are there: the rates.
    Upset,
    /// Of runs at the same rate of upsets for each bit and moment: the extrapolated counts.
    Run,
    /// Of years in the field.
    Year,
}

impl FromStr for Per {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "upset" => Ok(Per::Upset),
            "run" => Ok(Per::Run),
            "year" => Ok(Per::Year),
            _ => Err(format!("`{}` is none of upset, run, year", crate::text::shown(text, 20))),
        }
    }
}

impl Per {
    /// The word in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Per::Upset => "upset",
            Per::Run => "run",
            Per::Year => "year",
        }
    }

    /// What such a number answers.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Per::Upset => {
                "per upset: how likely a flip that is there does harm, whatever the program's length and size (--per run counts \
                 what these catch)"
            }
            Per::Run => {
                "per run: at one rate of upsets for each bit and moment; a program that takes longer, or more memory, for its work \
                 catches more (--per upset is without that)"
            }
            Per::Year => {
                "per year in the field: the workload repeats without a pause, so that a program that takes longer does less work \
                 in that year (--per run is for the same work)"
            }
        }
    }
}

/// What a comparison shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// Less in B.
    Less,
    /// More in B.
    More,
    /// No difference.
    Nothing,
}

/// The answer for one outcome, or class of outcomes, in a stratum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Of what: `sdc`, `noticed`, `failure`.
    pub outcome: &'static str,
    /// Of what it is counted.
    pub per: Per,
    /// What is shown.
    pub shown: Shown,
    /// B over A, counted so; of the pairs, where trials are some. `None` without a trial that counts in both.
    pub ratio: Option<Ratio>,
    /// The test of whether it is 1.
    pub p: Option<f64>,
    /// What would have been shown with 80 %.
    pub visible: Detectable,
    /// B over A counted in every way that there is a number for.
    pub ratios: Vec<PerRatio>,
    /// All that in words.
    pub sentence: String,
}

impl Answer {
    /// Whether it came at all, so that there is a ratio to look at.
    #[must_use]
    pub fn has_ratio(&self) -> bool {
        self.ratios.iter().any(|one| one.ratio.value.is_some() || one.ratio.lower > 0.0)
    }
}

/// A ratio, and what it is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PerRatio {
    /// By what.
    pub per: Per,
    /// B over A.
    #[serde(flatten)]
    pub ratio: Ratio,
}

/// What answers are about: the row of a comparison, after what a failure is in words, alone and as what something ends in.
const ASKED: [(&str, &str, &str); 3] = [
    ("sdc", "silent data corruption", "silent data corruption"),
    ("noticed", "noticed failures", "a failure that is noticed (all failures but sdc)"),
    ("failure", "failures", "a failure of any kind"),
];

/// A stratum that both have.
pub(super) struct Stratum<'a> {
    pub(super) name: &'a str,
    pub(super) population: [f64; 2],
    pub(super) counted: [u64; 2],
    pub(super) rows: &'a [ComparisonRow],
}

/// What all answers of a comparison have in common.
pub(super) struct Question<'a> {
    pub(super) per: Per,
    pub(super) names: [&'a str; 2],
    pub(super) confidence: Confidence,
    pub(super) field: Option<&'a FieldComparison>,
}

/// The answers of a stratum.
pub(super) fn answers(stratum: &Stratum<'_>, question: &Question<'_>) -> Vec<Answer> {
    let asked = ASKED.iter().filter_map(|(outcome, noun, end)| {
        let row = stratum.rows.iter().find(|row| row.outcome == *outcome)?;
        Some(answer(stratum, row, (noun, end), question))
    });
    asked.collect()
}

/// A ratio that is counted so. In a year what is known without a trial counts as well, as in all numbers of the field.
fn counted(stratum: &Stratum<'_>, row: &ComparisonRow, per: Per, question: &Question<'_>) -> Option<Ratio> {
    let of_rates = row.ratio_of_rates?.scaled(factor(stratum, per, question)?);
    let field = question.field.filter(|_| per == Per::Year && row.paired.is_none());
    Some(field.and_then(|field| field.row(stratum.name, row.outcome)?.ratio).unwrap_or(of_rates))
}

/// How many times the ratio of the rates a ratio is that is counted so.
fn factor(stratum: &Stratum<'_>, per: Per, question: &Question<'_>) -> Option<f64> {
    let [a, b] = stratum.population;
    match per {
        Per::Upset => Some(1.0),
        Per::Run => Some(b / a),
        Per::Year => question.field?.bits_of(stratum.name).map(|[a, b]| b / a),
    }
}

fn answer(
    stratum: &Stratum<'_>,
    row: &ComparisonRow,
    words: (&str, &str),
    question: &Question<'_>,
) -> Answer {
    let [a, b] = [0, 1].map(|side| Observed::new(row.count[side], stratum.counted[side]).ok());
    let of = || -> Option<(Ratio, f64, Detectable)> {
        let (a, b, factor) = (a?, b?, factor(stratum, question.per, question)?);
        let (ratio, equal) = (counted(stratum, row, question.per, question)?, 1.0 / factor);
        if let Some(paired) = &row.paired {
            return Some((
                ratio,
                paired.pairs.ratio_p(equal),
                detectable_in_pairs(&paired.pairs, equal, Share::P80, question.confidence),
            ));
        }
        let visible = detectable(a, b, equal, Share::P80, question.confidence);
        Some((ratio, ratio_p(a, b, equal, Against::Both), visible))
    };
    let found = of();
    let shown = match &found {
        Some((ratio, p, _)) if !ratio.contains(1.0) && *p <= 1.0 - question.confidence.level() => {
            if ratio.value.is_some_and(|value| value < 1.0) { Shown::Less } else { Shown::More }
        }
        _ => Shown::Nothing,
    };
    let said = match &found {
        None => "nothing can be said: ".to_owned() + why_not(stratum, question),
        Some((ratio, _, visible)) => match shown {
            Shown::Nothing => nothing_shown(row, words.0, (ratio, visible), question),
            _ => {
                difference_shown(words.1, (ratio, shown), question) + &a_year(stratum, row.outcome, question)
            }
        },
    };
    let (ratio, p, visible) = match found {
        Some((ratio, p, visible)) => (Some(ratio), Some(p), visible),
        None => (None, None, Detectable::default()),
    };
    let sentence = format!("{}: {said}", stratum.name);
    let ratios = [Per::Upset, Per::Run, Per::Year].into_iter();
    let ratios =
        ratios.filter_map(|per| Some(PerRatio { per, ratio: counted(stratum, row, per, question)? }));
    let ratios = ratios.collect();
    Answer { outcome: row.outcome, per: question.per, shown, ratio, p, visible, ratios, sentence }
}

fn why_not(stratum: &Stratum<'_>, question: &Question<'_>) -> &'static str {
    match stratum.counted.contains(&0) {
        true => "a campaign has no trial here that counts",
        false if question.per == Per::Year => {
            "the mission has no rate for what is struck here, or its faults are of several bits"
        }
        false => "a fault space is empty",
    }
}

/// `95 %`
fn level(confidence: Confidence) -> String {
    confidence.to_string().replace('%', " %")
}

fn difference_shown(end: &str, (ratio, shown): (&Ratio, Shown), question: &Question<'_>) -> String {
    let [a, b] = question.names;
    // As so many times, above 1.
    let turn = |value: f64| if shown == Shown::Less { 1.0 / value } else { value };
    let (near, far) = match shown {
        Shown::Less => (ratio.upper.map(turn), Some(ratio.lower).filter(|end| *end > 0.0).map(turn)),
        _ => (Some(ratio.lower), ratio.upper),
    };
    let near = near.map_or("–".to_owned(), |near| end_text(near, false, &times));
    let confidence = level(question.confidence);
    let (value, interval) = match (ratio.value.filter(|value| *value > 0.0), far) {
        (Some(value), Some(far)) => {
            (times(turn(value)), format!("{confidence}: {near} to {}", end_text(far, true, &times)))
        }
        (Some(value), None) => (times(turn(value)), format!("{confidence}: {near} or more")),
        // It never came in one of them.
        (None, _) => (format!("at least {near}"), confidence),
    };
    let never = match ratio.value.filter(|value| *value > 0.0) {
        Some(_) => String::new(),
        None => format!("; it never came in {}", if shown == Shown::Less { b } else { a }),
    };
    let (likely, often) = match shown {
        Shown::Less => ("less likely", "less often"),
        _ => ("more likely", "more often"),
    };
    let said = match question.per {
        Per::Upset => format!("an upset is {value} times {likely} to end in {end} in {b} than in {a}"),
        Per::Run => format!("a run of {b} ends in {end} {value} times {often} than one of {a}"),
        Per::Year => format!("in a year in the field {b} ends in {end} {value} times {often} than {a}"),
    };
    format!("{said} ({interval}){never}")
}

/// How often a year, where that is asked for.
fn a_year(stratum: &Stratum<'_>, outcome: &str, question: &Question<'_>) -> String {
    let row = question
        .field
        .filter(|_| question.per == Per::Year)
        .and_then(|field| field.row(stratum.name, outcome));
    row.map_or(String::new(), |row| {
        let [a, b] = row.per_year.map(|estimate| estimate_of(&estimate));
        format!(": {b} a year in place of {a}")
    })
}

fn estimate_of(estimate: &Estimate) -> String {
    let end = |end: f64, is_upper| end_text(end, is_upper, &rough);
    let interval = estimate.interval;
    format!("{} ({} to {})", rough(estimate.value), end(interval.lower, false), end(interval.upper, true))
}

fn nothing_shown(
    row: &ComparisonRow,
    noun: &str,
    (ratio, visible): (&Ratio, &Detectable),
    question: &Question<'_>,
) -> String {
    let [a, b] = question.names;
    if row.count == [0, 0] {
        let bounds = row
            .rate
            .map(|rate| rate.map_or("–".to_owned(), |rate| end_text(rate.interval.upper, true, &percent)));
        let confidence = level(question.confidence);
        return format!(
            "{noun} never came in either: at most {} of the upsets in {a} and {} in {b} ({confidence})",
            bounds[0], bounds[1]
        );
    }
    let more =
        visible.more.map(|more| format!("× {} or more", end_text(more, true, &|more| format!("{more:.2}"))));
    let less =
        visible.less.map(|less| format!("× {} or less", end_text(less, false, &|less| format!("{less:.2}"))));
    let both = [more, less].into_iter().flatten().collect::<Vec<_>>().join(", or ");
    let power = match both.is_empty() {
        true => "so few would have shown none".to_owned(),
        false => format!("these numbers would have shown {both} (with 80 %)"),
    };
    format!(
        "no difference can be shown in {noun} per {}: {b} over {a} is {}; {power}",
        question.per.name(),
        ratio_text(ratio)
    )
}

#[cfg(test)]
mod tests;
