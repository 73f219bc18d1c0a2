//! The outcome, from the evidence alone.

use crate::console::classify::{self, Classification, Kind};
use crate::machine::End;
use crate::trial::golden::model::Golden;
use crate::trial::outcome::Outcome;
use crate::trial::record::TrialRecord;
use crate::units::Timing;

/// The reports that the golden run does not have, by kind and title: when they came, and in which line,
/// does not count.
pub(in crate::trial) fn news<'a>(
    found: &'a Classification,
    golden: &Classification,
) -> impl Iterator<Item = &'a classify::Finding> {
    let mut known: Vec<(Kind, String)> =
        golden.findings.iter().map(|finding| (finding.kind, finding.title.clone())).collect();
    found.findings.iter().filter(move |finding| {
        let at = known.iter().position(|(kind, title)| *kind == finding.kind && *title == finding.title);
        at.map(|at| known.swap_remove(at)).is_none()
    })
}

/// Whether a report says that the guest noticed something; a wrong result is found by others.
pub(in crate::trial) fn notices(kind: Kind) -> bool {
    kind != Kind::WrongResult
}

/// The outcome by the classes of the design.
pub(in crate::trial) fn outcome(
    record: &TrialRecord,
    said: &[u8],
    [found, expected]: [&Classification; 2],
    same_output: bool,
    converged: bool,
    golden: &Golden,
) -> Outcome {
    match record.end {
        Some(End::Panic | End::Reset | End::PowerOff | End::ExceptionStorm) => return Outcome::Crash,
        // With the exact clock a guest's time passes as it executes: one for which it does not is held up by
        // the host, and that must be no outcome of the fault's.
        Some(End::WallTime) if record.timing == Timing::Approximate => return Outcome::Hang,
        Some(End::WallTime | End::Other) => return Outcome::Infra,
        None => {}
    }
    if found.outcome == classify::Outcome::Crash && expected.outcome != classify::Outcome::Crash {
        return Outcome::Crash;
    }
    let noticed = news(found, expected).any(|finding| notices(finding.kind));
    let waits =
        golden.window == crate::trial::golden::model::Window::Done && !golden.signals.is_done_in(said);
    match (same_output, noticed, waits) {
        // Noticed or not: it has not gone on.
        (_, _, true) => Outcome::Hang,
        // Where only some lines are the output, others may say that something was noticed.
        (_, true, false) => Outcome::Detected,
        // Where the golden runs are not one, nothing is known of the state.
        (true, false, false) if converged || record.output_only => Outcome::Masked,
        (true, false, false) => Outcome::Latent,
        (false, false, false) => Outcome::Sdc,
    }
}

#[cfg(test)]
mod tests;
