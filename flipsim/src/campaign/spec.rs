//! What a campaign is to be, with every default resolved; it is read from TOML, or put together from flags.
//!
//! Invariant: a [`CampaignSpec`] that passed [`CampaignSpec::check`] names every choice that a trial's
//! outcome depends on; its JSON ([`CampaignSpec::json`]) is the same for the same choices.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grade::Grade;
use super::size::Size;
use super::when::When;
use super::words::Words;
use crate::fault::target::{FaultTarget, FaultTargetTextError};
use crate::fault::{Align, Clusters, Count, Ecc, Listed, Mapping, MappingError, Operations, Pattern, Shape};
use crate::memory::RangeSet;
use crate::stats::Share;
use crate::target::Capabilities;
use crate::text::shown;
use crate::trial::golden::Window;
use crate::trial::{RestoreMethod, TrialOptions};
use crate::units::VirtualNs;

/// What a campaign is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CampaignSpec {
    /// Its name, for people.
    pub name: String,
    /// What everything is drawn from.
    pub seed: u64,
    /// How many trials; may be absent where every stratum says how many it has.
    pub size: Option<Size>,
    /// How strata that say nothing themselves share the trials.
    pub sharing: Sharing,
    /// How long a run is.
    pub window: Window,
    /// When faults strike.
    pub times: Times,
    /// At which of these moments, where a stratum says nothing else. What is drawn from all of them is stored as it was
    /// before there was a choice.
    #[serde(default, skip_serializing_if = "When::is_time")]
    pub when: When,
    /// How times are drawn.
    #[serde(default, skip_serializing_if = "Draw::is_moments")]
    pub draw: Draw,
    /// Which bits flip together, where a stratum says nothing else.
    #[serde(with = "pattern_text")]
    pub pattern: Pattern,
    /// What is done to them, where a stratum says nothing else.
    #[serde(default, skip_serializing_if = "Operations::is_flip")]
    pub operation: Operations,
    /// How many faults a trial has, where a stratum says nothing else.
    #[serde(default, skip_serializing_if = "Count::is_one")]
    pub faults: Count,
    /// Whether the guest's memory corrects errors, where a stratum says nothing else.
    #[serde(default, skip_serializing_if = "Ecc::is_none")]
    pub ecc: Ecc,
    /// How addresses lie in the memory's arrays, for clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Mapping>,
    /// The shapes of clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Shape>,
    /// The parts of the fault space.
    pub strata: Vec<StratumSpec>,
    /// How trials are run.
    pub trial: TrialSpec,
    /// The guest, in the caller's own words.
    pub guest: Value,
    /// By which rules a silent data corruption is graded, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grades: Vec<Grade>,
    /// What its author says of it.
    #[serde(default, skip_serializing_if = "Words::is_empty")]
    pub words: Words,
}

impl Default for CampaignSpec {
    /// A campaign over the whole RAM, of no size yet, with seed 0.
    fn default() -> Self {
        CampaignSpec {
            name: "campaign".to_owned(),
            seed: 0,
            size: None,
            sharing: Sharing::Proportional,
            window: Window::Done,
            times: Times::Within { from: VirtualNs(0), to: None },
            when: When::Time,
            draw: Draw::Moments,
            pattern: Pattern::SINGLE,
            operation: Operations::default(),
            faults: Count::ONE,
            ecc: Ecc::None,
            mapping: None,
            clusters: Vec::new(),
            strata: vec![StratumSpec::new("ram", vec![FaultTarget::Ram])],
            trial: TrialSpec::default(),
            guest: Value::Null,
            grades: Vec::new(),
            words: Words::default(),
        }
    }
}

/// How strata without a given number share the trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// In proportion to the number of their faults; a precision is that of the whole.
    #[default]
    Proportional,
    /// All the same; a precision is that of each stratum.
    Equal,
    /// By their size and the spread that a pilot campaign saw in them; the numbers stand with the strata.
    Pilot,
}

/// How times are drawn, each moment as likely as the others in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Draw {
    /// As moments, none of them twice for one fault.
    #[default]
    Moments,
    /// As fractions of the run, which are the same in a run of another length.
    Fractions,
}

impl Draw {
    /// Whether it is the default.
    #[must_use]
    pub fn is_moments(&self) -> bool {
        *self == Draw::Moments
    }
}

