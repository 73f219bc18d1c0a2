//! What a campaign is to be: read from TOML, or put together from flags.
//!
//! Invariant: a [`CampaignSpec`] that passed [`CampaignSpec::check`] names every choice that a trial's
//! outcome depends on; its JSON ([`CampaignSpec::json`]) is the same for the same choices.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use toml::Spanned;

use super::size::Size;
use crate::fault::{Pattern, random_seed};
use crate::memory::PhysRange;
use crate::stats::{Confidence, Share};
use crate::trial::golden::Window;
use crate::trial::{Restore, TrialOptions};
use crate::units::{BitIndex, VirtualNs, parse_duration, parse_number, parse_virtual};

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
    /// Which bits flip together, where a stratum says nothing else.
    #[serde(with = "pattern_text")]
    pub pattern: Pattern,
    /// The parts of the fault space.
    pub strata: Vec<StratumSpec>,
    /// How trials are carried out.
    pub trial: TrialSpec,
    /// The guest, in the caller's own words.
    pub guest: Value,
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
            pattern: Pattern::SINGLE,
            strata: vec![StratumSpec::new("ram", vec![Place::Ram])],
            trial: TrialSpec::default(),
            guest: Value::Null,
        }
    }
}

/// How strata that give no number of their own share the trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// In proportion to the number of their faults; a precision is that of the whole.
    #[default]
    Proportional,
    /// All the same; a precision is that of each stratum.
    Equal,
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

/// A part of the fault space that is sampled and reported by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StratumSpec {
    /// Its name, different from those of the others.
    pub name: String,
    /// Where faults strike: RAM, or registers, of all of these together.
    pub targets: Vec<Place>,
    /// Which bits flip together.
    #[serde(with = "pattern_text::option")]
    pub pattern: Option<Pattern>,
    /// How many trials it has, whatever the others have.
    pub trials: Option<u64>,
    /// Its part of the trials.
    pub share: Option<Share>,
}

impl StratumSpec {
    /// A stratum that shares the trials with the others.
    #[must_use]
    pub fn new(name: &str, targets: Vec<Place>) -> Self {
        StratumSpec { name: name.to_owned(), targets, pattern: None, trials: None, share: None }
    }
}

/// `NAME=TARGET[,TARGET…]`, or the targets alone, which are the name then.
impl FromStr for StratumSpec {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (name, targets) = text.split_once('=').unwrap_or((text, text));
        let targets = targets.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(StratumSpec::new(name.trim(), targets))
    }
}

/// Where faults strike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of the RAM: `ram`.
    Ram,
    /// A region of `/proc/iomem`, by name or path: `region:Kernel code`.
    Region(String),
    /// Symbols of the kernel, as a glob: `symbol:tcp_*`.
    Symbol(String),
    /// A section of the kernel's file: `section:.data`.
    Section(String),
    /// Addresses: `range:0x40000000+64K`.
    Range(PhysRange),
    /// Registers by name, as a glob: `reg:x*`.
    Register(String),
    /// Registers by class: `class:core`.
    Class(String),
}

/// Text that is no target of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Of no form.
    #[error(
        "`{0}` is no target; write ram, region:NAME, symbol:GLOB, section:NAME, range:FIRST-LAST, \
         range:FIRST+LENGTH, reg:GLOB or class:NAME"
    )]
    Form(String),
    /// A range that is none.
    #[error(transparent)]
    Range(#[from] crate::memory::RangeError),
}

