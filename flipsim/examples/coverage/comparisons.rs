//! Comparisons of two campaigns: ratios and sums of failures, differences, and the sizes of their tests.
//!
//! A test is in the table as 1 − its size where both are equal, against the 0.95 of a test at 5 %.

use flipsim::stats::compare::{Ratio, difference, fisher, ratio, sums};
use flipsim::stats::paired::Pairs;
use flipsim::stats::score::{Against, ratio_p};
use flipsim::stats::strata::{Drawing, Strata, StratumCount};
use flipsim::stats::{Confidence, Observed, SpaceSize};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::{Row, Run};

const LEVEL: f64 = 0.05;

/// Rates of both and trials of both.
const CASES: &[([f64; 2], [u64; 2])] = &[
    ([0.001, 0.001], [300, 300]),
    ([0.001, 0.000_5], [5_000, 5_000]),
    ([0.01, 0.01], [30, 30]),
    ([0.01, 0.01], [100, 100]),
    ([0.01, 0.005], [300, 300]),
    ([0.01, 0.005], [1_000, 1_000]),
    ([0.01, 0.01], [1_000, 5_000]),
    ([0.03, 0.015], [1_000, 1_000]),
    ([0.03, 0.03], [300, 300]),
    ([0.1, 0.05], [30, 30]),
    ([0.1, 0.1], [100, 100]),
    ([0.1, 0.05], [5_000, 5_000]),
    ([0.1, 0.3], [300, 100]),
    ([0.5, 0.25], [100, 100]),
    ([0.5, 0.5], [300, 300]),
    ([0.9, 0.45], [100, 100]),
    ([0.9, 0.9], [1_000, 1_000]),
    ([0.9, 0.3], [10_000, 10_000]),
];

/// Share of hits in both, in the first alone, in the second alone; pairs.
const PAIRED: &[([f64; 3], u64)] = &[
    ([0.000_5, 0.000_5, 0.000_5], 1_000),
    ([0.005, 0.005, 0.005], 100),
    ([0.005, 0.005, 0.0], 1_000),
    ([0.02, 0.01, 0.01], 300),
    ([0.01, 0.02, 0.0], 300),
    ([0.025, 0.005, 0.005], 1_000),
    ([0.08, 0.02, 0.02], 30),
    ([0.05, 0.05, 0.0], 100),
    ([0.05, 0.05, 0.0], 5_000),
    ([0.43, 0.07, 0.02], 300),
    ([0.25, 0.25, 0.25], 100),
];

/// Size of the stratum, its rate, its trials: the strata of both campaigns.
type Strat = &'static [(u64, f64, u64)];
const SUMS: &[(&str, [Strat; 2])] = &[
    (
        "2 strata, 3 % and 1 %, 300 each; a shift",
        [
            &[(1_000_000, 0.03, 300), (3_000_000, 0.01, 300)],
            &[(2_000_000, 0.01, 300), (3_000_000, 0.02, 300)],
        ],
    ),
    (
        "the same, 5,000 each",
        [
            &[(1_000_000, 0.03, 5_000), (3_000_000, 0.01, 5_000)],
            &[(2_000_000, 0.01, 5_000), (3_000_000, 0.02, 5_000)],
        ],
    ),
    ("10 strata of 1 %, 30 each", [&[(1_000_000, 0.01, 30); 10], &[(1_000_000, 0.01, 30); 10]]),
    ("10 strata of 10 %, 100 each", [&[(1_000_000, 0.1, 100); 10], &[(1_000_000, 0.1, 100); 10]]),
    (
        "99 % of 0.2 %, 500; 1 % of 50 %, 50",
        [
            &[(99_000_000, 0.002, 500), (1_000_000, 0.5, 50)],
            &[(99_000_000, 0.002, 500), (1_000_000, 0.5, 50)],
        ],
    ),
];

fn draw(rng: &mut ChaCha8Rng, rate: f64, trials: u64) -> Observed {
    let hits = (0..trials).map(|_| u64::from(rng.random::<f64>() < rate)).sum();
    Observed::new(hits, trials).expect("at least one trial")
}