/// When faults strike, counted from the quiescent point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Times {
    /// At any whole nanosecond from `from` on and before `to`, each as likely as the others.
    Within {
        /// The first.
        from: VirtualNs,
        /// The first that is too late; without it the end of the golden run.
        to: Option<VirtualNs>,
    },
    /// At one of these.
    At(Vec<VirtualNs>),
}

impl Times {
    /// Whether they are all of the run.
    pub(super) fn is_whole(&self) -> bool {
        *self == Times::Within { from: VirtualNs(0), to: None }
    }
}

/// A part of the fault space that is sampled and reported by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StratumSpec {
    /// Its name, different from those of the others.
    pub name: String,
    /// Where faults strike: RAM, or registers, of all of these together.
    pub targets: Vec<FaultTarget>,
    /// Which bits flip together.
    #[serde(with = "pattern_text::option")]
    pub pattern: Option<Pattern>,
    /// What is done to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operations>,
    /// How many of them a trial has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<Count>,
    /// Whether its memory corrects errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecc: Option<Ecc>,
    /// How many trials it has, whatever the others have.
    pub trials: Option<u64>,
    /// Its part of the trials.
    pub share: Option<Share>,
    /// At which moments its faults strike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// In words of how many bytes the pattern lies; without it, it may cross any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub align: Option<Align>,
    /// Whether it is to be one stratum for each name in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Per>,
}

/// What a stratum is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// The kernel's functions and variables.
    Symbol,
}

impl StratumSpec {
    /// A stratum that shares the trials with the others.
    #[must_use]
    pub fn new(name: &str, targets: Vec<FaultTarget>) -> Self {
        StratumSpec {
            name: name.to_owned(),
            targets,
            pattern: None,
            operation: None,
            faults: None,
            ecc: None,
            trials: None,
            share: None,
            when: None,
            align: None,
            per: None,
        }
    }

    /// Whether its trials are written out.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.targets.iter().any(|target| target.listed().is_some())
    }

    /// Whether its faults are in registers.
    #[must_use]
    pub fn is_register(&self) -> bool {
        self.targets.iter().any(FaultTarget::is_register)
    }
}

/// `NAME=TARGET[,TARGET…]`, or the targets alone, which are the name then.
impl FromStr for StratumSpec {
    type Err = FaultTargetTextError;

    fn from_str(text: &str) -> Result<Self, FaultTargetTextError> {
        let (name, targets) = text.split_once('=').unwrap_or((text, text));
        let targets = targets.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(StratumSpec::new(name.trim(), targets))
    }
}

/// How trials are run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrialSpec {
    /// A guest hangs that is not done after so many times the golden run's length.
    pub hang_factor: f64,
    /// How long a stretch between two looks may take on the host's clock.
    pub wall: Duration,
    /// The time between two checkpoints, each of which is looked at; without, they are a fine grid, of which some are.
    pub spacing: Option<VirtualNs>,
    /// How the guest is restored.
    pub restore: RestoreMethod,
    /// How often a trial is begun that the laboratory itself lost, before it is given up.
    pub attempts: u32,
    /// Whether it is measured when a byte in RAM is first used, where recorded accesses leave that open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first_use: bool,
}

impl Default for TrialSpec {
    fn default() -> Self {
        let options = TrialOptions::default();
        TrialSpec {
            hang_factor: options.hang_factor,
            wall: options.wall,
            spacing: None,
            restore: options.restore,
            attempts: 3,
            first_use: false,
        }
    }
}

impl TrialSpec {
    /// The same for a worker.
    #[must_use]
    pub fn options(&self, interrupted: fn() -> bool) -> TrialOptions {
        TrialOptions {
            restore: self.restore,
            hang_factor: self.hang_factor,
            wall: self.wall,
            first_use: self.first_use,
            interrupted,
            ..TrialOptions::default()
        }
    }
}

