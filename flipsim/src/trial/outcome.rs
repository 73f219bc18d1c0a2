//! The outcomes of a trial, a row each: what it is called, how bad it is, how it looks, and what it means.
//!
//! Invariant: **whatever lists, counts or draws outcomes reads this table**, so that another outcome is a row here, its
//! rule in `because.rs` and `judge/trial.rs`, its colour in the report's style sheet and its line in `docs/trials.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The end state is the golden run's.
    Masked,
    /// The output is the golden run's, the state is not.
    Latent,
    /// The output is wrong, and nothing was noticed.
    Sdc,
    /// The guest noticed, and went on.
    Detected,
    /// Panic, reset, power-off, exception storm.
    Crash,
    /// It is not done long after the golden run was.
    Hang,
    /// Error-correcting memory corrected it.
    EccCorrected,
    /// Error-correcting memory detected it, and could not correct it.
    EccDetected,
    /// Ours: QEMU died, a socket was lost. No rate counts it.
    Infra,
}

/// Outcomes that count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Sdc, detected, crash, hang, and what memory detects and cannot correct: what could have been seen from outside of the
    /// guest. The literature's "manifested" or "effective" errors.
    Failure,
    /// All but masked, with latent ones: at the end the flip, or its result, was still there.
    Unmasked,
    /// Masked, latent, corrected by memory: nothing was seen from outside. All but failures.
    NoEffect,
    /// Failures but sdc. Detected unrecoverable errors (DUE) in the wide sense, with those after which
    /// the guest went on.
    Noticed,
}

/// The mark of an outcome around a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// The data of an SVG path: `{x}` and `{y}` are the point, `{r}` the radius and `{d}` twice that, `{left}`,
    /// `{right}`, `{top}`, `{bottom}` the edges at that radius; `{inner-x}` and `{inner-y}` are a corner nearer to the
    /// point, and `{inner}` is the side of the square that begins there.
    pub path: &'static str,
    /// Its style, as CSS.
    pub style: &'static str,
    /// The radius on a map.
    pub radius: f64,
}

/// All that is known of an outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutcomeRow {
    /// Which.
    pub outcome: Outcome,
    /// The word in records.
    pub name: &'static str,
    /// The letter in a page's data; `-` is taken.
    pub letter: char,
    /// How bad it is: 0 is the worst.
    pub rank: u8,
    /// The narrowest class that it counts in.
    pub class: Option<Class>,
    /// Whether rates count it.
    pub counted: bool,
    /// Whether trials of every guest can have it; else those alone whose memory corrects errors.
    pub always: bool,
    /// How a point of it is drawn.
    pub mark: Mark,
    /// The lines on an area of it, as the data of an SVG path on a tile of 6 by 6; none on an even area.
    pub hatch: &'static str,
    /// The style sheet's variable that has its colour.
    pub colour: &'static str,
    /// What it means.
    pub sentence: &'static str,
}

