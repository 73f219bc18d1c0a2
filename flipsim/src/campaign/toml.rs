//! A specification as its file says it, and as flags do: every key is named here, once.
//!
//! ```text
//! file ─→ RawSpec ─┐
//! flags ─→ RawSpec ┴─ over ─→ resolved, checked ─→ CampaignSpec ─→ RawSpec ─→ file
//! ```
//!
//! Invariant: **what [`CampaignSpec::from_toml`] reads of [`CampaignSpec::to_toml`] is the same specification**, but for
//! nulls in the guest's part, which TOML does not have. A key that is not known is a mistake,
//! and a mistake is reported with its line.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Spanned;

use crate::campaign::at::{At, During, in_keys, of_keys};
use crate::campaign::grade::Grade;
use crate::campaign::mapping::MappingText;
use crate::campaign::size::{ASSURANCE, POWER, Size};
use crate::campaign::spec::{CampaignSpec, Draw, Per, Sharing, SpecError, StratumSpec, Times, TrialSpec};
use crate::campaign::text::{
    AssuranceText, ConfidenceText, DurationText, PatternText, ShareText, TimeText, WindowText,
};
use crate::campaign::when::When;
use crate::campaign::words::Words;
use crate::fault::{Align, Count, Ecc, FaultTarget, Operations, Pattern, Shape, random_seed};
use crate::stats::Confidence;
use crate::text::near_names;
use crate::trial::golden::Window;
use crate::trial::{RestoreMethod, Trigger};
use crate::units::VirtualNs;

impl CampaignSpec {
    /// Reads TOML. Only `name` and a number of trials must be there; a seed that is not given is drawn, and without a
    /// stratum faults are drawn from the whole RAM.
    ///
    /// ```
    /// let spec = flipsim::campaign::CampaignSpec::from_toml(
    ///     r#"
    /// name = "kernel"
    /// seed = 42
    /// trials = 2000              # or margin = "1%", or relative = "20%" or to-detect = 0.5 with rate = "1%"
    /// sharing = "proportional"   # to the number of faults, or "equal"
    /// window = "done"            # or a time
    /// from = "10ms"              # to = "…", or at = ["1ms", "2ms"], or at = "symbol:vfs_read"
    /// when = "busy"              # or "time", "instructions", "idle"; or during = "user", "kernel", "symbol:schedule"
    /// draw = "moments"           # or "fractions" of the run
    /// pattern = "single"         # bit:3, adjacent:2, adjacent:2@5, mask:0x81, cluster
    /// faults = 1                 # in a trial; or more, or "poisson:2.5"
    /// ecc = "none"               # or "secded"
    /// operation = "flip"         # set0, set1, overwrite:0x41, overwrite:random, skip, opcode, stuck0, stuck1, stuck, nothing
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
        RawSpec::from_toml(text)?.resolved(text)
    }

    /// The file that says the same, so that it draws the same plan again.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let written = toml::to_string(&RawSpec::from(self));
        written.unwrap_or_else(|error| format!("# TOML cannot say it: {error}\n"))
    }
}

/// What to write in the place of a value of the wrong form: what its reader expected, and the remedy.
const REMEDIES: &[(&str, &str)] = &[
    ("expected u64", "write a whole number without quotes, as in 2000"),
    ("expected u32", "write a whole number without quotes, as in 3"),
    ("expected f64", "write a number without quotes, as in 3.0"),
    ("expected a string", "write it in quotes"),
    ("expected a sequence", "write a list, as in [\"…\", \"…\"]"),
    (
        "expected struct RawStratum",
        "write [[stratum]] in a line of its own, and the keys of the stratum below it",
    ),
];

/// What to do about a key or a value that a reader has refused with this message, behind `; `: the known name that is
/// nearest, or how the value is written. Empty where the message says all.
#[must_use]
pub fn remedy(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") || message.starts_with("unknown variant") {
        return quoted.next().map_or_else(String::new, |name| near_names(name, quoted));
    }
    let found = REMEDIES.iter().find(|(expected, _)| message.contains(expected));
    found.map_or_else(String::new, |(_, remedy)| format!("; {remedy}"))
}

/// The place of a value that is in no file.
const NOWHERE: usize = usize::MAX;

/// A value that is in no file.
fn placed<T>(value: T) -> Spanned<T> {
    Spanned::new(NOWHERE..NOWHERE, value)
}

