//! What a specification cannot be: keys that contradict each other, and what to do about it.
//!
//! Invariant: what passes here can be drawn and run, as far as that is known without the guest.

use super::grade::Grade;
use super::size::Size;
use super::spec::{CampaignSpec, Draw, Sharing, StratumSpec, Times};
use crate::fault::{Ecc, FaultTarget, Pattern};
use crate::text::shown;
use crate::units::VirtualNs;

/// How many letters a campaign's name has at most.
const LONGEST: usize = 200;

/// How many strata a campaign has at most.
const MOST_STRATA: usize = 1000;

/// What is wrong, and with which stratum.
pub(super) struct Problem {
    pub(super) stratum: Option<usize>,
    pub(super) what: String,
}

impl CampaignSpec {
    /// The first that is wrong.
    pub(super) fn problem(&self) -> Option<Problem> {
        let whole = |what: &str| Some(Problem { stratum: None, what: what.to_owned() });
        if self.name.trim().is_empty() {
            return whole("the campaign has no name; give it one, as in name = \"kernel-text\"");
        }
        if self.name.chars().count() > LONGEST {
            return whole(&format!(
                "the campaign's name has {} letters, and {LONGEST} are the most: `{}`",
                self.name.chars().count(),
                shown(&self.name, 40)
            ));
        }
        if self.strata.len() > MOST_STRATA {
            return whole(&format!(
                "there are {} strata, and {MOST_STRATA} are the most: each is sampled and shown by itself; put more \
                 targets into one",
                self.strata.len()
            ));
        }
        if self.strata.is_empty() {
            return whole(
                "there is no stratum; say where faults strike, as in [[stratum]] targets = [\"ram\"]",
            );
        }
        match &self.times {
            Times::At(times) if times.is_empty() => return whole("the list of times is empty"),
            Times::At(times) => {
                let mut sorted = times.clone();
                sorted.sort_unstable();
                sorted.dedup();
                if sorted.len() != times.len() {
                    return whole("a time is listed twice; every fault would be drawn twice");
                }
            }
            Times::Within { from, to: Some(to) } if from >= to => {
                return whole("`from` is not before `to`; no time is left for a fault");
            }
            Times::Within { .. } => {}
        }
        let chosen = self.strata.iter().map(|stratum| self.when_of(stratum)).find(|when| !when.is_time());
        if let (Times::At(_), Some(when)) = (&self.times, chosen) {
            return whole(&format!(
                "`at` lists the times, and `when = \"{when}\"` chooses among all of them; drop one"
            ));
        }
        if let (Times::At(_), Draw::Fractions) = (&self.times, self.draw) {
            return whole(
                "`at` lists the times, and `draw = \"fractions\"` draws them as fractions of the run; drop one",
            );
        }
        if !(self.trial.hang_factor.is_finite() && self.trial.hang_factor >= 1.0) {
            return whole("hang-factor is below 1: a guest would hang before the golden run is done");
        }
        if self.trial.attempts == 0 || self.trial.wall.is_zero() || self.trial.spacing == Some(VirtualNs(0)) {
            return whole("`attempts`, `wall` and `spacing` must be more than 0");
        }
        if let Some(Err(error)) = self.size.map(|size| size.trials(u128::MAX)) {
            return whole(&error.to_string());
        }
        if self.size == Some(Size::Trials(0)) {
            return whole("a campaign of 0 trials finds nothing; give a number above 0");
        }
        if let Some(error) = self.clusters.iter().find_map(|shape| shape.check().err()) {
            return whole(&format!("[[cluster]]: {error}"));
        }
        let clustered = self.strata.iter().any(|stratum| self.pattern_of(stratum) == Pattern::Cluster);
        let all = [clustered, self.mapping.is_some(), !self.clusters.is_empty()];
        if all.contains(&true) && all.contains(&false) {
            return whole(
                "clusters take three things: `mapping`, [[cluster]] with `cells` and `weight`, and a stratum with \
                 pattern = \"cluster\"",
            );
        }
        if let Some(what) = Grade::problem(&self.grades).or_else(|| self.words.problem()) {
            return whole(&what);
        }
        self.strata.iter().enumerate().find_map(|(index, stratum)| {
            let what = self.problem_of(index, stratum)?;
            Some(Problem { stratum: Some(index), what })
        })
    }

