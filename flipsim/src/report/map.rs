//! The fault map: where and when faults struck, and with which outcome.
//!
//! Marks are put on a grid and drawn as one path an outcome, so that a hundred thousand trials are a dozen
//! elements. Where marks would hide one another each outcome has its own small map, in shades.
//!
//! Invariant: every fault that is given is in the picture, in the cell that it lies in.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::look::mark;
use super::svg::{Scale, WIDTH, chart, number, percent, place, time_unit, x_axis};
use crate::campaign::LiveCell;
use crate::trial::{Class, Outcome};

/// Up to so many trials without a failure are drawn one by one; more of them as shades.
const SINGLE: usize = 3000;

/// Up to so many failures are drawn in one picture.
const TOGETHER: usize = 600;

/// Where the picture lies.
const LEFT: f64 = 88.0;
const RIGHT: f64 = WIDTH - 8.0;
const TOP: f64 = 10.0;

/// A fault in the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    /// When it struck, in nanoseconds from the quiescent point on.
    pub at: u64,
    /// Where: an address, or the number of a row.
    pub place: u64,
    /// Its outcome.
    pub outcome: Outcome,
    /// How many faults this stands for, which lie close together.
    pub count: u32,
}

impl Spot {
    /// Of one fault.
    #[must_use]
    pub fn new(at: u64, place: u64, outcome: Outcome) -> Spot {
        Spot { at, place, outcome, count: 1 }
    }
}

/// The faults of a map. Those of a large campaign are joined with their neighbours, to much less than a map's cell.
#[derive(Debug, Default)]
pub struct Spots {
    spots: Vec<Spot>,
    /// Time and place are known without so many of their low bits.
    blurred: (u32, u32),
}

impl Spots {
    /// So many are kept apart.
    const APART: usize = 1 << 18;

    /// Takes in a fault.
    pub fn push(&mut self, spot: Spot) {
        self.spots.push(spot);
        if self.spots.len() >= 2 * Spots::APART {
            self.join(Spots::APART);
        }
    }

    /// All of them.
    #[must_use]
    pub fn finish(self) -> Vec<Spot> {
        self.spots
    }

    /// Joins neighbours until at most so many are left.
    fn join(&mut self, most: usize) {
        loop {
            let (at, place) = self.blurred;
            let cell = |spot: &Spot| (spot.outcome, spot.at >> at, spot.place >> place);
            self.spots.sort_unstable_by_key(|spot| (cell(spot), spot.at, spot.place));
            self.spots.dedup_by(|next, kept| {
                let is_near = cell(next) == cell(kept);
                kept.count += if is_near { next.count } else { 0 };
                is_near
            });
            if self.spots.len() <= most {
                return;
            }
            let wide = |of: fn(&Spot) -> u64, by: u32| {
                let all = || self.spots.iter().map(of);
                (all().max().unwrap_or(0) - all().min().unwrap_or(0)) >> by
            };
            let wider = wide(|spot| spot.at, at) >= wide(|spot| spot.place, place);
            self.blurred = if wider { (at + 1, place) } else { (at, place + 1) };
        }
    }
}

/// How many faults these are.
pub(super) fn faults<'a>(spots: impl Iterator<Item = &'a Spot>) -> usize {
    spots.map(|spot| spot.count as usize).sum()
}

/// What the vertical axis is.
#[derive(Clone, Debug)]
pub enum Places {
    /// Physical addresses, the lowest at the bottom; and how much of the time the bytes there are live, where that is known.
    Addresses(Vec<LiveCell>),
    /// Named rows, the first at the top.
    Rows(Vec<String>),
}

