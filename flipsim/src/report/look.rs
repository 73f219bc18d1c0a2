//! How an outcome looks: a letter, a hatching for areas, a mark for points, a colour.
//!
//! Invariant: no two outcomes have the same hatching or the same mark, so that colour is never needed to
//! distinguish them. Colours are those of the style sheet, after Okabe and Ito.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::trial::Outcome;

/// What a chart shows of trials, from the worst on: outcomes, as they are stacked and listed.
pub const WORST_FIRST: [Outcome; 6] =
    [Outcome::Crash, Outcome::Hang, Outcome::Sdc, Outcome::Detected, Outcome::Latent, Outcome::Masked];

/// The letter in the page's data; `-` is a flip that did not take.
#[must_use]
pub fn letter(outcome: Option<Outcome>) -> char {
    outcome.and_then(|outcome| outcome.name().chars().next()).unwrap_or('-')
}

/// A mark of an outcome around a point, as the data of a path.
#[must_use]
pub fn mark(outcome: Outcome, x: f64, y: f64, r: f64) -> String {
    let mut path = String::new();
    let (left, right, top, bottom) = (x - r, x + r, y - r, y + r);
    // Writing to a string does not fail.
    let _ = match outcome {
        Outcome::Masked => {
            let h = r * 0.45;
            write!(path, "M{:.1} {:.1}h{:.1}v{:.1}h-{:.1}z", x - h, y - h, 2.0 * h, 2.0 * h, 2.0 * h)
        }
        Outcome::Latent => {
            write!(
                path,
                "M{left:.1} {y:.1}a{r:.1} {r:.1} 0 1 0 {d:.1} 0a{r:.1} {r:.1} 0 1 0-{d:.1} 0z",
                d = 2.0 * r
            )
        }
        Outcome::Sdc => {
            write!(path, "M{x:.1} {top:.1}L{right:.1} {y:.1}L{x:.1} {bottom:.1}L{left:.1} {y:.1}z")
        }
        Outcome::Detected => write!(path, "M{x:.1} {top:.1}L{right:.1} {bottom:.1}H{left:.1}z"),
        Outcome::Crash => {
            write!(
                path,
                "M{left:.1} {top:.1}L{right:.1} {bottom:.1}M{left:.1} {bottom:.1}L{right:.1} {top:.1}"
            )
        }
        Outcome::Hang => write!(path, "M{left:.1} {top:.1}H{right:.1}V{bottom:.1}H{left:.1}z"),
        Outcome::Infra => write!(path, "M{left:.1} {y:.1}H{right:.1}"),
    };
    path
}

/// The hatchings, once a page; charts point to them.
#[must_use]
pub fn patterns() -> Markup {
    // An even tile of 6 by 6 with an outcome's colour below and its lines above.
    let tile = |outcome: Outcome, lines: &str| {
        let name = outcome.name();
        html! {
            pattern id={ "hatch-" (name) } width="6" height="6" patternUnits="userSpaceOnUse" {
                rect width="6" height="6" class={ "o-" (name) } {}
                @if !lines.is_empty() { path class="hatch" d=(lines) {} }
            }
        }
    };
    html! {
        svg.defs width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                (tile(Outcome::Masked, ""))
                (tile(Outcome::Latent, "M2 3h2M5 0h1M0 0h1M5 6h1M0 6h1"))
                (tile(Outcome::Sdc, "M-1 1L1 -1M0 6L6 0M5 7L7 5"))
                (tile(Outcome::Detected, "M0 3H6"))
                (tile(Outcome::Crash, ""))
                (tile(Outcome::Hang, "M3 0V6M0 3H6"))
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

/// A text that a guest may have made, without what would change how the text around it reads: control
/// characters and the marks that turn the direction of writing are shown as what they are.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
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
        for outcome in WORST_FIRST {
            assert!(patterns().0.contains(&format!("hatch-{}", outcome.name())));
        }
    }

    #[test]
    fn what_would_turn_the_text_around_it_is_shown() {
        assert_eq!(visible("a\tb\nc"), "a\tb\nc");
        assert_eq!(visible("\u{1b}[31m\0\u{7f}\r"), "\\x1b[31m\\x00\\x7f\\x0d");
        assert_eq!(visible("\u{202e}x\u{85}"), "\\u{202e}x\\u{85}");
    }
}
