//! What `at` says: times, or an event; and what `during` says.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::campaign::text::TimeText;
use crate::campaign::when::When;
use crate::trial::Trigger;

/// `at` of a campaign.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum At {
    /// A list.
    Times(Vec<TimeText>),
    /// A word.
    Event(Trigger),
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = At;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence of times, or an event, as in \"symbol:vfs_read\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<At, E> {
                match Trigger::is_meant(text) {
                    true => text.parse().map(At::Event).map_err(E::custom),
                    false => Err(E::invalid_type(Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<At, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(At::Times)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// `during`: where the instruction lies, as in `user`; the trigger of that.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct During(Trigger);

impl<'de> Deserialize<'de> for During {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad =
            || D::Error::custom(format!("`{text}` is no place; write user, kernel, irq or symbol:NAME"));
        format!("during:{text}").parse().map(During).map_err(|_| bad())
    }
}

/// `when` and `at` as a file has them: an event is `at`.
pub(super) fn in_keys(when: Option<When>) -> (Option<When>, Option<Trigger>) {
    match when {
        Some(When::At(trigger)) => (None, Some(trigger)),
        other => (other, None),
    }
}

/// The moments that these keys mean.
///
/// # Errors
/// Two say some.
pub(super) fn of_keys(
    when: Option<When>,
    at: Option<Trigger>,
    during: Option<During>,
) -> Result<Option<When>, String> {
    let at = match (at, during) {
        (Some(at), Some(During(during))) => {
            return Err(format!("`at = \"{at}\"` and `{during}` both say at which moments; drop one"));
        }
        (at, during) => at.or(during.map(|During(during)| during)),
    };
    match (when, at) {
        (Some(when), Some(at)) => {
            Err(format!("`at = \"{at}\"` and `when = \"{when}\"` both say at which moments; drop one"))
        }
        (when, at) => Ok(at.map(When::At).or(when)),
    }
}
