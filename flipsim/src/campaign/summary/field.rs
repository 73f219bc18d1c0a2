//! What a campaign's rates mean in the field: FIT, the failures of some years, and those of a mission.
//!
//! Invariant: a raw rate is one of single bits; what flips several at once has no FIT.

use serde::Serialize;

use crate::campaign::summary::model::{SpaceKind, Summary};
use crate::stats::Estimate;
use crate::stats::fit::{Bits, FitPerMbit, MissionOutlook, Mttf, fit_of_class, mission_outlook, outlook};
use crate::stats::mission::Mission;
use crate::stats::raw::{Spread, sum};
use crate::stats::tally::Method;
use crate::trial::{Class, Outcome};

/// Hours of a year: 365.25 days.
pub const YEAR_HOURS: f64 = 8766.0;

/// What is known of the cells of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cells {
    /// Their raw rate.
    pub raw: FitPerMbit,
    /// How far it may be off.
    pub spread: Spread,
    /// So many in place of a stratum's.
    pub bits: Option<Bits>,
}

/// What is known of the field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// RAM, if it is to be counted.
    pub ram: Option<Cells>,
    /// Registers.
    pub registers: Option<Cells>,
    /// How long.
    pub hours: f64,
}

impl Field {
    /// A year with this raw rate for RAM and registers, taken as exact.
    #[must_use]
    pub fn of(raw: FitPerMbit) -> Self {
        let cells = Some(Cells { raw, spread: Spread::EXACT, bits: None });
        Field { ram: cells, registers: cells, hours: YEAR_HOURS }
    }

    /// The cells of a kind.
    #[must_use]
    pub fn cells(&self, kind: SpaceKind) -> Option<&Cells> {
        match kind {
            SpaceKind::Ram => self.ram.as_ref(),
            SpaceKind::Registers => self.registers.as_ref(),
        }
    }
}

/// The FIT of a part of the fault space.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FitRow {
    /// The names of its strata, joined by ` + `.
    pub space: String,
    /// What its faults strike.
    pub kind: SpaceKind,
    /// The bits that are exposed: all of its own, or as many as were asked for.
    pub bits: u64,
    /// The raw rate.
    pub raw_fit_per_mbit: FitPerMbit,
    /// One entry an outcome that is a failure, then `failure` itself: name and FIT.
    pub fit: Vec<(&'static str, Estimate)>,
    /// What to expect of [`Class::Failure`].
    pub expected: Expected,
}

/// The failures that are expected of a part of the fault space, or of several together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// How long, in hours.
    pub hours: f64,
    /// The failures in 10^9 hours.
    pub fit: Estimate,
    /// The failures in that time.
    pub failures: Estimate,
    /// The chance of at least one.
    pub any: Estimate,
    /// The mean time to one, in hours.
    pub mttf_hours: Mttf,
    /// The (bit, moment) pairs of one run that make it fail; `None` of RAM and registers together.
    pub failures_per_run: Option<Estimate>,
}

/// RAM and registers together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FitTogether {
    /// The spaces that were added.
    pub spaces: Vec<String>,
    /// What to expect.
    pub expected: Expected,
}

/// What a mission of memory like a part of the fault space has to expect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MissionRow {
    /// The names of its strata, joined by ` + `.
    pub space: String,
    /// One entry an outcome that is a failure, then `failure` itself.
    pub outlook: Vec<(&'static str, MissionOutlook)>,
}

/// A part of the fault space with the rates of its failures.
pub(super) struct Exposed {
    pub(super) space: String,
    pub(super) kind: SpaceKind,
    bits: u64,
    /// Each outcome that is a failure, then [`Class::Failure`].
    pub(super) rates: Vec<(&'static str, Estimate)>,
    /// Of [`Class::Noticed`].
    pub(super) noticed: Option<Estimate>,
    failures: Option<Estimate>,
    /// No other part has faults of this one in it.
    pub(super) whole: bool,
}

impl Exposed {
    pub(super) fn bits(&self, cells: &Cells) -> Bits {
        cells.bits.unwrap_or(Bits(self.bits))
    }

