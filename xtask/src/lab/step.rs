//! The three steps of `setup`, by name.
//!
//! Invariant: **their order is the order in which they are built**: the image needs qemu-img.

use clap::ValueEnum;

/// A step of setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Step {
    /// The emulator, with qemu-img
    Qemu,
    /// The guest's Linux
    Kernel,
    /// The guest's disk
    Image,
}

impl Step {
    /// All, in the order in which they are built: the image needs qemu-img.
    pub const ALL: [Step; 3] = [Step::Qemu, Step::Kernel, Step::Image];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Step::Qemu => "qemu",
            Step::Kernel => "kernel",
            Step::Image => "image",
        }
    }

    /// As in a sentence.
    pub fn human(self) -> &'static str {
        match self {
            Step::Qemu => "QEMU",
            Step::Kernel => "the kernel",
            Step::Image => "the image",
        }
    }
}
