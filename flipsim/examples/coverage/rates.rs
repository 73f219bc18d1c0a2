//! Rates: of one stratum, of several, of an unfinished campaign, of the failures alone, of all outcomes at once.

use std::cell::RefCell;
use std::collections::HashMap;

use flipsim::campaign::Batches;
use flipsim::campaign::TrialId;
use flipsim::stats::finite::exact;
use flipsim::stats::known::PartlyKnown;
use flipsim::stats::simultaneous::simultaneous;
use flipsim::stats::strata::{Drawing, Strata, StratumCount};
use flipsim::stats::tally::{Method, Rate};
use flipsim::stats::{Confidence, Estimate, Interval, Observed, SpaceSize};
use flipsim::units::VirtualNs;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::{Row, Run};

const P95: Confidence = Confidence::P95;

/// A space so large that drawing from it does not change it.
const LARGE: SpaceSize = SpaceSize(1 << 60);

const ONE_SIDED: &str = "what never came is said to be below its one-sided bound";
const WILSON: &str = "not the default; the table says so, and names `--interval exact`";
const NOT_SHOWN: &str = "not shown anywhere";

pub fn rows(run: &Run) -> Vec<Row> {
    let groups = [singles, small_spaces, pooled, known, unfinished, of_failures, at_once];
    groups.into_iter().flat_map(|group| group(run)).collect()
}

/// So many hits of `trials`.
fn hits(rng: &mut ChaCha8Rng, trials: u64, rate: f64) -> u64 {
    // From one hit to the next: the gaps are geometric.
    let mut hits = 0;
    let mut at = 0.0;
    loop {
        at += 1.0 + ((1.0 - rng.random::<f64>()).ln() / (1.0 - rate).ln()).floor();
        if at > trials as f64 {
            return hits;
        }
        hits += 1;
    }
}

fn rate(hits: u64, trials: u64, size: SpaceSize) -> Option<Rate> {
    Some(Rate::new(Observed::new(hits, trials).ok()?, P95, Some(size)))
}

fn percent(rate: f64) -> String {
    format!("{} %", (rate * 1e7).round() / 1e5)
}

/// The intervals of one rate.
fn singles(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    let one = |interval: &'static str, trials: u64, p: f64, of: &dyn Fn(&Rate) -> Interval| {
        // Few counts come again and again.
        let known: RefCell<HashMap<u64, Interval>> = RefCell::default();
        run.row(interval, format!("{} in {trials} trials", percent(p)), |rng| {
            let hits = hits(rng, trials, p);
            let mut known = known.borrow_mut();
            let found = known.entry(hits).or_insert_with(|| {
                rate(hits, trials, LARGE).map_or(Interval { lower: 1.0, upper: 0.0 }, |rate| of(&rate))
            });
            found.contains(p)
        })
    };
    for trials in [1, 2, 5, 10, 30, 100, 300, 1000, 5000] {
        for p in [0.001, 0.01, 0.1, 0.5] {
            rows.push(one("rate, as shown", trials, p, &|rate| rate.estimate(Method::default()).interval));
        }
    }
    // Where the one-sided bound costs most, and Wilson's is at its lowest.
    rows.push(
        one("rate, as shown", 50, 0.0581, &|rate| rate.estimate(Method::default()).interval).but(ONE_SIDED),
    );
    rows.push(
        one("rate, as shown", 30, 0.095, &|rate| rate.estimate(Method::default()).interval).but(ONE_SIDED),
    );
    for (trials, p) in
        [(1, 0.2), (10, 0.01788), (300, 0.00058), (300, 0.0018), (1000, 0.00103), (5000, 0.0031)]
    {
        rows.push(one("Wilson", trials, p, &|rate| rate.wilson).but(WILSON));
    }
    rows
}

/// Spaces of which a good part is drawn, without replacement.
fn small_spaces(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for (faults, all, trials) in
        [(20u64, 3u64, 10u64), (100, 1, 50), (100, 30, 95), (1000, 10, 300), (5000, 500, 100)]
    {
        let known: RefCell<HashMap<u64, Interval>> = RefCell::default();
        rows.push(run.row(
            "rate, exact, of a small space",
            format!("{trials} of {faults} faults, {all} of them hits"),
            |rng| {
                let (mut left, mut found) = (all, 0);
                for drawn in 0..trials {
                    if rng.random_range(0..faults - drawn) < left {
                        left -= 1;
                        found += 1;
                    }
                }
                let mut known = known.borrow_mut();
                let interval = known.entry(found).or_insert_with(|| {
                    let observed = Observed::new(found, trials);
                    observed.map_or(Interval { lower: 1.0, upper: 0.0 }, |seen| {
                        exact(seen, Some(SpaceSize(faults.into())), P95)
                    })
                });
                interval.contains(all as f64 / faults as f64)
            },
        ));
    }
    rows
}

