//! The charts of a report, drawn from plain numbers.
//!
//! Invariant: a chart computes no statistic. What it draws, its text alternative says in words, or the
//! table below it in numbers.

use maud::{Markup, html};

use super::look::mark;
use super::svg::{
    Scale, WIDTH, chart, count, fit, percent, place, tick_percent, time, time_unit, width_of, x_axis, y_axis,
};
use crate::text::end_text;
use crate::trial::Outcome;

/// A bar of counts by outcome.
#[derive(Clone, Debug)]
pub struct Stack {
    /// What it is of.
    pub label: String,
    /// What stands at the right.
    pub note: String,
    /// The counts, in the order in which they are drawn.
    pub parts: Vec<(Outcome, u64)>,
}

/// Bars of the same length, each divided by outcome.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shares of a bar")]
pub fn stacks(id: &str, title: &str, description: &str, bars: &[Stack]) -> Markup {
    let (left, right, each) = (4.0, WIDTH - 4.0, 44.0);
    let height = each * bars.len() as f64 + 4.0;
    let body = html! {
        @for (index, bar) in bars.iter().enumerate() {
            @let y = each * index as f64;
            @let all = bar.parts.iter().map(|(_, count)| count).sum::<u64>().max(1) as f64;
            @let mut from = 0u64;
            text.name x=(place(left)) y=(place(y + 15.0)) { (fit(&bar.label, 240.0)) }
            text.tick x=(place(right)) y=(place(y + 15.0)) text-anchor="end" { (bar.note) }
            @for (outcome, hits) in bar.parts.iter().filter(|(_, hits)| *hits > 0) {
                @let x = left + from as f64 / all * (right - left);
                @let width = *hits as f64 / all * (right - left);
                @let () = from += hits;
                rect class={ "a-" (outcome.name()) } x=(place(x)) y=(place(y + 21.0)) width=(place(width.max(0.5))) height="16" {
                    title { (bar.label) ": " (outcome.name()) " " (count(*hits)) " of " (count(all as u64)) " (" (percent(*hits as f64 / all)) ")" }
                }
            }
            rect.frame x=(place(left)) y=(place(y + 21.0)) width=(place(right - left)) height="16" {}
        }
    };
    chart(id, title, description, height, &body)
}

/// A rate with its interval.
#[derive(Clone, Debug)]
pub struct Dot {
    /// What it is of.
    pub label: String,
    /// The mark; a plain one without.
    pub outcome: Option<Outcome>,
    /// The rate.
    pub value: f64,
    /// The interval.
    pub interval: (f64, f64),
    /// What stands at the right.
    pub note: String,
}

/// Rates below one another, with a heading.
#[derive(Clone, Debug)]
pub struct Group {
    /// The heading; none where it is empty.
    pub title: String,
    /// The rates.
    pub dots: Vec<Dot>,
}

/// Where the labels of dots stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Outcomes, to the left.
    Outcomes,
    /// To the left, a dozen letters.
    Beside,
    /// Above, with room for a title.
    Above,
}

