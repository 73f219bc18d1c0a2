//! Ratios below one another on one logarithmic axis, with a line at 1: what of a comparison is to the left of it, and what to
//! the right.
//!
//! Invariant: a ratio without a bound ends in an arrow at the axis' end, and one of nothing has no mark.

use maud::{Markup, html};

use super::svg::{Scale, WIDTH, chart, fit, number, place, width_of, x_axis};
use crate::stats::compare::Ratio;

/// A ratio with what it is of.
#[derive(Clone, Debug)]
pub struct ForestRow {
    /// The heading that it stands under; rows of one heading follow one another.
    pub group: String,
    /// What it is of.
    pub label: String,
    /// The ratio.
    pub ratio: Ratio,
    /// What stands at the right.
    pub note: String,
}

/// How far from 1 the axis goes at most.
const FARTHEST: f64 = 1e4;

/// The plot; nothing without a row.
#[must_use]
pub fn forest(id: &str, title: &str, description: &str, axis: &str, rows: &[ForestRow]) -> Markup {
    if rows.is_empty() {
        return html! {};
    }
    let ends = rows.iter().flat_map(|row| [row.ratio.value, Some(row.ratio.lower), row.ratio.upper]);
    let ends = ends.flatten().filter(|end| *end > 0.0).map(|end| end.clamp(1.0 / FARTHEST, FARTHEST));
    // As far to either side that 1 lies inside, in steps that have a tick.
    let least = ends.clone().fold(0.8, f64::min);
    let most = ends.fold(1.25, f64::max);
    let right = WIDTH - 16.0 - rows.iter().map(|row| width_of(&row.note)).fold(46.0, f64::max);
    let left = 84.0;
    let scale = Scale::log((least / 1.1, most * 1.1), (left, right));
    let (each, head) = (20.0, 20.0);
    let mut y = 6.0;
    let mut drawn = Vec::new();
    let mut group = "";
    for row in rows {
        if row.group != group {
            group = &row.group;
            y += head;
            drawn.push(html! { text.name x="4" y=(place(y - 5.0)) { (fit(group, WIDTH)) } });
        }
        let middle = y + 9.0;
        let Ratio { value, lower, upper } = row.ratio;
        let (from, to) = (scale.at(lower), upper.map_or(right, |upper| scale.at(upper)));
        drawn.push(html! {
            g {
                title { (row.label) ": " (row.note) }
                text.tick x=(place(left - 8.0)) y=(place(middle + 4.0)) text-anchor="end" { (fit(&row.label, left - 8.0)) }
                path.whisker d={
                    "M" (place(from)) " " (place(middle)) "H" (place(to))
                    @if lower > 0.0 { "M" (place(from)) " " (place(middle - 4.0)) "v8" }
                    @else { "M" (place(from + 5.0)) " " (place(middle - 4.0)) "l-5 4l5 4" }
                    @if upper.is_some() { "M" (place(to)) " " (place(middle - 4.0)) "v8" }
                    @else { "M" (place(to - 5.0)) " " (place(middle - 4.0)) "l5 4l-5 4" }
                } {}
                @if let Some(value) = value.filter(|value| *value > 0.0) {
                    circle.dot cx=(place(scale.at(value))) cy=(place(middle)) r="3.5" {}
                }
                text.tick x=(place(right + 10.0)) y=(place(middle + 4.0)) { (row.note) }
            }
        });
        y += each;
    }
    let (top, bottom) = (6.0, y + 6.0);
    let one = place(scale.at(1.0));
    let body = html! {
        (x_axis(&scale, (top, bottom), 0, axis, &number))
        @for tick in ticks(least, most) {
            line.grid x1=(place(scale.at(tick))) x2=(place(scale.at(tick))) y1=(place(top)) y2=(place(bottom)) {}
            text.tick x=(place(scale.at(tick))) y=(place(bottom + 15.0)) text-anchor="middle" { (number(tick)) }
        }
        path.one d={ "M" (one) " " (place(top)) "V" (place(bottom)) } { title { "1: no difference" } }
        @for row in drawn { (row) }
    };
    chart(id, title, description, bottom + 40.0, &body)
}

/// The ticks between those that [`x_axis`] has, the powers of ten: as many as there is room for.
fn ticks(least: f64, most: f64) -> Vec<f64> {
    let between: &[f64] = match most / least {
        span if span < 4.0 => &[0.5, 0.7, 1.5, 2.0],
        span if span < 200.0 => &[0.2, 0.5, 2.0, 5.0],
        _ => &[],
    };
    between.iter().copied().filter(|tick| (least / 1.1..=most * 1.1).contains(tick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forest_has_its_line_at_1_and_an_arrow_where_there_is_no_bound() {
        let row = |label: &str, value, lower, upper| ForestRow {
            group: "ram".to_owned(),
            label: label.to_owned(),
            ratio: Ratio { value, lower, upper },
            note: label.to_owned(),
        };
        let rows = [
            row("less", Some(0.48), 0.3, Some(0.77)),
            row("never", Some(0.0), 0.0, Some(0.9)),
            row("new", None, 1.6, None),
        ];
        let drawn = forest("f", "Ratios", "words", "B / A", &rows).into_string();
        assert_eq!(drawn.matches("class=\"one\"").count(), 1);
        // What is 0 or has no value has no point, and what has no end an arrow.
        assert_eq!(drawn.matches("<circle").count(), 1);
        assert_eq!((drawn.matches("l-5 4l5 4").count(), drawn.matches("l5 4l-5 4").count()), (1, 1));
        assert!(drawn.contains(">0.5<") && drawn.contains(">1<") && !drawn.contains("NaN"), "{drawn}");
        assert!(forest("f", "Ratios", "words", "B / A", &[]).into_string().is_empty());
    }
}
