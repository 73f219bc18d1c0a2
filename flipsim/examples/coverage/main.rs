//! How often the intervals that are printed have the truth in them, by simulated campaigns.
//!
//! `cargo run --release -p flipsim --example coverage` prints the table of `docs/coverage.md`; `-- 2000` simulates
//! fewer campaigns a row, `-- 20000 rates` only one group.
//!
//! Invariant: the same command prints the same table, on any machine: each row has a generator of random numbers
//! that is seeded with its name.

mod clusters;
mod comparisons;
mod growing;
mod rates;
mod times;

use std::process::ExitCode;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// How many campaigns a row simulates.
const CAMPAIGNS: u32 = 20_000;

/// An interval that is said to be of 95 % covers at least so much, or its row says that it does not.
const LEAST: f64 = 0.93;

/// One interval in one situation.
pub struct Row {
    /// What is estimated, by which function.
    pub interval: &'static str,
    /// Rates, trials, strata: the situation.
    pub case: String,
    /// The share of the campaigns whose interval has the truth in it.
    pub covered: f64,
    /// Where that is less than is said of it: what the command line and the page say about it.
    pub but: Option<&'static str>,
}

/// The intervals of one part of the statistics.
type Group = (&'static str, fn(&Run) -> Vec<Row>);

const GROUPS: &[Group] = &[
    ("rates", rates::rows),
    ("comparisons", comparisons::rows),
    ("times", times::rows),
    ("growing", growing::rows),
    ("clusters", clusters::rows),
];

/// How a table is made.
pub struct Run {
    campaigns: u32,
}

impl Run {
    /// A row: `hit` simulates one campaign and says whether its interval has the truth in it.
    pub fn row(
        &self,
        interval: &'static str,
        case: impl Into<String>,
        mut hit: impl FnMut(&mut ChaCha8Rng) -> bool,
    ) -> Row {
        let case = case.into();
        let seed: [u8; 32] = Sha256::digest(format!("{interval}\n{case}")).into();
        let mut rng = ChaCha8Rng::from_seed(seed);
        let hits = (0..self.campaigns).filter(|_| hit(&mut rng)).count();
        let covered = hits as f64 / f64::from(self.campaigns);
        Row { interval, case, covered, but: None }
    }
}

impl Row {
    /// The same, of an interval that says of itself that it does not keep its confidence here.
    pub fn but(self, said: &'static str) -> Row {
        Row { but: Some(said), ..self }
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let campaigns = args.next().and_then(|text| text.parse().ok()).unwrap_or(CAMPAIGNS);
    let only = args.next();
    let run = Run { campaigns };
    let mut short = 0;
    println!("| interval | case | coverage | |\n|---|---|---:|---|");
    for (name, rows) in GROUPS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        for Row { interval, case, covered, but } in rows(&run) {
            println!("| {interval} | {case} | {covered:.3} | {} |", but.unwrap_or_default());
            if covered < LEAST && but.is_none() {
                eprintln!("{name}: {interval}, {case}: {covered:.3} is below {LEAST}");
                short += 1;
            }
        }
    }
    ExitCode::from(u8::from(short > 0))
}
