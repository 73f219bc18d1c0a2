//! The contents of the pages that were written last, so that not all have to be kept, and hardly any is made from its
//! deltas.
//!
//! Invariant: **no more than twice `most` pages are kept**, whatever the guest writes.

use std::collections::HashMap;

use super::blocks::{Page, PageKey};

/// Two generations: what is not asked for while the younger one fills is forgotten with the older one.
#[derive(Debug)]
pub(super) struct Recent {
    most: usize,
    young: HashMap<PageKey, Box<Page>>,
    old: HashMap<PageKey, Box<Page>>,
}

impl Recent {
    /// Keeps `most` pages, and less than as many again.
    pub(super) fn new(most: usize) -> Self {
        Recent { most: most.max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// Hands out the content of a page, if it is kept still.
    pub(super) fn take(&mut self, key: PageKey) -> Option<Box<Page>> {
        self.young.remove(&key).or_else(|| self.old.remove(&key))
    }

    /// Keeps the content of a page.
    pub(super) fn keep(&mut self, key: PageKey, page: Box<Page>) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut recent = Recent::new(4);
        for number in 0..100u64 {
            recent.keep(PageKey(number), Box::new([number as u8; 4096]));
            let used = recent.take(PageKey(0)).unwrap();
            assert_eq!(used[0], 0);
            recent.keep(PageKey(0), used);
            assert!(recent.young.len() + recent.old.len() <= 8);
        }
        assert!(recent.take(PageKey(99)).is_some());
        assert!(recent.take(PageKey(99)).is_none() && recent.take(PageKey(1)).is_none());
    }
}