/// The keys of a specification, each as it is written; what is not said has its default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RawSpec {
    /// What the command line says of the name wins, so that a file need not have one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    title: Option<String>,
    about: Option<String>,
    author: Option<String>,
    seed: Option<u64>,
    trials: Option<Spanned<u64>>,
    /// How many campaigns there are of it; no part of what each one is.
    templates: Option<u32>,
    margin: Option<Spanned<ShareText>>,
    relative: Option<Spanned<ShareText>>,
    rate: Option<Spanned<ShareText>>,
    assurance: Option<Spanned<AssuranceText>>,
    to_detect: Option<Spanned<f64>>,
    power: Option<Spanned<ShareText>>,
    confidence: Option<Spanned<ConfidenceText>>,
    sharing: Option<Sharing>,
    window: Option<WindowText>,
    from: Option<Spanned<TimeText>>,
    to: Option<TimeText>,
    at: Option<Spanned<At>>,
    during: Option<During>,
    when: Option<When>,
    draw: Option<Draw>,
    pattern: Option<PatternText>,
    operation: Option<Operations>,
    r#for: Option<TimeText>,
    every: Option<TimeText>,
    faults: Option<Count>,
    ecc: Option<Ecc>,
    mapping: Option<MappingText>,
    hang_factor: Option<f64>,
    wall: Option<DurationText>,
    spacing: Option<TimeText>,
    restore: Option<RestoreMethod>,
    attempts: Option<u32>,
    first_use: Option<bool>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    guest: Value,
    #[serde(default)]
    stratum: Vec<Spanned<RawStratum>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cluster: Vec<Shape>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grade: Vec<Grade>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawStratum {
    name: Option<String>,
    targets: Vec<FaultTarget>,
    pattern: Option<PatternText>,
    operation: Option<Operations>,
    r#for: Option<TimeText>,
    every: Option<TimeText>,
    faults: Option<Count>,
    ecc: Option<Ecc>,
    trials: Option<u64>,
    share: Option<ShareText>,
    when: Option<When>,
    at: Option<Trigger>,
    during: Option<During>,
    align: Option<Align>,
    per: Option<Per>,
}

/// What flags can say of a specification; they win over a file.
#[derive(Clone, Debug, Default)]
pub struct SpecFlags {
    /// The campaign's name.
    pub name: String,
    /// What everything is drawn from.
    pub seed: Option<u64>,
    /// How many trials.
    pub size: Option<Size>,
    /// The parts of the fault space; all of the file's where there is none.
    pub strata: Vec<StratumSpec>,
    /// How many golden runs.
    pub templates: Option<u32>,
    /// How strata share the trials.
    pub sharing: Option<Sharing>,
    /// Which bits flip together.
    pub pattern: Option<Pattern>,
    /// What is done to them.
    pub operation: Option<Operations>,
    /// How many faults a trial has.
    pub faults: Option<Count>,
    /// Whether memory corrects errors.
    pub ecc: Option<Ecc>,
    /// How long a run is.
    pub window: Option<Window>,
    /// At which moments faults strike.
    pub when: Option<When>,
}

impl From<&CampaignSpec> for RawSpec {
    fn from(spec: &CampaignSpec) -> RawSpec {
        let (from, to, at) = match &spec.times {
            Times::At(at) => {
                (None, None, Some(placed(At::Times(at.iter().copied().map(TimeText).collect()))))
            }
            Times::Within { from, to } => (Some(placed(TimeText(*from))), to.map(TimeText), None),
        };
        let (when, event) = in_keys(Some(spec.when.clone()).filter(|when| !when.is_time()));
        let at = at.or(event.map(|event| placed(At::Event(event))));
        let TrialSpec { hang_factor, wall, spacing, restore, attempts, first_use } = spec.trial;
        let mut raw = RawSpec {
            name: spec.name.clone(),
            title: spec.words.title.clone(),
            about: spec.words.about.clone(),
            author: spec.words.author.clone(),
            seed: Some(spec.seed),
            sharing: Some(spec.sharing),
            window: Some(WindowText(spec.window)),
            from,
            to,
            at,
            when,
            draw: Some(spec.draw).filter(|draw| !draw.is_moments()),
            pattern: Some(PatternText(spec.pattern)),
            operation: Some(spec.operation).filter(|operation| !operation.is_flip()),
            faults: Some(spec.faults).filter(|faults| !faults.is_one()),
            ecc: Some(spec.ecc).filter(|ecc| !ecc.is_none()),
            mapping: spec.mapping.as_ref().and_then(MappingText::of),
            cluster: spec.clusters.clone(),
            hang_factor: Some(hang_factor),
            wall: Some(DurationText(wall)),
            spacing: spacing.map(TimeText),
            restore: Some(restore),
            attempts: Some(attempts),
            first_use: Some(first_use).filter(|measured| *measured),
            guest: without_nulls(&spec.guest),
            stratum: spec.strata.iter().map(RawStratum::from).map(placed).collect(),
            grade: spec.grades.clone(),
            ..RawSpec::default()
        };
        raw.set_size(spec.size);
        raw
    }
}

