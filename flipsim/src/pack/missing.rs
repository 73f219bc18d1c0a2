//! What is missing of a campaign that was run in slices.

use std::collections::BTreeMap;

use crate::campaign::{Shard, Store, StoreError};

/// The slices, of so many, of which a trial has no result, with the number of these.
///
/// # Errors
/// The file cannot be read.
pub fn missing(store: &Store, slices: u64) -> Result<Vec<(Shard, u64)>, StoreError> {
    let slices = slices.max(1);
    let mut left: BTreeMap<u64, u64> = BTreeMap::new();
    for id in store.pending(Shard::WHOLE)? {
        *left.entry(id.0 % slices).or_default() += 1;
    }
    Ok(left.into_iter().filter_map(|(at, count)| Some((Shard::of(at, slices)?, count))).collect())
}
