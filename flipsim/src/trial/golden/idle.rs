//! When the guest of a golden run idles: the stretches of virtual time that are skipped, with no instruction executed.
//!
//! Invariant: **the spans are in order, apart from each other, and within the run**, wherever they come from; what is
//! not idle in it is busy, and on the exact clock each nanosecond of that is one instruction.

use serde::{Deserialize, Serialize};

use crate::units::VirtualNs;

/// A stretch of virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Its first nanosecond, on the virtual clock.
    pub from: VirtualNs,
    /// How many nanoseconds it has.
    pub length: u64,
}

impl Span {
    /// The first nanosecond behind it.
    #[must_use]
    pub fn end(&self) -> VirtualNs {
        VirtualNs(self.from.0.saturating_add(self.length))
    }
}

/// The spans in which the guest idled, of a stretch of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, from = "Raw")]
pub struct Idle {
    /// The first nanosecond that this is about, on the virtual clock.
    begin: VirtualNs,
    /// The first behind it.
    end: VirtualNs,
    spans: Vec<Span>,
}

/// As it is stored: nothing is assumed of what a file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    begin: VirtualNs,
    end: VirtualNs,
    spans: Vec<Span>,
}

impl From<Raw> for Idle {
    fn from(raw: Raw) -> Self {
        Idle::new(raw.begin, raw.end, raw.spans)
    }
}

impl Idle {
    /// The spans of [`begin`, `end`): what lies outside is cut off, and those that touch or overlap are joined.
    #[must_use]
    pub fn new(begin: VirtualNs, end: VirtualNs, spans: impl IntoIterator<Item = Span>) -> Self {
        let end = end.max(begin);
        let mut clipped: Vec<Span> = spans
            .into_iter()
            .map(|span| (span.from.max(begin), span.end().min(end)))
            .filter(|(from, to)| from < to)
            .map(|(from, to)| Span { from, length: to.0 - from.0 })
            .collect();
        clipped.sort_unstable();
        let mut spans: Vec<Span> = Vec::with_capacity(clipped.len());
        for span in clipped {
            match spans.last_mut().filter(|last| span.from <= last.end()) {
                Some(last) => last.length = last.end().max(span.end()).0 - last.from.0,
                None => spans.push(span),
            }
        }
        Idle { begin, end, spans }
    }

    /// The spans, in order and apart.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The same of a part of it.
    #[must_use]
    pub fn within(&self, from: VirtualNs, to: VirtualNs) -> Idle {
        Idle::new(from.max(self.begin), to.min(self.end), self.spans.iter().copied())
    }

    /// The spans between those: in them the guest executes.
    #[must_use]
    pub fn busy(&self) -> Vec<Span> {
        let starts = std::iter::once(self.begin).chain(self.spans.iter().map(Span::end));
        let ends = self.spans.iter().map(|span| span.from).chain([self.end]);
        starts
            .zip(ends)
            .filter(|(from, to)| from < to)
            .map(|(from, to)| Span { from, length: to.0 - from.0 })
            .collect()
    }

    /// Whether the guest idles at this nanosecond of the virtual clock.
    #[must_use]
    pub fn is_idle(&self, at: VirtualNs) -> bool {
        let behind = self.spans.partition_point(|span| span.from <= at);
        self.spans[..behind].last().is_some_and(|span| at < span.end())
    }

    /// How long it is about, in nanoseconds.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.end.0 - self.begin.0
    }

    /// How long the guest idles in it, in nanoseconds.
    #[must_use]
    pub fn idle_ns(&self) -> u64 {
        self.spans.iter().map(|span| span.length).sum()
    }

    /// The idle part of it, from 0 to 1; 0 where there is no time at all.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn share(&self) -> f64 {
        if self.length() == 0 { 0.0 } else { self.idle_ns() as f64 / self.length() as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn idle(begin: u64, end: u64, spans: &[(u64, u64)]) -> Idle {
        let spans = spans.iter().map(|(from, length)| Span { from: VirtualNs(*from), length: *length });
        Idle::new(VirtualNs(begin), VirtualNs(end), spans)
    }

    fn pairs(spans: &[Span]) -> Vec<(u64, u64)> {
        spans.iter().map(|span| (span.from.0, span.length)).collect()
    }

    #[test]
    fn spans_are_cut_to_the_run_sorted_and_joined() {
        let found = idle(100, 200, &[(150, 10), (90, 15), (160, 5), (120, 0), (195, 50), (155, 3), (300, 9)]);
        assert_eq!(pairs(found.spans()), [(100, 5), (150, 15), (195, 5)]);
        assert_eq!(pairs(&found.busy()), [(105, 45), (165, 30)]);
        assert_eq!((found.idle_ns(), found.length(), found.share()), (25, 100, 0.25));
        assert_eq!(pairs(found.within(VirtualNs(104), VirtualNs(151)).spans()), [(104, 1), (150, 1)]);
        assert_eq!(idle(5, 5, &[(0, 9)]).share(), 0.0);
        assert_eq!(pairs(&idle(9, 5, &[]).busy()), []);
    }

    #[test]
    fn what_a_file_says_is_not_believed() {
        let text = r#"{"begin":10,"end":20,"spans":[{"from":15,"length":1},{"from":0,"length":18446744073709551615}]}"#;
        let read: Idle = serde_json::from_str(text).unwrap();
        assert_eq!(read, idle(10, 20, &[(10, 10)]));
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(written, r#"{"begin":10,"end":20,"spans":[{"from":10,"length":10}]}"#);
    }

    proptest! {
        #[test]
        fn each_moment_is_idle_or_busy(spans in prop::collection::vec((0u64..120, 0u64..12), 0..12)) {
            let found = idle(10, 110, &spans);
            let within = |spans: &[Span], at| spans.iter().any(|span| (span.from.0..span.end().0).contains(&at));
            for at in 10..110 {
                let expected = spans.iter().any(|(from, length)| (*from..from + length).contains(&at));
                prop_assert_eq!(found.is_idle(VirtualNs(at)), expected);
                prop_assert_eq!(within(found.spans(), at), expected);
                prop_assert_eq!(within(&found.busy(), at), !expected);
            }
        }
    }
}
