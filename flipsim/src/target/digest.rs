//! The state of a stopped guest in few bytes, as a patched QEMU digests it (QMP `query-state-digest`, `mark-state`,
//! `rewind-state`), and where two such states differ.
//!
//! ```text
//! { "block": "ram0", "page-size": 4096, "pages": "…" }     all pages of a block in one string, 40 digits for each:
//!
//!   0000000a 3d3b6cb8f0b6bb1c1b1f8f0c9a5b8a11              without the blank: its number in the block, its digest
//! ```
//!
//! Invariant: **a digest depends on the state alone**, not on the way that led to it.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// 128 bits that stand for a state.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest128(pub u128);

impl fmt::Display for Digest128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest128 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest128 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = Some(&text).filter(|text| text.len() <= 32 && !text.starts_with(['+', '-']));
        let number = number.and_then(|text| u128::from_str_radix(text, 16).ok());
        number
            .map(Digest128)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no digest of 128 bits")))
    }
}

/// What a mark or a rewind did, and how long its parts took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateChange {
    /// The virtual time of the state that is marked.
    pub virtual_ns: u64,
    /// Pages that may have been written since the last mark or rewind.
    pub pages: u64,
    /// Those whose content had changed.
    pub pages_changed: u64,
    /// The size of the devices' state.
    pub device_bytes: u64,
    /// Clusters of 4 KiB written to disks since the last mark or rewind.
    pub clusters: u64,
    /// Microseconds spent on RAM.
    pub pages_us: u64,
    /// Microseconds spent on devices.
    pub devices_us: u64,
    /// Microseconds spent on disks.
    pub disks_us: u64,
    /// Microseconds spent on the rest.
    pub other_us: u64,
}

/// The state of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSection {
    /// Its name in a migration's stream.
    pub name: String,
    /// Its number among those of that name.
    pub instance: i64,
    /// The size of its state.
    pub bytes: u64,
    /// The digest of it.
    pub digest: Digest128,
}

/// A page of RAM that is not as in the template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedPage {
    /// The name of the RAM block.
    pub block: String,
    /// Where the page begins in it.
    pub offset: u64,
    /// The digest of its content.
    pub digest: Digest128,
}

/// The state of a stopped guest, in few bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateDigest {
    /// Of all of it; absent, as the next two, where only RAM was looked at.
    pub digest: Option<Digest128>,
    /// Of the pages that are not as in the template.
    pub ram: Digest128,
    /// Of the devices, the vCPUs' registers among them.
    pub devices: Option<Digest128>,
    /// Of what was written to disks.
    pub disks: Option<Digest128>,
    /// The virtual clock.
    pub virtual_ns: u64,
    /// The instructions executed so far, where they are counted.
    pub instructions: Option<u64>,
    /// Pages that are not as in the template.
    pub pages_differing: u64,
    /// Pages that were read for this answer.
    pub pages_hashed: u64,
    /// The devices one by one, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sections: Option<Vec<DeviceSection>>,
    /// The pages, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "blocks")]
    pub pages: Option<Vec<ChangedPage>>,
}

/// Pages as QEMU reports them: one string for each RAM block, in it for each page 8 digits of its number and
/// the 32 of its digest.
mod blocks {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{ChangedPage, Digest128};

    const PAGE_SIZE: u64 = 4096;
    const DIGITS: usize = 40;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Block {
        block: String,
        page_size: u64,
        pages: String,
    }

