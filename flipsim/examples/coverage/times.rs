//! Times from flip to report, survival, and rates in the field.
//!
//! A run lasts 1 s; flips are uniform in it. A part of the guests would crash after an exponential time; what comes
//! after the run's end is not seen.

use flipsim::stats::incidence::{Incidence, incidences};
use flipsim::stats::quantile::Sorted;
use flipsim::stats::raw::{self, Spread};
use flipsim::stats::survival::{Lifetime, Survival};
use flipsim::stats::turnbull::{self, Lapse};
use flipsim::stats::{Confidence, Estimate, Interval, Observed, Share, proportion};
use flipsim::units::VirtualNs;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::{Row, Run};

const SECOND: f64 = 1e9;

/// Guests of which `crash` would crash, after `mean` seconds on the average.
#[derive(Clone, Copy)]
struct Guests {
    crash: f64,
    mean: f64,
}

/// How one guest ended.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Crash,
    Finished,
}

impl Guests {
    fn draw(self, rng: &mut ChaCha8Rng) -> (VirtualNs, End) {
        let left: f64 = rng.random();
        let life = if rng.random_bool(self.crash) { exponential(rng) * self.mean } else { f64::INFINITY };
        if life <= left { (ns(life), End::Crash) } else { (ns(left), End::Finished) }
    }

    /// The share that would not have crashed by a time, if runs did not end.
    fn survival(self, at: f64) -> f64 {
        1.0 - self.crash * -(-at / self.mean).exp_m1()
    }

    /// The share that crashes within the run and by a time: the mean over the time that is left.
    fn incidence(self, at: f64) -> f64 {
        let by = -(-at / self.mean).exp_m1();
        self.crash * ((1.0 - at) * by + at - self.mean * by)
    }

    /// The mean time alive up to a time.
    fn alive(self, until: f64) -> f64 {
        (1.0 - self.crash) * until + self.crash * self.mean * -(-until / self.mean).exp_m1()
    }
}

