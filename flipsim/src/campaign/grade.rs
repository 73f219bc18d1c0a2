//! How wrong a silent data corruption is, in the words of the workload's own file.
//!
//! Invariant: the first rule that holds decides; a rule looks at nothing but the outputs.

use serde::{Deserialize, Serialize};

use crate::console::Differences;
use crate::console::signals::LinePattern;

/// A rule by which a silent data corruption has a grade: of the lines that it looks at, what differs is within each of
/// its limits, and the golden run has such lines. Without a limit it holds where such a line differs; without limits and lines, always.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grade {
    /// What it is called.
    pub name: String,
    /// The lines that are looked at, in either output; all where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<LinePattern>,
    /// Nothing but numbers differs, and none by a larger part of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<f64>,
    /// So many bytes differ at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// So many bits differ at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u64>,
}

impl Grade {
    /// Whether an output that differs so has this grade, if none before it holds.
    #[must_use]
    pub fn holds(&self, differences: &Differences) -> bool {
        let lines = self.lines.as_ref();
        if !self.has_limit() {
            return lines.is_none() || !differences.is_none(lines);
        }
        // Of lines that the golden run does not have, that they are near says nothing.
        if lines.is_some_and(|pattern| !differences.knows(pattern)) {
            return false;
        }
        let wrong = differences.wrong(lines);
        let near = self.relative.is_none_or(|limit| {
            !wrong.beside_numbers && wrong.relative.is_none_or(|error| error.value() <= limit)
        });
        let most = |limit: Option<u64>, found| limit.is_none_or(|limit| found <= limit);
        near && most(self.bytes, wrong.bytes) && most(self.bits, wrong.bits)
    }

    fn has_limit(&self) -> bool {
        self.relative.is_some() || self.bytes.is_some() || self.bits.is_some()
    }

    /// What is wrong with rules that stand in this order.
    pub(super) fn problem(grades: &[Grade]) -> Option<String> {
        for (index, grade) in grades.iter().enumerate() {
            let name = crate::text::shown(&grade.name, 60);
            if grade.name.trim().is_empty() {
                return Some("a grade has no name; give it one, as in name = \"negligible\"".to_owned());
            }
            if grades[..index].iter().any(|other| other.name == grade.name) {
                return Some(format!("two grades are called `{name}`; rename one"));
            }
            if grade.relative.is_some_and(|limit| !(limit.is_finite() && limit >= 0.0)) {
                return Some(format!(
                    "grade `{name}`: `relative` is a part of the right number, 0 or above, as in 1e-6"
                ));
            }
            let always = grade.lines.is_none() && !grade.has_limit();
            if let Some(next) = grades.get(index + 1).filter(|_| always) {
                let next = crate::text::shown(&next.name, 60);
                return Some(format!(
                    "grade `{name}` has no limit and holds always, so that `{next}` behind it never does; put it last"
                ));
            }
        }
        None
    }
}

/// The grade of an output that differs so: the number of the first rule that holds.
#[must_use]
pub fn grade_of(grades: &[Grade], differences: &Differences) -> Option<usize> {
    grades.iter().position(|grade| grade.holds(differences))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grades(text: &str) -> Vec<Grade> {
        #[derive(Deserialize)]
        struct File {
            grade: Vec<Grade>,
        }
        toml::from_str::<File>(text).unwrap().grade
    }

    fn graded<'a>(grades: &'a [Grade], right: &str, here: &str) -> &'a str {
        let differences = Differences::between(right.as_bytes(), here.as_bytes());
        grade_of(grades, &differences).map_or("-", |at| &grades[at].name)
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let grades = grades(
            "[[grade]]\nname = 'negligible'\nlines = '^x='\nrelative = 1e-6\n\
             [[grade]]\nname = 'alarm'\nlines = 'ALARM'\n\
             [[grade]]\nname = 'small'\nbits = 3\nbytes = 2\n",
        );
        let right = "x=1000000\ndigest=c0ffee00\n";
        for (here, grade) in [
            // The digest is not looked at.
            ("x=1000001\ndigest=deadbeef\n", "negligible"),
            ("x=1000000\ndigest=deadbeef\n", "negligible"),
            ("x=2222222\ndigest=c0ffee00\n", "-"),
            // 0x30 and 0x34: one bit, and no number is within 1e-6.
            ("x=1000400\ndigest=c0ffee00\n", "small"),
            ("x=10000000\ndigest=c0ffee00\n", "-"),
            ("x=1000400\ndigest=c0ffee00\nALARM\n", "alarm"),
            ("x=nan\ndigest=c0ffee00\n", "-"),
            ("y=1000000\ndigest=c0ffee00\n", "small"),
        ] {
            assert_eq!(graded(&grades, right, here), grade, "{here}");
        }
    }

    #[test]
    fn a_rule_without_limits_holds_always_and_stands_last() {
        // A pattern with a slip in it makes nothing negligible.
        let never = grades("[[grade]]\nname = 'near'\nlines = '^y='\nrelative = 0.5\n");
        assert_eq!(graded(&never, "x=1", "x=9"), "-");
        let rest = grades("[[grade]]\nname = 'serious'\n");
        assert_eq!(graded(&rest, "a", "b"), "serious");
        assert_eq!(Grade::problem(&rest), None);
        for (text, problem) in [
            ("[[grade]]\nname='a'\n[[grade]]\nname='b'\nbits=1", "`a` has no limit"),
            ("[[grade]]\nname='a'\nbits=1\n[[grade]]\nname='a'\nbits=2", "two grades"),
            ("[[grade]]\nname=' '\nbits=1", "no name"),
            ("[[grade]]\nname='a'\nrelative=nan", "0 or above"),
            ("[[grade]]\nname='a'\nrelative=-1.0", "0 or above"),
        ] {
            let found = Grade::problem(&grades(text)).unwrap_or_default();
            assert!(found.contains(problem), "{found}");
        }
    }
}