/// All outcomes, in the order of [`Outcome`].
pub const OUTCOMES: &[OutcomeRow] = &[
    OutcomeRow {
        outcome: Outcome::Masked,
        name: "masked",
        letter: 'm',
        rank: 8,
        class: None,
        counted: true,
        always: true,
        mark: Mark {
            path: "M{inner-x} {inner-y}h{inner}v{inner}h-{inner}z",
            style: "fill: var(--soft);",
            radius: 2.4,
        },
        hatch: "",
        colour: "--masked",
        sentence: "the state is the golden run's",
    },
    OutcomeRow {
        outcome: Outcome::Latent,
        name: "latent",
        letter: 'l',
        rank: 6,
        class: Some(Class::Unmasked),
        counted: true,
        always: true,
        mark: Mark {
            path: "M{left} {y}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0-{d} 0z",
            style: "fill: none; stroke: var(--latent); stroke-width: 1;",
            radius: 1.8,
        },
        hatch: "M2 3h2M5 0h1M0 0h1M5 6h1M0 6h1",
        colour: "--latent",
        sentence: "the output is right, the state at the end is not the golden run's",
    },
    OutcomeRow {
        outcome: Outcome::Sdc,
        name: "sdc",
        letter: 's',
        rank: 2,
        class: Some(Class::Failure),
        counted: true,
        always: true,
        mark: Mark {
            path: "M{x} {top}L{right} {y}L{x} {bottom}L{left} {y}z",
            style: "fill: var(--sdc); stroke: var(--fg); stroke-width: .7;",
            radius: 3.2,
        },
        hatch: "M-1 1L1 -1M0 6L6 0M5 7L7 5",
        colour: "--sdc",
        sentence: "silent data corruption: the output is wrong, and nothing was noticed",
    },
    OutcomeRow {
        outcome: Outcome::Detected,
        name: "detected",
        letter: 'd',
        rank: 4,
        class: Some(Class::Failure),
        counted: true,
        always: true,
        mark: Mark {
            path: "M{x} {top}L{right} {bottom}H{left}z",
            style: "fill: var(--bg); stroke: var(--detected); stroke-width: 1.5;",
            radius: 3.2,
        },
        hatch: "M0 3H6",
        colour: "--detected",
        sentence: "the guest noticed, and went on",
    },
    OutcomeRow {
        outcome: Outcome::Crash,
        name: "crash",
        letter: 'c',
        rank: 0,
        class: Some(Class::Failure),
        counted: true,
        always: true,
        mark: Mark {
            path: "M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}",
            style: "fill: none; stroke: var(--crash); stroke-width: 2;",
            radius: 3.2,
        },
        hatch: "",
        colour: "--crash",
        sentence: "panic, reset, power-off, exception storm",
    },
    OutcomeRow {
        outcome: Outcome::Hang,
        name: "hang",
        letter: 'h',
        rank: 1,
        class: Some(Class::Failure),
        counted: true,
        always: true,
        mark: Mark {
            path: "M{left} {top}H{right}V{bottom}H{left}z",
            style: "fill: var(--hang); stroke: var(--fg); stroke-width: .7;",
            radius: 3.2,
        },
        hatch: "M3 0V6M0 3H6",
        colour: "--hang",
        sentence: "not done long after the golden run was",
    },
    OutcomeRow {
        outcome: Outcome::EccCorrected,
        name: "ecc-corrected",
        letter: 'k',
        rank: 7,
        class: None,
        counted: true,
        always: false,
        mark: Mark {
            path: "M{left} {y}H{right}M{x} {top}V{bottom}",
            style: "fill: none; stroke: var(--ecc-corrected); stroke-width: 1;",
            radius: 1.8,
        },
        hatch: "M1 1h1M4 4h1",
        colour: "--ecc-corrected",
        sentence: "error-correcting memory corrects it; not run",
    },
    OutcomeRow {
        outcome: Outcome::EccDetected,
        name: "ecc-detected",
        letter: 'u',
        rank: 3,
        class: Some(Class::Failure),
        counted: true,
        always: false,
        mark: Mark {
            path: "M{left} {top}L{right} {y}L{left} {bottom}z",
            style: "fill: var(--bg); stroke: var(--ecc-detected); stroke-width: 1.5;",
            radius: 3.2,
        },
        hatch: "M0 1H6M0 5H6M1 0V6",
        colour: "--ecc-detected",
        sentence: "error-correcting memory detects it and cannot correct it; not run",
    },
    OutcomeRow {
        outcome: Outcome::Infra,
        name: "infra",
        letter: 'i',
        rank: 5,
        class: None,
        counted: false,
        always: true,
        mark: Mark {
            path: "M{left} {y}H{right}",
            style: "fill: none; stroke: var(--soft); stroke-width: 2;",
            radius: 3.2,
        },
        hatch: "",
        colour: "--soft",
        sentence: "ours, not the guest's: in no rate",
    },
];

impl Outcome {
    /// All of them, in the order of the table.
    pub const ALL: [Outcome; OUTCOMES.len()] = {
        let mut all = [Outcome::Infra; OUTCOMES.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = OUTCOMES[at].outcome;
            at += 1;
        }
        all
    };

    /// Those that rates count, from the worst on.
    pub const WORST_FIRST: [Outcome; how_many(None)] = worst_first(None);

    /// The failures, from the worst on.
    pub const FAILURES: [Outcome; how_many(Some(Class::Failure))] = worst_first(Some(Class::Failure));

    /// All that is known of it.
    #[must_use]
    pub fn row(self) -> &'static OutcomeRow {
        // The table has the order of this type; a test has an eye on it.
        &OUTCOMES[self as usize]
    }

    /// The word in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether trials can have it, where memory corrects errors or does not.
    #[must_use]
    pub fn is_of(self, ecc: bool) -> bool {
        self.row().always || ecc
    }

    /// Those that rates count and of which there is something to show, from the worst on.
    #[must_use]
    pub fn shown(counts: &BTreeMap<Outcome, u64>) -> Vec<Outcome> {
        let count = |outcome: &Outcome| counts.get(outcome).copied().unwrap_or(0);
        Outcome::WORST_FIRST.into_iter().filter(|outcome| outcome.is_of(count(outcome) > 0)).collect()
    }

    /// Whether rates count it.
    #[must_use]
    pub fn is_counted(self) -> bool {
        self.row().counted
    }
}

