//! At which checkpoints of a fine grid a trial looks at its guest: in growing steps after its flip.
//!
//! ```text
//! grid  ···|···|···|···|···|···|···|···|···|···|···|···|···|···|···|···|
//! flip        ↑
//! looks       :|   |       |               |                           |   the last one always
//! ```
//!
//! Invariant: **which they are depends on the flip's time and the golden run alone**, not on the host, on how a guest is
//! restored, or on where a trial was begun.

use serde::{Deserialize, Serialize};

use crate::units::VirtualNs;

/// The finest grid. A point costs about a millisecond of the host's time, once.
const FINEST: u64 = 200_000;

/// A grid has about so many points where it need not be wider, as each costs as much whatever the run is.
const POINTS: u64 = 2_000;

/// So wide a grid need not be where a run is long: there its points are few beside the emulation.
const WIDEST: u64 = 20_000_000;

/// No run has many more points, however long it is.
pub(super) const MOST: u64 = 20_000;

/// How far apart the points of a grid are in a run of this length: a round number.
#[must_use]
pub(super) fn grid(length: VirtualNs) -> VirtualNs {
    round((length.0 / POINTS).clamp(FINEST, WIDEST).max(length.0 / MOST))
}

/// At least so much: 1, 2 or 5 with zeroes.
#[must_use]
pub(super) fn round(least: u64) -> VirtualNs {
    let power = 10u64.pow(least.max(1).ilog10());
    let rounded = [1, 2, 5, 10].into_iter().filter_map(|digit| power.checked_mul(digit));
    VirtualNs(rounded.into_iter().find(|round| *round >= least).unwrap_or(least))
}

/// How long after its flip a trial looks at its guest: at the first checkpoint then or later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Looks {
    /// The first looks, in order.
    pub after: Vec<VirtualNs>,
    /// From the last of those on they are so far apart.
    pub every: VirtualNs,
    /// All but the first are at points whose place is a multiple of this, counted from 1: those at which more is known of
    /// the golden run.
    #[serde(default = "every_point")]
    pub coarse: usize,
}

fn every_point() -> usize {
    1
}

/// More is known at one of so many points: what the golden run does from there on with each byte of RAM.
pub(in crate::trial) const COARSE: usize = 5;

impl Default for Looks {
    /// Of flips of core registers that end in the golden run's state, four of five do so at once, and the others after
    /// milliseconds to some tens of them. A look costs as much as half a millisecond of the guest's time.
    fn default() -> Self {
        let after = [0, 1_000_000, 3_000_000, 10_000_000, 30_000_000];
        Looks { after: after.map(VirtualNs).to_vec(), every: VirtualNs(30_000_000), coarse: COARSE }
    }
}

