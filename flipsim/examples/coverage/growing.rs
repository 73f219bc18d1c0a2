//! Campaigns that grow, and precision that was planned for.

use flipsim::stats::anytime::{anytime, anytime_pooled};
use flipsim::stats::proportion::wilson;
use flipsim::stats::sample::{trials_for_assured, trials_for_margin, trials_for_relative};
use flipsim::stats::strata::{Drawing, Strata, StratumCount};
use flipsim::stats::{Confidence, Interval, Observed, Share, SpaceSize};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::{Row, Run};

/// Trials after each growth.
const STAGES: [u64; 6] = [100, 200, 400, 800, 1600, 3200];

/// When somebody who looks at a campaign stops.
type Rule = (&'static str, fn(Observed, Interval, f64) -> bool);

const RULES: [Rule; 3] = [
    ("stopped at 5 hits", |seen, _, _| seen.hits() >= 5),
    ("stopped when ±40 % of the rate", |seen, found, _| {
        seen.hits() > 0 && found.upper - found.lower <= 0.8 * seen.rate()
    }),
    // The worst that there is: to stop as soon as the truth is outside.
    ("stopped at the worst look", |_, found, truth| !found.contains(truth)),
];

/// What is said of a plain interval of a campaign that grew.
const PLAIN: &str = "before; a campaign that grew shows the always-valid one, and this for a fixed size";

/// What is said of the number that the formula gives.
const FORMULA: &str = "before; kept for campaigns that were made so";

pub fn rows(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for rate in [0.001, 0.01, 0.05, 0.3] {
        for rule in RULES {
            let case = format!("{} %, {}", rate * 100.0, rule.0);
            rows.push(run.row("wilson, grown", &case, |rng| {
                grown(rng, rate, rule, &|seen| wilson(seen, Confidence::P95))
            }));
            if let Some(row) = rows.pop() {
                rows.push(row.but(PLAIN));
            }
            rows.push(run.row("anytime", &case, |rng| {
                grown(rng, rate, rule, &|seen| anytime(seen, Confidence::P95, None))
            }));
        }
    }
    rows.push(run.row("anytime, a space of 400 drawn out", "5 %, the worst look", drawn_out));
    rows.push(run.row("anytime_pooled", "90 %: 0.2 % · 10 %: 20 %, the worst look", pooled));
    rows.extend(precision(run));
    rows
}

/// A campaign that is looked at after each stage.
fn grown(rng: &mut ChaCha8Rng, rate: f64, rule: Rule, interval: &dyn Fn(Observed) -> Interval) -> bool {
    let (mut hits, mut trials) = (0, 0);
    let mut found = Interval { lower: 0.0, upper: 1.0 };
    for stage in STAGES {
        hits += (trials..stage).filter(|_| rng.random_bool(rate)).count() as u64;
        trials = stage;
        let Ok(seen) = Observed::new(hits, trials) else { continue };
        found = interval(seen);
        if rule.1(seen, found, rate) {
            break;
        }
    }
    found.contains(rate)
}

/// 20 hits among 400 faults, drawn without replacement to the end.
fn drawn_out(rng: &mut ChaCha8Rng) -> bool {
    let (mut hits, mut left) = (0, 20u64);
    for trials in 1..=400u64 {
        if rng.random_range(0..=400 - trials) < left {
            (hits, left) = (hits + 1, left - 1);
        }
        let Ok(seen) = Observed::new(hits, trials) else { continue };
        if trials % 10 == 0 && !anytime(seen, Confidence::P95, Some(SpaceSize(400))).contains(0.05) {
            return false;
        }
    }
    true
}

fn pooled(rng: &mut ChaCha8Rng) -> bool {
    let (sizes, rates) = ([9u128 << 40, 1 << 40], [0.002, 0.2]);
    let (mut hits, mut trials) = ([0u64; 2], [0u64; 2]);
    for stage in STAGES {
        let mut parts = Vec::new();
        for at in 0..2 {
            hits[at] += (trials[at]..stage).filter(|_| rng.random_bool(rates[at])).count() as u64;
            trials[at] = stage;
            let name = at.to_string();
            parts.extend(StratumCount::new(name, SpaceSize(sizes[at]), hits[at], trials[at]));
        }
        let Ok(strata) = Strata::new(parts, Drawing::WithoutReplacement) else { return false };
        if !anytime_pooled(&strata, Confidence::P95).interval.contains(0.9 * 0.002 + 0.1 * 0.2) {
            return false;
        }
    }
    true
}

/// In how many campaigns a precision that was planned for is reached: no coverage, but the same kind of table.
fn precision(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    let share = |value: f64| Share::new(value).unwrap_or(Share::HALF);
    for (relative, rate) in [(0.2, 0.01), (0.2, 0.1), (0.5, 0.05), (0.5, 0.002)] {
        let case = format!("±{} % of {} %", relative * 100.0, rate * 100.0);
        let (r, p) = (share(relative), share(rate));
        let is_near = |seen: Observed| {
            let found = wilson(seen, Confidence::P95);
            (found.upper - found.lower) / 2.0 <= relative * seen.rate()
        };
        let mut add = |name: &'static str, trials: u64, said: &'static str| {
            let row =
                run.row(name, format!("{case}, {trials} trials"), |rng| is_near(drawn(rng, trials, rate)));
            rows.push(row.but(said));
        };
        if let Ok(trials) = trials_for_relative(r, Confidence::P95, p, None) {
            add("share that reaches trials_for_relative", trials, FORMULA);
        }
        if let Ok(trials) = trials_for_assured(r, Confidence::P95, p, Share::P80, None) {
            add("share that reaches trials_for_assured", trials, "80 % is asked for");
        }
    }
    if let Ok(trials) = trials_for_margin(share(0.05), Confidence::P95, Share::HALF, None) {
        rows.push(run.row("share that reaches trials_for_margin", format!("±5 %, {trials} trials"), |rng| {
            let found = wilson(drawn(rng, trials, 0.5), Confidence::P95);
            (found.upper - found.lower) / 2.0 <= 0.05
        }));
    }
    rows
}

/// So many trials; of many the hits are counted by the gaps between them.
fn drawn(rng: &mut ChaCha8Rng, trials: u64, rate: f64) -> Observed {
    let (mut hits, mut at) = (0u64, 0.0);
    loop {
        // The number of misses before the next hit is geometric.
        let uniform: f64 = rng.random();
        at += ((1.0 - uniform).ln() / (-rate).ln_1p()).floor() + 1.0;
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let over = at > trials as f64;
        if over {
            break;
        }
        hits += 1;
    }
    Observed::new(hits, trials).unwrap_or_else(|_| unreachable!("there are trials, and no more hits"))
}