impl Place {
    /// Whether faults are in registers.
    #[must_use]
    pub fn is_register(&self) -> bool {
        matches!(self, Place::Register(_) | Place::Class(_))
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let bad = || PlaceError::Form(text.to_owned());
        let text = text.trim();
        if text == "ram" {
            return Ok(Place::Ram);
        }
        let (kind, what) = text.split_once(':').ok_or_else(bad)?;
        let what = what.trim();
        if what.is_empty() {
            return Err(bad());
        }
        let name = what.to_owned();
        Ok(match kind {
            "region" => Place::Region(name),
            "symbol" => Place::Symbol(name),
            "section" => Place::Section(name),
            "range" => Place::Range(what.parse()?),
            "reg" => Place::Register(name),
            "class" => Place::Class(name),
            _ => return Err(bad()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Ram => f.write_str("ram"),
            Place::Region(name) => write!(f, "region:{name}"),
            Place::Symbol(name) => write!(f, "symbol:{name}"),
            Place::Section(name) => write!(f, "section:{name}"),
            Place::Range(range) => write!(f, "range:{range}"),
            Place::Register(name) => write!(f, "reg:{name}"),
            Place::Class(name) => write!(f, "class:{name}"),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|Text(place)| place)
    }
}

/// How trials are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrialSpec {
    /// A guest hangs that is not done after so many times the golden run's length.
    pub hang_factor: f64,
    /// How long a stretch between two checkpoints may take on the host's clock.
    pub wall: Duration,
    /// The time between two checkpoints; chosen by cost without.
    pub spacing: Option<VirtualNs>,
    /// How the guest is put back.
    pub restore: Restore,
    /// How often a trial is begun that the laboratory itself lost, before it is given up.
    pub attempts: u32,
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
            interrupted,
            ..TrialOptions::default()
        }
    }
}

/// A specification that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Not TOML, an unknown key, a value of the wrong form. Says line and column.
    #[error("{0}")]
    Toml(#[from] Box<toml::de::Error>),
    /// It contradicts itself.
    #[error("{}{what}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Invalid {
        /// The line, counted from 1, where it was read from text.
        line: Option<usize>,
        /// What is wrong, and what to do.
        what: String,
    },
}

/// What is wrong, and with which stratum.
struct Problem {
    stratum: Option<usize>,
    what: String,
}

impl CampaignSpec {
    /// Reads TOML. Only `name`, one stratum and a number of trials must be there; a seed that is not given is
    /// drawn.
    ///
    /// ```
    /// let spec = flipsim::campaign::CampaignSpec::from_toml(
    ///     r#"
    /// name = "kernel"
    /// seed = 42
    /// trials = 2000              # or margin = "1%", or relative = "20%" of rate = "1%"; confidence = "95%"
    /// sharing = "proportional"   # to the number of faults, or "equal"
    /// window = "done"            # or a time
    /// from = "10ms"              # to = "…", or at = ["1ms", "2ms"]
    /// pattern = "single"         # bit:3, adjacent:2, adjacent:2@5, mask:0x81
    /// hang-factor = 3.0          # wall = "60s", spacing = "10ms", restore = "rewind", attempts = 3
    ///
    /// [guest]
    /// workload = "sort"
    ///
    /// [[stratum]]
    /// name = "text"
    /// targets = ["region:Kernel code"]
    ///
    /// [[stratum]]
    /// name = "registers"
    /// targets = ["class:core"]
    /// trials = 500               # or share = "25%", or its part of what the others leave
    /// "#,
    /// )?;
    /// assert_eq!(spec.strata.len(), 2);
    /// # Ok::<(), flipsim::campaign::spec::SpecError>(())
    /// ```
    ///
    /// # Errors
    /// The text says what it may not, with the line.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        let raw: RawSpec = toml::from_str(text).map_err(Box::new)?;
        let line = |at: usize| Some(text[..at.min(text.len())].matches('\n').count() + 1);
        let lines: Vec<Option<usize>> =
            raw.stratum.iter().map(|stratum| line(stratum.span().start)).collect();
        let spec = raw.resolve(&|at| line(at))?;
        spec.problem().map_or(Ok(spec), |problem| {
            let line = problem.stratum.and_then(|index| lines.get(index).copied().flatten());
            Err(SpecError::Invalid { line, what: problem.what })
        })
    }

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

    /// The same choices give the same text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(&sorted(serde_json::to_value(self).unwrap_or_default())).unwrap_or_default()
    }

    fn problem(&self) -> Option<Problem> {
        let whole = |what: &str| Some(Problem { stratum: None, what: what.to_owned() });
        if self.name.trim().is_empty() {
            return whole("the campaign has no name; give it one, as in name = \"kernel-text\"");
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
        self.strata.iter().enumerate().find_map(|(index, stratum)| {
            let what = self.problem_of(index, stratum)?;
            Some(Problem { stratum: Some(index), what })
        })
    }

    fn problem_of(&self, index: usize, stratum: &StratumSpec) -> Option<String> {
        let name = &stratum.name;
        if name.trim().is_empty() {
            return Some("a stratum has no name".to_owned());
        }
        if self.strata[..index].iter().any(|other| other.name == *name) {
            return Some(format!("two strata are called `{name}`; rename one"));
        }
        if stratum.targets.is_empty() {
            return Some(format!("stratum `{name}` has no target"));
        }
        if stratum.targets.iter().any(Place::is_register) && !stratum.targets.iter().all(Place::is_register) {
            return Some(format!("stratum `{name}` mixes RAM and registers; make two strata of it"));
        }
        if stratum.trials == Some(0) {
            return Some(format!("stratum `{name}` has 0 trials; leave it out"));
        }
        if stratum.trials.is_some() && stratum.share.is_some() {
            return Some(format!("stratum `{name}` gives both `trials` and `share`; drop one"));
        }
        if stratum.trials.is_none() && self.size.is_none() {
            return Some(format!(
                "nothing says how many trials stratum `{name}` has; give `trials`, `margin` or `relative` \
                 for the campaign, or `trials` for the stratum"
            ));
        }
        let by_precision = matches!(self.size, Some(Size::Margin { .. } | Size::Relative { .. }));
        if stratum.share.is_some() && by_precision && self.sharing == Sharing::Equal {
            return Some(format!(
                "stratum `{name}` has a share of a number that is not known: with `sharing = \"equal\"` \
                 the precision is that of each stratum"
            ));
        }
        None
    }
}

