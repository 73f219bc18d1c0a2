//! The trials of a campaign as CSV and as JSON: one row a trial that has a result, in the order of the plan.
//!
//! Both have the same columns, which `docs/report.md` explains. Within a [`FORMAT`] columns may be added at the end;
//! none changes its meaning.
//!
//! The cells are the csv crate's, but for one thing that it lacks: a cell with a blank at its end is quoted.
//!
//! Invariant: **no result is left out**, `infra` and flips that did not take included; nothing is rounded.

use std::collections::BTreeMap;
use std::io::{self, Write};

use csv::QuoteStyle;
use serde::Serialize;

use crate::campaign::store::ResultRow;
use crate::campaign::{Store, StoreError, Summary, When, grade_of, is_corrected};
use crate::console::RelativeError;
use crate::console::signals::Reached;
use crate::fault::{Operation, Verdict};
use crate::text::hex_value;
use crate::trial::golden::Golden;
use crate::trial::{Outcome, Report, RestoreMethod, Settled, Used};
use crate::units::Timing;

/// The version of the columns.
pub const FORMAT: u32 = 2;

/// An export that was not finished.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The campaign.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where it is written to.
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
}

/// One trial, as a row.
#[derive(Clone, Debug, Default, Serialize)]
struct Row<'a> {
    campaign: &'a str,
    trial: u64,
    stratum: &'a str,
    kind: &'static str,
    address: Option<u64>,
    register: Option<String>,
    bit: Option<u32>,
    mask: String,
    operation: Operation,
    at_ns: u64,
    flip_ns: Option<u64>,
    flipped: bool,
    old: Option<String>,
    new: Option<String>,
    outcome: Option<Outcome>,
    because: Option<String>,
    end_ns: Option<u64>,
    end: Option<String>,
    converged_ns: Option<u64>,
    detected_ns: Option<u64>,
    console_differs_ns: Option<u64>,
    report: Option<String>,
    title: Option<String>,
    region: Option<String>,
    symbol: Option<String>,
    pages_differ: Option<u64>,
    error: Option<String>,
    output_only: Option<bool>,
    timing: Option<Timing>,
    restore: Option<RestoreMethod>,
    attempts: u32,
    restore_us: Option<u64>,
    walk_us: Option<u64>,
    mark_us: Option<u64>,
    run_us: Option<u64>,
    compare_us: Option<u64>,
    total_us: Option<u64>,
    recorded_ms: i64,
    stratum_faults: u64,
    stratum_times: u64,
    stratum_when: When,
    sdc_bits: Option<u64>,
    sdc_bytes: Option<u64>,
    sdc_relative: Option<RelativeError>,
    grade: Option<&'a str>,
    settled: Option<Settled>,
    begun_ns: Option<u64>,
    cut_ns: Option<u64>,
    audited: Option<bool>,
    hang: Option<&'static str>,
    counts: Option<String>,
    corrected: Option<bool>,
    first_use: Option<Used>,
    first_read_ns: Option<u64>,
    control: Option<bool>,
    faults: usize,
    ecc: Option<&'static str>,
    reached: Option<Reached>,
    subsystem: Option<String>,
    source: Option<String>,
    reports: usize,
    cascade: Option<String>,
}

/// The golden run, and what its workload counts.
#[derive(Default)]
struct Right {
    golden: Option<Golden>,
    counts: BTreeMap<String, u64>,
}

impl Right {
    fn of(store: &Store) -> Result<Right, StoreError> {
        let golden = store.golden()?;
        let counts = golden.as_ref().map(|golden| golden.signals.count.of(&golden.console));
        Ok(Right { counts: counts.unwrap_or_default(), golden })
    }
}

