//! A trial: one fault, at its time, in a guest that starts from a template; compared with the golden run, and judged.
//!
//! ```text
//! template ─→ clones ─→ golden run (no fault) ───────────────┐
//!                  └──→ worker: run to t, flip, observe ──────┴→ judge ─→ record
//! ```
//!
//! Invariant: **an outcome depends on the template, the fault and the QEMU build alone**.
//!
//! It hands out [`Worker`], which runs trials ([`TrialPlan`] → [`TrialRecord`]), the [`Outcome`]s, and what they stand
//! on: [`template`], [`clone`](mod@clone), [`golden`] and [`accesses`].

pub mod accesses;
mod because;
mod causes;
pub mod clone;
mod dead;
mod first_use;
pub mod golden;
mod golden_pages;
mod heard;
pub mod judge;
mod later;
mod observe;
mod options;
mod outcome;
mod record;
mod recording;
mod reports;
mod restore;
mod runner;
mod settle;
pub mod template;
mod trigger;
mod used;
mod worker;

pub use because::Because;
pub use causes::{Cause, usual_causes};
pub use observe::Step;
pub use options::TrialOptions;
pub use outcome::{Class, Mark, OUTCOMES, Outcome, OutcomeRow};
pub use record::{
    Costs, EndState, FORMAT, Heard, LaterFault, RegisterDifference, Settled, Struck, TrialPlan, TrialRecord,
};
pub use recording::RecordingError;
pub use reports::{MOST_REPORTS, PROGRAM, Report};
pub use restore::{RestoreMethod, WentBack};
pub use runner::{ConsoleListener, Got, MAX_CONSOLE, RunError, Runner, STARTS, persistently, registers};
pub use settle::{Known, Settling};
pub use trigger::{Event, Trigger, TriggerError, Within};
pub use used::{FirstUse, Used};
pub use worker::{Short, Worker};