    pub fn serialize<S: Serializer>(pages: &Option<Vec<ChangedPage>>, to: S) -> Result<S::Ok, S::Error> {
        let blocks = pages.as_ref().map(|pages| {
            let mut blocks: Vec<Block> = Vec::new();
            for page in pages {
                if blocks.last().is_none_or(|last| last.block != page.block) {
                    let block = page.block.clone();
                    blocks.push(Block { block, page_size: PAGE_SIZE, pages: String::new() });
                }
                if let Some(last) = blocks.last_mut() {
                    last.pages.push_str(&format!("{:08x}{}", page.offset / PAGE_SIZE, page.digest));
                }
            }
            blocks
        });
        blocks.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<ChangedPage>>, D::Error> {
        let Some(blocks) = Option::<Vec<Block>>::deserialize(from)? else { return Ok(None) };
        let mut found = Vec::with_capacity(blocks.iter().map(|block| block.pages.len() / DIGITS).sum());
        for Block { block, page_size, pages } in blocks {
            let wrong = || D::Error::custom(format!("the pages of block {block} are no list of pages"));
            if !pages.len().is_multiple_of(DIGITS) || !pages.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            for at in (0..pages.len()).step_by(DIGITS) {
                let page = &pages[at..at + DIGITS];
                let number = u64::from_str_radix(&page[..8], 16).map_err(|_| wrong())?;
                let digest = u128::from_str_radix(&page[8..], 16).map_err(|_| wrong())?;
                let offset = number.checked_mul(page_size).ok_or_else(wrong)?;
                found.push(ChangedPage { block: block.clone(), offset, digest: Digest128(digest) });
            }
        }
        Ok(Some(found))
    }
}

impl StateDigest {
    /// Whether two states are equal, as far as 128 bits can show it. How many pages were read for it
    /// does not count.
    #[must_use]
    pub fn is_same(&self, other: &StateDigest) -> bool {
        (self.ram, self.devices, self.disks, self.virtual_ns, self.instructions)
            == (other.ram, other.devices, other.disks, other.virtual_ns, other.instructions)
    }
}

/// Where two states differ, in words.
#[must_use]
pub fn describe(one: &StateDigest, other: &StateDigest) -> String {
    let mut parts = Vec::new();
    if one.virtual_ns != other.virtual_ns || one.instructions != other.instructions {
        let clock = |state: &StateDigest| match state.instructions {
            Some(count) => format!("{} ns, {count} instructions", state.virtual_ns),
            None => format!("{} ns", state.virtual_ns),
        };
        parts.push(format!("clocks ({}; {})", clock(one), clock(other)));
    }
    if one.ram != other.ram {
        let pages = pages_between(one, other);
        let names: Vec<String> =
            pages.iter().take(8).map(|(block, offset)| format!("{block}+{offset:#x}")).collect();
        parts.push(match names.is_empty() {
            true => format!("RAM ({} and {} pages written)", one.pages_differing, other.pages_differing),
            false => format!("RAM ({} pages: {})", pages.len(), names.join(", ")),
        });
    }
    let both = |one: Option<_>, other: Option<_>| one.is_some() && other.is_some() && one != other;
    if both(one.devices, other.devices) {
        let names = devices_between(one, other);
        parts.push(if names.is_empty() {
            "devices".to_owned()
        } else {
            format!("devices ({})", names.join(", "))
        });
    }
    if both(one.disks, other.disks) {
        parts.push("the disk".to_owned());
    }
    if parts.is_empty() { "nothing but the console".to_owned() } else { parts.join("; ") }
}

/// The pages that differ between two detailed states: block and offset, in order.
#[must_use]
pub fn pages_between<'a>(one: &'a StateDigest, other: &'a StateDigest) -> Vec<(String, u64)> {
    let (Some(one), Some(other)) = (&one.pages, &other.pages) else { return Vec::new() };
    // QEMU lists thousands, and in order already.
    let sorted = |pages: &'a [ChangedPage]| {
        let mut pages: Vec<&ChangedPage> = pages.iter().collect();
        pages.sort_unstable();
        pages.into_iter().peekable()
    };
    let (mut one, mut other) = (sorted(one), sorted(other));
    let mut found = Vec::new();
    loop {
        let order = match (one.peek(), other.peek()) {
            (Some(mine), Some(theirs)) => mine.cmp(theirs),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let mine = one.next_if(|_| order.is_le());
        let theirs = other.next_if(|_| order.is_ge());
        let page = mine.or(theirs).filter(|_| order.is_ne());
        found.extend(page.map(|page| (page.block.clone(), page.offset)));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The devices whose state differs between two detailed states.
#[must_use]
pub fn devices_between(one: &StateDigest, other: &StateDigest) -> Vec<String> {
    let (Some(one), Some(other)) = (&one.sections, &other.sections) else { return Vec::new() };
    let theirs = |name: &str, instance| other.iter().find(|s| s.name == name && s.instance == instance);
    one.iter()
        .filter(|mine| theirs(&mine.name, mine.instance).is_none_or(|theirs| theirs.digest != mine.digest))
        .map(|mine| mine.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn state(pages: &[(u64, u128)]) -> StateDigest {
        let page = |(number, digest): &(u64, u128)| ChangedPage {
            block: format!("ram{}", number % 2),
            offset: number * 4096,
            digest: Digest128(*digest),
        };
        let pages = Some(pages.iter().map(page).collect());
        let none = serde_json::json!({
            "ram": "0b", "virtual-ns": 2, "instructions": 2, "pages-differing": 4, "pages-hashed": 3,
        });
        StateDigest { pages, ..serde_json::from_value(none).unwrap() }
    }

    proptest! {
        #[test]
        fn pages_that_only_one_state_has_or_that_have_two_contents_differ(
            one in prop::collection::vec((0u64..12, 0u128..3), 0..12),
            other in prop::collection::vec((0u64..12, 0u128..3), 0..12),
        ) {
            let set = |pages: &[(u64, u128)]| pages.iter().copied().collect::<BTreeSet<_>>();
            // Of a page that is listed twice, as QEMU never does it, each content counts once.
            let (mine, theirs) = (set(&one), set(&other));
            let (one, other): (Vec<_>, Vec<_>) = (mine.iter().copied().collect(), theirs.iter().copied().collect());
            let differing = mine.symmetric_difference(&theirs);
            let mut expected: Vec<(String, u64)> =
                differing.map(|(number, _)| (format!("ram{}", number % 2), number * 4096)).collect();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(pages_between(&state(&one), &state(&other)), expected);
        }
    }
}