fn within(found: Ratio, truth: f64) -> bool {
    found.lower <= truth * (1.0 + 1e-12) && found.upper.is_none_or(|upper| truth <= upper * (1.0 + 1e-12))
}

pub fn rows(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for &([one, other], [n, m]) in CASES {
        let case = format!("{} of {n}, {} of {m}", percent(one), percent(other));
        let truth = other / one;
        rows.push(run.row("difference: `compare::difference`", &case, |rng| {
            let (a, b) = (draw(rng, one, n), draw(rng, other, m));
            difference(b.estimate(Confidence::P95), a.estimate(Confidence::P95))
                .interval
                .contains(other - one)
        }));
        rows.push(run.row("ratio of F: `compare::ratio`", &case, |rng| {
            let (a, b) = (draw(rng, one, n), draw(rng, other, m));
            within(ratio(b.estimate(Confidence::P95), a.estimate(Confidence::P95)), truth)
        }));
        rows.push(run.row("1 − size at 5 %, equal F: `score::ratio_p`", &case, |rng| {
            ratio_p(draw(rng, one, n), draw(rng, other, m), truth, Against::Both) > LEVEL
        }));
        rows.push(run.row("1 − size at 5 %, F not larger: `score::ratio_p`", &case, |rng| {
            ratio_p(draw(rng, one, n), draw(rng, other, m), truth, Against::Larger) > LEVEL
        }));
        // The interval has the truth in it where neither of its tests rejects it: it is made so.
        rows.push(run.row("ratio of F: `score::ratio_interval`", &case, |rng| {
            let (a, b) = (draw(rng, one, n), draw(rng, other, m));
            [Against::Larger, Against::Smaller]
                .into_iter()
                .all(|side| ratio_p(a, b, truth, side) > Confidence::P95.tail())
        }));
        if one == other {
            rows.push(run.row("1 − size at 5 %, equal rates: `compare::fisher`", &case, |rng| {
                fisher(draw(rng, one, n), draw(rng, other, m)) > LEVEL
            }));
        }
    }
    for &([both, first, second], n) in PAIRED {
        let case = format!(
            "{} and {}, in both {}, {n} pairs",
            percent(both + first),
            percent(both + second),
            percent(both)
        );
        let pairs = |rng: &mut ChaCha8Rng| {
            let mut pairs = Pairs::default();
            for _ in 0..n {
                let at: f64 = rng.random();
                let (a, b) =
                    (at < both + first, at < both || (both + first..both + first + second).contains(&at));
                pairs.add(a, b);
            }
            pairs
        };
        rows.push(run.row("paired difference: `paired::Pairs::difference`", &case, |rng| {
            pairs(rng)
                .difference(Confidence::P95)
                .is_some_and(|found| found.interval.contains(second - first))
        }));
        if first == second {
            rows.push(run.row("1 − size at 5 %, the same faults: `paired::Pairs::mcnemar`", &case, |rng| {
                pairs(rng).mcnemar() > LEVEL
            }));
        }
    }
    for &(case, strata) in SUMS {
        let failures = |of: Strat| of.iter().map(|(size, rate, _)| *size as f64 * rate).sum::<f64>();
        let truth = failures(strata[1]) / failures(strata[0]);
        let drawn = |rng: &mut ChaCha8Rng, of: Strat| {
            let part = |(index, &(size, rate, trials)): (usize, &(u64, f64, u64))| {
                let hits = draw(rng, rate, trials).hits();
                StratumCount::new(index.to_string(), SpaceSize(size.into()), hits, trials).expect("trials")
            };
            let parts = of.iter().enumerate().map(part).collect();
            Strata::new(parts, Drawing::WithoutReplacement).expect("strata")
        };
        rows.push(run.row("ratio of sums of F: `compare::sums`", case, |rng| {
            let (a, b) = (drawn(rng, strata[0]), drawn(rng, strata[1]));
            within(sums(&a, &b, Confidence::P95), truth)
        }));
    }
    rows
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}
