//! What the golden run first does with what a fault changed: from its recorded accesses; and where a byte was accessed
//! in the fault's own interval before, from a run that is recorded from the fault on.
//!
//! Invariant: **what is measured is the golden run**: it is recorded before the flip, and the guest goes back to its mark.

use std::fs;
use std::io;

use crate::trial::accesses::stream::{Kind, Record, records};
use crate::trial::accesses::{AccessError, Next};
use crate::trial::record::TrialPlan;
use crate::trial::runner::{Got, RunError, Runner};
use crate::trial::settle::Settling;
use crate::trial::used::{FirstUse, Used};
use crate::units::{GuestPhys, VirtualNs};

/// The file in QEMU's folder that it writes accesses to.
const FILE: &str = "first-use";

impl Settling<'_> {
    /// What is first done with what a fault in RAM changed; `None` of a register, and of a fault that does not only change
    /// what is there at its time.
    #[must_use]
    pub fn first_use(&self, plan: &TrialPlan) -> Option<FirstUse> {
        let at = self.at(plan);
        Some(of_all(self.place_of(plan)?.into_iter().map(|byte| self.accesses().next(byte, at))))
    }

    /// The same with what was recorded from the fault on, up to the end of its interval.
    fn first_use_in(&self, bytes: &[GuestPhys], from: VirtualNs, by: VirtualNs, seen: &[Record]) -> FirstUse {
        let accesses = self.accesses();
        of_all(bytes.iter().map(|byte| {
            let Some((block, offset)) = accesses.blocks().place(*byte) else { return Next::Unknown };
            let has = |record: &&Record| {
                record.block == block
                    && offset.checked_sub(record.offset).is_some_and(|at| at < record.length.into())
            };
            let first = seen.iter().filter(|record| record.kind != Kind::PageWritten).find(has);
            match first {
                Some(Record { kind: Kind::Overwritten, dt, .. }) => {
                    Next::Overwritten { from: VirtualNs(from.0 + u64::from(*dt)), by }
                }
                Some(Record { dt, .. }) => Next::Read { from: VirtualNs(from.0 + u64::from(*dt)) },
                // Behind the last interval the run is over.
                None if accesses.instants().last() == Some(&by) => Next::Never,
                None => accesses.next(*byte, by),
            }
        }))
    }

    /// The bytes that a fault changes in RAM at its time, if it changes any, and nothing later.
    fn place_of(&self, plan: &TrialPlan) -> Option<Vec<GuestPhys>> {
        let later = !plan.is_one_change();
        self.changed(plan).filter(|bytes| !later && !bytes.is_empty())
    }

    /// Measures it, where recorded accesses leave it open. The guest stands at the fault's instant, marked, and is somewhere
    /// else afterwards.
    pub(super) fn measure_first_use(
        &self,
        plan: &TrialPlan,
        runner: &mut Runner,
        wall: std::time::Duration,
    ) -> Result<FirstUse, RunError> {
        let (Some(bytes), at) = (self.place_of(plan), self.at(plan)) else { return Ok(FirstUse::UNKNOWN) };
        let accesses = self.accesses();
        let end = accesses.interval(at).and_then(|interval| accesses.instants().get(interval + 1).copied());
        let Some(end) = end else { return Ok(FirstUse::UNKNOWN) };
        let path = runner.guest.folder().join(FILE);
        runner.guest.target().record_accesses(FILE, &[])?;
        let got = runner.run_to(end, wall)?;
        let interval = runner.guest.target().next_accesses()?;
        runner.guest.target().stop_recording()?;
        let failed = |cause: io::Error| RunError::unread(&path, cause);
        let stream = fs::read(&path).map_err(failed)?;
        fs::remove_file(&path).map_err(failed)?;
        if let Got::Ended(..) = got {
            return Ok(FirstUse::UNKNOWN);
        }
        let length = interval.virtual_ns.0.saturating_sub(interval.from_ns.0);
        let seen: Result<Vec<Record>, AccessError> = records(&stream, accesses.blocks(), length)
            .map(|record| record.map_err(|(record, what)| AccessError::Stream { interval: 0, record, what }))
            .collect();
        let seen = seen.map_err(|error| failed(io::Error::other(error)))?;
        Ok(self.first_use_in(&bytes, interval.from_ns, end, &seen))
    }
}

/// Of several bytes: the first read of one, if it is certain that none was before.
fn of_all(bytes: impl Iterator<Item = Next>) -> FirstUse {
    let (mut never, mut read) = (false, None::<u64>);
    for next in bytes {
        match next {
            Next::Unknown => return FirstUse::UNKNOWN,
            Next::Never => never = true,
            Next::Read { from } => read = Some(read.map_or(from.0, |read| read.min(from.0))),
            Next::Overwritten { .. } => {}
        }
    }
    match read {
        Some(ns) => FirstUse { used: Used::Read, ns: Some(ns) },
        None if never => FirstUse { used: Used::Never, ns: None },
        None => FirstUse { used: Used::Overwritten, ns: None },
    }
}