/// A fault map; nothing where there is no fault.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
pub fn map(id: &str, title: &str, description: &str, places: &Places, length: u64, spots: &[Spot]) -> Markup {
    let (first, last) =
        spots.iter().fold((u64::MAX, 0), |(first, last), spot| (first.min(spot.place), last.max(spot.place)));
    if spots.is_empty() {
        return html! {};
    }
    let latest = spots.iter().map(|spot| spot.at).max().unwrap_or(0).max(length);
    let bottom = match places {
        Places::Addresses(_) => TOP + 300.0,
        Places::Rows(names) => TOP + 13.0 * names.len() as f64,
    };
    let x = Scale::linear((0.0, latest as f64), (LEFT, RIGHT));
    let y = match places {
        Places::Addresses(_) => Scale::linear((first as f64, last as f64), (bottom - 3.0, TOP + 3.0)),
        Places::Rows(names) => {
            let last = names.len().saturating_sub(1).max(1) as f64;
            Scale::linear((0.0, last), (TOP + 6.5, bottom - 6.5 + if names.len() < 2 { 13.0 } else { 0.0 }))
        }
    };
    let quiet = |outcome: Outcome| !Class::Failure.has(outcome);
    let quiet_count = faults(spots.iter().filter(|spot| quiet(spot.outcome)));
    let shaded = quiet_count > SINGLE && matches!(places, Places::Addresses(_));
    let (unit, size) = time_unit(latest as f64);
    if faults(spots.iter()) - quiet_count > TOGETHER {
        return small_maps(id, title, description, places, (first, last), latest, spots);
    }
    let body = html! {
        (x_axis(&x, (TOP, bottom), 6, &format!("time of the flip, from the quiescent point [{unit}]"), &|value| number(value / size)))
        @match places {
            Places::Addresses(live) => {
                (strip(live, (first, last), &y, (RIGHT + 2.0, 5.0)))
                @for value in addresses(first, last) {
                    line.grid x1=(place(LEFT)) x2=(place(RIGHT)) y1=(place(y.at(value as f64))) y2=(place(y.at(value as f64))) {}
                    text.code x=(place(LEFT - 5.0)) y=(place(y.at(value as f64) + 4.0)) text-anchor="end" { (format!("{value:#x}")) }
                }
            },
            Places::Rows(names) => {
                @for (row, name) in names.iter().enumerate() {
                    line.grid x1=(place(LEFT)) x2=(place(RIGHT)) y1=(place(y.at(row as f64))) y2=(place(y.at(row as f64))) {}
                    text.code x=(place(LEFT - 5.0)) y=(place(y.at(row as f64) + 4.0)) text-anchor="end" { (super::svg::fit(name, LEFT - 6.0)) }
                }
            },
        }
        line.axis x1=(place(LEFT)) x2=(place(LEFT)) y1=(place(TOP)) y2=(place(bottom)) {}
        @if shaded { (shades(spots.iter().filter(|spot| quiet(spot.outcome)), &x, &y, (LEFT + 2.5, TOP + 3.0), (5.0, 5.0)).0) }
        @for outcome in Outcome::WORST_FIRST.into_iter().rev().filter(|outcome| !(shaded && quiet(*outcome))) {
            @let path = marks(spots.iter().filter(|spot| spot.outcome == outcome), outcome, &x, &y);
            @if !path.is_empty() { path class={ "m-" (outcome.name()) } d=(path) {} }
        }
    };
    html! {
        (live_note(places))
        @if shaded {
            p.note { "Masked and latent trials are shown as shades: the darker, the more of them." }
        }
        (chart(id, title, description, bottom + 40.0, &body))
    }
}

/// Round addresses between two.
fn addresses(first: u64, last: u64) -> Vec<u64> {
    let step = ((last - first) / 6).max(1).next_power_of_two();
    let from = first.div_ceil(step);
    (from..=last / step).map(|n| n * step).take(16).collect()
}

/// Marks of one outcome on a grid of a unit and a half; where several fall together, one.
fn marks<'a>(spots: impl Iterator<Item = &'a Spot>, outcome: Outcome, x: &Scale, y: &Scale) -> String {
    let grid = 1.5;
    let cells: BTreeSet<(i32, i32)> = spots.map(|spot| cell(spot, x, y, (0.0, 0.0), (grid, grid))).collect();
    let r = outcome.row().mark.radius;
    cells.into_iter().map(|(cx, cy)| mark(outcome, f64::from(cx) * grid, f64::from(cy) * grid, r)).collect()
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "places in a picture")]
fn cell(spot: &Spot, x: &Scale, y: &Scale, origin: (f64, f64), (wide, high): (f64, f64)) -> (i32, i32) {
    let across = (x.at(spot.at as f64) - origin.0) / wide;
    let down = (y.at(spot.place as f64) - origin.1) / high;
    (across.round() as i32, down.round() as i32)
}