/// Rates with intervals on one axis: logarithmic where labels are [`Labels::Outcomes`], as rates of outcomes
/// span decades. A rate of 0 has no mark, only the end of its interval.
#[must_use]
pub fn dots(id: &str, title: &str, description: &str, groups: &[Group], labels: Labels) -> Markup {
    let all = || groups.iter().flat_map(|group| &group.dots);
    let least =
        all().flat_map(|dot| [dot.value, dot.interval.0, dot.interval.1]).filter(|value| *value > 0.0);
    let least = least.fold(0.1, f64::min).max(1e-9);
    let floor = 10f64.powf((least.log10() - 1e-9).floor());
    let right = WIDTH - 16.0 - all().map(|dot| width_of(&dot.note)).fold(46.0, f64::max);
    let (left, each) = match labels {
        Labels::Outcomes | Labels::Beside => (104.0, 17.0),
        Labels::Above => (20.0, 34.0),
    };
    let most = all().map(|dot| dot.interval.1).fold(0.0, f64::max).clamp(1e-6, 1.0);
    let log = labels == Labels::Outcomes;
    let scale =
        if log { Scale::log((floor, 1.0), (left, right)) } else { Scale::linear((0.0, most), (left, right)) };
    let mut y = 6.0;
    let mut rows = Vec::new();
    for group in groups {
        if !group.title.is_empty() {
            y += 18.0;
            rows.push(html! { text.name x="4" y=(place(y - 4.0)) { (fit(&group.title, WIDTH)) } });
        }
        for dot in &group.dots {
            let (label_at, middle) = match labels {
                Labels::Outcomes | Labels::Beside => (y + 12.0, y + 8.0),
                Labels::Above => (y + 13.0, y + 25.0),
            };
            let (low, high) = (scale.at(dot.interval.0), scale.at(dot.interval.1));
            rows.push(html! {
                g {
                    title { (dot.label) ": " (dot.note) ", " (end_text(dot.interval.0, false, &percent)) " to " (end_text(dot.interval.1, true, &percent)) }
                    @if labels != Labels::Above {
                        text.tick x=(place(left - 8.0)) y=(place(label_at)) text-anchor="end" { (fit(&dot.label, left - 8.0)) }
                    } @else {
                        text.tick x=(place(left)) y=(place(label_at)) { (fit(&dot.label, WIDTH - left - 8.0)) }
                    }
                    path.whisker d={
                        "M" (place(low)) " " (place(middle)) "H" (place(high))
                        "M" (place(high)) " " (place(middle - 4.0)) "v8"
                        @if dot.interval.0 > 0.0 { "M" (place(low)) " " (place(middle - 4.0)) "v8" }
                    } {}
                    @if dot.value > 0.0 {
                        @match dot.outcome {
                            Some(outcome) => path class={ "m-" (outcome.name()) } d=(mark(outcome, scale.at(dot.value), middle, 4.0)) {},
                            None => circle.dot cx=(place(scale.at(dot.value))) cy=(place(middle)) r="3.5" {},
                        }
                    }
                    text.tick x=(place(right + 10.0)) y=(place(middle + 4.0)) { (dot.note) }
                }
            });
            y += each;
        }
    }
    let body = html! {
        (x_axis(&scale, (6.0, y + 4.0), if log { 4 } else { 5 }, if log { "rate, with its interval (logarithmic)" } else { "rate, with its interval" }, &tick_percent))
        @for row in rows { (row) }
    };
    chart(id, title, description, y + 42.0, &body)
}

/// One outcome in two campaigns, with the interval of each where it is known.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The outcome.
    pub label: String,
    /// In the first and in the second; their labels are [`SIDES`].
    pub sides: [Option<Dot>; 2],
}

/// Estimates of two campaigns below one another on one logarithmic axis: of the first a circle and a whole
/// line, of the second a square and a broken one. An estimate of 0 has no mark. `names` stand in the legend.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a few rows")]
pub fn pairs(
    id: &str,
    title: &str,
    description: &str,
    axis: &str,
    names: &[String; 2],
    rows: &[Pair],
    tick: &dyn Fn(f64) -> String,
) -> Markup {
    let all = || rows.iter().flat_map(|row| row.sides.iter().flatten());
    let values =
        || all().flat_map(|dot| [dot.value, dot.interval.0, dot.interval.1]).filter(|value| *value > 0.0);
    let most = values().fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let least = values().fold(most / 10.0, f64::min);
    let right = WIDTH - 16.0 - all().map(|dot| width_of(&dot.note)).fold(46.0, f64::max);
    let (floor, top) = (10f64.powf((least.log10() + 1e-9).floor()), 10f64.powf((most.log10() - 1e-9).ceil()));
    let scale = Scale::log((floor, top), (84.0, right));
    let (each, apart) = (36.0, 15.0);
    let body = html! {
        (x_axis(&scale, (4.0, each * rows.len() as f64 + 4.0), 6, axis, tick))
        @for (index, row) in rows.iter().enumerate() {
            @let top = each * index as f64 + 12.0;
            text.tick x="76" y=(place(top + apart / 2.0 + 4.0)) text-anchor="end" { (fit(&row.label, 76.0)) }
            @for (side, dot) in row.sides.iter().enumerate() {
                @if let Some(Dot { label, value, interval: (low, high), note, .. }) = dot {
                    @let y = top + apart * side as f64;
                    @let (from, to) = (scale.at(*low), scale.at(*high));
                    g {
                        title { (label) ", " (row.label) ": " (note) ", " (tick(*low)) " to " (tick(*high)) }
                        path class={ "line l" (side) } d={ "M" (place(from)) " " (place(y)) "H" (place(to)) } {}
                        path class={ "end l" (side) } d={
                            "M" (place(to)) " " (place(y - 4.0)) "v8"
                            @if *low > 0.0 { "M" (place(from)) " " (place(y - 4.0)) "v8" }
                        } {}
                        @if *value > 0.0 { path class={ "side l" (side) } d=(side_mark(side, scale.at(*value), y)) {} }
                        text.tick x=(place(right + 10.0)) y=(place(y + 4.0)) { (note) }
                    }
                }
            }
        }
    };
    html! {
        ul.legend {
            @for (side, name) in names.iter().enumerate() {
                li {
                    svg width="34" height="12" viewBox="0 0 34 12" aria-hidden="true" focusable="false" {
                        path class={ "line l" (side) } d="M1 6H33" {}
                        path class={ "side l" (side) } d=(side_mark(side, 17.0, 6.0)) {}
                    }
                    (name)
                }
            }
        }
        (chart(id, title, description, each * rows.len() as f64 + 42.0, &body))
    }
}