impl Looks {
    /// The looks after a flip, as places in the `grid`, whose points are in order of time. The last point is always
    /// one, if it is later than the flip.
    pub fn places<'a, T>(
        &'a self,
        grid: &'a [T],
        at: impl Fn(&T) -> VirtualNs + Copy + 'a,
        flip: VirtualNs,
    ) -> impl Iterator<Item = usize> + 'a {
        let mut behind = grid.partition_point(|point| at(point) <= flip);
        let mut seen = None;
        std::iter::from_fn(move || {
            let last = grid.len().checked_sub(1).filter(|last| behind <= *last)?;
            let wanted = self.behind(flip, seen);
            let mut place = behind + grid[behind..].partition_point(|point| at(point) < wanted);
            if seen.is_some() {
                place = (place + 1).next_multiple_of(self.coarse.max(1)) - 1;
            }
            let place = place.min(last);
            seen = Some(at(&grid[place]));
            behind = place + 1;
            Some(place)
        })
    }

    /// The first time for a look that is later than the last one.
    fn behind(&self, flip: VirtualNs, seen: Option<VirtualNs>) -> VirtualNs {
        let Some(seen) = seen else {
            return VirtualNs(flip.0.saturating_add(self.after.first().map_or(0, |first| first.0)));
        };
        let passed = seen.0.saturating_sub(flip.0);
        if let Some(next) = self.after.iter().find(|after| after.0 > passed) {
            return VirtualNs(flip.0.saturating_add(next.0));
        }
        let (every, from) = (self.every.0.max(1), self.after.last().map_or(0, |last| last.0));
        let steps = passed.saturating_sub(from) / every + 1;
        VirtualNs(flip.0.saturating_add(from).saturating_add(steps.saturating_mul(every)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn looks(after: &[u64], every: u64) -> Looks {
        Looks { after: after.iter().copied().map(VirtualNs).collect(), every: VirtualNs(every), coarse: 1 }
    }

    fn times(looks: &Looks, grid: &[u64], flip: u64) -> Vec<u64> {
        looks.places(grid, |at| VirtualNs(*at), VirtualNs(flip)).map(|place| grid[place]).collect()
    }

    #[test]
    fn a_grid_is_round_fine_and_bounded() {
        let ms = |ms: u64| VirtualNs(ms * 1_000_000);
        for (length, expected) in [
            (VirtualNs(1), VirtualNs(200_000)),
            (ms(3), VirtualNs(200_000)),
            (ms(400), VirtualNs(200_000)),
            (ms(401), VirtualNs(500_000)),
            (ms(2_000), ms(1)),
            (ms(40_000), ms(20)),
            (ms(400_000), ms(20)),
            (ms(600_000), ms(50)),
            (VirtualNs(u64::MAX), VirtualNs(1_000_000_000_000_000)),
        ] {
            assert_eq!(grid(length), expected, "{length}");
        }
        let all = [(0, 1), (1, 1), (2, 2), (3, 5), (5, 5), (6, 10), (10, 10), (11, 20), (501, 1000)];
        for (least, expected) in all {
            assert_eq!(round(least), VirtualNs(expected), "{least}");
        }
    }

    #[test]
    fn looks_grow_apart_and_the_end_is_one() {
        let grid: Vec<u64> = (1..=100).map(|point| point * 10).collect();
        let growing = looks(&[0, 20, 100, 300], 300);
        // The first point after the flip; then the first ones at 20, 100, 300, 600, 900 after it, or later.
        assert_eq!(times(&growing, &grid, 5), [10, 30, 110, 310, 610, 910, 1000]);
        // At a point the flip comes after it.
        assert_eq!(times(&growing, &grid, 10), [20, 30, 110, 310, 610, 910, 1000]);
        assert_eq!(times(&growing, &grid, 0), [10, 20, 100, 300, 600, 900, 1000]);
        assert_eq!(times(&growing, &grid, 985), [990, 1000]);
        assert_eq!(times(&growing, &grid, 995), [1000]);
        assert!(times(&growing, &grid, 1000).is_empty());
        assert!(times(&growing, &[], 0).is_empty());
        // One point does for all times that lie before it.
        assert_eq!(times(&growing, &[250, 500, 750, 760], 5), [250, 500, 750, 760]);
        assert_eq!(times(&growing, &[500, 510, 520, 1000], 5), [500, 1000]);
    }

    #[test]
    fn all_but_the_first_look_are_at_coarse_points() {
        let grid: Vec<u64> = (1..=23).map(|point| point * 10).collect();
        let coarse = Looks { coarse: 5, ..looks(&[0, 20, 60], 60) };
        assert_eq!(times(&coarse, &grid, 5), [10, 50, 100, 150, 200, 230]);
        assert_eq!(times(&coarse, &grid, 101), [110, 150, 200, 230]);
    }

    #[test]
    fn what_a_file_says_ends_all_the_same() {
        let grid = [10, 20, 30];
        assert_eq!(times(&looks(&[], 0), &grid, 0), grid);
        assert_eq!(times(&looks(&[], 15), &grid, 0), [10, 20, 30]);
        assert_eq!(times(&looks(&[25, 5], 0), &grid, 0), [30]);
        assert_eq!(times(&looks(&[u64::MAX], u64::MAX), &grid, 5), [30]);
    }

    proptest! {
        #[test]
        fn each_look_is_the_first_point_that_is_due(
            grid in prop::collection::btree_set(1u64..500, 1..60),
            after in prop::collection::btree_set(0u64..80, 1..6),
            every in 1u64..60,
            flip in 0u64..500,
        ) {
            let (grid, after): (Vec<u64>, Vec<u64>) = (grid.into_iter().collect(), after.into_iter().collect());
            let last = *after.last().unwrap();
            // Straight from the words: walk along the grid, and take what is due.
            let due = |nth: usize| after.get(nth).copied().unwrap_or_else(|| last + every * (nth + 1 - after.len()) as u64);
            let (mut expected, mut nth) = (Vec::new(), 0);
            for at in grid.iter().copied().filter(|at| *at > flip) {
                let is_due = at >= flip + due(nth);
                if is_due || Some(&at) == grid.last() {
                    expected.push(at);
                }
                while at >= flip + due(nth) {
                    nth += 1;
                }
            }
            prop_assert_eq!(times(&looks(&after, every), &grid, flip), expected);
        }
    }
}
