//! A specification as its TOML file writes it, key by key.
//!
//! Invariant: a key that is not known is a mistake, and a mistake is reported with its line.

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use crate::campaign::size::Size;
use crate::campaign::spec::{CampaignSpec, Sharing, SpecError, StratumSpec, Times, TrialSpec};
use crate::campaign::text::{DurationText, PatternText, Text, TimeText, WindowText};
use crate::fault::Place;
use crate::fault::{Pattern, random_seed};
use crate::stats::{Confidence, Share};
use crate::trial::Restore;
use crate::trial::golden::Window;
use crate::units::VirtualNs;

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
