//! Which process holds a guest, and how the guest is to be left.
//!
//! Invariant: **a guest is left as it was found**, also by the next command after a kill.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::files::LockFile;
use crate::machine::error::{FolderError, io_error};

/// What a process that holds a guest has to restore at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldNote {
    /// Whether the guest ran before it was taken.
    pub was_running: bool,
    /// Registers that are being probed, with their values in hex, least significant byte first.
    pub registers: Vec<(String, String)>,
    /// A snapshot of this command's own, to be deleted.
    #[serde(default)]
    pub snapshot: Option<String>,
}

impl Default for HoldNote {
    fn default() -> Self {
        HoldNote { was_running: true, registers: Vec::new(), snapshot: None }
    }
}

/// A guest that this process holds alone. The note outlives a process that is killed, so that the
/// next one can restore what it left.
#[derive(Debug)]
pub struct Hold {
    pub(super) file: LockFile,
    pub(super) path: PathBuf,
    pub(super) left: Option<HoldNote>,
}

impl Hold {
    /// What a process that was killed while it held the guest has left to do.
    #[must_use]
    pub fn left_behind(&self) -> Option<&HoldNote> {
        self.left.as_ref()
    }

    /// Writes down what is to be restored.
    ///
    /// # Errors
    /// The system refused.
    pub fn note(&mut self, note: &HoldNote) -> Result<(), FolderError> {
        let text = serde_json::to_string(note).expect("a note has only text keys");
        self.write(&text)
    }

    /// Everything is restored.
    ///
    /// # Errors
    /// The system refused.
    pub fn clear(&mut self) -> Result<(), FolderError> {
        self.write("")
    }

    fn write(&mut self, text: &str) -> Result<(), FolderError> {
        self.file.write(text).map_err(io_error("write", &self.path))
    }
}