impl From<&StratumSpec> for RawStratum {
    fn from(stratum: &StratumSpec) -> RawStratum {
        let (when, at) = in_keys(stratum.when.clone());
        RawStratum {
            name: Some(stratum.name.clone()),
            targets: stratum.targets.clone(),
            pattern: stratum.pattern.map(PatternText),
            operation: stratum.operation,
            r#for: None,
            every: None,
            faults: stratum.faults,
            ecc: stratum.ecc,
            trials: stratum.trials,
            share: stratum.share.map(ShareText),
            when,
            at,
            during: None,
            align: stratum.align,
            per: stratum.per,
        }
    }
}

/// An operation at the times that are in keys beside it.
fn held(
    operation: Option<Operations>,
    long: Option<TimeText>,
    every: Option<TimeText>,
) -> Result<Option<Operations>, String> {
    let [long, every] = [long, every].map(|time| time.map(|TimeText(time)| time));
    let Some(operation) = operation else {
        let alone = long.is_some() || every.is_some();
        return if alone {
            Err("`for` and `every` are of an `operation` that holds on; name it".to_owned())
        } else {
            Ok(None)
        };
    };
    operation.during(long, every).map(Some).map_err(|error| error.to_string())
}

/// JSON without its nulls, as TOML has none.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

impl RawSpec {
    /// Reads TOML, whose values are not checked against each other yet.
    ///
    /// # Errors
    /// It is no TOML, has an unknown key or a value of the wrong form. Says line and column.
    pub fn from_toml(text: &str) -> Result<RawSpec, SpecError> {
        toml::from_str(text).map_err(|error| {
            let remedy = remedy(error.message());
            SpecError::Toml { error: Box::new(error), remedy }
        })
    }

    /// How many golden runs there are to be, for [`CampaignSpec::templates`]; `None` for one.
    #[must_use]
    pub fn templates(&self) -> Option<u32> {
        self.templates
    }

    /// The keys of a campaign over the whole RAM that has no seed yet.
    #[must_use]
    pub fn whole_ram() -> RawSpec {
        RawSpec { seed: None, ..RawSpec::from(&CampaignSpec::default()) }
    }