/// A specification that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Not TOML, an unknown key, a value of the wrong form. Says line and column.
    #[error("{}{remedy}", error.to_string().trim_end())]
    Toml {
        /// What the reader of TOML says.
        error: Box<toml::de::Error>,
        /// What to write.
        remedy: String,
    },
    /// It contradicts itself.
    #[error("{}{what}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Invalid {
        /// The line, counted from 1, where it was read from text.
        line: Option<usize>,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl CampaignSpec {
    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// It does.
    pub fn check(&self) -> Result<(), SpecError> {
        self.problem().map_or(Ok(()), |problem| Err(SpecError::Invalid { line: None, what: problem.what }))
    }

    /// The pattern of a stratum.
    #[must_use]
    pub fn pattern_of(&self, stratum: &StratumSpec) -> Pattern {
        stratum.pattern.unwrap_or(self.pattern)
    }

    /// The operations of a stratum.
    #[must_use]
    pub fn operations_of(&self, stratum: &StratumSpec) -> Operations {
        let whole = if stratum.is_listed() { Operations::default() } else { self.operation };
        stratum.operation.unwrap_or(whole)
    }

    /// How many faults a trial of a stratum has.
    #[must_use]
    pub fn count_of(&self, stratum: &StratumSpec) -> Count {
        stratum.faults.unwrap_or(if stratum.is_listed() { Count::ONE } else { self.faults })
    }

    /// Whether the memory of a stratum corrects errors; registers have none.
    #[must_use]
    pub fn ecc_of(&self, stratum: &StratumSpec) -> Ecc {
        let whole = if stratum.is_register() || stratum.is_listed() { Ecc::None } else { self.ecc };
        stratum.ecc.unwrap_or(whole)
    }

    /// What a guest's QEMU lacks for it, in words.
    #[must_use]
    pub fn lacking(&self, capabilities: Capabilities) -> Option<String> {
        let listed = |target: &FaultTarget| target.listed().is_some_and(Listed::holds_on);
        let holds = |stratum: &&StratumSpec| {
            self.operations_of(stratum).hold_on() || stratum.targets.iter().any(listed)
        };
        let stratum = self.strata.iter().find(holds).filter(|_| !capabilities.stuck)?;
        let what = match stratum.is_listed() {
            true => "stuck bits".to_owned(),
            false => self.operations_of(stratum).to_string(),
        };
        Some(format!(
            "stratum `{}`: the QEMU of this guest cannot do {what}; build this lab's with `cargo xtask setup qemu`",
            shown(&stratum.name, 60),
        ))
    }

    /// What comes with the faults of a stratum in this RAM, of one whose pattern is a cluster.
    ///
    /// # Errors
    /// The mapping does not have all of it.
    pub fn clusters_in(
        &self,
        stratum: &StratumSpec,
        ram: &RangeSet,
    ) -> Result<Option<Clusters>, MappingError> {
        let mapping = self.mapping.as_ref().filter(|_| self.pattern_of(stratum) == Pattern::Cluster);
        let clusters = |mapping: &Mapping| Clusters::new(mapping.clone(), self.clusters.clone(), ram.clone());
        mapping.map(clusters).transpose()
    }

    /// The moments of a stratum.
    #[must_use]
    pub fn when_of(&self, stratum: &StratumSpec) -> When {
        stratum.when.as_ref().unwrap_or(&self.when).clone()
    }

    /// The same choices give the same text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(&sorted(serde_json::to_value(self).unwrap_or_default())).unwrap_or_default()
    }
}

/// Patterns as text, in every stored form.
mod pattern_text {
    use crate::campaign::text::PatternText;
    use crate::fault::Pattern;
    use serde::{Deserialize, Serialize, Serializer};

    pub fn serialize<S: Serializer>(pattern: &Pattern, serializer: S) -> Result<S::Ok, S::Error> {
        PatternText(*pattern).serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        PatternText::deserialize(deserializer).map(|text| text.0)
    }

    pub mod option {
        use super::*;

        #[expect(clippy::ref_option, reason = "serde's form")]
        pub fn serialize<S: Serializer>(pattern: &Option<Pattern>, serializer: S) -> Result<S::Ok, S::Error> {
            pattern.map(PatternText).serialize(serializer)
        }

        pub fn deserialize<'de, D: serde::Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Pattern>, D::Error> {
            let text = Option::<PatternText>::deserialize(deserializer)?;
            Ok(text.map(|text| text.0))
        }
    }
}

/// Objects with their keys in order, all the way down.
pub(super) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<(String, Value)> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
