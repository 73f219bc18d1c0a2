//! Kernel config fragments: what was wished for, what `olddefconfig` made of it, and why not.
//!
//! Invariant: [`check`] is exact, whatever the explanation is worth; and **no input, however broken, makes
//! anything here panic or run without bound**.

mod config;

pub use config::{Config, Dependencies, Dropped, Fragment, Value, check};
