//! How much of a run its guest idles, as people are told.
//!
//! Invariant: the numbers are of the golden run alone, and of the moments that faults may strike at.

use serde::Serialize;

use crate::campaign::moments::Run;
use crate::campaign::spec::Times;
use crate::trial::golden::{Golden, Span};
use crate::units::VirtualNs;

/// The idle share of drawn moments above which a reader is warned: one moment in a hundred. Fewer cannot move a rate by
/// more than 1 % of the trials, whatever they do.
pub const LIMIT: f64 = 0.01;

/// How much of its idle time a stretch has that is said to have most of it.
const MOST: f64 = 0.9;

/// How much of a run its guest idles; all times are counted from the quiescent point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IdleTime {
    /// The golden run's length.
    pub length_ns: u64,
    /// How much of it is idle.
    pub idle_ns: u64,
    /// The same as a share.
    pub share: f64,
    /// How many moments faults may strike at, of all kinds.
    pub moments: u64,
    /// How many of these are idle.
    pub idle_moments: u64,
    /// The same as a share.
    pub share_of_moments: f64,
    /// The shortest stretch with nine in ten of the idle time of those moments, from idle span to idle span: its first
    /// moment and the first behind it. `None` without idle time.
    pub mostly: Option<(VirtualNs, VirtualNs)>,
}

impl IdleTime {
    /// Of a run, and of the moments that faults may strike at in it; `None` where it is not known when the guest idles.
    #[must_use]
    pub fn of(run: &Run, times: &Times) -> Option<IdleTime> {
        let idle = run.idle.as_ref()?;
        let (moments, idle_moments, drawn) = match times {
            Times::At(at) => {
                let idles = at.iter().filter(|at| idle.is_idle(**at)).count() as u64;
                (at.len() as u64, idles, idle.clone())
            }
            Times::Within { from, to } => {
                let drawn = idle.within(*from, to.unwrap_or(run.length));
                (drawn.length(), drawn.idle_ns(), drawn)
            }
        };
        Some(IdleTime {
            length_ns: idle.length(),
            idle_ns: idle.idle_ns(),
            share: idle.share(),
            moments,
            idle_moments,
            share_of_moments: part(idle_moments, moments),
            mostly: shortest(drawn.spans(), drawn.idle_ns()),
        })
    }

    /// The same of a golden run as it is stored.
    #[must_use]
    pub(super) fn in_golden(json: &[u8], times: &Times) -> Option<IdleTime> {
        let golden: Golden = serde_json::from_slice(json).ok()?;
        IdleTime::of(&Run::from(&golden), times)
    }

    /// Whether so many moments are idle that rates over all of them need a word.
    #[must_use]
    pub fn is_much(&self) -> bool {
        self.share_of_moments > LIMIT
    }

    /// Where most of the idle time is, for the inside of a sentence; empty without any.
    #[must_use]
    pub fn place(&self) -> String {
        self.mostly.map_or_else(String::new, |(from, to)| {
            format!("nine in ten of it between {from} and {to} after the quiescent point")
        })
    }

    /// All of it in one line.
    #[must_use]
    pub fn line(&self) -> String {
        if self.idle_ns == 0 {
            return "the guest never idles in the golden run".to_owned();
        }
        let place = self.place();
        let place = if place.is_empty() { place } else { format!(", {place}") };
        format!(
            "the guest idles {} of the golden run ({} of {}){place}",
            percent(self.share),
            VirtualNs(self.idle_ns),
            VirtualNs(self.length_ns)
        )
    }
}

/// A share in percent, with two digits; 100 % is all of it.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 99.5 && share < 1.0 => format!("{:.2} %", (percent * 100.0).floor() / 100.0),
        percent if percent >= 9.95 => format!("{percent:.0} %"),
        percent if percent >= 0.995 => format!("{percent:.1} %"),
        percent if percent >= 0.01 => format!("{percent:.2} %"),
        _ => "less than 0.01 %".to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn part(some: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { some as f64 / all as f64 }
}

/// The shortest stretch from the begin of a span to the end of one that has [`MOST`] of the idle time.
fn shortest(spans: &[Span], idle: u64) -> Option<(VirtualNs, VirtualNs)> {
    let (mut first, mut within) = (0, 0u64);
    let mut found: Option<(VirtualNs, VirtualNs)> = None;
    for last in spans {
        within += last.length;
        while within > spans[first].length && part(within - spans[first].length, idle) >= MOST {
            within -= spans[first].length;
            first += 1;
        }
        let stretch = (spans[first].from, last.end());
        let is_shorter = found.is_none_or(|(from, to)| stretch.1.0 - stretch.0.0 < to.0 - from.0);
        if part(within, idle) >= MOST && is_shorter {
            found = Some(stretch);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::golden::Idle;

    fn run(spans: &[(u64, u64)]) -> Run {
        let length = VirtualNs(346_000_000);
        let spans = spans.iter().map(|(from, length)| Span { from: VirtualNs(*from), length: *length });
        Run { idle: Some(Idle::new(VirtualNs(0), length, spans)), ..length.into() }
    }

    fn within(from: u64, to: Option<u64>) -> Times {
        Times::Within { from: VirtualNs(from), to: to.map(VirtualNs) }
    }

    #[test]
    fn the_idle_share_is_of_the_run_and_of_the_moments_that_are_drawn_from() {
        let run = run(&[(0, 17_000_000), (17_500_000, 500_000), (100_000_000, 800_000)]);
        let whole = IdleTime::of(&run, &within(0, None)).unwrap();
        assert_eq!((whole.idle_moments, whole.moments), (18_300_000, 346_000_000));
        assert_eq!(whole.mostly, Some((VirtualNs(0), VirtualNs(17_000_000))));
        assert!(whole.is_much());
        assert_eq!(
            whole.line(),
            "the guest idles 5.3 % of the golden run (18.3 ms of 346.0 ms), nine in ten of it between 0 ns and 17.0 ms \
             after the quiescent point"
        );
        let late = IdleTime::of(&run, &within(20_000_000, None)).unwrap();
        assert_eq!((late.idle_moments, late.moments, late.is_much()), (800_000, 326_000_000, false));
        assert_eq!(late.mostly, Some((VirtualNs(100_000_000), VirtualNs(100_800_000))));
        assert_eq!(late.share, whole.share);
        let listed = Times::At(vec![VirtualNs(3), VirtualNs(30_000_000)]);
        let listed = IdleTime::of(&run, &listed).unwrap();
        assert_eq!((listed.idle_moments, listed.moments), (1, 2));
        assert_eq!(IdleTime::of(&VirtualNs(5).into(), &within(0, None)), None);
        assert_eq!([0.1234, 0.997_86, 0.999_999, 1.0].map(percent), ["12 %", "99.78 %", "99.99 %", "100 %"]);
    }

    #[test]
    fn most_of_many_equal_spans_is_nearly_all_of_them() {
        let spans: Vec<(u64, u64)> = (0..100).map(|number| (number * 1000, 10)).collect();
        let found = IdleTime::of(&run(&spans), &within(0, None)).unwrap();
        assert_eq!(found.mostly, Some((VirtualNs(0), VirtualNs(89_010))));
        let none = IdleTime::of(&run(&[]), &within(0, None)).unwrap();
        assert_eq!((none.mostly, none.line().as_str()), (None, "the guest never idles in the golden run"));
    }
}