/// What a group of strata is: weight, rate, trials.
type Part = (u64, f64, u64);

fn strata(parts: &[Part], rng: &mut ChaCha8Rng) -> Option<Strata> {
    let part = |(number, (size, rate, trials)): (usize, &Part)| {
        let size = SpaceSize(u128::from(*size) << 40);
        StratumCount::new(number.to_string(), size, hits(rng, *trials, *rate), *trials).ok()
    };
    Strata::new(parts.iter().enumerate().map(part).collect::<Option<_>>()?, Drawing::WithoutReplacement).ok()
}

fn of_strata(
    run: &Run,
    interval: &'static str,
    case: &str,
    parts: &[Part],
    of: impl Fn(&Strata) -> Option<Estimate>,
) -> Row {
    let all: f64 = parts.iter().map(|(size, ..)| *size as f64).sum();
    let truth: f64 = parts.iter().map(|(size, rate, _)| *size as f64 / all * rate).sum();
    run.row(interval, case, |rng| {
        let found = strata(parts, rng).as_ref().and_then(&of);
        found.is_some_and(|estimate| {
            estimate.interval.lower <= truth + 1e-12 && truth <= estimate.interval.upper + 1e-12
        })
    })
}

/// One rate over several strata.
fn pooled(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    let shown = |strata: &Strata| Some(strata.estimate(P95));
    for strata in [2usize, 3, 10, 100] {
        for trials in [1, 2, 3, 5, 6, 20] {
            for p in [0.001, 0.01, 0.1, 0.5] {
                let case = format!("{strata} equal strata of {}, {trials} trials each", percent(p));
                rows.push(of_strata(run, "pooled rate", &case, &vec![(1, p, trials); strata], shown));
            }
        }
    }
    let mixed = |trials: u64| -> Vec<Part> {
        (0..30).map(|n| (1, if n % 2 == 0 { 0.02 } else { 0.2 }, trials)).collect()
    };
    let falling = |trials: u64| -> Vec<Part> { (0..10).map(|n| (1 << (10 - n), 0.05, trials)).collect() };
    let lists: [(&str, Vec<Part>); 14] = [
        ("30 strata of 2 and 20 %, 1 trial each", mixed(1)),
        ("30 strata of 2 and 20 %, 2 trials each", mixed(2)),
        ("30 strata of 2 and 20 %, 5 trials each", mixed(5)),
        ("10 strata, each half the one before, 5 %, 1 trial each", falling(1)),
        ("10 strata, each half the one before, 5 %, 2 trials each", falling(2)),
        ("10 strata, each half the one before, 5 %, 30 trials each", falling(30)),
        ("90 %: 0.1, 1 trial · 10 %: 0.3, 200", vec![(90, 0.1, 1), (10, 0.3, 200)]),
        ("50 %: 0.02, 500 · 49 %: 0.3, 3 · 1 %: 0.5, 1", vec![(50, 0.02, 500), (49, 0.3, 3), (1, 0.5, 1)]),
        (
            "7 %: 0.3 · 3 %: 0.1 · 36 %: 0.01 · 54 %: 0.002, 100 each",
            vec![(7, 0.3, 100), (3, 0.1, 100), (36, 0.01, 100), (54, 0.002, 100)],
        ),
        ("99 %: 0.002, 500 · 1 %: 0.5, 50", vec![(99, 0.002, 500), (1, 0.5, 50)]),
        ("90 %: 0.01, 20 · 10 %: 0.3, 200", vec![(90, 0.01, 20), (10, 0.3, 200)]),
        (
            "82 %: 0.98, 40 · 16 %: 0.7, 200 · 2 %: 0.1, 50",
            vec![(82, 0.98, 40), (16, 0.7, 200), (2, 0.1, 50)],
        ),
        ("60 %: 0.4, 300 · 40 %: 0.6, 300", vec![(60, 0.4, 300), (40, 0.6, 300)]),
        ("100 strata of 1 %, 50 trials each", vec![(1, 0.01, 50); 100]),
    ];
    for (case, parts) in &lists {
        rows.push(of_strata(run, "pooled rate", case, parts, shown));
    }
    for (case, parts) in &lists[8..13] {
        rows.push(
            of_strata(run, "pooled rate, normal", case, parts, |strata| strata.normal(P95)).but(NOT_SHOWN),
        );
        rows.push(of_strata(run, "pooled rate, guaranteed", case, parts, |strata| {
            Some(strata.guaranteed(P95))
        }));
    }
    rows
}

