//! The decision in Markdown, for the summary of a build.
//!
//! Invariant: names are text there, and neither markup nor a cell's end.

use super::super::look::visible;
use super::decide::{Gate, cells, rate_texts, word};

/// A text in a line of Markdown.
fn text(text: &str) -> String {
    let mut out = String::new();
    for c in visible(text).chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' | '@' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// The decision: a heading, the line, the table, and what a reader must know.
#[must_use]
pub fn markdown(gate: &Gate) -> String {
    let [a, b] = gate.names.each_ref().map(|name| text(name));
    let mut lines = vec![
        format!("### {b} against {a}: {}", word(gate.change)),
        String::new(),
        text(&gate.line()),
        String::new(),
    ];
    if !gate.rows.is_empty() {
        lines.push(format!("| stratum | outcome | {a} | {b} | rise, with bounds | p | finding |"));
        lines.push("|---|---|---:|---:|---:|---:|---|".to_owned());
        for row in &gate.rows {
            let [one, other] = rate_texts(row);
            let (rise, p) = cells(row);
            lines.push(format!(
                "| {} | {} | {one} | {other} | {rise} | {p} | {} |",
                text(&row.stratum),
                row.outcome,
                word(row.change())
            ));
        }
        lines.push(String::new());
    }
    let left_out = gate.left_out.iter().map(|stratum| format!("- in no test: {}", text(stratum)));
    lines.extend(left_out.chain(gate.warnings.iter().map(|warning| format!("- warning: {}", text(warning)))));
    lines.join("\n").trim_end().to_owned() + "\n"
}
