//! What a rate means in the field: FIT, and the failures of a mission.
//!
//! A campaign says which share of the flips becomes a failure; how many flips there are is an
//! assumption from elsewhere, a measurement of the memory's makers or of a test in a beam.
//!
//! Invariant: rates of upsets are converted here and read in [`crate::stats::mission`], nowhere else.

use serde::Serialize;

use crate::stats::mission::{Mission, UpsetRate};
use crate::stats::quantity::{Estimate, Interval, StatsError};
use crate::stats::special::float;

/// Bits of a megabit, as memories are sold: 2^20.
const MBIT: f64 = (1u64 << 20) as f64;
/// The hours that FIT counts failures in.
const FIT_HOURS: f64 = 1e9;

/// A raw upset rate in FIT a megabit: flips in 10^9 hours in 2^20 bits.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct FitPerMbit(pub(super) f64);

impl FitPerMbit {
    /// A raw rate from its number.
    ///
    /// # Errors
    /// The number is not above 0.
    pub fn new(fit: f64) -> Result<Self, StatsError> {
        if fit.is_finite() && fit > 0.0 {
            Ok(FitPerMbit(fit))
        } else {
            Err(StatsError::RawFit(fit.to_string()))
        }
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

impl std::str::FromStr for FitPerMbit {
    type Err = StatsError;
    fn from_str(text: &str) -> Result<Self, StatsError> {
        let error = || StatsError::RawFit(text.to_owned());
        text.trim().parse().map_err(|_| error()).and_then(|fit| FitPerMbit::new(fit).map_err(|_| error()))
    }
}

/// flips / (byte · s) × 3,600 · 10^9 s × 2^17 bytes: "10 flips a month in 1 GiB" are 1,695 FIT/Mbit.
impl From<UpsetRate> for FitPerMbit {
    fn from(rate: UpsetRate) -> Self {
        FitPerMbit(rate.per_byte_second * (FIT_HOURS * 3600.0) * (MBIT / 8.0))
    }
}

impl From<FitPerMbit> for UpsetRate {
    fn from(fit: FitPerMbit) -> Self {
        UpsetRate { per_byte_second: fit.0 / (FIT_HOURS * 3600.0) / (MBIT / 8.0) }
    }
}

/// How many bits are exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Bits(pub u64);

impl Bits {
    /// The bits of so many bytes.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Self {
        Bits(bytes.saturating_mul(8))
    }
}

/// The failures in 10^9 hours of one class of outcomes: raw FIT a bit × bits × P(class).
///
/// `class` is the rate over the faults of these bits at all times of a run, so that what the workload
/// makes of a flip is in it (architectural vulnerability: Mukherjee et al., MICRO-36, 2003). The interval
/// is that of the campaign; the raw rate is taken as exact here, and [`crate::stats::raw`] widens it.
#[must_use]
pub fn fit_of_class(raw: FitPerMbit, exposed: Bits, class: Estimate) -> Estimate {
    class.scaled(raw.0 / MBIT * float(exposed.0))
}

/// What a mission has to expect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MissionOutlook {
    /// Flips that are expected in all.
    pub upsets: f64,
    /// Failures that are expected: upsets × P(class). The interval is that of the campaign's rate; the
    /// number of a single mission spreads around it as Poisson's distribution does.
    pub failures: Estimate,
    /// The chance of at least one failure, 1 − exp(−failures).
    pub any: Estimate,
}

/// The failures of one class that are expected of a mission of so many seconds in the field: flips a
/// GiB a month, in so many GiB, for so many years, each with the chance P(class).
///
/// Flips are taken to strike one by one, each a machine that no earlier one has damaged.
#[must_use]
pub fn mission_outlook(mission: &Mission, field_seconds: f64, class: Estimate) -> MissionOutlook {
    let upsets = mission.upsets_in(field_seconds);
    let (failures, any) = outlook(class.scaled(upsets));
    MissionOutlook { upsets, failures, any }
}

/// Expected failures, and the chance of at least one: 1 − exp(−failures), as their number is Poisson's.
#[must_use]
pub fn outlook(failures: Estimate) -> (Estimate, Estimate) {
    let any = |expected: f64| -(-expected).exp_m1();
    let Interval { lower, upper } = failures.interval;
    let any =
        Estimate { value: any(failures.value), interval: Interval { lower: any(lower), upper: any(upper) } };
    (failures, any)
}