/// What the two campaigns of a comparison are called in pictures, where their names have no room.
pub const SIDES: [&str; 2] = ["A", "B"];

/// The mark of one of two: a circle, a square.
fn side_mark(side: usize, x: f64, y: f64) -> String {
    mark(if side == 0 { Outcome::Latent } else { Outcome::Hang }, x, y, 3.6)
}

/// The trials of one bit, or of a few neighbouring ones.
#[derive(Clone, Debug)]
pub struct Column {
    /// The bit.
    pub label: String,
    /// Its trials.
    pub trials: u64,
    /// The outcomes that are drawn, from the bottom up.
    pub parts: Vec<(Outcome, u64)>,
    /// The interval of the rate of all that are drawn; `None` without a trial.
    pub interval: Option<(f64, f64)>,
}

/// Columns of shares, divided by outcome, with the interval of the whole.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shares of a column")]
pub fn columns(id: &str, title: &str, description: &str, axis: &str, columns: &[Column]) -> Markup {
    let (left, right, top, bottom) = (52.0, WIDTH - 6.0, 30.0, 206.0);
    let most =
        columns.iter().filter_map(|column| Some(column.interval?.1)).fold(0.0, f64::max).clamp(1e-6, 1.0);
    let scale = Scale::linear((0.0, most), (bottom, top));
    let each = (right - left) / columns.len().max(1) as f64;
    let bar = (each * 0.72).min(34.0);
    // A label needs about 26 units.
    let skip = (26.0 / each).ceil().max(1.0);
    let skip = if skip > 1.0 { (skip / 4.0).ceil() * 4.0 } else { 1.0 };
    let body = html! {
        (y_axis(&scale, (left, right), 5, "share of the trials", &tick_percent))
        @for (index, column) in columns.iter().enumerate() {
            @let x = left + each * (index as f64 + 0.5);
            @let all = column.trials.max(1) as f64;
            @let mut from = 0u64;
            g {
                title { (axis) " " (column.label) ": " (count(column.trials)) " trials"
                    @for (outcome, hits) in column.parts.iter().filter(|(_, hits)| *hits > 0) { ", " (outcome.name()) " " (count(*hits)) }
                }
                @for (outcome, hits) in column.parts.iter().filter(|(_, hits)| *hits > 0) {
                    @let low = scale.at(from as f64 / all);
                    @let () = from += hits;
                    @let high = scale.at(from as f64 / all);
                    rect class={ "a-" (outcome.name()) } x=(place(x - bar / 2.0)) y=(place(high)) width=(place(bar)) height=(place(low - high)) {}
                }
                @if let Some((low, high)) = column.interval {
                    // Between narrow columns whole lines would be all that is seen.
                    path.whisker.thin[each < 8.0] d={ "M" (place(x)) " " (place(scale.at(low))) "V" (place(scale.at(high))) } {}
                }
            }
            @if (index as f64) % skip == 0.0 {
                text.tick x=(place(x)) y=(place(bottom + 15.0)) text-anchor="middle" { (column.label) }
            }
        }
        line.axis x1=(place(left)) x2=(place(right)) y1=(place(bottom)) y2=(place(bottom)) {}
        text.label x=(place(f64::midpoint(left, right))) y=(place(bottom + 32.0)) text-anchor="middle" { (axis) }
    };
    chart(id, title, description, bottom + 40.0, &body)
}

/// A point of a line: x, the share there, and the ends of its interval.
pub type Point = (f64, f64, Option<(f64, f64)>);

/// A line of shares over something, with a band.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is of.
    pub label: String,
    /// Its points, from the left to the right.
    pub points: Vec<Point>,
    /// Where it ends, if that is past its last point.
    pub until: Option<f64>,
}

/// What the horizontal axis of curves is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// Virtual time in nanoseconds; the lines are steps, from 1 at 0 on.
    Survival,
    /// The same time; the lines are steps, from 0 at 0 on.
    Incidence,
    /// Numbers of trials, logarithmic; the lines are straight between points.
    Trials,
}

