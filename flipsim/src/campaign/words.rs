//! What a campaign's author says of it, for the head of its page.
//!
//! Invariant: nothing that is drawn, run or counted depends on these words.

use serde::{Deserialize, Serialize};

use crate::text::shown;

/// So many letters a title or an author has at most.
const SHORT: usize = 200;
/// So many letters a description has at most.
const LONG: usize = 4000;

/// The words of a campaign's author.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Words {
    /// What the page is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the campaign is about, in paragraphs with an empty line between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

impl Words {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Words::default()
    }

    /// What is wrong with them.
    pub(super) fn problem(&self) -> Option<String> {
        let all =
            [("title", &self.title, SHORT), ("about", &self.about, LONG), ("author", &self.author, SHORT)];
        all.into_iter().find_map(|(key, text, most)| {
            let text = text.as_deref()?;
            if text.trim().is_empty() {
                return Some(format!("`{key}` is empty; leave it out"));
            }
            let letters = text.chars().count();
            (letters > most).then(|| {
                format!("`{key}` has {letters} letters, and {most} are the most: `{}`", shown(text, 40))
            })
        })
    }
}