/// Whether a row is counted, and of this very class where one is asked for.
const fn is_of(row: &OutcomeRow, class: Option<Class>) -> bool {
    match (class, row.class) {
        (None, _) => row.counted,
        (Some(class), Some(own)) => row.counted && class as u8 == own as u8,
        (Some(_), None) => false,
    }
}

const fn how_many(class: Option<Class>) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < OUTCOMES.len() {
        if is_of(&OUTCOMES[at], class) {
            count += 1;
        }
        at += 1;
    }
    count
}

const fn worst_first<const N: usize>(class: Option<Class>) -> [Outcome; N] {
    let mut sorted = [Outcome::Infra; N];
    let (mut rank, mut next) = (0, 0);
    while rank < OUTCOMES.len() {
        let mut at = 0;
        while at < OUTCOMES.len() {
            if OUTCOMES[at].rank as usize == rank && is_of(&OUTCOMES[at], class) {
                sorted[next] = OUTCOMES[at].outcome;
                next += 1;
            }
            at += 1;
        }
        rank += 1;
    }
    sorted
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 4] = [Class::Failure, Class::Unmasked, Class::NoEffect, Class::Noticed];

    /// The word in outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Class::Failure => "failure",
            Class::Unmasked => "unmasked",
            Class::NoEffect => "no-effect",
            Class::Noticed => "noticed",
        }
    }

    /// The names of the outcomes that belong to it, the worst first.
    #[must_use]
    pub fn members(self) -> String {
        let members = Outcome::WORST_FIRST.into_iter().filter(|outcome| self.has(*outcome));
        members.map(Outcome::name).collect::<Vec<_>>().join(", ")
    }

    /// Whether an outcome belongs to it: all failures are unmasked, too.
    #[must_use]
    pub fn has(self, outcome: Outcome) -> bool {
        match self {
            Class::NoEffect => outcome.is_counted() && !Class::Failure.has(outcome),
            Class::Noticed => Class::Failure.has(outcome) && outcome != Outcome::Sdc,
            Class::Failure | Class::Unmasked => outcome.row().class.is_some_and(|class| class <= self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_outcome_in_its_order() {
        for (at, row) in OUTCOMES.iter().enumerate() {
            assert_eq!((row.outcome as usize, row.outcome.row()), (at, row));
            assert_eq!(serde_json::to_value(row.outcome).unwrap(), row.name);
        }
        // Each rank below the number of outcomes is there once, and so is each letter.
        let ranks: BTreeSet<u8> = OUTCOMES.iter().map(|row| row.rank).collect();
        assert_eq!(ranks, (0..).take(OUTCOMES.len()).collect());
        let letters: BTreeSet<char> = OUTCOMES.iter().map(|row| row.letter).chain(['-']).collect();
        assert_eq!(letters.len(), OUTCOMES.len() + 1);
    }

    #[test]
    fn the_orders_follow_from_ranks_and_classes() {
        use Outcome::{Crash, Detected, EccCorrected, EccDetected, Hang, Infra, Latent, Masked, Sdc};
        let all = [Masked, Latent, Sdc, Detected, Crash, Hang, EccCorrected, EccDetected, Infra];
        assert_eq!(Outcome::ALL, all);
        let worst = [Crash, Hang, Sdc, EccDetected, Detected, Latent, EccCorrected, Masked];
        assert_eq!(Outcome::WORST_FIRST, worst);
        assert_eq!(Outcome::FAILURES, [Crash, Hang, Sdc, EccDetected, Detected]);
        assert_eq!(Outcome::shown(&BTreeMap::new()), [Crash, Hang, Sdc, Detected, Latent, Masked]);
        let some = BTreeMap::from([(EccDetected, 1), (EccCorrected, 0)]);
        assert_eq!(Outcome::shown(&some), [Crash, Hang, Sdc, EccDetected, Detected, Latent, Masked]);
        let of = |class: Class| Outcome::ALL.into_iter().filter(|outcome| class.has(*outcome)).count();
        assert_eq!((of(Class::Failure), of(Class::Unmasked), of(Class::NoEffect)), (5, 6, 3));
        assert_eq!(Class::NoEffect.members(), "latent, ecc-corrected, masked");
        assert_eq!(Class::Noticed.members(), "crash, hang, ecc-detected, detected");
        assert_eq!(serde_json::to_value(Class::NoEffect).unwrap(), Class::NoEffect.name());
    }

    #[test]
    fn each_outcome_is_documented_by_its_sentence() {
        let docs = include_str!("../../../docs/trials.md");
        for row in OUTCOMES {
            let line = docs.lines().find(|line| line.starts_with(&format!("| `{}` |", row.name)));
            let line = line.unwrap_or_else(|| panic!("docs/trials.md has no row for `{}`", row.name));
            assert!(line.contains(row.sentence), "docs/trials.md says of `{}`: {line}", row.name);
        }
    }
}