fn exponential(rng: &mut ChaCha8Rng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

fn ns(seconds: f64) -> VirtualNs {
    VirtualNs((seconds * SECOND) as u64)
}

fn draw(guests: Guests, n: usize, rng: &mut ChaCha8Rng) -> Vec<(VirtualNs, End)> {
    (0..n).map(|_| guests.draw(rng)).collect()
}

/// The incidence of a crash.
fn crashes(ends: Vec<(VirtualNs, End)>) -> Incidence<End> {
    let lives = ends.into_iter().map(|(time, end)| (time, Some(end))).collect();
    incidences(lives, &[End::Crash], usize::MAX, Confidence::P95).expect("guests").swap_remove(0)
}

fn survival(ends: &[(VirtualNs, End)]) -> Survival {
    let lives = ends.iter().map(|(time, end)| match end {
        End::Crash => Lifetime::Failed(*time),
        End::Finished => Lifetime::Censored(*time),
    });
    Survival::new(lives, Confidence::P95).expect("guests")
}

pub fn rows(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for (crash, n) in [(0.01, 300), (0.01, 1000), (0.1, 100), (0.5, 50), (0.5, 300)] {
        let guests = Guests { crash, mean: 0.2 };
        let case = |more: &str| format!("{} % crash after 0.2 s, {n} trials{more}", crash * 100.0);
        for at in [0.1, 0.5] {
            rows.push(run.row("survival::Survival, S(t)", case(&format!(", t = {at} s")), |rng| {
                let curve = survival(&draw(guests, n, rng));
                let truth = guests.survival(at);
                curve.interval_at(ns(at)).is_none_or(|interval| interval.contains(truth))
            }));
            rows.push(run.row("incidence::incidences", case(&format!(", t = {at} s")), |rng| {
                let crash = crashes(draw(guests, n, rng));
                let step = crash.steps.iter().rfind(|step| step.time <= ns(at));
                let interval = step.map_or_else(|| nothing(n), |step| step.interval);
                interval.contains(guests.incidence(at))
            }));
        }
        rows.push(run.row("incidence::incidences", case(", the run's end"), |rng| {
            crashes(draw(guests, n, rng)).interval.contains(guests.incidence(1.0))
        }));
        rows.push(run.row("survival::Survival, restricted mean", case(""), |rng| {
            let curve = survival(&draw(guests, n, rng));
            let truth = guests.alive(curve.last_seen.0 as f64 / SECOND) * SECOND;
            let mean = curve.restricted_mean(curve.last_seen).expect("it was watched until then");
            // Without a crash none is printed.
            curve.steps.is_empty() || mean.interval.contains(truth)
        }));
        if crash >= 0.5 {
            rows.push(run.row(
                "survival::Survival, median",
                format!("all crash after 0.2 s, {n} trials"),
                |rng| {
                    let curve = survival(&draw(Guests { crash: 1.0, mean: 0.2 }, n, rng));
                    let truth = ns(0.2 * std::f64::consts::LN_2);
                    curve.median().is_none_or(|median| {
                        median.lower.is_none_or(|end| end <= truth)
                            && median.upper.is_none_or(|end| truth <= end)
                    })
                },
            ));
        }
    }
    rows.extend(quantiles(run));
    rows.extend(in_the_field(run));
    rows
}

/// What the help of `--interval` and docs/statistics.md say.
const WILSON: &str = "what came once or twice takes `--interval exact`";

/// FIT, and its inverse, the MTTF, where the raw rate that is given is off by a log-normal factor.
fn in_the_field(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for (rate, n) in [(0.001, 1000), (0.01, 300), (0.1, 100)] {
        for factor in ["1", "1.2", "2", "5"] {
            let spread: Spread = factor.parse().expect("a factor");
            for exact in [false, true] {
                let method = if exact { "Clopper–Pearson" } else { "Wilson" };
                let case =
                    format!("{} %, {n} trials, raw rate to a factor of {factor}, {method}", rate * 100.0);
                let row = run.row("raw::Spread, FIT and MTTF", case, |rng| {
                    let observed = Observed::new(hits(rng, n, rate), n).expect("trials");
                    let share = if exact {
                        let interval = proportion::clopper_pearson(observed, Confidence::P95);
                        Estimate { value: observed.rate(), interval }
                    } else {
                        observed.estimate(Confidence::P95)
                    };
                    let sigma = factor.parse::<f64>().expect("a number").ln() / Confidence::P95.z();
                    let given = 1700.0 * (sigma * normal(rng)).exp();
                    spread.widen(share.scaled(given)).interval.contains(1700.0 * rate)
                });
                rows.push(if rate < 0.01 && factor == "1" && !exact { row.but(WILSON) } else { row });
            }
        }
    }
    rows.push(run.row("raw::sum, RAM and registers", "1 % of 1,000 and 20 % of 300, factor 2", |rng| {
        let mut part = |rate: f64, n: u64, raw: f64| {
            Observed::new(hits(rng, n, rate), n).expect("trials").estimate(Confidence::P95).scaled(raw)
        };
        let parts = [part(0.01, 1000, 1000.0), part(0.2, 300, 20.0)];
        let spread: Spread = "2".parse().expect("a factor");
        let given = (2f64.ln() / Confidence::P95.z() * normal(rng)).exp();
        spread.widen(raw::sum(&parts).scaled(given)).interval.contains(14.0)
    }));
    rows
}

fn hits(rng: &mut ChaCha8Rng, n: u64, rate: f64) -> u64 {
    (0..n).map(|_| u64::from(rng.random_bool(rate))).sum()
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    (2.0 * exponential(rng)).sqrt() * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn nothing(n: usize) -> Interval {
    let none = Observed::new(0, n as u64).expect("trials");
    Interval { lower: 0.0, upper: proportion::upper_bound(none, Confidence::P95) }
}

/// Quantiles of exponential times, known exactly and known to a checkpoint.
fn quantiles(run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    for n in [5, 10, 20, 100, 1000] {
        for q in [0.5, 0.9, 0.99] {
            let share = Share::new(q).expect("a share");
            let truth = ns(-(1.0f64 - q).ln());
            let within = |lower: Option<VirtualNs>, upper: Option<VirtualNs>| {
                lower.is_none_or(|end| end <= truth) && upper.is_none_or(|end| truth <= end)
            };
            rows.push(run.row("quantile::Sorted", format!("{q} of {n} times"), |rng| {
                let times = Sorted::new((0..n).map(|_| ns(exponential(rng))).collect());
                times.quantile(share, Confidence::P95).is_some_and(|found| within(found.lower, found.upper))
            }));
            if n > 100 {
                continue;
            }
            for every in [0.1, 2.0] {
                let case = format!("{q} of {n} times, a look each {every} means");
                rows.push(run.row("turnbull::ends", case, |rng| {
                    let times: Vec<Lapse> = (0..n).map(|_| look(every, rng)).collect();
                    let (lower, upper) = turnbull::ends(&times, share, Confidence::P95);
                    within(lower, upper)
                }));
            }
        }
    }
    rows
}

/// An exponential time after a flip anywhere between two looks.
fn look(every: f64, rng: &mut ChaCha8Rng) -> Lapse {
    let (flip, time) = (rng.random::<f64>() * every, exponential(rng));
    let seen = ((flip + time) / every).ceil() * every;
    Lapse::between(ns((seen - every - flip).max(0.0)), ns(seen - flip))
}