fn row<'a>(store: &'a Store, right: &Right, result: ResultRow) -> Result<Row<'a>, StoreError> {
    let Right { golden, counts: golden_counts } = right;
    let golden = golden.as_ref();
    let counted = !result.counts.is_empty();
    let record = store.record_of(result.trial.id)?;
    let differences = golden.zip(record.as_ref()).and_then(|(golden, record)| golden.differences_of(record));
    let wrong = differences.as_ref().map(|differences| differences.wrong(None));
    let grades = &store.spec().grades;
    let grade = differences.as_ref().and_then(|differences| grade_of(grades, differences));
    let plan = result.trial.plan;
    let fault = &plan.fault;
    let stratum = usize::try_from(result.trial.stratum).ok().and_then(|at| store.strata().get(at));
    let stratum_of = usize::try_from(result.trial.stratum).ok().and_then(|at| store.spec().strata.get(at));
    let when = stratum_of.map_or(When::Time, |stratum| store.spec().when_of(stratum));
    let costs = result.costs;
    let reported = result.report.is_some() || result.title.is_some();
    let hang =
        (result.outcome == Some(Outcome::Hang)).then_some(if reported { "reported" } else { "silent" });
    Ok(Row {
        campaign: &store.spec().name,
        trial: result.trial.id.0,
        stratum: stratum.map_or("", |stratum| &stratum.name),
        kind: fault.kind(),
        address: fault.address().map(|address| address.0),
        register: fault.register().map(str::to_owned),
        bit: fault.single_bit().map(|bit| bit.0),
        mask: hex_value(fault.mask()),
        operation: fault.operation(),
        at_ns: plan.after.0,
        flip_ns: result.flip_ns,
        flipped: record.as_ref().is_some_and(|record| record.flipped),
        old: record.as_ref().map(|record| record.old.clone()),
        new: record.as_ref().map(|record| record.new.clone()),
        outcome: result.outcome,
        because: record.as_ref().and_then(|record| Some(record.because.as_ref()?.to_string())),
        end_ns: result.end_ns,
        end: result.end,
        converged_ns: result.converged_ns,
        detected_ns: result.detected_ns,
        console_differs_ns: result.console_differs_ns,
        report: result.report,
        title: result.title,
        region: result.region,
        symbol: result.symbol,
        pages_differ: record.as_ref().and_then(|record| record.state.as_ref()?.pages_differ),
        error: result.error,
        output_only: result.output_only,
        timing: record.as_ref().map(|record| record.timing),
        restore: record.as_ref().map(|record| record.restore),
        attempts: result.attempts,
        restore_us: costs.map(|costs| costs.restore_us),
        walk_us: costs.map(|costs| costs.walk_us),
        mark_us: costs.map(|costs| costs.mark_us),
        run_us: costs.map(|costs| costs.run_us),
        compare_us: costs.map(|costs| costs.compare_us),
        total_us: costs.map(|costs| costs.total_us),
        recorded_ms: result.recorded_ms,
        stratum_faults: stratum.map_or(0, |stratum| stratum.faults),
        stratum_times: stratum.map_or(0, |stratum| stratum.times),
        stratum_when: when,
        sdc_bits: wrong.map(|wrong| wrong.bits),
        sdc_bytes: wrong.map(|wrong| wrong.bytes),
        sdc_relative: wrong.and_then(|wrong| wrong.relative),
        settled: result.way.and_then(|way| way.settled),
        begun_ns: result.way.and_then(|way| way.begun_ns),
        cut_ns: result.way.and_then(|way| way.cut_ns),
        audited: result.way.map(|way| way.audited),
        control: result.way.map(|way| way.control),
        faults: 1 + plan.more.len(),
        ecc: plan.ecc.map(Verdict::name),
        reached: result.reached,
        subsystem: result.subsystem,
        source: record.as_ref().and_then(|record| record.reports.first()?.source.clone()),
        reports: result.reports,
        cascade: record.as_ref().and_then(|record| cascade(&record.reports)),
        grade: grade.map(|at| grades[at].name.as_str()),
        hang,
        first_use: result.first_use.map(|first| first.used),
        first_read_ns: result.first_use.and_then(|first| first.ns),
        corrected: counted.then(|| is_corrected(result.outcome, &result.counts, golden_counts)),
        counts: counted.then(|| {
            let counts = result.counts.iter().map(|(name, count)| format!("{name}={count}"));
            counts.collect::<Vec<_>>().join(" ")
        }),
    })
}

