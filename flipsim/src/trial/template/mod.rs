//! A guest at its quiescent point, saved once, from which any number of clones start.
//!
//! Invariants: **a template is complete or not there, and is never written once it is there**.
//!
//! It hands out [`TemplatePlan`] (what a template depends on), [`Template`] (made, opened, verified) and [`boot`], the
//! same boot without a save.

pub(crate) mod error;
pub(super) mod make;
pub(crate) mod saved;
pub(super) mod verify;

pub use error::TemplateError;
pub use make::{Booted, MakeOptions, boot};
pub use saved::{FORMAT, FileStamp, Input, Stored, Template, TemplateInfo, TemplatePlan};
