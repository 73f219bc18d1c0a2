//! The plan's rows: a trial of the plan as it is stored, and its line for the plan's digest.
//!
//! Invariant: [`plan_line`] gives of a row what the plan's own digest takes of the trial.

use std::fmt::Write as _;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::campaign::plan::{PlannedTrial, TrialId, further_line, verdict_line};
use crate::campaign::store::brief::unreadable;
use crate::fault::{Fault, OperationError, Verdict};
use crate::text::unhex_value;
use crate::trial::{LaterFault, TrialPlan};
use crate::units::{GuestPhys, VirtualNs};

/// The columns of a planned trial, for [`planned`].
pub(super) const PLANNED: &str =
    "t.id, t.stratum, t.at_ns, t.address, t.register, t.mask, t.back_ns, t.operation, t.kind, t.more, t.ecc";

/// The line of a trial of the columns [`PLANNED`] for the plan's digest, as [`PlannedTrial`] has it, without making
/// one: a plan may have millions.
pub(super) fn plan_line(row: &Row<'_>, line: &mut String) -> Result<(), String> {
    let number = |at| match row.get_ref(at) {
        Ok(ValueRef::Integer(number)) => Ok(Some(number.cast_unsigned())),
        Ok(ValueRef::Null) => Ok(None),
        _ => Err("a number is none".to_owned()),
    };
    let text = |at| match row.get_ref(at) {
        Ok(ValueRef::Text(bytes)) => std::str::from_utf8(bytes).map(Some).map_err(|error| error.to_string()),
        Ok(ValueRef::Null) => Ok(None),
        _ => Err("a text is none".to_owned()),
    };
    let needed = |value: Option<u64>| value.ok_or("a number is missing");
    let (id, stratum, at) = (needed(number(0)?)?, needed(number(1)?)?, needed(number(2)?)?);
    let (mask, operation) = (text(5)?.unwrap_or_default(), text(7)?.unwrap_or_default());
    let _ = write!(line, "{id} {stratum} {at} {} ", text(8)?.unwrap_or_default());
    match (number(3)?, text(4)?) {
        (Some(address), None) => _ = write!(line, "{}", GuestPhys(address)),
        (None, Some(register)) => line.push_str(register),
        _ => return Err(format!("trial {id} is neither in RAM nor in a register")),
    }
    let _ = write!(line, " {mask}");
    if operation != "flip" {
        let _ = write!(line, " {operation}");
    }
    if let Some(back) = number(6)? {
        let _ = write!(line, " back {back}");
    }
    let more: &str = text(9)?.unwrap_or_default();
    line.push_str(&further_line(&further(more).map_err(|error| error.to_string())?));
    line.push_str(&verdict_line(verdict(text(10)?.unwrap_or_default())?));
    line.push('\n');
    Ok(())
}

/// The further faults of a trial in its column.
fn further(text: &str) -> serde_json::Result<Vec<LaterFault>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let more: Vec<LaterFault> = serde_json::from_str(text)?;
    match more.len() > MOST {
        true => {
            Err(serde::de::Error::custom(format!("{} further faults, and {MOST} are the most", more.len())))
        }
        false => Ok(more),
    }
}

/// What error-correcting memory makes of a trial, in its column.
fn verdict(text: &str) -> Result<Option<Verdict>, String> {
    let unknown = || format!("`{text}` is nothing that error-correcting memory does");
    if text.is_empty() { Ok(None) } else { Verdict::named(text).map(Some).ok_or_else(unknown) }
}

/// How many further faults a trial has at most: 64 clusters of 64 cells.
const MOST: usize = 64 * 64;