/// Of each stratum its weight, the shares that surely hit and that are live, the rate in the live part, and the trials of
/// the whole.
type KnownPart = (u64, [f64; 2], f64, u64);

/// Rates in spaces of which a part is known: how many trials lie in the live part is random, as in a campaign.
fn known(run: &Run) -> Vec<Row> {
    let draw = |(weight, shares, rate, trials): KnownPart, rng: &mut ChaCha8Rng| {
        let size = SpaceSize(u128::from(weight) << 60);
        let live = hits(rng, trials, shares[1]);
        let found = PartlyKnown::new(shares, [hits(rng, live, rate), live], Some(size)).ok()?;
        Some((size, found))
    };
    let mut rows = Vec::new();
    for live in [0.01, 0.0382, 0.3] {
        for trials in [30, 300, 3000, 20_000] {
            for rate in [0.01, 0.1, 0.5, 0.97] {
                let case =
                    format!("{} of the live {} in {trials} trials of all", percent(rate), percent(live));
                let ends: RefCell<HashMap<[u64; 2], Interval>> = RefCell::default();
                let row = run.row("rate, a part is known", case, |rng| {
                    let Some((_, found)) = draw((1, [0.0, live], rate, trials), rng) else { return false };
                    let key = found.seen().map_or([0, 0], |seen| [seen.hits(), seen.trials()]);
                    let mut ends = ends.borrow_mut();
                    let interval = ends
                        .entry(key)
                        .or_insert_with(|| Rate::of(&found, P95).estimate(Method::default()).interval);
                    interval.contains(live * rate)
                });
                rows.push(row);
            }
        }
    }
    let lists: [(&str, Vec<KnownPart>); 5] = [
        (
            "90 %: 4 % live, 0.9 of these, 1,000 · 10 %: 30 % live, 0.2, 1,000",
            vec![(90, [0.0, 0.04], 0.9, 1000), (10, [0.0, 0.3], 0.2, 1000)],
        ),
        (
            "99 %: 1 % live, 0.1, 300 · 1 %: nothing known, 0.5, 50",
            vec![(99, [0.0, 0.01], 0.1, 300), (1, [0.0, 1.0], 0.5, 50)],
        ),
        (
            "50 %: 1 % live, 0.5, 30 · 50 %: 2 % live, 0.01, 2,000",
            vec![(1, [0.0, 0.01], 0.5, 30), (1, [0.0, 0.02], 0.01, 2000)],
        ),
        (
            "60 %: 90 % certain, 4 % live, 0.3, 500 · 40 %: 10 % certain, 60 % live, 0.6, 500",
            vec![(60, [0.9, 0.04], 0.3, 500), (40, [0.1, 0.6], 0.6, 500)],
        ),
        ("10 equal strata: 5 % live, 0.3, 100 each", vec![(1, [0.0, 0.05], 0.3, 100); 10]),
    ];
    for (case, parts) in lists {
        let all: f64 = parts.iter().map(|(weight, ..)| *weight as f64).sum();
        let share =
            |(weight, [certain, live], rate, _): &KnownPart| *weight as f64 / all * (certain + live * rate);
        let truth: f64 = parts.iter().map(share).sum();
        rows.push(run.row("pooled rate, a part is known", case, |rng| {
            let part = |(number, part): (usize, &KnownPart)| {
                let (size, known) = draw(*part, rng)?;
                StratumCount::of(number.to_string(), size, known).ok()
            };
            let parts = parts.iter().enumerate().map(part).collect::<Option<_>>();
            let found = parts.and_then(|parts| Strata::new(parts, Drawing::WithoutReplacement).ok());
            found.is_some_and(|strata| strata.estimate(P95).interval.contains(truth))
        }));
    }
    rows
}

