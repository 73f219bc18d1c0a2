//! Times of several trials, as quantiles.
//!
//! Invariant: **a time that was seen at a look is a range**, and so is a quantile of such.

use serde::Serialize;

use crate::stats::Share;
use crate::stats::quantile::Quantile;
use crate::stats::turnbull::Lapse;
use crate::units::VirtualNs;

/// A time with its interval as people read it; an end that is not known is a `?`.
#[must_use]
pub fn with_ends(what: impl std::fmt::Display, lower: Option<VirtualNs>, upper: Option<VirtualNs>) -> String {
    let end = |end: Option<VirtualNs>| end.map_or("?".to_owned(), |end| end.to_string());
    format!("{what} ({} to {})", end(lower), end(upper))
}

/// Times since the flip, of those trials that have one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimeSummary {
    /// How many trials have one.
    pub trials: u64,
    /// How many count, with or without.
    pub of: u64,
    /// How many times are known only to lie between two looks at the guest.
    pub between: u64,
    /// None is shorter; the shortest itself where it is known exactly.
    pub shortest: VirtualNs,
    /// None is longer.
    pub longest: VirtualNs,
    /// The quantiles of ½, 0.9 and 0.99.
    pub quantiles: Vec<TimeQuantile>,
}

impl TimeSummary {
    /// Whether they are so few that the shortest and the longest say all, and a quantile pretends to more.
    #[must_use]
    pub fn are_few(&self) -> bool {
        self.trials < 10
    }

    /// All of it as people read it: quantiles with their intervals, or the ends where there are few.
    #[must_use]
    pub fn line(&self) -> String {
        let quantiles = self.quantiles.iter().map(|quantile| {
            let time = quantile.time;
            format!("{} {}", quantile.share, with_ends(quantile.place(), time.lower, time.upper))
        });
        let mut said =
            if self.are_few() { self.ends() } else { quantiles.collect::<Vec<String>>().join(", ") };
        if self.between > 0 {
            said += &format!("; {} known only to lie between two checkpoints", self.between);
        }
        said
    }

    /// The shortest and the longest as people read them.
    #[must_use]
    pub fn ends(&self) -> String {
        if self.shortest == self.longest {
            self.shortest.to_string()
        } else if self.between > 0 {
            format!("between {} and {}", self.shortest, self.longest)
        } else {
            format!("{} to {}", self.shortest, self.longest)
        }
    }
}

/// A quantile of times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeQuantile {
    /// Of which share.
    pub share: Share,
    /// The time, with its interval; an end is `None` where the trials are too few to have one.
    #[serde(flatten)]
    pub time: Quantile<VirtualNs>,
    /// Where the time is not known exactly: it is later than this, and at most `value`.
    pub after: Option<VirtualNs>,
    /// Where Turnbull's estimate has it then.
    pub likeliest: Option<Lapse>,
}

impl TimeQuantile {
    /// Where it lies, as people read it.
    #[must_use]
    pub fn place(&self) -> String {
        match self.after {
            Some(VirtualNs(0)) | None => format!("within {}", self.time.value),
            Some(after) => format!("between {after} and {}", self.time.value),
        }
    }
}
