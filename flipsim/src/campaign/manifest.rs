//! What a campaign was made from: command line, host, versions, template, golden run, and the digests of its files.
//!
//! Invariant: all on which outcomes depend, besides the specification, is in it, by digest.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::campaign::store::error::Change;
use crate::text::hex;
use crate::trial::golden::Golden;

/// What a campaign was made with, where, and by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// When it was made, UTC.
    pub created: Timestamp,
    /// The command line.
    pub command: Vec<String>,
    /// The machine.
    pub host: BTreeMap<String, String>,
    /// Versions, by what they are of.
    pub versions: BTreeMap<String, String>,
    /// The key of the template.
    pub template: String,
    /// What the guest does without a fault: [`golden_digest`].
    pub golden: String,
    /// The digests of the files, by what they are for: `qemu`, `patches`, `kernel`, `image`.
    pub inputs: BTreeMap<String, String>,
}

impl Manifest {
    /// Of a golden run, made now, that says nothing of command line, host, versions and files.
    #[must_use]
    pub fn of(golden: &Golden) -> Manifest {
        Manifest {
            created: Timestamp::now(),
            command: Vec::new(),
            host: BTreeMap::new(),
            versions: BTreeMap::new(),
            template: golden.template.clone(),
            golden: golden_digest(golden),
            inputs: BTreeMap::new(),
        }
    }

    /// What differs, of that on which outcomes depend.
    pub(super) fn changes(&self, now: &Manifest) -> Vec<Change> {
        let mut pairs = vec![
            ("template".to_owned(), Some(&self.template), Some(&now.template)),
            ("golden run".to_owned(), Some(&self.golden), Some(&now.golden)),
        ];
        let names: BTreeSet<&String> = self.inputs.keys().chain(now.inputs.keys()).collect();
        pairs.extend(
            names.into_iter().map(|name| (name.clone(), self.inputs.get(name), now.inputs.get(name))),
        );
        pairs
            .into_iter()
            .filter(|(_, then, now)| then != now)
            .map(|(what, then, now)| Change { what, then: then.cloned(), now: now.cloned() })
            .collect()
    }
}

/// The SHA-256 of what a golden run says of the guest: its start, its end, its console. Where the
/// checkpoints between lie depends on the host's speed, and is left out.
#[must_use]
pub fn golden_digest(golden: &Golden) -> String {
    let mut hash = Sha256::new();
    let last = golden.checkpoints.last().unwrap_or(&golden.start);
    for point in [&golden.start, last] {
        // Without it, what is left is the output.
        let Some(state) = &point.state else { continue };
        hash.update(format!("{} {} {:?} {:?}\n", point.at.0, point.console, state.ram, state.devices));
        hash.update(format!("{:?} {:?} {:?}\n", state.disks, state.virtual_ns, state.instructions));
    }
    hash.update(format!("{} {:?} {:?}\n", golden.template, golden.window, golden.difference));
    hash.update(&golden.console);
    hex(&hash.finalize())
}
