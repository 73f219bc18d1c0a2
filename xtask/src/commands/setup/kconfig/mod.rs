//! Kernel config fragments: what was wished for, what `olddefconfig` made of it, and why not.
//!
//! `olddefconfig` drops a symbol whose dependencies are not met, and says nothing. Here every symbol of every
//! fragment is compared with the final `.config`, and the kernel's Kconfig files are asked which dependency was
//! missing, where reading them line by line shows it.
//!
//! Invariant: [`check()`] is exact, whatever the explanation is worth; and **no input, however broken, makes
//! anything here panic or run without bound**.

mod check;
mod config;
mod depends;
mod expression;

pub use check::{Dropped, check};
pub use config::{Fragment, KernelConfig, Value};
pub use depends::Dependencies;

#[cfg(test)]
mod tests;