/// A map an outcome, two in a row, each in its own shades.
#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
fn small_maps(
    id: &str,
    title: &str,
    description: &str,
    places: &Places,
    (first, last): (u64, u64),
    latest: u64,
    spots: &[Spot],
) -> Markup {
    let (wide, high, gap) = (158.0, 112.0, 46.0);
    let (unit, size) = time_unit(latest as f64);
    let name = |place: u64| match places {
        Places::Addresses(_) => format!("{place:#x}"),
        Places::Rows(names) => {
            usize::try_from(place).ok().and_then(|at| names.get(at)).cloned().unwrap_or_default()
        }
    };
    // Addresses grow upwards, rows are read downwards.
    let (top_name, bottom_name) = match places {
        Places::Addresses(_) => (name(last), name(first)),
        Places::Rows(_) => (name(first), name(last)),
    };
    let shown: Vec<Outcome> = Outcome::WORST_FIRST
        .into_iter()
        .filter(|outcome| spots.iter().any(|spot| spot.outcome == *outcome))
        .collect();
    let height = shown.len().div_ceil(2) as f64 * (high + gap) + 8.0;
    let cell_height = match places {
        Places::Addresses(_) => 4.0,
        Places::Rows(names) => (high / names.len().max(1) as f64).max(2.0),
    };
    let body = html! {
        @for (index, outcome) in shown.iter().enumerate() {
            @let left = if index % 2 == 0 { LEFT - 8.0 } else { LEFT + wide + 16.0 };
            @let top = (index / 2) as f64 * (high + gap) + 20.0;
            @let x = Scale::linear((0.0, latest as f64), (left + 2.0, left + wide - 2.0));
            @let inside = (top + cell_height / 2.0, top + high - cell_height / 2.0);
            @let y = match places {
                Places::Addresses(_) => Scale::linear((first as f64, last as f64), (inside.1, inside.0)),
                Places::Rows(_) => Scale::linear((first as f64, last as f64), inside),
            };
            @let (cells, most) = shades(spots.iter().filter(|spot| spot.outcome == *outcome), &x, &y, (left + 2.0, inside.0), (4.0, cell_height));
            path class={ "m-" (outcome.name()) } d=(mark(*outcome, left + 6.0, top - 9.0, 4.0)) {}
            text.name x=(place(left + 16.0)) y=(place(top - 5.0)) { (outcome.name()) }
            text.tick x=(place(left + wide)) y=(place(top - 5.0)) text-anchor="end" { "max " (most) }
            (cells)
            @if let Places::Addresses(live) = places { (strip(live, (first, last), &y, (left + wide + 2.0, 4.0))) }
            rect.frame x=(place(left)) y=(place(top)) width=(place(wide)) height=(place(high)) {}
            @if index % 2 == 0 {
                text.code x=(place(left - 4.0)) y=(place(top + 9.0)) text-anchor="end" { (super::svg::fit(&top_name, 78.0)) }
                text.code x=(place(left - 4.0)) y=(place(top + high)) text-anchor="end" { (super::svg::fit(&bottom_name, 78.0)) }
            }
            text.tick x=(place(left)) y=(place(top + high + 14.0)) { "0" }
            text.tick x=(place(left + wide)) y=(place(top + high + 14.0)) text-anchor="end" { (number((latest as f64 / size).round())) " " (unit) }
        }
    };
    html! {
        (live_note(places))
        p.note { "Each outcome by itself: time of the flip to the right, place upwards or by name; the darker, the more trials, at most as many a cell as stands above it." }
        (chart(id, title, description, height, &body))
    }
}

/// How high a cell of the strip of live bytes is.
const STEP: f64 = 3.0;