/// Objects with their keys in order, all the way down.
fn sorted(value: Value) -> Value {
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

/// Reads a pattern: `single`, `bit:3`, `adjacent:2`, `adjacent:2@5` (two bits, the lower of them bit 5) or
/// `mask:0x81`.
///
/// # Errors
/// The text is none of these.
pub fn parse_pattern(text: &str) -> Result<Pattern, PatternError> {
    let bad = || PatternError(text.to_owned());
    let small = |text: &str| parse_number(text).ok().and_then(|number| u32::try_from(number).ok());
    let text = text.trim();
    if text == "single" {
        return Ok(Pattern::SINGLE);
    }
    let (kind, what) = text.split_once(':').ok_or_else(bad)?;
    match kind {
        "bit" => small(what).map(|bit| Pattern::AdjacentAt { count: 1, bit: BitIndex(bit) }),
        "adjacent" => match what.split_once('@') {
            None => small(what).map(Pattern::Adjacent),
            Some((count, bit)) => small(count)
                .zip(small(bit))
                .map(|(count, bit)| Pattern::AdjacentAt { count, bit: BitIndex(bit) }),
        },
        "mask" => parse_number(what).ok().map(Pattern::Mask),
        _ => None,
    }
    .ok_or_else(bad)
}

/// A pattern as [`parse_pattern`] reads it.
#[must_use]
pub fn format_pattern(pattern: Pattern) -> String {
    match pattern {
        Pattern::SINGLE => "single".to_owned(),
        Pattern::Adjacent(count) => format!("adjacent:{count}"),
        Pattern::AdjacentAt { count: 1, bit } => format!("bit:{bit}"),
        Pattern::AdjacentAt { count, bit } => format!("adjacent:{count}@{bit}"),
        Pattern::Mask(mask) => format!("mask:{mask:#x}"),
    }
}

/// Text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pattern; write single, bit:N, adjacent:COUNT, adjacent:COUNT@BIT or mask:0xHEX")]
pub struct PatternError(String);

/// Patterns as text, in every stored form.
mod pattern_text {
    use super::{Pattern, PatternText, Text, format_pattern};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(pattern: &Pattern, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_pattern(*pattern))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        Text::<PatternText>::deserialize(deserializer).map(|text| text.0.0)
    }

    pub mod option {
        use super::*;

        #[expect(clippy::ref_option, reason = "serde's form")]
        pub fn serialize<S: Serializer>(pattern: &Option<Pattern>, serializer: S) -> Result<S::Ok, S::Error> {
            pattern.map(format_pattern).serialize(serializer)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pattern>, D::Error> {
            let text = Option::<Text<PatternText>>::deserialize(deserializer)?;
            Ok(text.map(|text| text.0.0))
        }
    }
}

/// A value that is written as text. Its error points at the text.
struct Text<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Text).map_err(serde::de::Error::custom)
    }
}

