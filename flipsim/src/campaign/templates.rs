//! Several campaigns of one specification, each with a golden run of its own.
//!
//! Invariant: **the same specification and the same number give the same campaigns**, with seeds that differ.

use rand::Rng;

use crate::campaign::size::Size;
use crate::campaign::spec::{CampaignSpec, SpecError};
use crate::fault::fault_rng;

/// So many golden runs are the most.
const MOST: u32 = 1_000;

impl CampaignSpec {
    /// The campaigns 1 to `count` of this specification: their trials are its trials shared equally, where the first get
    /// one more if need be, and their names have the number behind them.
    ///
    /// The seed of number K is the first number of 53 bits that the generator of this seed gives on stream 2^64 − K and that
    /// no earlier one has. What makes their guests differ is not decided here.
    ///
    /// # Errors
    /// `count` is below 2 or above 1,000, the number of trials is that of a precision, or there are fewer trials than
    /// campaigns.
    pub fn templates(&self, count: u32) -> Result<Vec<CampaignSpec>, SpecError> {
        let refuse = |what: String| SpecError::Invalid { line: None, what };
        if !(2..=MOST).contains(&count) {
            return Err(refuse(format!(
                "templates = {count}: write 2 to {MOST}, or leave it out for one golden run"
            )));
        }
        let whole = match self.size {
            Some(Size::Trials(trials)) => Some(trials),
            None => None,
            Some(size) => {
                return Err(refuse(format!(
                    "`templates` shares a number of trials, and {size} is a precision of trials of one run; give `trials`"
                )));
            }
        };
        // Trials that are written out are run from each template.
        let drawn = self.strata.iter().filter(|stratum| !stratum.is_listed());
        let fewest = drawn.filter_map(|stratum| stratum.trials).chain(whole).min();
        if let Some(trials) = fewest.filter(|trials| *trials < u64::from(count)) {
            return Err(refuse(format!(
                "{trials} trials are too few for {count} templates; give each one at least"
            )));
        }
        let mut made: Vec<CampaignSpec> = Vec::new();
        for number in 1..=count {
            let share = |trials: u64| {
                let (each, over) = (trials / u64::from(count), trials % u64::from(count));
                each + u64::from(u64::from(number) <= over)
            };
            let mut spec = CampaignSpec { name: numbered(&self.name, number), ..self.clone() };
            spec.size = whole.map(|trials| Size::Trials(share(trials)));
            for stratum in spec.strata.iter_mut().filter(|stratum| !stratum.is_listed()) {
                stratum.trials = stratum.trials.map(share);
            }
            let mut rng = fault_rng(self.seed, u64::from(number).wrapping_neg());
            spec.seed = rng.next_u64() >> 11;
            while made.iter().any(|other| other.seed == spec.seed) {
                spec.seed = rng.next_u64() >> 11;
            }
            if let Some(problem) = spec.problem() {
                return Err(refuse(problem.what));
            }
            made.push(spec);
        }
        Ok(made)
    }
}

/// A name, or that of a file, with a number.
fn numbered(name: &str, number: u32) -> String {
    match name.strip_suffix(".sqlite") {
        Some(stem) => format!("{stem}-{number}.sqlite"),
        None => format!("{name}-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fake_campaign as fake;

    #[test]
    fn templates_share_the_trials_and_have_seeds_of_their_own() {
        let mut spec = fake::spec(17, &["range:0x40000000+1M", "class:core"]);
        spec.strata[1].trials = Some(7);
        let made = spec.templates(5).unwrap();
        let names: Vec<&str> = made.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["fake-1", "fake-2", "fake-3", "fake-4", "fake-5"]);
        let sizes: Vec<_> = made.iter().map(|spec| (spec.size, spec.strata[1].trials)).collect();
        let of = |all, one| (Some(Size::Trials(all)), Some(one));
        assert_eq!(sizes, [of(4, 2), of(4, 2), of(3, 1), of(3, 1), of(3, 1)]);
        let seeds: std::collections::BTreeSet<u64> = made.iter().map(|spec| spec.seed).collect();
        assert_eq!((seeds.len(), seeds.contains(&spec.seed)), (5, false));
        // The same of more of them, and on any machine.
        assert_eq!(spec.templates(7).unwrap()[4].seed, made[4].seed);
        assert!(seeds.iter().all(|seed| *seed < 1 << 53));
        // Nothing else differs.
        let restored =
            CampaignSpec { name: spec.name.clone(), seed: spec.seed, size: spec.size, ..made[0].clone() };
        assert_eq!((restored.times, restored.guest), (spec.times, spec.guest));
    }

    #[test]
    fn a_precision_a_single_run_and_too_few_trials_are_refused() {
        let spec = fake::spec(4, &["range:0x40000000+1M"]);
        let why = |spec: &CampaignSpec, count| spec.templates(count).unwrap_err().to_string();
        assert!(why(&spec, 1).contains("write 2 to 1000"));
        assert!(why(&spec, 5).contains("too few for 5 templates"));
        let (margin, confidence) = (crate::stats::Share::HALF, crate::stats::Confidence::P95);
        let precise = CampaignSpec { size: Some(Size::Margin { margin, confidence }), ..spec };
        assert!(why(&precise, 2).contains("give `trials`"));
        assert_eq!(numbered("a/b.sqlite", 2), "a/b-2.sqlite");
    }
}
