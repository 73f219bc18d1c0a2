//! The decision as JUnit's XML, which build servers show as tests.
//!
//! Invariant: it is well-formed whatever a stratum is called; a rise is a failure, what cannot be said an error.

use maud::{PreEscaped, html};

use super::super::look::visible;
use super::decide::{Gate, GateRow, row_text};
use crate::stats::gate::Change;

/// A text of XML: what cannot stand in it, even as a reference, is replaced.
fn text(text: &str) -> String {
    visible(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

/// The decision as one suite, a test for each row.
#[must_use]
pub fn junit(gate: &Gate) -> String {
    let of = |change: Change| gate.rows.iter().filter(|row| row.change() == change).count();
    let class = text(&format!("gate {} {}", gate.names[0], gate.names[1]));
    let (tests, whole) = (gate.rows.len() + gate.left_out.len(), usize::from(!gate.why.is_empty()));
    let case = |row: &GateRow| {
        html! {
            testcase classname=(class) name=(text(&format!("{}: {} worse", row.stratum, row.outcome))) time="0" {
                @let said = text(&row_text(row, &gate.rule));
                @match row.change() {
                    Change::Worse => { failure type="worse" message=(said) {} }
                    Change::Open => { error type="nothing-can-be-said" message=(said) {} }
                    Change::NotWorse => { system-out { (said) } }
                }
            }
        }
    };
    let document = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        testsuites {
            testsuite name=(class) tests=(tests + whole) failures=(of(Change::Worse)) errors=(of(Change::Open) + whole)
                skipped=(gate.left_out.len()) time="0" {
                @if whole > 0 {
                    testcase classname=(class) name="gate" time="0" {
                        error type="nothing-can-be-said" message=(text(&gate.why.join("; "))) {}
                    }
                }
                @for row in &gate.rows { (case(row)) "\n" }
                @for stratum in &gate.left_out {
                    testcase classname=(class) name=(text(stratum)) time="0" { skipped message=(text(stratum)) {} }
                }
            }
        }
    };
    document.into_string() + "\n"
}
