//! Missions: their files, and what a campaign, or two, have to expect of one, as text.
//!
//! Invariant: a rate stands with its source and with how far it may be off, before any number that rests on it.

use std::path::Path;

use anyhow::Result;
use flipsim::campaign::summary::{FieldPart, Outlook};
use flipsim::campaign::{MissionCells, MissionFile};
use flipsim::report::compare::{FieldComparison, PartComparison, ratio_text, year_text};
use flipsim::report::mission::{ASSUMED, doubt, exposed, sentence};
use flipsim::report::svg::{count, number, rough};
use flipsim::text::{end_text, visible};

use super::tables::{between, percent};
use crate::exit::{Code, exit_error};

/// Reads a mission's file.
pub fn read(path: &Path) -> Result<MissionFile> {
    let usage = |why: String| exit_error(Code::Usage, format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| usage(format!("it cannot be read: {error}")))?;
    MissionFile::from_toml(&text).map_err(|error| usage(error.to_string()))
}

fn head(title: Option<&str>, cells: &[MissionCells]) -> Vec<String> {
    let mut lines = vec![match title {
        Some(title) => format!("in the field: {}", visible(title)),
        None => "in the field:".to_owned(),
    }];
    for one in cells {
        let (kind, doubt, bits) = (one.kind.to_string(), doubt(one), exposed(one));
        lines.push(format!("  {kind:9} {} ({doubt}); bits: {bits}", visible(&one.rate)));
        lines.push(format!("            source: {}", visible(&one.source)));
    }
    lines
}

fn tail(left_out: &[String], lines: &mut Vec<String>) {
    lines.extend(left_out.iter().map(|why| format!("  {}", visible(why))));
    lines.push(format!("  assumed: {ASSUMED} A year has 8,766 hours."));
}

fn span(years: f64) -> String {
    if years == 1.0 { "a year".to_owned() } else { format!("{} years", number(years)) }
}

/// What one campaign has to expect.
pub fn lines(mission: &MissionFile, outlook: &Outlook) -> Vec<String> {
    let mut lines = head(mission.title.as_deref(), &mission.cells);
    lines.extend(sentence(outlook).map(|sentence| format!("  {sentence}")));
    let of = |part: &FieldPart, lines: &mut Vec<String>| {
        lines.push(format!(
            "  {} ({} bits): {} upsets a year",
            visible(&part.space),
            count(part.bits),
            year_text(&part.upsets)
        ));
        let rows = part.rows.iter().map(|row| format!("{} {}", row.outcome, year_text(&row.expected)));
        lines.push(format!("    a year: {}", rows.collect::<Vec<_>>().join(", ")));
        lines.push(format!(
            "    in {}: {} failures, at least one with {} % ({} %)",
            span(outlook.years),
            year_text(&part.failures),
            percent(part.any.value),
            between(part.any.interval, percent)
        ));
    };
    for part in outlook.parts.iter().chain(&outlook.together) {
        of(part, &mut lines);
    }
    if outlook.parts.is_empty() {
        lines.push("  no stratum of single bits has trials and a raw rate".to_owned());
    }
    tail(&outlook.left_out, &mut lines);
    lines
}

/// What two campaigns have to expect, and the difference.
pub fn of_both(field: &FieldComparison) -> Vec<String> {
    let mut lines = head(field.title.as_deref(), &field.cells);
    let of = |part: &PartComparison, lines: &mut Vec<String>| {
        let [a, b] = part.spaces.each_ref().map(|name| visible(name));
        let name = if a == b { a } else { format!("A: {a}; B: {b}") };
        let [one, other] = part.bits.map(count);
        let bits =
            if one == other { format!("{one} bits") } else { format!("{one} bits in A, {other} in B") };
        lines.push(format!("  {name} ({bits}), expected a year:"));
        let [a, b] = part.upsets.map(|upsets| year_text(&upsets));
        lines.push(format!("    {:9} A {a}, B {b}", "upsets"));
        for row in &part.rows {
            let [a, b] = row.per_year.map(|expected| year_text(&expected));
            let ends = row.difference.interval;
            let difference = format!(
                "{} ({} to {})",
                rough(row.difference.value),
                end_text(ends.lower, false, &rough),
                end_text(ends.upper, true, &rough)
            );
            let ratio = row.ratio.as_ref().map_or("–".to_owned(), ratio_text);
            lines.push(format!("    {:9} A {a}, B {b}; B − A {difference}; B / A {ratio}", row.outcome));
        }
        let any = [0, 1].map(|side| {
            let any = part.any[side];
            format!("{} % ({} %)", percent(any.value), between(any.interval, percent))
        });
        lines.push(format!("    at least one failure in {}: A {}, B {}", span(field.years), any[0], any[1]));
    };
    for part in &field.parts {
        of(part, &mut lines);
    }
    if field.parts.is_empty() {
        lines.push("  no stratum of single bits has trials and a raw rate in both".to_owned());
    }
    tail(&field.left_out, &mut lines);
    lines
}
