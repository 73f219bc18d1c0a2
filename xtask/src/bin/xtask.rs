//! The program `xtask`: what [`xtask::run`] does.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::run()
}
