//! The kinds of reports, and how strongly each speaks for being the cause.
//!
//! Invariant: every kind has one grade, by which the classifier finds the cause.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The kernel gave up.
    Panic,
    /// Process 1 died, and the kernel gave up.
    InitDeath,
    /// The machine started again.
    Reboot,
    /// The machine was switched off, or halted.
    PowerOff,
    /// The kernel took an exception that it does not expect.
    Oops,
    /// An exception that has no handler at all.
    UnhandledFault,
    /// The hardware reported an asynchronous error (aarch64).
    Serror,
    /// A kernel stack ran over, or its pointer was wrong.
    StackOverflow,
    /// An assertion of the kernel failed.
    Bug,
    /// The address sanitizer found an access.
    Kasan,
    /// The sampling memory checker found an access.
    Kfence,
    /// The sanitizer of undefined behaviour found something.
    Ubsan,
    /// A page, a page table or a counter of pages is damaged.
    BadPageState,
    /// An assertion that the kernel survives.
    Warning,
    /// RCU waits for too long.
    RcuStall,
    /// A CPU stays in the kernel for too long.
    SoftLockup,
    /// A CPU takes no interrupt for too long.
    HardLockup,
    /// A task sleeps for too long.
    HungTask,
    /// Memory ran out, and a program was killed.
    OomKill,
    /// A machine check or another report of the hardware.
    HardwareError,
    /// The file system found itself damaged.
    FilesystemError,
    /// A program of the guest died of a fault.
    UserFault,
    /// The workload noticed damage itself.
    Check,
    /// The workload's result is wrong.
    WrongResult,
}

/// How strongly a kind speaks for being the cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    Program,
    Kernel,
    KernelDamaged,
    End,
}

impl Kind {
    /// Whether the kernel gave up.
    #[must_use]
    pub fn is_panic(self) -> bool {
        matches!(self, Kind::Panic | Kind::InitDeath)
    }

    /// Whether nothing more can come after it.
    #[must_use]
    pub fn is_end(self) -> bool {
        self.grade() == Grade::End
    }

    /// Whether it is of a program of the guest, and not of its kernel.
    #[must_use]
    pub fn is_of_a_program(self) -> bool {
        self.grade() == Grade::Program
    }

    pub(super) fn grade(self) -> Grade {
        match self {
            Kind::Panic | Kind::InitDeath | Kind::Reboot | Kind::PowerOff => Grade::End,
            Kind::Oops
            | Kind::UnhandledFault
            | Kind::Serror
            | Kind::StackOverflow
            | Kind::Bug
            | Kind::Kasan
            | Kind::Kfence
            | Kind::Ubsan
            | Kind::BadPageState => Grade::KernelDamaged,
            Kind::Warning
            | Kind::RcuStall
            | Kind::SoftLockup
            | Kind::HardLockup
            | Kind::HungTask
            | Kind::OomKill
            | Kind::HardwareError
            | Kind::FilesystemError => Grade::Kernel,
            Kind::UserFault | Kind::Check | Kind::WrongResult => Grade::Program,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
