//! `campaign new --check`: what the guest said on its way to the quiescent point and in the golden run.
//!
//! Invariant: **nothing is drawn, and no file is made.**

use anyhow::{Context, Result};
use flipsim::campaign::CampaignSpec;
use flipsim::console::LineSplitter;
use flipsim::fault::FaultSpace;
use flipsim::text::visible;

use super::space::event_lines;
use crate::guest::golden::{Prepared, length_of};
use crate::paths;

/// So many lines of a part of the console are shown, its last ones.
const SHOWN: usize = 40;

/// Shows what a campaign of this guest would stand on.
pub fn show(spec: &CampaignSpec, prepared: &Prepared, spaces: &[FaultSpace], lacks: &[&str]) -> Result<()> {
    let Prepared { template, golden } = prepared;
    let log = template.console_log();
    let boot = std::fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    outln!("console up to the quiescent point, at {} of virtual time:", template.virtual_time());
    part(&boot);
    outln!("console of the golden run, {} long:", length_of(golden));
    part(&golden.console);
    let output = golden.signals.output_of(&golden.console);
    match &golden.signals.output {
        Some(pattern) => outln!("its output, by `{pattern}`:"),
        None if golden.signals.all_is_output() => outln!("its output is all of that"),
        None => outln!("its output, all but what it counts:"),
    }
    if !golden.signals.all_is_output() {
        part(&output);
    }
    for (name, count) in golden.signals.count.of(&golden.console) {
        outln!("it counts {}: {count}", visible(&name));
    }
    for (stratum, space) in spec.strata.iter().zip(spaces) {
        outln!("stratum {}: {} faults", stratum.name, space.len());
    }
    for line in event_lines(golden) {
        outln!("{line}");
    }
    for line in lacks {
        outln!("note: {line}");
    }
    if output.is_empty() {
        outln!("warning: the output is empty, so no wrong result would ever be seen; see that --output fits");
    }
    if let Some(difference) = &golden.difference {
        outln!("only outputs are compared: {difference}");
    }
    outln!("the whole console up to there: {}", paths::show(&log));
    outln!("nothing was drawn, and no campaign was made; the same without --check makes it");
    Ok(())
}

/// Shows the last lines of a part of the console.
fn part(said: &[u8]) {
    let mut splitter = LineSplitter::default();
    let mut lines = splitter.push(said);
    lines.push(splitter.partial());
    lines.retain(|line| !line.trim().is_empty());
    for line in shown(&lines) {
        outln!("  | {line}");
    }
}

/// What is shown of some lines.
fn shown(lines: &[String]) -> Vec<String> {
    let left_out = lines.len().saturating_sub(SHOWN);
    let note = match (left_out, lines.is_empty()) {
        (_, true) => Some("(nothing)".to_owned()),
        (0, _) => None,
        (count, _) => Some(format!("({count} lines before these)")),
    };
    note.into_iter().chain(lines[left_out..].iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_console_the_end_is_shown_and_of_a_silent_one_that_it_is() {
        let lines = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(shown(&[]), ["(nothing)"]);
        assert_eq!(shown(&lines(SHOWN)), lines(SHOWN));
        let long = shown(&lines(SHOWN + 2));
        assert_eq!(
            (long.len(), long[0].as_str(), long[1].as_str()),
            (SHOWN + 1, "(2 lines before these)", "2")
        );
    }
}
