//! What `mapping` says: how addresses lie in the memory's arrays.
//!
//! Invariant: a mapping from a file is stored as a table, so that a campaign has all of it.

use serde::{Deserialize, Serialize};

use crate::campaign::spec::SpecError;
use crate::fault::Mapping;

/// A ready mapping by its name, a file, or a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "the name of a mapping, or a table")]
pub(super) enum MappingText {
    Ready(String),
    Own(toml::Table),
}

impl MappingText {
    /// The file that it is in, if it is one.
    pub(super) fn file(&self) -> Option<&str> {
        match self {
            MappingText::Ready(name) if name.ends_with(".toml") => Some(name),
            _ => None,
        }
    }

    /// Of what such a file holds.
    ///
    /// # Errors
    /// It is not TOML.
    pub(super) fn of_file(text: &str) -> Result<MappingText, SpecError> {
        let invalid = |what: String| SpecError::Invalid { line: None, what };
        toml::from_str(text)
            .map(MappingText::Own)
            .map_err(|error: toml::de::Error| invalid(format!("the mapping's file: {}", error.message())))
    }

    /// As a specification writes it.
    pub(super) fn of(mapping: &Mapping) -> Option<MappingText> {
        if Mapping::ready(mapping.name()).is_ok_and(|ready| ready == *mapping) {
            return Some(MappingText::Ready(mapping.name().to_owned()));
        }
        toml::Table::try_from(mapping).ok().map(MappingText::Own)
    }

    /// What is meant.
    ///
    /// # Errors
    /// There is none of that name, or the table is no mapping.
    pub(super) fn mapping(self) -> Result<Mapping, SpecError> {
        let invalid = |what: String| SpecError::Invalid { line: None, what };
        match self {
            MappingText::Ready(name) => Mapping::ready(&name).map_err(|error| invalid(error.to_string())),
            MappingText::Own(table) => table
                .try_into()
                .map_err(|error: toml::de::Error| invalid(format!("[mapping]: {}", error.message()))),
        }
    }
}
