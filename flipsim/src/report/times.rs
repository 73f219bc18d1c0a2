//! The figures of times: how long guests lived, how their runs ended, when they reported something.
//!
//! Invariant: a time that is known only to lie between two checkpoints is shown as that.

use maud::{Markup, html};

use super::charts::{Across, LINES, Line, Range, curves, ranges};
use super::figures::{OWN, STRATA, by_name, figure, more};
use super::look::visible;
use super::rates::{below, bounds_words, ends, rate_words};
use super::svg::{count, percent, time};
use crate::campaign::Summary;
use crate::campaign::summary::{
    By, Class, CompetingEnd, IncidenceCurve, StratumSummary, TimeQuantile, TimeSummary,
};
use crate::stats::incidence::IncidenceStep;
use crate::stats::survival::SurvivalStep;

/// When guests failed and noticed.
#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
pub(super) fn times(summary: &Summary) -> Markup {
    let survival: Vec<Line> = summary
        .strata
        .iter()
        .filter_map(|stratum| {
            let curve = stratum.survival.as_ref()?;
            let point = |step: &SurvivalStep| {
                let ends = step.interval.map(|interval| (interval.lower, interval.upper));
                (step.time.0 as f64, step.survival, ends)
            };
            let points: Vec<_> = curve.steps.iter().map(point).collect();
            Some(Line { label: visible(&stratum.name), points, until: Some(curve.last_seen.0 as f64) })
        })
        .collect();
    let survival_words = words(summary, |stratum| {
        let curve = stratum.survival.as_ref()?;
        if let Some(bound) = curve.crash_bound {
            return Some(format!(
                "none of {} guests crashed by the run's end, {}",
                curve.guests,
                below(bound)
            ));
        }
        let last = curve.steps.last().map_or(1.0, |step| step.survival);
        Some(format!(
            "{} of {} guests crashed by the run's end, S = {} there{}",
            curve.crashes,
            curve.guests,
            percent(last),
            match curve.crashes_after_end {
                0 => String::new(),
                more => format!(" ({more} more after it)"),
            }
        ))
    });
    let crashes: Vec<Line> = summary
        .strata
        .iter()
        .filter_map(|stratum| {
            let curve = stratum.survival.as_ref()?;
            let crash = curve.ends.iter().find(|one| one.end == CompetingEnd::Crash)?;
            let point = |step: &IncidenceStep| {
                let ends = (step.interval.lower, step.interval.upper);
                (step.time.0 as f64, step.incidence, Some(ends))
            };
            let points = crash.steps.iter().map(point).collect();
            Some(Line { label: visible(&stratum.name), points, until: Some(curve.last_seen.0 as f64) })
        })
        .collect();
    let ends_words = words(summary, |stratum| {
        let curve = stratum.survival.as_ref()?;
        let share = |one: &IncidenceCurve| format!("{} {}", one.end.name(), percent(one.share));
        Some(curve.ends.iter().map(share).collect::<Vec<_>>().join(", "))
    });
    let settled: Vec<Line> = summary
        .strata
        .iter()
        .filter(|stratum| stratum.convergence.len() > 1)
        .map(|stratum| Line {
            label: visible(&stratum.name),
            points: stratum
                .convergence
                .iter()
                .map(|row| {
                    let ends = (row.rate.interval.lower, row.rate.interval.upper);
                    (row.observed.trials() as f64, row.rate.value, Some(ends))
                })
                .collect(),
            until: None,
        })
        .collect();
    let settled_words = words(summary, |stratum| {
        let rate = stratum.class(Class::Failure)?.rate?;
        Some(format!("{} after {} trials", rate_words(&rate), count(stratum.counted)))
    });
    let is_drawn = |lines: &[Line]| lines.iter().any(|line| !line.points.is_empty());
    let lived = match is_drawn(&survival) {
        true => curves(
            "f-survival",
            "Survival after the flip",
            &survival_words,
            "time since the flip",
            Across::Survival,
            &survival,
        ),
        false => html! {},
    };
    // A rate that stays 0 is a line on the axis.
    let settling = match settled.iter().flat_map(|line| &line.points).any(|(_, rate, _)| *rate > 0.0) {
        true => curves(
            "f-settled",
            "Rate of failures against the number of trials",
            &settled_words,
            "trials (logarithmic)",
            Across::Trials,
            &settled,
        ),
        false => html! {},
    };
    // Where none crashed there is nothing to draw; the words have the bound, and the table the other ends.
    let crashed = match is_drawn(&crashes) {
        true => curves(
            "f-incidence",
            "Share crashed by a time after the flip",
            &ends_words,
            "time since the flip",
            Across::Incidence,
            &crashes,
        ),
        false => html! {},
    };
    html! {
        div.figures {
            @for (index, stratum) in summary.strata.iter().take(OWN).enumerate() { (by_name(index, stratum, By::Moment)) }
            @if !survival.is_empty() {
                (figure(
                    "Survival after the flip",
                    &format!("Kaplan–Meier, virtual time, up to the run's end. Guests that finished or hung count until then. 1 − S is not the share that crashes: it takes a run that ends as one that goes on. {survival_words}"),
                    &lived,
                    &html! {},
                    &more("strata", LINES, survival.len()),
                ))
                (figure(
                    "Crashed by a time after the flip",
                    &format!("The share of the guests that has crashed (Aalen–Johansen). Other ends of a run compete: at its end a guest has crashed, hung, is late or has finished. {ends_words}"),
                    &crashed,
                    &ends_table(summary),
                    &more("strata", LINES, crashes.len()),
                ))
            }
            (spread(summary, "f-detection", "From the flip to its detection",
                "Virtual time to the guest's report; of the trials in which there was one.",
                |stratum| stratum.detection.as_ref()))
            (spread(summary, "f-crash", "From the flip to the crash", "Virtual time, of the trials that crashed.",
                |stratum| stratum.crash.as_ref()))
            @if !settled.is_empty() {
                (figure(
                    "How the rate of failures settled",
                    &format!("By the number of trials, in the order of the plan, with Wilson's interval. It is no rule to stop by. {settled_words}"),
                    &settling,
                    &html! {},
                    &more("strata", LINES, settled.len()),
                ))
            }
        }
        (limits_table(summary))
    }
}