/// A campaign that is not done, whose failures depend on the time of the fault: 30 % in the first half, none then.
fn unfinished(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    let planned = 2000u64;
    for (whole, name) in
        [(false, "rate of all results of an unfinished campaign"), (true, "rate of whole batches")]
    {
        // As it was: batches of 1,000 whatever the golden run.
        let batches = Batches::new([planned], whole.then_some(VirtualNs(200_000_000)));
        for done in [250u64, 500, 1500, 1999] {
            let case =
                format!("2,000 trials, {done} done; 30 % fail in the first half of the time, none later");
            let row = run.row(name, case, |rng| {
                // The time of each fault, and whether it fails; then the order in which they are run.
                let mut trials: Vec<(u64, f64, bool)> = (0..planned)
                    .map(|id| {
                        let at = rng.random::<f64>();
                        (batches.of(TrialId(id), 1), at, at < 0.5 && rng.random::<f64>() < 0.3)
                    })
                    .collect();
                trials.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
                let of_batch = |batch: u64| trials.iter().filter(|trial| trial.0 == batch).count() as u64;
                let last = trials[done as usize - 1].0;
                let until = if whole {
                    (0..last).map(of_batch).sum::<u64>()
                        + if of_all(&trials, last) == done { of_batch(last) } else { 0 }
                } else {
                    done
                };
                let hits = trials[..until as usize].iter().filter(|trial| trial.2).count() as u64;
                rate(hits, until, LARGE)
                    .is_some_and(|rate| rate.estimate(Method::default()).interval.contains(0.15))
            });
            rows.push(if whole { row } else { row.but("how it was; not shown any more") });
        }
    }
    rows
}

/// How many trials are of this batch or one before.
fn of_all(trials: &[(u64, f64, bool)], batch: u64) -> u64 {
    trials.iter().filter(|trial| trial.0 <= batch).count() as u64
}

/// Coverage of the detection: noticed of the failures, whose number is random.
fn of_failures(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for (trials, failing, noticed) in
        [(1000, 0.01, 0.9), (1000, 0.1, 0.9), (5000, 0.02, 0.99), (300, 0.05, 0.5)]
    {
        let case = format!(
            "{} of {trials} trials fail, {} of these are noticed",
            percent(failing),
            percent(noticed)
        );
        rows.push(run.row("coverage of the detection", case, |rng| {
            let failures = hits(rng, trials, failing);
            let seen = failures - hits(rng, failures, 1.0 - noticed);
            // Without a failure nothing is said.
            rate(seen, failures, LARGE)
                .is_none_or(|rate| rate.estimate(Method::default()).interval.contains(noticed))
        }));
    }
    rows
}

/// All outcomes of a stratum at once.
fn at_once(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for (trials, shares) in [
        (30u64, [0.95, 0.02, 0.01, 0.01, 0.005, 0.005]),
        (300, [0.95, 0.02, 0.01, 0.01, 0.005, 0.005]),
        (1000, [0.99, 0.005, 0.002, 0.001, 0.001, 0.001]),
        (5000, [0.6, 0.2, 0.1, 0.05, 0.03, 0.02]),
    ] {
        let draw = |rng: &mut ChaCha8Rng| {
            let mut counts = [0u64; 6];
            for _ in 0..trials {
                let at: f64 = rng.random();
                let mut sum = 0.0;
                let place = shares.iter().position(|share| {
                    sum += share;
                    at < sum
                });
                counts[place.unwrap_or(5)] += 1;
            }
            counts
        };
        let case = format!("{trials} trials of six outcomes, the rarest {}", percent(shares[5]));
        rows.push(run.row("all outcomes at once", case.clone(), |rng| {
            let found = simultaneous(&draw(rng), P95).unwrap_or_default();
            found.iter().zip(shares).all(|(interval, share)| interval.contains(share))
        }));
        rows.push(
            run.row("all outcomes, each by itself", case, |rng| {
                draw(rng).iter().zip(shares).all(|(count, share)| {
                    rate(*count, trials, LARGE).is_some_and(|rate| rate.exact.contains(share))
                })
            })
            .but("each row of a table has its own 95 %, and `stats --simultaneous` those that hold at once"),
        );
    }
    rows
}
