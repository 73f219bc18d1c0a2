//! Why there is no template, or no clone of one, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::is_given_up;
use crate::machine::FolderError;
use crate::machine::boot::BootError;
use crate::machine::process::ProcessError;
use crate::target::state::StateError;
use crate::target::{AttachError, MarkError, TargetError};
use crate::wire::qmp::QmpError;

/// A template that cannot be made, opened or believed.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The system refused.
    #[error("cannot {doing} {path}: {cause}")]
    Io {
        /// What was under way.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The folder holds no template, or one that was changed.
    #[error("the template {folder} cannot be used: {cause}; delete its folder, it is made again")]
    Unusable {
        /// The template.
        folder: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The clock asked for is not one that this QEMU can save a guest with.
    #[error(
        "a template needs a guest whose instructions QEMU itself executes, and the exact clock needs a QEMU \
         with the lab's patches"
    )]
    NotExact,
    /// QEMU cannot be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The guest did not become ready.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The guest cannot be attached to.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The guest was lost.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its state cannot be taken.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its monitor.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Its QEMU does not say what it can do.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// A file in its folder.
    #[error(transparent)]
    Run(#[from] FolderError),
    /// QEMU did not write the device state.
    #[error("QEMU cannot save the guest's device state: {0}")]
    Save(String),
    /// QEMU did not load the device state.
    #[error("QEMU cannot start a clone of the template {folder}: {cause}")]
    Restore {
        /// The template.
        folder: PathBuf,
        /// What QEMU said.
        cause: String,
    },
    /// A clone is not what the template was.
    #[error(
        "a clone of the template {folder} differs from it: {what}; its runs would not be the template's, so it \
         is not used. Nothing was deleted; delete the folder to have it made again"
    )]
    Differs {
        /// The template.
        folder: PathBuf,
        /// Where they differ, in words.
        what: String,
    },
}

impl TemplateError {
    /// Whether nothing is wrong but that the caller wanted to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        match self {
            TemplateError::Io { cause, .. } | TemplateError::State(StateError::Dump { cause, .. }) => {
                is_given_up(cause)
            }
            TemplateError::Process(ProcessError::Interrupted)
            | TemplateError::Boot(BootError::Interrupted | BootError::Target(TargetError::Interrupted))
            | TemplateError::Target(TargetError::Interrupted)
            | TemplateError::State(StateError::Target(TargetError::Interrupted)) => true,
            _ => false,
        }
    }
}

pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TemplateError {
    let path = path.to_owned();
    move |cause| TemplateError::Io { doing, path, cause }
}