    fn problem_of(&self, index: usize, stratum: &StratumSpec) -> Option<String> {
        if stratum.name.trim().is_empty() {
            return Some("a stratum has no name".to_owned());
        }
        let name = shown(&stratum.name, 60);
        if self.strata[..index].iter().any(|other| other.name == stratum.name) {
            return Some(format!("two strata are called `{name}`; rename one"));
        }
        if stratum.targets.is_empty() {
            return Some(format!("stratum `{name}` has no target"));
        }
        if stratum.is_register()
            && !stratum.is_listed()
            && !stratum.targets.iter().all(FaultTarget::is_register)
        {
            return Some(format!("stratum `{name}` mixes RAM and registers; make two strata of it"));
        }
        if stratum.is_register() && (stratum.align.is_some() || stratum.per.is_some()) {
            return Some(format!(
                "stratum `{name}` is of registers, which have no words and no symbols; drop `align` and `per`"
            ));
        }
        if stratum.is_listed() {
            let own = [
                stratum.pattern.is_some(),
                stratum.operation.is_some(),
                stratum.faults.is_some(),
                stratum.per.is_some(),
                stratum.align.is_some(),
                stratum.share.is_some(),
            ];
            if !stratum.targets.iter().all(|target| target.listed().is_some()) {
                return Some(format!(
                    "stratum `{name}` has trials that are written out beside other targets; make two of it"
                ));
            }
            if own.contains(&true) || !self.when_of(stratum).is_time() || !self.times.is_whole() {
                return Some(format!(
                    "stratum `{name}`: trials that are written out say themselves how many they are, when, which bits and \
                     what is done; drop `pattern`, `operation`, `faults`, `per`, `align`, `share`, `when`, `at`, `during`, \
                     `from` and `to`"
                ));
            }
            if self.ecc == Ecc::Secded && stratum.ecc.is_none() {
                return Some(format!(
                    "stratum `{name}`: the campaign's `ecc` is of faults that are drawn; say `ecc = \"none\"` for these trials, \
                     which are run as they are written out"
                ));
            }
        }
        if stratum.targets.iter().any(|target| target.used().is_some()) {
            let of = |what: &str| Some(format!("stratum `{name}`: `{}` {what}", stratum.targets[0]));
            match self.when_of(stratum).trigger() {
                None => return of("is what is used at an instant; say at which, with `at` or `during`"),
                Some(_) if stratum.targets.len() > 1 => {
                    return of("and other targets are drawn in different ways; make a stratum of each");
                }
                Some(_) if self.pattern_of(stratum) == Pattern::Cluster || stratum.per.is_some() => {
                    return of("has neither clusters nor symbols; drop `pattern = \"cluster\"` and `per`");
                }
                Some(_) => {}
            }
        }
        if self.ecc_of(stratum) == Ecc::Secded {
            let only = |what: &str| Some(format!("stratum `{name}`: `ecc` is of {what}"));
            if stratum.is_register() {
                return only("RAM, and these are registers; drop it");
            }
            if stratum.is_listed() {
                return only("faults that are drawn; drop it");
            }
            if !self.operations_of(stratum).is_flip() {
                return only("flips alone: what it makes of another operation hangs on what is in the word");
            }
            if !self.count_of(stratum).is_one() {
                return only("one upset in a trial; for several bits at once, choose a pattern or a cluster");
            }
        }
        if stratum.per.is_some() && stratum.trials.is_none() {
            return Some(format!(
                "stratum `{name}` is one for each symbol; give it `trials`, which they share evenly"
            ));
        }
        if stratum.trials == Some(0) {
            return Some(format!("stratum `{name}` has 0 trials; leave it out"));
        }
        if stratum.trials.is_some() && stratum.share.is_some() {
            return Some(format!("stratum `{name}` gives both `trials` and `share`; drop one"));
        }
        if stratum.trials.is_none() && self.sharing == Sharing::Pilot {
            return Some(format!(
                "nothing says how many trials stratum `{name}` has: `campaign new --pilot CAMPAIGN` takes that from \
                 a campaign that was run; or give it `trials`"
            ));
        }
        if stratum.trials.is_none() && self.size.is_none() {
            return Some(format!(
                "nothing says how many trials stratum `{name}` has; give `trials`, `margin`, `relative` or \
                 `to-detect` for the campaign, or `trials` for the stratum"
            ));
        }
        let by_precision =
            matches!(self.size, Some(Size::Margin { .. } | Size::Relative { .. } | Size::Detect { .. }));
        if stratum.share.is_some() && by_precision && self.sharing == Sharing::Equal {
            return Some(format!(
                "stratum `{name}` has a share of a number that is not known: with `sharing = \"equal\"` \
                 the precision is that of each stratum"
            ));
        }
        None
    }
}
