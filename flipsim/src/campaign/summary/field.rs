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

/// What is known of the field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// The raw rate of RAM, if it is to be counted.
    pub ram: Option<FitPerMbit>,
    /// That of registers.
    pub registers: Option<FitPerMbit>,
    /// How far both may be off.
    pub spread: Spread,
    /// So much RAM in place of a stratum's.
    pub ram_bits: Option<Bits>,
    /// How long.
    pub hours: f64,
}

impl Field {
    /// A year with this raw rate for RAM and registers, taken as exact.
    #[must_use]
    pub fn of(raw: FitPerMbit) -> Self {
        let raw = Some(raw);
        Field { ram: raw, registers: raw, spread: Spread::EXACT, ram_bits: None, hours: YEAR_HOURS }
    }

    /// The raw rate of a kind.
    #[must_use]
    pub fn raw(&self, kind: SpaceKind) -> Option<FitPerMbit> {
        match kind {
            SpaceKind::Ram => self.ram,
            SpaceKind::Registers => self.registers,
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
struct Exposed {
    space: String,
    kind: SpaceKind,
    bits: u64,
    rates: Vec<(&'static str, Estimate)>,
    failures: Option<Estimate>,
    /// No other part has faults of this one in it.
    whole: bool,
}

impl Exposed {
    fn bits(&self, field: &Field) -> Bits {
        match self.kind {
            SpaceKind::Ram => field.ram_bits.unwrap_or(Bits(self.bits)),
            SpaceKind::Registers => Bits(self.bits),
        }
    }

    /// The FIT of [`Class::Failure`] with a raw rate that is exact.
    fn sampled(&self, field: &Field) -> Option<Estimate> {
        let (_, rate) = self.rates.last()?;
        Some(fit_of_class(field.raw(self.kind)?, self.bits(field), *rate))
    }
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
            let (raw, bits) = (field.raw(exposed.kind)?, exposed.bits(field));
            let fit = |(name, rate): &(&'static str, Estimate)| {
                (*name, field.spread.widen(fit_of_class(raw, bits, *rate)))
            };
            let failure = field.spread.widen(exposed.sampled(field)?);
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

    /// RAM and registers together, where each has a raw rate and a single rate; the spread is one of both.
    #[must_use]
    pub fn fit_together(&self, field: &Field, method: Method) -> Option<FitTogether> {
        let exposed = self.exposed(method);
        let of = |kind: SpaceKind| {
            let mut whole = exposed.iter().filter(|exposed| exposed.kind == kind && exposed.whole);
            whole.next().filter(|_| whole.next().is_none())
        };
        let parts = [of(SpaceKind::Ram)?, of(SpaceKind::Registers)?];
        let sampled: Vec<Estimate> = parts.iter().filter_map(|part| part.sampled(field)).collect();
        let fit = (sampled.len() == parts.len()).then(|| field.spread.widen(sum(&sampled)))?;
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

    fn exposed(&self, method: Method) -> Vec<Exposed> {
        let is_failure = |outcome: Outcome| Class::Failure.has(outcome);
        let alone = |kind: SpaceKind| self.strata.iter().filter(|stratum| stratum.kind == kind).count() == 1;
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
                failures: Some(class.scaled(stratum.population)),
                whole: alone(stratum.kind),
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
                failures: Some(class.failures),
                whole: pooled.strata.len()
                    == self.strata.iter().filter(|stratum| stratum.kind == pooled.kind).count(),
            })
        });
        strata.chain(pooled).collect()
    }
}