    /// The FIT of [`Class::Failure`] with a raw rate that is exact.
    fn sampled(&self, cells: &Cells) -> Option<Estimate> {
        let (_, rate) = self.rates.last()?;
        Some(fit_of_class(cells.raw, self.bits(cells), *rate))
    }
}

/// The sum of parts whose raw rates may each be off by a spread, all in the same way.
pub(super) fn widened_sum(parts: &[(Spread, Estimate)]) -> Estimate {
    let sampled: Vec<Estimate> = parts.iter().map(|(_, part)| *part).collect();
    Spread::of_sum(parts).widen(sum(&sampled))
}

fn expected(field: &Field, fit: Estimate, failures_per_run: Option<Estimate>) -> Expected {
    let (failures, any) = outlook(fit.scaled(field.hours / 1e9));
    Expected { hours: field.hours, fit, failures, any, mttf_hours: Mttf::of(fit), failures_per_run }
}

impl Summary {
    /// The FIT of each stratum of single bits whose kind has a raw rate, and of those that are pooled: raw rate × bits
    /// × rate.
    #[must_use]
    pub fn fit(&self, field: &Field, method: Method) -> Vec<FitRow> {
        let rows = self.exposed(method).into_iter().filter_map(|exposed| {
            let cells = field.cells(exposed.kind)?;
            let (raw, bits) = (cells.raw, exposed.bits(cells));
            let fit = |(name, rate): &(&'static str, Estimate)| {
                (*name, cells.spread.widen(fit_of_class(raw, bits, *rate)))
            };
            let failure = cells.spread.widen(exposed.sampled(cells)?);
            Some(FitRow {
                kind: exposed.kind,
                bits: bits.0,
                raw_fit_per_mbit: raw,
                fit: exposed.rates.iter().map(fit).collect(),
                expected: expected(field, failure, exposed.failures),
                space: exposed.space,
            })
        });
        rows.collect()
    }

    /// RAM and registers together, where each has a raw rate and a single rate; what is wrong about one raw rate is taken to
    /// be wrong about the other.
    #[must_use]
    pub fn fit_together(&self, field: &Field, method: Method) -> Option<FitTogether> {
        let exposed = self.exposed(method);
        let of = |kind: SpaceKind| {
            let mut whole = exposed.iter().filter(|exposed| exposed.kind == kind && exposed.whole);
            whole.next().filter(|_| whole.next().is_none())
        };
        let parts = [of(SpaceKind::Ram)?, of(SpaceKind::Registers)?];
        let sampled = parts.map(|part| {
            let cells = field.cells(part.kind)?;
            Some((cells.spread, part.sampled(cells)?))
        });
        let sampled: Vec<(Spread, Estimate)> = sampled.into_iter().collect::<Option<_>>()?;
        let fit = widened_sum(&sampled);
        let spaces = parts.iter().map(|part| part.space.clone()).collect();
        Some(FitTogether { spaces, expected: expected(field, fit, None) })
    }

    /// What a mission has to expect if all its memory were like each stratum of RAM, or like those that are
    /// pooled.
    #[must_use]
    pub fn mission(
        &self,
        mission: &Mission,
        field_seconds: f64,
        spread: Spread,
        method: Method,
    ) -> Vec<MissionRow> {
        let ram = self.exposed(method).into_iter().filter(|exposed| exposed.kind == SpaceKind::Ram);
        ram.map(|Exposed { space, rates, .. }| {
            let outlook = |(name, rate)| (name, mission_outlook(mission, field_seconds, spread.widen(rate)));
            MissionRow { space, outlook: rates.into_iter().map(outlook).collect() }
        })
        .collect()
    }

    pub(super) fn exposed(&self, method: Method) -> Vec<Exposed> {
        let is_failure = |outcome: Outcome| Class::Failure.has(outcome);
        // No particle waits for an event, or strikes as it is written.
        let at_any_time = |kind: SpaceKind| {
            let of = self.strata.iter().filter(|stratum| stratum.kind == kind);
            of.filter(|stratum| stratum.when.trigger().is_none() && stratum.bits.is_some()).count()
        };
        let strata = self.strata.iter().filter_map(|stratum| {
            let of = stratum.outcomes.iter().filter(|entry| is_failure(entry.outcome));
            let mut rates: Vec<_> =
                of.filter_map(|entry| Some((entry.outcome.name(), entry.rate?.estimate(method)))).collect();
            let rate = stratum.class(Class::Failure)?.rate?;
            let class = rate.estimate(method);
            rates.push((Class::Failure.name(), class));
            Some(Exposed {
                space: stratum.name.clone(),
                kind: stratum.kind,
                bits: stratum.bits?,
                rates,
                noticed: stratum.class(Class::Noticed).and_then(|entry| Some(entry.rate?.estimate(method))),
                failures: Some(class.scaled(stratum.population)),
                whole: at_any_time(stratum.kind) == 1,
            })
        });
        let pooled = self.pooled.iter().filter_map(|pooled| {
            let of = pooled.outcomes.iter().filter(|entry| is_failure(entry.outcome));
            let mut rates: Vec<_> = of.map(|entry| (entry.outcome.name(), entry.rate)).collect();
            let class = pooled.class(Class::Failure)?;
            rates.push((Class::Failure.name(), class.rate));
            Some(Exposed {
                space: pooled.strata.join(" + "),
                kind: pooled.kind,
                bits: pooled.bits?,
                rates,
                noticed: pooled.class(Class::Noticed).map(|entry| entry.rate),
                failures: Some(class.failures),
                whole: pooled.strata.len() == at_any_time(pooled.kind),
            })
        });
        strata.chain(pooled).collect()
    }
}
