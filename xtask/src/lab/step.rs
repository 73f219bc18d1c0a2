//! The three steps of `setup`, by name.
//!
//! Invariant: **their order is the order in which they are built**: the image needs qemu-img.

use clap::ValueEnum;

/// A step of setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum SetupStep {
    /// The emulator, with qemu-img
    Qemu,
    /// The guest's Linux
    Kernel,
    /// The guest's disk
    Image,
}

impl SetupStep {
    /// All, in the order in which they are built: the image needs qemu-img.
    pub const ALL: [SetupStep; 3] = [SetupStep::Qemu, SetupStep::Kernel, SetupStep::Image];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            SetupStep::Qemu => "qemu",
            SetupStep::Kernel => "kernel",
            SetupStep::Image => "image",
        }
    }

    /// As in a sentence.
    pub fn human(self) -> &'static str {
        match self {
            SetupStep::Qemu => "QEMU",
            SetupStep::Kernel => "the kernel",
            SetupStep::Image => "the image",
        }
    }
}