/// The mean time to a failure in hours, 10^9/FIT: the interval of the FIT, turned over. What has no FIT has no end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mttf {
    /// The mean time; `None` where no failure was seen.
    pub value: Option<f64>,
    /// The lower end; `None` where nothing is exposed.
    pub lower: Option<f64>,
    /// The upper end; `None` where the FIT's interval reaches down to 0.
    pub upper: Option<f64>,
}

impl Mttf {
    /// Of a FIT.
    #[must_use]
    pub fn of(fit: Estimate) -> Self {
        let turned = |fit: f64| (fit > 0.0).then(|| FIT_HOURS / fit).filter(|hours| hours.is_finite());
        let Interval { lower, upper } = fit.interval;
        Mttf { value: turned(fit.value), lower: turned(upper), upper: turned(lower) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mission::parse_field_time;
    use crate::stats::quantity::{Confidence, Observed};

    #[test]
    fn ten_flips_a_month_in_a_gib_are_about_1700_fit_a_megabit() {
        let rate: UpsetRate = "10/GiB/month".parse().unwrap();
        let fit = FitPerMbit::from(rate);
        // 10 flips / 720 h / 8,192 Mbit · 10^9 h.
        assert!((fit.value() - 10.0 / 720.0 / 8192.0 * 1e9).abs() < 1e-9, "{fit:?}");
        assert!((fit.value() - 1695.4).abs() < 0.1);
        let back = UpsetRate::from(fit).per_byte_second;
        assert!((back / rate.per_byte_second - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_fit_of_a_class_is_its_share_of_the_raw_rate() {
        let class = Observed::new(50, 1000).unwrap().estimate(Confidence::P95);
        let raw = "1000".parse().unwrap();
        // 16 MiB are 128 Mbit: 128,000 FIT of flips, a twentieth of them failures.
        let fit = fit_of_class(raw, Bits::of_bytes(16 << 20), class);
        assert!((fit.value - 6400.0).abs() < 1e-9);
        assert!((fit.interval.upper / fit.value - class.interval.upper / class.value).abs() < 1e-12);
        for bad in ["", "0", "-1", "inf", "nan", "1700 FIT"] {
            assert_eq!(bad.parse::<FitPerMbit>(), Err(StatsError::RawFit(bad.to_owned())));
        }
    }

    #[test]
    fn the_mean_time_to_a_failure_is_the_rate_turned_over() {
        let fit = Estimate { value: 4e4, interval: Interval { lower: 2e4, upper: 1e5 } };
        assert_eq!(
            Mttf::of(fit),
            Mttf { value: Some(25_000.0), lower: Some(10_000.0), upper: Some(50_000.0) }
        );
        let none = Estimate { value: 0.0, interval: Interval { lower: 0.0, upper: 1e5 } };
        assert_eq!(Mttf::of(none), Mttf { value: None, lower: Some(10_000.0), upper: None });
    }

    #[test]
    fn a_mission_expects_its_flips_times_the_rate() {
        let mission = Mission { rate: "10/GiB/month".parse().unwrap(), bytes: 16 << 30, accelerate: 7.0 };
        let class = Observed::new(3, 1000).unwrap().estimate(Confidence::P95);
        let outlook = mission_outlook(&mission, parse_field_time("5years").unwrap(), class);
        // 10 · 16 · 60 months, whatever the laboratory's acceleration is.
        assert!((outlook.upsets - 9600.0).abs() < 1e-6);
        assert!((outlook.failures.value - 28.8).abs() < 1e-9);
        assert!(outlook.any.value > 0.999_999 && outlook.any.interval.contains(outlook.any.value));
        let never = Observed::new(0, 1000).unwrap().estimate(Confidence::P95);
        let outlook = mission_outlook(&mission, 16_200.0, never);
        assert_eq!((outlook.failures.value, outlook.any.value), (0.0, 0.0));
        assert!((outlook.any.interval.upper - 0.003_82).abs() < 1e-4, "{outlook:?}");
    }
}
