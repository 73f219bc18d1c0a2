//! The mean rate of several golden runs, where runs have rates of their own.

use flipsim::stats::clusters::{Clustered, clustered};
use flipsim::stats::{Confidence, Observed};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::{Row, Run};

/// Where the trials are taken as of one run: what the command line shows it for.
const IGNORES: &str = "shown beside it, as the one that ignores runs";

/// Where the standard deviation between runs is as large as the mean, and most runs are below it.
const SKEWED: &str =
    "said below the table of `report runs`: 87 to 95 % where few runs have nearly all failures";

/// How the rates of runs are spread: the standard deviation over the mean.
const SPREADS: [(f64, &str); 4] = [(0.0, "no"), (0.2, "some"), (0.5, "much"), (1.0, "very much")];

pub fn rows(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for rate in [0.01, 0.05, 0.3] {
        for runs in [2, 3, 5, 10] {
            for trials in [200, 2_000] {
                for (spread, said) in SPREADS {
                    let case =
                        format!("{} %, {runs} runs of {trials}, {said} spread ({spread})", rate * 100.0);
                    let row = run.row("mean of runs: `clusters::clustered`", &case, |rng| {
                        one(rng, rate, spread, runs, trials).mean.interval.contains(rate)
                    });
                    rows.push(if spread < 1.0 { row } else { row.but(SKEWED) });
                    if runs == 5 {
                        let row = run.row("trials as of one run: `clopper_pearson`", &case, |rng| {
                            one(rng, rate, spread, runs, trials).ignoring_runs.interval.contains(rate)
                        });
                        rows.push(if spread > 0.0 { row.but(IGNORES) } else { row });
                    }
                }
            }
        }
    }
    rows
}

/// The estimate of one campaign: rates of runs are of a beta distribution with this mean and relative spread.
fn one(rng: &mut ChaCha8Rng, rate: f64, spread: f64, runs: u32, trials: u64) -> Clustered {
    let seen: Vec<Observed> = (0..runs)
        .map(|_| {
            let own = if spread > 0.0 { beta(rng, rate, spread) } else { rate };
            let hits = (0..trials).filter(|_| rng.random::<f64>() < own).count() as u64;
            Observed::new(hits, trials).expect("at least one trial")
        })
        .collect();
    clustered(&seen, Confidence::P95).expect("two runs or more")
}

fn beta(rng: &mut ChaCha8Rng, mean: f64, spread: f64) -> f64 {
    let sum = (1.0 - mean) / (mean * spread * spread) - 1.0;
    let (a, b) = (gamma(rng, mean * sum), gamma(rng, (1.0 - mean) * sum));
    a / (a + b)
}

/// Marsaglia and Tsang, ACM Transactions on Mathematical Software 26, 2000.
fn gamma(rng: &mut ChaCha8Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        let uniform: f64 = rng.random();
        return gamma(rng, shape + 1.0) * (1.0 - uniform).powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let cube = (1.0 + c * normal).powi(3);
        let uniform: f64 = rng.random();
        if cube > 0.0 && (1.0 - uniform).ln() < normal * normal / 2.0 + d - d * cube + d * cube.ln() {
            return d * cube;
        }
    }
}
