//! What a pack says of itself.
//!
//! Invariant: **every path in it is below the folder that it is unpacked to**.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::trial::template::TemplateInfo;

/// The version of `pack.json`, and of all that it describes.
pub const FORMAT: u32 = 1;

/// The name of the runner in a pack.
pub const RUNNER: &str = "flipsim-run";

pub(super) const INFO: &str = "pack.json";

/// The places in a pack that are always the same.
pub(super) const CAMPAIGN: &str = "campaign.sqlite";
pub(super) const ACCESSES: &str = "accesses";
pub(super) const TEMPLATE: &str = "template";

/// `pack.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PackInfo {
    /// The version of this file.
    pub format: u32,
    /// The campaign's name.
    pub name: String,
    /// [`Store::seal`](crate::campaign::Store::seal) of the campaign.
    pub seal: String,
    /// How many trials it has.
    pub trials: u64,
    /// Into how many slices it is cut for those that run it side by side.
    pub slices: u64,
    /// The guest; its paths are those in the pack.
    pub template: TemplateInfo,
    /// The digest of the runner.
    pub runner: String,
    /// All files, by their paths in the pack.
    pub files: BTreeMap<String, Member>,
}

/// A file in a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Member {
    /// Its size in bytes, unpacked.
    pub size: u64,
    /// The digest of its content.
    pub sha256: String,
    /// Its size in the pack.
    pub packed: u64,
    /// The digest of what is in the pack.
    pub packed_sha256: String,
    /// Whether it is a program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub program: bool,
}

/// A file that is to be packed.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path in the pack.
    pub at: String,
    /// Where it lies.
    pub from: PathBuf,
    /// Whether it is a program.
    pub program: bool,
}

/// Whether a path leads to a file below the folder that it is taken from, and says so in one way only.
pub(super) fn is_below(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    let plain = parts.all(|part| matches!(part, Component::Normal(_)));
    plain && !path.is_empty() && !path.ends_with('/') && !path.contains("//") && !path.contains("/./")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_elsewhere_is_no_path_of_a_pack() {
        assert!(is_below("qemu/lib/libz.so.1") && is_below("kernel"));
        for other in ["", "/etc/passwd", "../x", "a/../../x", "./a", "a/./b", "a//b", "a/"] {
            assert!(!is_below(other), "{other}");
        }
    }
}