/// The columns, in their order.
#[must_use]
pub fn columns() -> Vec<String> {
    crate::fault::record::columns::<Row<'_>>()
}

/// One line of CSV (RFC 4180).
fn line(
    style: QuoteStyle,
    write: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>,
) -> csv::Result<Vec<u8>> {
    let end = csv::Terminator::CRLF;
    let mut rows = csv::WriterBuilder::new();
    let mut rows = rows.has_headers(false).quote_style(style).terminator(end).from_writer(Vec::new());
    write(&mut rows)?;
    rows.into_inner().map_err(|error| error.into_error().into())
}

fn csv_line(row: &Row<'_>) -> csv::Result<Vec<u8>> {
    let plain = line(QuoteStyle::Necessary, |rows| rows.serialize(row))?;
    let mut cells = csv::StringRecord::new();
    csv::ReaderBuilder::new().has_headers(false).from_reader(&plain[..]).read_record(&mut cells)?;
    let is_trimmed = |cell: &str| cell == cell.trim();
    if cells.iter().all(is_trimmed) {
        return Ok(plain);
    }
    // A blank at an end is part of the cell, but some readers cut it off where there are no quotes.
    let cells: Vec<_> = cells
        .iter()
        .map(|cell| match cell {
            // Alone in its line it would be quoted.
            "" => Ok(Vec::new()),
            _ => line(if is_trimmed(cell) { QuoteStyle::Necessary } else { QuoteStyle::Always }, |rows| {
                rows.write_record([cell])
            }),
        })
        .collect::<csv::Result<_>>()?;
    let cells: Vec<&[u8]> = cells.iter().map(|cell| cell.strip_suffix(b"\r\n").unwrap_or(cell)).collect();
    Ok([&cells.join(&b','), &b"\r\n"[..]].concat())
}

/// Writes CSV (RFC 4180) with a line of column names; what is not known is empty.
///
/// # Errors
/// The campaign cannot be read, or the output not written.
pub fn csv(store: &Store, out: &mut dyn Write) -> Result<(), ExportError> {
    write!(out, "{}\r\n", columns().join(","))?;
    let right = Right::of(store)?;
    for result in store.results() {
        out.write_all(&csv_line(&row(store, &right, result?)?).map_err(io::Error::from)?)?;
    }
    Ok(())
}

/// Writes one JSON object: what was done, the summary, what is expected in the `field` if that was asked for, and the trials, one
/// a line.
///
/// # Errors
/// The campaign cannot be read, or the output not written.
pub fn json(
    store: &Store,
    summary: &Summary,
    field: Option<&serde_json::Value>,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let mut head = serde_json::json!({
        "format": FORMAT,
        "name": store.spec().name,
        "plan": store.plan_digest(),
        "manifest": store.manifest(),
        "spec": store.spec(),
        "summary": summary,
    });
    if let Some(field) = field {
        head["field"] = field.clone();
    }
    let head = head.to_string();
    // The trials are the last key, so that they never have to be in memory together.
    write!(out, "{},\"trials\":[", head.strip_suffix('}').unwrap_or(&head))?;
    let right = Right::of(store)?;
    for (index, result) in store.results().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &row(store, &right, result?)?).map_err(io::Error::from)?;
    }
    out.write_all(b"\n]}\n")?;
    Ok(())
}

/// The subsystems of reports in their order; `?` of one that is not known.
fn cascade(reports: &[Report]) -> Option<String> {
    let names = reports.iter().map(|report| report.subsystem.as_deref().unwrap_or("?"));
    (!reports.is_empty()).then(|| names.collect::<Vec<_>>().join(" > "))
}

#[cfg(test)]
mod tests;
