//! What a QEMU offers, as `lab.json` keeps it: a list of words.
//!
//! Invariant: **a word is asked for exactly as `setup` wrote it**, and no other file knows how one is made.

use flipsim::target::Capabilities;
use serde::{Deserialize, Serialize};

/// How the word of a property for `-machine` starts.
const FIXED: &str = "fixed:";

/// The word of a QEMU that can filter its own system calls.
pub const SANDBOX: &str = "sandbox";

/// The words for what the lab's patches add.
const STOP_AT: &str = "qmp:stop-at";
const MARK: &str = "qmp:mark-state";
const TIMES: &str = "qmp:keep-write-times";
const STUCK: &str = "qmp:set-stuck-bits";
const ACCESSES: &str = "qmp:record-accesses";

/// What a probe of a QEMU has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct QemuOffer {
    /// `machine:virt`, `device:virtio-9p-pci`, `accel:kvm`, `plugins`, …
    options: Vec<String>,
    /// What the patches add to it, whatever the guest. A lab that was set up by an older version has not noted
    /// whether it marks states; a template has.
    pub capabilities: Capabilities,
}

impl QemuOffer {
    /// Nothing but what the patches add.
    pub fn with(capabilities: Capabilities) -> Self {
        QemuOffer { options: Vec::new(), capabilities }
    }

    /// Adds an option, a machine, a device or an accelerator.
    pub fn add(&mut self, kind: &str, name: &str) {
        self.options.push(if kind.is_empty() { name.to_owned() } else { format!("{kind}:{name}") });
    }

    /// Adds a property for `-machine` that keeps chance out of the guest.
    pub fn add_fixed(&mut self, property: &str) {
        self.options.push(format!("{FIXED}{property}"));
    }

    /// Whether it has this option, by its word.
    pub fn has(&self, word: &str) -> bool {
        self.options.iter().any(|option| option == word)
    }

    /// The properties for `-machine` that keep chance out of the guest.
    pub fn fixed(&self) -> Vec<String> {
        self.options.iter().filter_map(|option| option.strip_prefix(FIXED)).map(str::to_owned).collect()
    }

    /// Whether it has what the exact clock takes.
    pub fn is_exact(&self) -> bool {
        self.capabilities.stop_at && self.has("icount")
    }

    /// All of it as one line.
    pub fn line(&self) -> String {
        Vec::from(self.clone()).join(" ")
    }

    /// What [`line`](Self::line) made.
    pub fn of_line(line: &str) -> Self {
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into()
    }
}

impl From<Vec<String>> for QemuOffer {
    fn from(words: Vec<String>) -> Self {
        let has = |word: &str| words.iter().any(|found| found == word);
        let capabilities = Capabilities {
            stop_at: has(STOP_AT),
            mark: has(MARK),
            times: has(TIMES),
            accesses: has(ACCESSES),
            stuck: has(STUCK),
        };
        let added = [STOP_AT, MARK, TIMES, ACCESSES, STUCK];
        let options = words.into_iter().filter(|word| !added.contains(&word.as_str())).collect();
        QemuOffer { options, capabilities }
    }
}

impl From<QemuOffer> for Vec<String> {
    fn from(offer: QemuOffer) -> Vec<String> {
        let Capabilities { stop_at, mark, times, accesses, stuck } = offer.capabilities;
        let added = [(stop_at, STOP_AT), (mark, MARK), (times, TIMES), (accesses, ACCESSES), (stuck, STUCK)];
        let added = added.into_iter().filter(|(has, _)| *has);
        offer.options.into_iter().chain(added.map(|(_, word)| word.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_words_is_kept_and_read_again() {
        let words = r#"["accel:tcg","machine:virt","icount","fixed:dtb-randomness=off","qmp:stop-at"]"#;
        let offer: QemuOffer = serde_json::from_str(words).unwrap();
        assert_eq!(serde_json::to_string(&offer).unwrap(), words);
        assert_eq!(QemuOffer::of_line(&offer.line()), offer);
        assert!(offer.is_exact() && offer.has("machine:virt") && !offer.has("machine:q35"));
        assert_eq!(offer.fixed(), ["dtb-randomness=off"]);
        assert_eq!(offer.capabilities, Capabilities { mark: false, ..Capabilities::default() });
        let all = QemuOffer { capabilities: Capabilities::ALL, ..offer };
        assert_eq!(QemuOffer::of_line(&all.line()), all);
    }

    #[test]
    fn the_exact_clock_takes_counted_instructions_and_the_patches() {
        let of = QemuOffer::of_line;
        assert!(
            !of("icount").is_exact() && !of("qmp:stop-at").is_exact() && of("icount qmp:stop-at").is_exact()
        );
    }
}