/// How much of the time the bytes are live, from the lowest to the highest address that a fault struck, as a strip in four
/// shades beside a map whose vertical axis is `y`. What `live` does not name has no live byte.
#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
fn strip(live: &[LiveCell], (first, last): (u64, u64), y: &Scale, (left, wide): (f64, f64)) -> Markup {
    let (top, bottom) = (y.at(last as f64), y.at(first as f64));
    if live.is_empty() || last == first {
        return html! {};
    }
    let mut rows: BTreeMap<u32, f64> = BTreeMap::new();
    for cell in live.iter().filter(|cell| cell.live > 0.0) {
        let (from, to) = (cell.from.max(first), cell.from.saturating_add(cell.bytes).min(last));
        if from >= to {
            continue;
        }
        let (high, low) = (y.at(to as f64) - top, y.at(from as f64) - top);
        let (mut at, end) = (row_of(high), row_of(low));
        while at <= end {
            let begin = f64::from(at) * STEP;
            let within = (low.min(begin + STEP) - high.max(begin)).max(0.0);
            *rows.entry(at).or_default() += cell.live * within / STEP;
            at += 1;
        }
    }
    let most = rows.values().copied().fold(0.0, f64::max);
    let mut paths: [String; 4] = Default::default();
    for (row, share) in rows.into_iter().filter(|(_, share)| *share > 0.0) {
        // The square root, so that what is live for a tenth of the time is not as good as nothing.
        let part = (share / most).sqrt();
        let shade = [0.25, 0.5, 0.75].iter().filter(|limit| part > **limit).count();
        let at = top + f64::from(row) * STEP;
        let high = STEP.min(bottom - at).max(0.1);
        paths[shade] += &format!("M{left:.1} {at:.1}h{wide:.1}v{high:.1}h-{wide:.1}z");
    }
    html! {
        @for (shade, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            path class={ "shade s" (shade) } d=(path) {}
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some hundred rows, and a cast saturates"
)]
fn row_of(down: f64) -> u32 {
    (down / STEP).max(0.0).floor() as u32
}

impl Places {
    /// Where the most live bytes are among those that were struck, in words; nothing where that is not known.
    pub(super) fn live_words(&self, spots: &[Spot]) -> Option<String> {
        let Places::Addresses(live) = self else { return None };
        let first = spots.iter().map(|spot| spot.place).min()?;
        let last = spots.iter().map(|spot| spot.place).max()?;
        let inside =
            live.iter().filter(|cell| cell.from <= last && first < cell.from.saturating_add(cell.bytes));
        let most = inside.filter(|cell| cell.live > 0.0).max_by(|a, b| a.live.total_cmp(&b.live))?;
        let (at, share) = (most.from, percent(most.live));
        Some(format!("Bytes are live for {share} of the time at most, from {at:#x} on."))
    }
}

fn live_note(places: &Places) -> Markup {
    html! {
        @if matches!(places, Places::Addresses(live) if !live.is_empty()) {
            p.note { "The strip at the right: how much of the time the bytes are live, read before they are overwritten; the darker, the more." }
        }
    }
}

/// How many trials lie in each cell, in four shades, and the most in one. A cell's middle is at `origin`.
fn shades<'a>(
    spots: impl Iterator<Item = &'a Spot>,
    x: &Scale,
    y: &Scale,
    origin: (f64, f64),
    (wide, high): (f64, f64),
) -> (Markup, u32) {
    let mut counts: BTreeMap<(i32, i32), u32> = BTreeMap::new();
    for spot in spots {
        *counts.entry(cell(spot, x, y, origin, (wide, high))).or_default() += spot.count;
    }
    let most = counts.values().copied().max().unwrap_or(1);
    let mut paths: [String; 4] = Default::default();
    for ((cx, cy), count) in counts {
        // Logarithmic: a dense region must not make all others white.
        let share = f64::from(count).ln_1p() / f64::from(most).ln_1p();
        let shade = [0.25, 0.5, 0.75].iter().filter(|limit| share > **limit).count();
        let left = origin.0 + f64::from(cx) * wide - wide / 2.0;
        let top = origin.1 + f64::from(cy) * high - high / 2.0;
        paths[shade] += &format!("M{left:.1} {top:.1}h{wide:.1}v{high:.1}h-{wide:.1}z");
    }
    let markup = html! {
        @for (shade, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            path class={ "shade s" (shade) } d=(path) {}
        }
    };
    (markup, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spots(count: u64) -> Vec<Spot> {
        let outcome = |n: u64| if n.is_multiple_of(100) { Outcome::Crash } else { Outcome::Masked };
        (0..count)
            .map(|n| {
                let place = 0x4000_0000 + n * 104_729 % 0x800_0000;
                Spot::new(n * 7919 % 1_000_000, place, outcome(n))
            })
            .collect()
    }

    #[test]
    fn a_hundred_thousand_faults_are_a_few_elements() {
        let text =
            map("m", "t", "d", &Places::Addresses(Vec::new()), 1_000_000, &spots(100_000)).into_string();
        assert!(text.matches("<path").count() <= 60);
        assert!(text.len() < 400_000, "{}", text.len());
        assert!(text.contains("max "), "a thousand failures would hide one another");
        // Few are drawn one by one.
        let text = map("m", "t", "d", &Places::Addresses(Vec::new()), 1_000_000, &spots(1000)).into_string();
        assert!(!text.contains("shade"));
        assert_eq!(text.matches("m-crash").count(), 1);
        let quiet = |spot: &Spot| Spot { outcome: Outcome::Masked, ..*spot };
        let all: Vec<Spot> = spots(5000).iter().map(quiet).collect();
        assert!(
            map("m", "t", "d", &Places::Addresses(Vec::new()), 1_000_000, &all)
                .into_string()
                .contains("shade")
        );
    }

    #[test]
    fn no_fault_is_left_out() {
        let x = Scale::linear((0.0, 1e6), (LEFT, RIGHT));
        let y = Scale::linear((0.0, 1e9), (300.0, TOP));
        let some: Vec<Spot> = (0..9).map(|n| Spot::new(n * 100_000, n * 100_000_000, Outcome::Sdc)).collect();
        let path = marks(some.iter(), Outcome::Sdc, &x, &y);
        assert_eq!(path.matches('M').count(), 9);
    }

    #[test]
    fn neighbours_are_joined_and_each_fault_is_counted() {
        let mut all = Spots::default();
        spots(20_000).into_iter().for_each(|spot| all.push(spot));
        all.join(3_000);
        let joined = all.finish();
        assert!((500..=3_000).contains(&joined.len()), "{}", joined.len());
        let crashes = |spots: &[Spot]| faults(spots.iter().filter(|spot| spot.outcome == Outcome::Crash));
        assert_eq!((faults(joined.iter()), crashes(&joined)), (20_000, 200));
        // They stay where they are, to a fiftieth of the picture.
        let mean = |spots: &[Spot]| {
            spots.iter().map(|spot| spot.at * u64::from(spot.count)).sum::<u64>()
                / faults(spots.iter()) as u64
        };
        assert!(mean(&joined).abs_diff(mean(&spots(20_000))) < 20_000);
        // Rows of registers stay apart.
        let mut rows = Spots::default();
        (0..20_000).for_each(|n| rows.push(Spot::new(n * 7919 % 1_000_000, n % 40, Outcome::Masked)));
        rows.join(3_000);
        assert!((0..40).all(|row| faults(rows.spots.iter().filter(|spot| spot.place == row)) == 500));
    }

    #[test]
    fn edges_and_single_faults_do_not_break_it() {
        let one = Spot::new(5, u64::MAX, Outcome::Hang);
        for spots in [vec![], vec![one], vec![one, Spot { place: 0, ..one }]] {
            let text = map("m", "t", "d", &Places::Addresses(Vec::new()), 0, &spots).into_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        let rows = Places::Rows(vec!["x0".into()]);
        assert!(map("m", "t", "d", &rows, 9, &[Spot { place: 0, ..one }]).into_string().contains("x0"));
    }

    #[test]
    fn addresses_on_the_axis_are_round() {
        assert_eq!(addresses(0x4000_0001, 0x47ff_ffff).first(), Some(&0x4200_0000));
        assert!(addresses(0, u64::MAX).len() <= 16);
    }

    #[test]
    fn live_bytes_are_shaded_beside_the_faults() {
        let live = |from: u64, bytes, live| LiveCell { from: 0x4000_0000 + from, bytes, live };
        let cells = vec![live(0, 1 << 20, 0.5), live(64 << 20, 1 << 20, 0.02), live(1 << 40, 1 << 20, 1.0)];
        let places = Places::Addresses(cells);
        for count in [1000, 100_000] {
            let with = map("m", "t", "d", &places, 1_000_000, &spots(count)).into_string();
            let without =
                map("m", "t", "d", &Places::Addresses(Vec::new()), 1_000_000, &spots(count)).into_string();
            assert!(with.contains("The strip at the right") && !without.contains("strip"));
            assert!(with.matches("shade s3").count() > without.matches("shade s3").count());
            assert!(!with.contains("NaN"));
        }
        let words = places.live_words(&spots(1000)).unwrap();
        assert_eq!(words, "Bytes are live for 50.0\u{202f}% of the time at most, from 0x40000000 on.");
        assert_eq!(Places::Addresses(Vec::new()).live_words(&spots(9)), None);
    }

    #[test]
    fn a_strip_has_each_cell_where_its_address_is() {
        let y = Scale::linear((0.0, 300.0), (310.0, 10.0));
        // 3 units a row, upwards: all of the last row, and half of the middle one.
        let cells = [LiveCell { from: 0, bytes: 3, live: 1.0 }, LiveCell { from: 150, bytes: 3, live: 0.25 }];
        let text = strip(&cells, (0, 300), &y, (100.0, 5.0)).into_string();
        assert!(text.contains("class=\"shade s3\" d=\"M100.0 307.0h5.0v3.0h-5.0z\""), "{text}");
        assert!(text.contains("class=\"shade s1\" d=\"M100.0 157.0h5.0v3.0h-5.0z\""), "{text}");
        assert_eq!(strip(&cells, (7, 7), &y, (0.0, 5.0)).into_string(), "");
    }
}