/// What is parsed by a function, for [`Text`].
macro_rules! parsed {
    ($name:ident, $type:ty, $error:ty, $parse:expr) => {
        struct $name($type);
        impl FromStr for $name {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, $error> {
                $parse(text).map($name)
            }
        }
    };
}
parsed!(PatternText, Pattern, PatternError, parse_pattern);
parsed!(TimeText, VirtualNs, crate::units::UnitError, parse_virtual);
parsed!(DurationText, Duration, crate::units::UnitError, parse_duration);
parsed!(WindowText, Window, crate::units::UnitError, parse_window);

/// Reads a window: `done`, or a time.
///
/// # Errors
/// Neither.
pub fn parse_window(text: &str) -> Result<Window, crate::units::UnitError> {
    if text.trim() == "done" { Ok(Window::Done) } else { parse_virtual(text).map(Window::Time) }
}

/// The TOML.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawSpec {
    name: String,
    seed: Option<u64>,
    trials: Option<Spanned<u64>>,
    margin: Option<Spanned<Text<Share>>>,
    relative: Option<Spanned<Text<Share>>>,
    rate: Option<Spanned<Text<Share>>>,
    confidence: Option<Spanned<Text<Confidence>>>,
    #[serde(default)]
    sharing: Sharing,
    window: Option<Text<WindowText>>,
    from: Option<Spanned<Text<TimeText>>>,
    to: Option<Text<TimeText>>,
    at: Option<Spanned<Vec<Text<TimeText>>>>,
    pattern: Option<Text<PatternText>>,
    hang_factor: Option<f64>,
    wall: Option<Text<DurationText>>,
    spacing: Option<Text<TimeText>>,
    #[serde(default)]
    restore: Restore,
    attempts: Option<u32>,
    #[serde(default)]
    guest: Value,
    #[serde(default)]
    stratum: Vec<Spanned<RawStratum>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawStratum {
    name: Option<String>,
    targets: Vec<Place>,
    pattern: Option<Text<PatternText>>,
    trials: Option<u64>,
    share: Option<Text<Share>>,
}

impl RawSpec {
    fn resolve(self, line: &dyn Fn(usize) -> Option<usize>) -> Result<CampaignSpec, SpecError> {
        let size = self.size(line)?;
        let times = match (self.at, self.from, self.to) {
            (Some(at), None, None) => {
                Times::At(at.into_inner().into_iter().map(|Text(time)| time.0).collect())
            }
            (Some(at), ..) => {
                let what = "`at` lists the times, `from` and `to` bound them; drop one".to_owned();
                return Err(SpecError::Invalid { line: line(at.span().start), what });
            }
            (None, from, to) => Times::Within {
                from: from.map_or(VirtualNs(0), |from| from.into_inner().0.0),
                to: to.map(|Text(to)| to.0),
            },
        };
        let default = TrialSpec::default();
        let strata = self.stratum.into_iter().map(|stratum| {
            let raw = stratum.into_inner();
            let targets: Vec<String> = raw.targets.iter().map(ToString::to_string).collect();
            StratumSpec {
                name: raw.name.unwrap_or_else(|| targets.join(",")),
                targets: raw.targets,
                pattern: raw.pattern.map(|Text(pattern)| pattern.0),
                trials: raw.trials,
                share: raw.share.map(|Text(share)| share),
            }
        });
        Ok(CampaignSpec {
            name: self.name,
            seed: self.seed.unwrap_or_else(random_seed),
            size,
            sharing: self.sharing,
            window: self.window.map_or(Window::Done, |Text(window)| window.0),
            times,
            pattern: self.pattern.map_or(Pattern::SINGLE, |Text(pattern)| pattern.0),
            strata: strata.collect(),
            trial: TrialSpec {
                hang_factor: self.hang_factor.unwrap_or(default.hang_factor),
                wall: self.wall.map_or(default.wall, |Text(wall)| wall.0),
                spacing: self.spacing.map(|Text(spacing)| spacing.0),
                restore: self.restore,
                attempts: self.attempts.unwrap_or(default.attempts),
            },
            guest: self.guest,
        })
    }