/// A trial of the columns [`PLANNED`], which begin there.
pub(super) fn planned(row: &Row<'_>, from: usize) -> rusqlite::Result<PlannedTrial> {
    let number = |index: usize| row.get::<_, i64>(from + index).map(i64::cast_unsigned);
    let text: String = row.get(from + 5)?;
    let mask = unhex_value(&text).ok_or_else(|| unreadable(from + 5, format!("`{text}` is no mask")))?;
    let fault = match row.get::<_, Option<String>>(from + 4)? {
        Some(register) => Fault::in_register(register, mask),
        None => Fault::in_ram(GuestPhys(number(3)?), mask),
    };
    let text: String = row.get(from + 7)?;
    let operation = text.parse().map_err(|error: OperationError| unreadable(from + 7, error.to_string()))?;
    let fault = fault.with(operation);
    let more: String = row.get(from + 9)?;
    let more = further(&more).map_err(|error| unreadable(from + 9, error.to_string()))?;
    let back_after = row.get::<_, Option<i64>>(from + 6)?.map(|back| VirtualNs(back.cast_unsigned()));
    let text: String = row.get(from + 10)?;
    let ecc = verdict(&text).map_err(|error| unreadable(from + 10, error))?;
    let plan = TrialPlan { after: VirtualNs(number(2)?), fault, back_after, more, ecc };
    Ok(PlannedTrial { id: TrialId(number(0)?), stratum: row.get(from + 1)?, plan })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::campaign::plan::TrialId;
    use crate::campaign::store::Store;
    use crate::campaign::store::check::{check, repair};
    use crate::fault::{Ecc, Pattern};
    use crate::testing::fake_campaign as fake;

    #[test]
    fn trials_of_several_faults_are_read_back_as_they_were_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sqlite");
        let mut spec = fake::spec(50, &["range:0x1000+4K"]);
        (spec.faults, spec.operation) = ("3".parse().unwrap(), "stuck1 for 5us every 7us".parse().unwrap());
        let store = fake::create(&path, &spec).unwrap();
        let planned: Vec<_> = (0..50).map(|id| store.planned(TrialId(id)).unwrap()).collect();
        assert!(planned.iter().all(|trial| trial.plan.more.len() == 2 && !trial.plan.is_one_change()));
        assert_eq!(planned[3].plan.more[1].fault.operation().to_string(), "stuck1 for 5us every 7us");
        drop(store);
        // The plan's digest is compared as it is opened.
        let store = Store::open_readonly(&path).unwrap();
        assert!((0..50).all(|id| store.planned(TrialId(id)).unwrap() == planned[id as usize]));
        drop(store);
        assert!(check(&path).unwrap().is_whole());
        let repaired = folder.path().join("r.sqlite");
        repair(&path, &repaired).unwrap();
        assert_eq!(Store::open_readonly(&repaired).unwrap().planned(TrialId(7)).unwrap(), planned[7]);
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute("UPDATE trial SET more = replace(more, '\"after\":', '\"after\":1') WHERE id = 7", [])
            .unwrap();
        drop(conn);
        assert!(Store::open_readonly(&path).is_err());
    }

    #[test]
    fn what_error_correcting_memory_makes_of_a_trial_is_read_back_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sqlite");
        let mut spec = fake::spec(50, &["range:0x1000+4K"]);
        (spec.pattern, spec.ecc) = (Pattern::Adjacent(3), Ecc::Secded);
        let store = fake::create(&path, &spec).unwrap();
        let planned: Vec<_> = (0..50).map(|id| store.planned(TrialId(id)).unwrap()).collect();
        let verdicts: BTreeSet<_> = planned.iter().map(|trial| trial.plan.ecc).collect();
        assert!(verdicts.len() > 1 && !verdicts.contains(&None), "{verdicts:?}");
        drop(store);
        let store = Store::open_readonly(&path).unwrap();
        assert!((0..50).all(|id| store.planned(TrialId(id)).unwrap() == planned[id as usize]));
        drop(store);
        assert!(check(&path).unwrap().is_whole());
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute("UPDATE trial SET ecc = 'corrected' WHERE id = 7", []).unwrap();
        drop(conn);
        assert!(Store::open_readonly(&path).is_err());
    }
}