/// So many lines can be distinguished by their dashes.
pub const LINES: usize = 6;

/// Curves of shares. More than [`LINES`] are not drawn.
#[must_use]
pub fn curves(
    id: &str,
    title: &str,
    description: &str,
    axis: &str,
    across: Across,
    lines: &[Line],
) -> Markup {
    let lines = &lines[..lines.len().min(LINES)];
    let (left, right, top, bottom) = (60.0, WIDTH - 10.0, 30.0, 226.0);
    let points = || lines.iter().flat_map(|line| &line.points);
    let (mut lowest, mut highest) = (1.0f64, 0.0f64);
    for (_, value, interval) in points() {
        let (low, high) = interval.unwrap_or((*value, *value));
        lowest = lowest.min(low.min(*value));
        highest = highest.max(high.max(*value));
    }
    let ends = lines.iter().filter_map(|line| line.until);
    let farthest = points().map(|(x, ..)| *x).chain(ends).fold(1.0, f64::max);
    let (x, y) = match across {
        Across::Survival => {
            // What happens is near 1; the axis says where it begins.
            let from = if lowest > 0.5 { (lowest - (1.0 - lowest) * 0.15).clamp(0.0, 0.999) } else { 0.0 };
            (Scale::linear((0.0, farthest), (left, right)), Scale::linear((from, 1.0), (bottom, top)))
        }
        Across::Incidence => (
            Scale::linear((0.0, farthest), (left, right)),
            Scale::linear((0.0, highest.max(1e-6)), (bottom, top)),
        ),
        Across::Trials => {
            let first = points().map(|(x, ..)| *x).fold(farthest, f64::min).max(1.0);
            (
                Scale::log((first, farthest), (left, right)),
                Scale::linear((0.0, highest.max(1e-6)), (bottom, top)),
            )
        }
    };
    let (unit, size) = time_unit(farthest);
    let begins = match across {
        Across::Survival => Some(1.0),
        Across::Incidence => Some(0.0),
        Across::Trials => None,
    };
    let label = if begins.is_some() { format!("{axis} [{unit}]") } else { axis.to_owned() };
    let what = match across {
        Across::Survival => "S(t)",
        Across::Incidence => "share of guests that have crashed",
        Across::Trials => "rate of failures",
    };
    let tick = |value: f64| match across {
        Across::Survival | Across::Incidence => super::svg::number(value / size),
        Across::Trials => super::svg::number(value),
    };
    let body = html! {
        (x_axis(&x, (top, bottom), 6, &label, &tick))
        (y_axis(&y, (left, right), 5, what, &tick_percent))
        // Bands of many lines would hide one another.
        @if lines.len() <= 3 {
            @for (index, line) in lines.iter().enumerate() {
                path class={ "band l" (index) } d=(band(line, &x, &y, begins)) {}
            }
        }
        @for (index, line) in lines.iter().enumerate() {
            path class={ "line l" (index) } d=(polyline(line, &x, &y, begins)) { title { (line.label) } }
        }
    };
    html! {
        ul.legend {
            @for (index, line) in lines.iter().enumerate() {
                li {
                    svg width="34" height="12" viewBox="0 0 34 12" aria-hidden="true" focusable="false" {
                        path class={ "line l" (index) } d="M1 6H33" {}
                    }
                    (line.label)
                }
            }
        }
        (chart(id, title, description, bottom + 40.0, &body))
    }
}

/// The points of a line, no more than the eye can tell apart.
fn thinned<'a>(line: &'a Line, x: &'a Scale) -> impl Iterator<Item = &'a Point> {
    let points = &line.points;
    points.iter().enumerate().filter_map(move |(index, point)| {
        // Of those at one place the last one is kept.
        let next = points.get(index + 1);
        next.is_none_or(|next| x.at(next.0) - x.at(point.0) >= 0.25).then_some(point)
    })
}

fn polyline(line: &Line, x: &Scale, y: &Scale, begins: Option<f64>) -> String {
    let mut path = String::new();
    if let Some(value) = begins {
        path = format!("M{} {}", place(x.at(0.0)), place(y.at(value)));
    }
    for (at, value, _) in thinned(line, x) {
        let (px, py) = (place(x.at(*at)), place(y.at(*value)));
        path += &match (begins.is_some(), path.is_empty()) {
            (true, _) => format!("H{px}V{py}"),
            (false, true) => format!("M{px} {py}"),
            (false, false) => format!("L{px} {py}"),
        };
    }
    if let Some(until) = line.until {
        path += &format!("H{}", place(x.at(until)));
    }
    path
}