    fn size(&self, line: &dyn Fn(usize) -> Option<usize>) -> Result<Option<Size>, SpecError> {
        let confidence = self.confidence.as_ref().map_or(Confidence::P95, |text| text.get_ref().0);
        let value = |text: &Spanned<Text<Share>>| text.get_ref().0;
        let wrong = |at: usize, what: &str| Err(SpecError::Invalid { line: line(at), what: what.to_owned() });
        let size = match (&self.trials, &self.margin, &self.relative) {
            (None, None, None) => None,
            (Some(trials), None, None) => Some(Size::Trials(*trials.get_ref())),
            (None, Some(margin), None) => Some(Size::Margin { margin: value(margin), confidence }),
            (None, None, Some(relative)) => match &self.rate {
                Some(rate) => {
                    Some(Size::Relative { relative: value(relative), rate: value(rate), confidence })
                }
                None => {
                    return wrong(
                        relative.span().start,
                        "`relative` is a part of a rate; say which rate you expect, as in rate = \"1%\"",
                    );
                }
            },
            (trials, margin, relative) => {
                let at = [
                    trials.as_ref().map(Spanned::span),
                    margin.as_ref().map(Spanned::span),
                    relative.as_ref().map(Spanned::span),
                ];
                let at = at.into_iter().flatten().map(|span| span.start).max().unwrap_or(0);
                return wrong(at, "`trials`, `margin` and `relative` each say how many trials; keep one");
            }
        };
        match (&self.rate, &self.confidence, size) {
            (Some(rate), _, Some(Size::Trials(_) | Size::Margin { .. }) | None) => {
                wrong(rate.span().start, "`rate` belongs to `relative`")
            }
            (_, Some(confidence), Some(Size::Trials(_)) | None) => {
                wrong(confidence.span().start, "`confidence` belongs to `margin` or `relative`")
            }
            _ => Ok(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(value: f64) -> Share {
        Share::new(value).unwrap()
    }

    const FULL: &str = r#"
name = "kernel"
seed = 42
margin = "1%"
confidence = "99%"
sharing = "equal"
window = "400ms"
from = "10ms"
to = "390ms"
pattern = "adjacent:2"
hang-factor = 2.5
wall = "30s"
spacing = "5ms"
restore = "clone"
attempts = 5

[guest]
workload = "sort"
memory = 134217728

[[stratum]]
name = "text"
targets = ["region:Kernel code", "symbol:tcp_*"]

[[stratum]]
targets = ["class:core", "reg:v*"]
pattern = "mask:0x81"
trials = 100
"#;

    #[test]
    fn a_file_says_all_there_is_to_say() {
        let spec = CampaignSpec::from_toml(FULL).unwrap();
        let expected = CampaignSpec {
            name: "kernel".into(),
            seed: 42,
            size: Some(Size::Margin { margin: share(0.01), confidence: Confidence::new(0.99).unwrap() }),
            sharing: Sharing::Equal,
            window: Window::Time(VirtualNs(400_000_000)),
            times: Times::Within { from: VirtualNs(10_000_000), to: Some(VirtualNs(390_000_000)) },
            pattern: Pattern::Adjacent(2),
            strata: vec![
                StratumSpec::new(
                    "text",
                    vec![Place::Region("Kernel code".into()), Place::Symbol("tcp_*".into())],
                ),
                StratumSpec {
                    pattern: Some(Pattern::Mask(0x81)),
                    trials: Some(100),
                    ..StratumSpec::new(
                        "class:core,reg:v*",
                        vec![Place::Class("core".into()), Place::Register("v*".into())],
                    )
                },
            ],
            trial: TrialSpec {
                hang_factor: 2.5,
                wall: Duration::from_secs(30),
                spacing: Some(VirtualNs(5_000_000)),
                restore: Restore::Clone,
                attempts: 5,
            },
            guest: serde_json::json!({ "workload": "sort", "memory": 134_217_728 }),
        };
        assert_eq!(spec, expected);
        assert_eq!(spec.pattern_of(&spec.strata[0]), Pattern::Adjacent(2));
        assert_eq!(spec.pattern_of(&spec.strata[1]), Pattern::Mask(0x81));
    }

    #[test]
    fn little_is_needed() {
        let spec =
            CampaignSpec::from_toml("name = 'a'\ntrials = 10\n[[stratum]]\ntargets = ['ram']\n").unwrap();
        let expected = CampaignSpec {
            name: "a".into(),
            seed: spec.seed,
            size: Some(Size::Trials(10)),
            ..CampaignSpec::default()
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn the_stored_form_is_read_back_and_is_the_same_for_the_same_choices() {
        let spec = CampaignSpec::from_toml(FULL).unwrap();
        let text = spec.json();
        assert_eq!(serde_json::from_str::<CampaignSpec>(&text).unwrap(), spec);
        let turned = FULL
            .replace("workload = \"sort\"\nmemory = 134217728", "memory = 134217728\nworkload = \"sort\"");
        assert_ne!(turned, FULL);
        assert_eq!(CampaignSpec::from_toml(&turned).unwrap().json(), text);
        insta::assert_snapshot!(text, @r#"{"guest":{"memory":134217728,"workload":"sort"},"name":"kernel","pattern":"adjacent:2","seed":42,"sharing":"equal","size":{"margin":{"confidence":0.99,"margin":0.01}},"strata":[{"name":"text","pattern":null,"share":null,"targets":["region:Kernel code","symbol:tcp_*"],"trials":null},{"name":"class:core,reg:v*","pattern":"mask:0x81","share":null,"targets":["class:core","reg:v*"],"trials":100}],"times":{"within":{"from":10000000,"to":390000000}},"trial":{"attempts":5,"hang-factor":2.5,"restore":"clone","spacing":5000000,"wall":{"nanos":0,"secs":30}},"window":{"time":400000000}}"#);
    }

    /// The error of the file above with something replaced.
    fn refused(from: &str, to: &str) -> String {
        assert!(FULL.contains(from), "{from}");
        CampaignSpec::from_toml(&FULL.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn the_demonstration_s_file_is_a_specification() {
        let spec = CampaignSpec::from_toml(include_str!("../../../docs/examples/demo.toml")).unwrap();
        let trials: Vec<_> = spec.strata.iter().map(|stratum| stratum.trials).collect();
        assert_eq!(trials, [Some(2000), Some(1000), Some(1000)]);
    }

    #[test]
    fn what_is_wrong_is_shown_with_its_line() {
        for (from, to, line, says) in [
            ("seed", "sed", "line 3", "unknown field `sed`"),
            ("\"1%\"", "\"1 percent\"", "line 4", "is not a share"),
            ("\"99%\"", "\"100%\"", "line 5", "is not a confidence"),
            ("\"10ms\"", "\"ten\"", "line 8", "is not a duration"),
            ("adjacent:2", "adjacent:two", "line 10", "is no pattern"),
            ("\"clone\"", "\"magic\"", "line 14", "unknown variant `magic`"),
            ("symbol:", "symbl:", "line 23", "is no target; write ram, region:NAME"),
            ("mask:0x81", "mask", "line 27", "is no pattern"),
            ("name = \"text\"", "nam = \"text\"", "line 22", "unknown field `nam`"),
            ("\"symbol:tcp_*\"", "\"reg:pc\"", "line 21", "mixes RAM and registers"),
            ("trials = 100", "trials = 100\nshare = \"5%\"", "line 25", "gives both `trials` and `share`"),
            ("trials = 100", "share = \"5%\"", "line 25", "a share of a number that is not known"),
            ("trials = 100", "trials = 0", "line 25", "has 0 trials"),
            ("[[stratum]]\ntargets", "[[stratum]]\nname = \"text\"\ntargets", "line 25", "are called `text`"),
            ("seed = 42", "trials = 9", "line 4", "keep one"),
            ("margin = \"1%\"", "trials = 9", "line 5", "`confidence` belongs to"),
            ("confidence = \"99%\"", "rate = \"1%\"", "line 5", "`rate` belongs to"),
            ("margin = \"1%\"", "relative = \"20%\"", "line 4", "say which rate you expect"),
            ("from = \"10ms\"", "at = [\"1ms\"]", "line 8", "drop one"),
        ] {
            let error = refused(from, to);
            assert!(error.contains(line) && error.contains(says), "{from} → {to}: {error}");
        }
        for (from, to, says) in [
            ("to = \"390ms\"", "to = \"10ms\"", "`from` is not before `to`"),
            ("hang-factor = 2.5", "hang-factor = 0.5", "hang-factor is below 1"),
            ("attempts = 5", "attempts = 0", "must be more than 0"),
            ("\"1%\"", "\"0%\"", "a margin of 0 at a rate of 0.5 takes no number of trials"),
            ("name = \"kernel\"", "name = \" \"", "has no name"),
            ("from = \"10ms\"\nto = \"390ms\"", "at = []", "the list of times is empty"),
            ("from = \"10ms\"\nto = \"390ms\"", "at = [\"1ms\", \"1000us\"]", "a time is listed twice"),
        ] {
            let error = refused(from, to);
            assert!(error.contains(says), "{from} → {to}: {error}");
        }
        let none = CampaignSpec { strata: Vec::new(), ..CampaignSpec::default() };
        assert!(none.check().unwrap_err().to_string().starts_with("there is no stratum"));
        let error = CampaignSpec::default().check().unwrap_err().to_string();
        assert!(error.starts_with("nothing says how many trials stratum `ram` has"), "{error}");
    }

    #[test]
    fn a_rare_outcome_and_fixed_times_can_be_asked_for() {
        let text = "name = 'a'\nrelative = '20%'\nrate = '1%'\nat = ['1ms', '2ms']\n[[stratum]]\ntargets = ['ram']\n";
        let spec = CampaignSpec::from_toml(text).unwrap();
        let confidence = Confidence::P95;
        let size = Size::Relative { relative: share(0.2), rate: share(0.01), confidence };
        assert_eq!(spec.size, Some(size));
        assert_eq!(spec.times, Times::At(vec![VirtualNs(1_000_000), VirtualNs(2_000_000)]));
    }

    #[test]
    fn targets_are_written_as_they_are_read() {
        for text in [
            "ram",
            "region:System RAM/Kernel code",
            "symbol:*",
            "section:.data",
            "range:0x40000000-0x4000ffff",
            "reg:x*",
            "class:core",
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for bad in ["", "rom", "ram:", "region:", "range:5", "range:2-1", "register:x1"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        let stratum: StratumSpec = "code = region:Kernel code, symbol:memcpy".parse().unwrap();
        assert_eq!((stratum.name.as_str(), stratum.targets.len()), ("code", 2));
        assert_eq!("reg:x1".parse::<StratumSpec>().unwrap().name, "reg:x1");
    }

    #[test]
    fn patterns_are_written_as_they_are_read() {
        for text in ["single", "adjacent:2", "bit:3", "adjacent:2@5", "mask:0x81"] {
            assert_eq!(format_pattern(parse_pattern(text).unwrap()), text);
        }
        assert_eq!(parse_pattern("adjacent:1").unwrap(), Pattern::SINGLE);
        for bad in ["", "double", "bit:", "bit:x", "adjacent:2@", "mask:", "adjacent:99999999999"] {
            assert!(parse_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        // Every prefix, which cuts lines and values anywhere.
        for end in 0..FULL.len() {
            let _ = CampaignSpec::from_toml(&FULL[..end]);
        }
    }
}