    /// The same where flags say nothing else. A size by flags is all of the size.
    #[must_use]
    pub fn under(mut self, flags: &SpecFlags) -> RawSpec {
        self.name.clone_from(&flags.name);
        self.seed = flags.seed.or(self.seed);
        if flags.size.is_some() {
            self.set_size(flags.size);
        }
        if !flags.strata.is_empty() {
            self.stratum = flags.strata.iter().map(RawStratum::from).map(placed).collect();
        }
        self.templates = flags.templates.or(self.templates);
        self.sharing = flags.sharing.or(self.sharing);
        self.pattern = flags.pattern.map(PatternText).or(self.pattern);
        if flags.operation.is_some() {
            self.operation = flags.operation;
            (self.r#for, self.every) = (None, None);
        }
        self.faults = flags.faults.or(self.faults);
        self.ecc = flags.ecc.or(self.ecc);
        self.window = flags.window.map(WindowText).or(self.window);
        if flags.when.is_some() {
            self.when.clone_from(&flags.when);
            self.at = self.at.filter(|at| matches!(at.get_ref(), At::Times(_)));
            self.during = None;
        }
        self
    }

    /// The file that its mapping is in, where it has one of its own.
    #[must_use]
    pub fn mapping_file(&self) -> Option<&str> {
        self.mapping.as_ref().and_then(MappingText::file)
    }

    /// With this content of that file.
    ///
    /// # Errors
    /// It is not TOML.
    pub fn with_mapping(self, text: &str) -> Result<RawSpec, SpecError> {
        Ok(RawSpec { mapping: Some(MappingText::of_file(text)?), ..self })
    }

    /// The specification, checked. `text` is the file that keys were read from, so that an error has its line.
    ///
    /// # Errors
    /// The keys contradict each other.
    pub fn resolved(self, text: &str) -> Result<CampaignSpec, SpecError> {
        let line = |at: usize| (at != NOWHERE).then(|| text[..at.min(text.len())].matches('\n').count() + 1);
        let lines: Vec<Option<usize>> =
            self.stratum.iter().map(|stratum| line(stratum.span().start)).collect();
        let spec = self.resolve(&line)?;
        spec.problem().map_or(Ok(spec), |problem| {
            let line = problem.stratum.and_then(|index| lines.get(index).copied().flatten());
            Err(SpecError::Invalid { line, what: problem.what })
        })
    }

    /// Says how many trials in the keys for that, and in no other.
    fn set_size(&mut self, size: Option<Size>) {
        let (trials, margin, relative, rate, confidence) = match size {
            None => (None, None, None, None, None),
            Some(Size::Trials(trials)) => (Some(trials), None, None, None, None),
            Some(Size::Margin { margin, confidence }) => (None, Some(margin), None, None, Some(confidence)),
            Some(Size::Relative { relative, rate, confidence, .. }) => {
                (None, None, Some(relative), Some(rate), Some(confidence))
            }
            Some(Size::Detect { rate, confidence, .. }) => (None, None, None, Some(rate), Some(confidence)),
        };
        (self.to_detect, self.power) = match size {
            Some(Size::Detect { to_detect, power, .. }) => {
                (Some(placed(to_detect)), Some(placed(ShareText(power))))
            }
            _ => (None, None),
        };
        self.assurance = match size {
            Some(Size::Relative { assurance, .. }) => Some(placed(AssuranceText(assurance))),
            _ => None,
        };
        self.trials = trials.map(placed);
        [self.margin, self.relative, self.rate] =
            [margin, relative, rate].map(|share| share.map(ShareText).map(placed));
        self.confidence = confidence.map(ConfidenceText).map(placed);
    }

    fn resolve(self, line: &dyn Fn(usize) -> Option<usize>) -> Result<CampaignSpec, SpecError> {
        let size = self.size(line)?;
        let (mut listed, mut when) = (None, self.when.clone());
        if let Some(at) = self.at {
            let line = line(at.span().start);
            match at.into_inner() {
                At::Times(times) => listed = Some((line, times)),
                At::Event(event) => {
                    let both = of_keys(when, Some(event), None);
                    when = both.map_err(|what| SpecError::Invalid { line, what })?;
                }
            }
        }
        let both = of_keys(when, None, self.during);
        let when = both.map_err(|what| SpecError::Invalid { line: None, what })?;
        let times = match (listed, self.from, self.to) {
            (Some((_, at)), None, None) => Times::At(at.into_iter().map(|TimeText(time)| time).collect()),
            (Some((line, _)), ..) => {
                let what = "`at` lists the times, `from` and `to` bound them; drop one".to_owned();
                return Err(SpecError::Invalid { line, what });
            }
            (None, from, to) => Times::Within {
                from: from.map_or(VirtualNs(0), |from| from.into_inner().0),
                to: to.map(|TimeText(to)| to),
            },
        };
        let default = TrialSpec::default();
        let whole = CampaignSpec::default().strata;
        let whole_operation = held(self.operation, self.r#for, self.every)
            .map_err(|what| SpecError::Invalid { line: None, what })?;
        let strata = self.stratum.into_iter().map(|stratum| {
            let line = line(stratum.span().start);
            let raw = stratum.into_inner();
            let targets: Vec<String> = raw.targets.iter().map(ToString::to_string).collect();
            let listed = raw.targets.iter().filter(|target| target.listed().is_some()).count() as u64;
            let when =
                of_keys(raw.when, raw.at, raw.during).map_err(|what| SpecError::Invalid { line, what })?;
            // One that says how long alone says it of the operation of all.
            let timed = raw.r#for.is_some() || raw.every.is_some();
            let operation = raw.operation.or(self.operation.filter(|_| timed));
            let operation = held(operation, raw.r#for, raw.every);
            Ok(StratumSpec {
                name: raw.name.unwrap_or_else(|| targets.join(",")),
                targets: raw.targets,
                pattern: raw.pattern.map(|PatternText(pattern)| pattern),
                operation: operation.map_err(|what| SpecError::Invalid { line, what })?,
                faults: raw.faults,
                ecc: raw.ecc,
                // Trials that are written out are their own number.
                trials: raw.trials.or((listed > 0).then_some(listed)),
                share: raw.share.map(|ShareText(share)| share),
                when,
                align: raw.align,
                per: raw.per,
            })
        });
        let strata: Vec<StratumSpec> = strata.collect::<Result<_, SpecError>>()?;
        Ok(CampaignSpec {
            name: self.name,
            seed: self.seed.unwrap_or_else(random_seed),
            size,
            sharing: self.sharing.unwrap_or_default(),
            window: self.window.map_or(Window::Done, |WindowText(window)| window),
            times,
            when: when.unwrap_or_default(),
            draw: self.draw.unwrap_or_default(),
            pattern: self.pattern.map_or(Pattern::SINGLE, |PatternText(pattern)| pattern),
            operation: whole_operation.unwrap_or_default(),
            faults: self.faults.unwrap_or_default(),
            ecc: self.ecc.unwrap_or_default(),
            mapping: self.mapping.map(MappingText::mapping).transpose()?,
            clusters: self.cluster,
            strata: Some(strata).filter(|strata| !strata.is_empty()).unwrap_or(whole),
            trial: TrialSpec {
                hang_factor: self.hang_factor.unwrap_or(default.hang_factor),
                wall: self.wall.map_or(default.wall, |DurationText(wall)| wall),
                spacing: self.spacing.map(|TimeText(spacing)| spacing),
                restore: self.restore.unwrap_or_default(),
                attempts: self.attempts.unwrap_or(default.attempts),
                first_use: self.first_use.unwrap_or(default.first_use),
            },
            guest: self.guest,
            grades: self.grade,
            words: Words { title: self.title, about: self.about, author: self.author },
        })
    }

    fn size(&self, line: &dyn Fn(usize) -> Option<usize>) -> Result<Option<Size>, SpecError> {
        let confidence = self.confidence.as_ref().map_or(Confidence::P95, |text| text.get_ref().0);
        let assurance = self.assurance.as_ref().map_or(Some(ASSURANCE), |text| text.get_ref().0);
        let value = |text: &Spanned<ShareText>| text.get_ref().0;
        let wrong = |at: usize, what: &str| Err(SpecError::Invalid { line: line(at), what: what.to_owned() });
        let size = match (&self.trials, &self.margin, &self.relative, &self.to_detect) {
            (None, None, None, None) => None,
            (Some(trials), None, None, None) => Some(Size::Trials(*trials.get_ref())),
            (None, Some(margin), None, None) => Some(Size::Margin { margin: value(margin), confidence }),
            (None, None, Some(relative), None) => match &self.rate {
                Some(rate) => Some(Size::Relative {
                    relative: value(relative),
                    rate: value(rate),
                    confidence,
                    assurance,
                }),
                None => {
                    return wrong(
                        relative.span().start,
                        "`relative` is a part of a rate; say which rate you expect, as in rate = \"1%\"",
                    );
                }
            },
            (None, None, None, Some(ratio)) => match &self.rate {
                Some(rate) => {
                    let power = self.power.as_ref().map_or(POWER, value);
                    Some(Size::Detect { to_detect: *ratio.get_ref(), rate: value(rate), power, confidence })
                }
                None => {
                    return wrong(
                        ratio.span().start,
                        "`to-detect` is a ratio of failures; say which rate of them you expect, as in rate = \"1%\"",
                    );
                }
            },
            (trials, margin, relative, ratio) => {
                let at = [
                    trials.as_ref().map(Spanned::span),
                    margin.as_ref().map(Spanned::span),
                    relative.as_ref().map(Spanned::span),
                    ratio.as_ref().map(Spanned::span),
                ];
                let at = at.into_iter().flatten().map(|span| span.start).max().unwrap_or(0);
                return wrong(
                    at,
                    "`trials`, `margin`, `relative` and `to-detect` each say how many trials; keep one",
                );
            }
        };
        if let Some(assurance) = &self.assurance
            && !matches!(size, Some(Size::Relative { .. }))
        {
            return wrong(assurance.span().start, "`assurance` belongs to `relative`");
        }
        if let Some(power) = &self.power
            && !matches!(size, Some(Size::Detect { .. }))
        {
            return wrong(power.span().start, "`power` belongs to `to-detect`");
        }
        match (&self.rate, &self.confidence, size) {
            (Some(rate), _, Some(Size::Trials(_) | Size::Margin { .. }) | None) => {
                wrong(rate.span().start, "`rate` belongs to `relative` or `to-detect`")
            }
            (_, Some(confidence), Some(Size::Trials(_)) | None) => {
                wrong(confidence.span().start, "`confidence` belongs to `margin`, `relative` or `to-detect`")
            }
            _ => Ok(size),
        }
    }
}

#[cfg(test)]
mod tests;
