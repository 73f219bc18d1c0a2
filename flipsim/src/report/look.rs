//! How an outcome looks: a letter, a hatching for areas, a mark for points, a colour.
//!
//! Invariant: no two outcomes have the same hatching or the same mark, so that colour is never needed to
//! distinguish them. Colours are those of the style sheet, after Okabe and Ito. All of it is in the table of
//! outcomes ([`OUTCOMES`]); this draws it.

use std::fmt::Write as _;

use maud::{Markup, html};

pub use crate::text::visible;
use crate::trial::{OUTCOMES, Outcome, OutcomeRow};

/// The letter in the page's data; `-` is a flip that did not take.
#[must_use]
pub fn letter(outcome: Option<Outcome>) -> char {
    outcome.map_or('-', |outcome| outcome.row().letter)
}

/// A mark of an outcome around a point, as the data of a path.
#[must_use]
pub fn mark(outcome: Outcome, x: f64, y: f64, r: f64) -> String {
    let inner = r * 0.45;
    let value = |name: &str| match name {
        "x" => x,
        "y" => y,
        "r" => r,
        "d" => 2.0 * r,
        "left" => x - r,
        "right" => x + r,
        "top" => y - r,
        "bottom" => y + r,
        "inner-x" => x - inner,
        "inner-y" => y - inner,
        "inner" => 2.0 * inner,
        // A test draws every mark.
        _ => f64::NAN,
    };
    let mut path = String::new();
    let mut parts = outcome.row().mark.path.split(['{', '}']);
    while let Some(plain) = parts.next() {
        path.push_str(plain);
        if let Some(name) = parts.next() {
            // Writing to a string does not fail.
            let _ = write!(path, "{:.1}", value(name));
        }
    }
    path
}

/// The style of areas (`a-`), hatchings' grounds (`o-`) and marks (`m-`) of each outcome.
#[must_use]
pub fn style() -> String {
    let mut style = String::new();
    for OutcomeRow { name, mark, hatch, colour, counted, .. } in OUTCOMES {
        // Writing to a string does not fail.
        let _ = writeln!(style, ".m-{name} {{ {} }}", mark.style);
        if !counted {
            continue;
        }
        let area = if hatch.is_empty() { format!("var({colour})") } else { format!("url(#hatch-{name})") };
        let _ = writeln!(style, ".o-{name} {{ fill: var({colour}); }}");
        let _ = writeln!(style, ".a-{name} {{ fill: {area}; stroke: var(--fg); stroke-width: .5; }}");
    }
    style
}

/// The hatchings, once a page; charts point to them.
#[must_use]
pub fn patterns() -> Markup {
    html! {
        svg.defs width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                // A tile of 6 by 6 with an outcome's colour below and its lines above.
                @for OutcomeRow { name, hatch, .. } in OUTCOMES.iter().filter(|row| row.counted) {
                    pattern id={ "hatch-" (name) } width="6" height="6" patternUnits="userSpaceOnUse" {
                        rect width="6" height="6" class={ "o-" (name) } {}
                        @if !hatch.is_empty() { path class="hatch" d=(hatch) {} }
                    }
                }
            }
        }
    }
}

/// What marks and hatchings mean, above a chart.
#[must_use]
pub fn legend(outcomes: &[Outcome], marks: bool) -> Markup {
    html! {
        ul.legend {
            @for outcome in outcomes {
                li {
                    svg width="16" height="14" viewBox="0 0 16 14" aria-hidden="true" focusable="false" {
                        @if marks {
                            path class={ "m-" (outcome.name()) } d=(mark(*outcome, 8.0, 7.0, 4.0)) {}
                        } @else {
                            rect class={ "a-" (outcome.name()) } x="1" y="1" width="14" height="12" {}
                        }
                    }
                    (outcome.name())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_outcomes_look_alike_without_colour() {
        let marks: BTreeSet<String> = Outcome::ALL.iter().map(|o| mark(*o, 0.0, 0.0, 4.0)).collect();
        assert_eq!(marks.len(), Outcome::ALL.len());
        let letters: BTreeSet<char> = Outcome::ALL.iter().map(|o| letter(Some(*o))).collect();
        assert_eq!(letters.len(), Outcome::ALL.len());
        assert!(!letters.contains(&letter(None)));
        for outcome in Outcome::WORST_FIRST {
            assert!(patterns().0.contains(&format!("hatch-{}", outcome.name())));
        }
    }

    #[test]
    fn the_style_sheet_has_the_colour_of_each_outcome() {
        let sheet = include_str!("style.css");
        for row in OUTCOMES {
            // In light, in dark and on paper.
            let times = sheet.matches(&format!("{}: #", row.colour)).count();
            assert!(times >= 2, "{} {times}", row.colour);
        }
        assert!(style().contains(".a-hang { fill: url(#hatch-hang); stroke"), "{}", style());
    }

    #[test]
    fn marks_are_drawn_around_their_point() {
        let all = Outcome::ALL.map(|outcome| mark(outcome, 8.0, 7.0, 4.0));
        assert!(all.iter().all(|path| path.starts_with('M') && !path.contains("NaN")), "{all:?}");
        assert_eq!(
            all[..9],
            [
                "M6.2 5.2h3.6v3.6h-3.6z",
                "M4.0 7.0a4.0 4.0 0 1 0 8.0 0a4.0 4.0 0 1 0-8.0 0z",
                "M8.0 3.0L12.0 7.0L8.0 11.0L4.0 7.0z",
                "M8.0 3.0L12.0 11.0H4.0z",
                "M4.0 3.0L12.0 11.0M4.0 11.0L12.0 3.0",
                "M4.0 3.0H12.0V11.0H4.0z",
                "M4.0 7.0H12.0M8.0 3.0V11.0",
                "M4.0 3.0L12.0 7.0L4.0 11.0z",
                "M4.0 7.0H12.0",
            ]
        );
    }

    #[test]
    fn what_would_turn_the_text_around_it_is_shown() {
        assert_eq!(visible("a\tb\nc"), "a\tb\nc");
        assert_eq!(visible("\u{1b}[31m\0\u{7f}\r"), "\\x1b[31m\\x00\\x7f\\x0d");
        assert_eq!(visible("\u{202e}x\u{85}"), "\\u{202e}x\\u{85}");
    }
}