/// What hangs by other limits.
fn limits_table(summary: &Summary) -> Markup {
    let strata = || {
        let limits =
            summary.strata.iter().filter_map(|stratum| Some((stratum, stratum.hang_limits.as_ref()?)));
        limits.filter(|(_, limits)| limits.matter())
    };
    if strata().next().is_none() {
        return html! {};
    }
    let counts = |[least, most]: [u64; 2]| match least == most {
        true => count(least),
        false => format!("{} to {}", count(least), count(most)),
    };
    html! {
        h3 { "By hang limit" }
        p.note { "A guest that is not done by the limit hangs. Lower limits follow from when each guest was done. Those that hung by the campaign's limit might have gone on to the right end by a higher one, or not: there rates have bounds, and an interval around both." }
        table.rates {
            thead { tr { th { "stratum" } th.n { "golden runs" } th.n { "hang" } th.n { "rate" } th.n { "failures" } th.n { "rate" } } }
            tbody {
                @for (stratum, limits) in strata() {
                    @for limit in &limits.limits {
                        tr {
                            th scope="row" { (visible(&stratum.name)) }
                            td.n { (limit.factor) " ×" @if limit.is_campaigns { " (the campaign's)" } }
                            td.n { (counts(limit.hung)) }
                            td.n { (bounds_words(&limit.hang)) }
                            td.n { (counts(limit.failed)) }
                            td.n { (bounds_words(&limit.failure)) }
                        }
                    }
                }
            }
        }
        @for (stratum, limits) in strata() {
            @if let Some(latest) = limits.latest {
                p.note { (visible(&stratum.name)) ": " (count(limits.late_but_right)) " late but right: done after the golden run's end, the last after " (format!("{latest:.2}")) " of its lengths." }
            }
        }
    }
}

/// How the runs of each stratum ended.
fn ends_table(summary: &Summary) -> Markup {
    html! {
        table.rates {
            thead { tr { th { "stratum" } th { "run's end" } th.n { "guests" } th.n { "share" } th.n { "interval" } } }
            tbody {
                @for stratum in &summary.strata {
                    @for one in stratum.survival.iter().flat_map(|curve| &curve.ends) {
                        tr {
                            th scope="row" { (visible(&stratum.name)) }
                            td { (one.end.name()) }
                            td.n { (count(one.guests)) }
                            td.n { (percent(one.share)) }
                            td.n { (ends(one.interval)) }
                        }
                    }
                }
            }
        }
    }
}

/// Something of each stratum that has it, in words.
fn words(summary: &Summary, of: impl Fn(&StratumSummary) -> Option<String>) -> String {
    let parts = summary.strata.iter().take(LINES);
    let parts = parts.filter_map(|stratum| Some(format!("{}: {}.", visible(&stratum.name), of(stratum)?)));
    parts.collect::<Vec<_>>().join(" ")
}

#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
fn spread<'a>(
    summary: &'a Summary,
    id: &str,
    title: &str,
    about: &str,
    of: impl Fn(&'a StratumSummary) -> Option<&'a TimeSummary>,
) -> Markup {
    let found: Vec<(String, &TimeSummary)> = summary
        .strata
        .iter()
        .take(STRATA)
        .filter_map(|stratum| Some((visible(&stratum.name), of(stratum)?)))
        .collect();
    if found.is_empty() {
        return html! {};
    }
    let note = |times: &TimeSummary| match times.between {
        0 => format!("{} of {} trials", count(times.trials), count(times.of)),
        _ => format!("{} of {} trials, to the checkpoint", count(times.trials), count(times.of)),
    };
    let quantiles = |times: &TimeSummary| -> Vec<(String, f64)> {
        let wanted = times.quantiles.iter().filter(|_| !times.are_few());
        let pair = |quantile: &TimeQuantile| {
            (quantile.share.to_string().replace('%', " %"), quantile.time.value.0 as f64)
        };
        wanted.map(pair).collect()
    };
    let said = |(label, times): &(String, &TimeSummary)| {
        let place = |quantile: &TimeQuantile| match quantile.after {
            Some(after) if after.0 > 0 => {
                format!("between {} and {}", time(after.0 as f64), time(quantile.time.value.0 as f64))
            }
            _ => format!("within {}", time(quantile.time.value.0 as f64)),
        };
        let wanted = times.quantiles.iter().filter(|_| !times.are_few());
        let within: Vec<String> = wanted
            .map(|quantile| format!("{} {}", quantile.share.to_string().replace('%', " %"), place(quantile)))
            .collect();
        let said = if within.is_empty() { times.ends() } else { within.join(", ") };
        format!("{label} ({}): {said}.", note(times))
    };
    let words = found.iter().map(said).collect::<Vec<_>>().join(" ");
    let row = |(label, times): &(String, &TimeSummary)| Range {
        label: label.clone(),
        note: note(times),
        ends: (times.shortest.0 as f64, times.longest.0 as f64),
        quantiles: quantiles(times),
    };
    let rows: Vec<Range> = found.iter().map(row).collect();
    let chart = ranges(id, title, &words, "time since the flip (logarithmic)", &rows);
    figure(
        title,
        &format!("{about} {words}"),
        &chart,
        &html! {},
        &more("strata", STRATA, summary.strata.len()),
    )
}