fn band(line: &Line, x: &Scale, y: &Scale, begins: Option<f64>) -> String {
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    let mut last: Option<(f64, f64)> = None;
    let known = thinned(line, x).filter_map(|(at, _, interval)| interval.map(|ends| (*at, ends)));
    for (at, (low, high)) in known {
        if let Some((l, h)) = last.filter(|_| begins.is_some()) {
            upper.push((at, h));
            lower.push((at, l));
        }
        upper.push((at, high));
        lower.push((at, low));
        last = Some((low, high));
    }
    if let (Some(until), Some((low, high))) = (line.until, last) {
        upper.push((until, high));
        lower.push((until, low));
    }
    let points = upper.into_iter().chain(lower.into_iter().rev());
    let places: Vec<String> =
        points.map(|(at, value)| format!("{} {}", place(x.at(at)), place(y.at(value)))).collect();
    if places.is_empty() { String::new() } else { format!("M{}z", places.join("L")) }
}

/// How times are spread.
#[derive(Clone, Debug)]
pub struct Range {
    /// What they are of.
    pub label: String,
    /// What stands at the right.
    pub note: String,
    /// The shortest and the longest, in nanoseconds.
    pub ends: (f64, f64),
    /// Some quantiles: what they are called, and the time; none where the ends say all.
    pub quantiles: Vec<(String, f64)>,
}

/// Spreads of times on one logarithmic axis: a line from the shortest to the longest, marks at quantiles.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a few rows")]
pub fn ranges(id: &str, title: &str, description: &str, axis: &str, ranges: &[Range]) -> Markup {
    let least = ranges.iter().map(|range| range.ends.0).fold(f64::INFINITY, f64::min).max(1.0);
    let most = ranges.iter().map(|range| range.ends.1).fold(least * 10.0, f64::max);
    let power = |value: f64, up: bool| {
        let log = value.log10();
        10f64.powf(if up { (log - 1e-9).ceil() } else { (log + 1e-9).floor() })
    };
    let scale = Scale::log((power(least, false), power(most, true)), (22.0, WIDTH - 22.0));
    let each = 46.0;
    let bottom = each * ranges.len() as f64 + 6.0;
    let tick = |value: f64| {
        let (unit, size) = match value {
            v if v >= 1e9 => ("s", 1e9),
            v if v >= 1e6 => ("ms", 1e6),
            v if v >= 1e3 => ("µs", 1e3),
            _ => ("ns", 1.0),
        };
        format!("{} {unit}", super::svg::number(value / size))
    };
    let body = html! {
        (x_axis(&scale, (6.0, bottom), 0, axis, &tick))
        @for (index, range) in ranges.iter().enumerate() {
            @let y = each * index as f64;
            @let middle = y + 32.0;
            text.name x="4" y=(place(y + 16.0)) { (fit(&range.label, 230.0)) }
            text.tick x=(place(WIDTH - 4.0)) y=(place(y + 16.0)) text-anchor="end" { (range.note) }
            path.whisker d={
                "M" (place(scale.at(range.ends.0))) " " (place(middle)) "H" (place(scale.at(range.ends.1)))
                "M" (place(scale.at(range.ends.0))) " " (place(middle - 5.0)) "v10"
                "M" (place(scale.at(range.ends.1))) " " (place(middle - 5.0)) "v10"
            } { title { "from " (time(range.ends.0)) " to " (time(range.ends.1)) } }
            @for (number, (name, value)) in range.quantiles.iter().enumerate() {
                @let outcome = [Outcome::Hang, Outcome::Sdc, Outcome::Detected].get(number).copied().unwrap_or(Outcome::Latent);
                path.quantile d=(mark(outcome, scale.at(*value), middle, 4.5)) { title { (name) ": " (time(*value)) } }
            }
        }
    };
    let names = ranges.iter().map(|range| range.quantiles.as_slice()).find(|names| !names.is_empty());
    html! {
        ul.legend {
            @for (number, (name, _)) in names.unwrap_or_default().iter().enumerate() {
                @let outcome = [Outcome::Hang, Outcome::Sdc, Outcome::Detected].get(number).copied().unwrap_or(Outcome::Latent);
                li {
                    svg width="16" height="14" viewBox="0 0 16 14" aria-hidden="true" focusable="false" {
                        path.quantile d=(mark(outcome, 8.0, 7.0, 4.5)) {}
                    }
                    (name)
                }
            }
        }
        (chart(id, title, description, bottom + 40.0, &body))
    }
}
