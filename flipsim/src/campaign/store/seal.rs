//! What a campaign was made from, with the digest of each part: manifest, specification, plan, golden run.
//!
//! Invariant: **all that decides what is run is in the seal**: nothing else of the file reaches a guest.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::campaign::store::encode::json;
use crate::campaign::store::sums::digest_of;

/// The key of the seal among the values of `meta`.
const SEAL: &str = "seal";

/// The key of which part of its campaign a file is; absent where it is the whole of it.
pub(super) const PART: &str = "part";

/// What is written once, when a campaign is made.
#[derive(Debug)]
pub(super) struct Made {
    /// The rows of `meta`.
    values: BTreeMap<String, String>,
    /// The digest of each part.
    parts: BTreeMap<String, String>,
    /// The digest of all of them.
    pub(super) seal: String,
}

impl Made {
    /// Reads all of it, whole tables, so that nothing depends on how it would be looked up.
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Made> {
        let mut statement = conn.prepare("SELECT key, value FROM meta ORDER BY key")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let values: BTreeMap<String, String> = rows.collect::<rusqlite::Result<_>>()?;
        let mut parts: BTreeMap<String, String> = values
            .iter()
            // The version is compared with the one in the file's head, and changes with an upgrade.
            // Which part of it a file is has a digest of its own.
            .filter(|(key, _)| !matches!(key.as_str(), "format" | SEAL | PART))
            .map(|(key, value)| (key.clone(), digest_of(key, [value.as_bytes()])))
            .collect();
        let mut statement = conn.prepare("SELECT name, bytes, zlib FROM attachment ORDER BY name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (name, bytes): (String, i64) = (row.get(0)?, row.get(1)?);
            let zlib = row.get_ref(2)?.as_blob()?;
            parts.insert(format!("{name} run"), digest_of(&name, [&bytes.to_le_bytes()[..], zlib]));
        }
        let seal = digest_of(
            "campaign",
            parts.iter().flat_map(|(name, digest)| [name.as_bytes(), digest.as_bytes()]),
        );
        Ok(Made { values, parts, seal })
    }

    /// A value of `meta`.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The value to be stored.
    pub(super) fn to_store(&self) -> String {
        json(&serde_json::json!({ "parts": self.parts, "all": self.seal }))
    }

    /// Stores it.
    pub(super) fn write(&self, conn: &Connection) -> rusqlite::Result<()> {
        conn.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [SEAL, &self.to_store()]).map(drop)
    }

    /// Compares it with what was stored; the text names what is not as it was.
    pub(super) fn check(&self) -> Result<(), String> {
        let stored = self.value(SEAL).ok_or("the digests of what it was made from are missing")?;
        if stored == self.to_store() {
            return Ok(());
        }
        let parts = serde_json::from_str::<serde_json::Value>(stored).unwrap_or_default();
        let then: BTreeMap<String, String> =
            serde_json::from_value(parts["parts"].clone()).unwrap_or_default();
        let names = then.keys().chain(self.parts.keys()).collect::<std::collections::BTreeSet<_>>();
        let other: Vec<&str> = names
            .into_iter()
            .filter(|name| then.get(*name) != self.parts.get(*name))
            .map(String::as_str)
            .collect();
        match other.as_slice() {
            [] => Err("the digests of what it was made from".to_owned()),
            names if names.len() < 3 => Err(format!("its {}", names.join(" and its "))),
            _ => Err("what it was made from, or the digests of that".to_owned()),
        }
    }
}
