//! `lab.toml`: what is pinned, and what a guest gets by default.
//!
//! Invariant: a [`Config`] is complete and checked; nothing behind it asks again whether a digest
//! is a digest or an architecture exists. Errors name the file, the line and what was expected.

use std::path::Path;

use anyhow::{Context, Result};
use flipsim::arch::Arch;
use serde::{Deserialize, Serialize};

use crate::paths;

/// `lab.toml` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawConfig {
    qemu: Pinned,
    kernel: Pinned,
    busybox: Pinned,
    guest: Guest,
}

/// `lab.toml`, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// QEMU's source.
    pub qemu: Pinned,
    /// The kernel's source.
    pub kernel: Pinned,
    /// Busybox's source.
    pub busybox: Pinned,
    /// What a guest gets when the command line says nothing else.
    pub guest: Guest,
}

/// A source that is pinned by address and digest, and what may stand in for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pinned {
    /// The version behind the address.
    pub version: String,
    /// Where the archive is; https.
    pub url: HttpsUrl,
    /// The archive's digest.
    pub sha256: Sha256Hex,
    /// The archive's size in bytes, where it is known.
    pub size: Option<u64>,
    /// The name of the distribution's source package.
    pub distro_package: String,
    /// Versions of that package that will do, by how they start.
    pub distro_accepts: Vec<String>,
}

/// The defaults of a guest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Guest {
    /// Its architecture.
    pub arch: Arch,
    /// Its RAM, as QEMU's `-m` takes it.
    pub memory: String,
    /// Its number of CPUs.
    pub cpus: u32,
    /// The workload that it runs.
    pub workload: String,
}

/// 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

impl Sha256Hex {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Sha256Hex(text))
        } else {
            Err(format!("`{text}` is no sha256: 64 digits of 0-9 and a-f are expected"))
        }
    }
}

impl From<Sha256Hex> for String {
    fn from(digest: Sha256Hex) -> String {
        digest.0
    }
}

impl std::fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address that starts with `https://` and ends with a file name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpsUrl(String);

impl HttpsUrl {
    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows its last slash.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl TryFrom<String> for HttpsUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let name = text.rsplit('/').next().unwrap_or_default();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+~-".contains(&b);
        if !text.starts_with("https://") {
            Err(format!(
                "`{text}` does not start with https://; only addresses with a verified host are taken"
            ))
        } else if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            Err(format!("`{text}` does not end with a plain file name"))
        } else {
            Ok(HttpsUrl(text))
        }
    }
}

impl From<HttpsUrl> for String {
    fn from(url: HttpsUrl) -> String {
        url.0
    }
}

impl Config {
    /// Reads `lab.toml` in the workspace's root.
    pub fn load() -> Result<Config> {
        let path = paths::workspace_root()?.join("lab.toml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}; it belongs to the source tree", path.display()))?;
        Config::parse(&text, &path)
    }

    /// Reads the text of a `lab.toml`; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Config> {
        let raw: RawConfig =
            toml::from_str(text).with_context(|| format!("{} is not a valid lab.toml", path.display()))?;
        let RawConfig { qemu, kernel, busybox, guest } = raw;
        for (section, pinned) in [("qemu", &qemu), ("kernel", &kernel), ("busybox", &busybox)] {
            if pinned.distro_accepts.iter().any(String::is_empty) {
                anyhow::bail!(
                    "{}: [{section}] distro-accepts holds an empty text, which would accept every version; \
                     name how an acceptable version starts, such as \"{}\"",
                    path.display(),
                    pinned.version
                );
            }
        }
        if guest.cpus == 0 {
            anyhow::bail!("{}: [guest] cpus is 0; a guest needs at least 1", path.display());
        }
        Ok(Config { qemu, kernel, busybox, guest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab.toml")).unwrap()
    }

    fn error_of(text: &str) -> String {
        format!("{:#}", Config::parse(text, Path::new("lab.toml")).unwrap_err())
    }

    #[test]
    fn the_shipped_file_is_valid_and_pins_qemu_7_1_0() {
        let config = Config::parse(&shipped(), Path::new("lab.toml")).unwrap();
        assert_eq!(config.qemu.version, "7.1.0");
        assert_eq!(config.qemu.url.file_name(), "qemu-7.1.0.tar.xz");
        assert_eq!(config.guest.arch.name, Arch::default().name);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = error_of(&shipped().replace("cpus = 1", "cpus = 1\ncores = 2"));
        assert!(error.contains("cores") && error.contains("line "), "{error}");
    }

    #[test]
    fn a_digest_of_the_wrong_length_is_named_with_its_line() {
        let error = error_of(&shipped().replacen("a0634e53", "", 1));
        assert!(error.contains("is no sha256") && error.contains("line 8"), "{error}");
    }

    #[test]
    fn a_plain_http_address_is_refused() {
        let error = error_of(&shipped().replacen("https://", "http://", 1));
        assert!(error.contains("does not start with https://"), "{error}");
    }

    #[test]
    fn an_unknown_architecture_is_answered_with_the_known_ones() {
        let error = error_of(&shipped().replace("arch = \"aarch64\"", "arch = \"z80\""));
        assert!(error.contains("unknown architecture `z80`"), "{error}");
    }

    #[test]
    fn an_empty_prefix_of_a_version_is_refused() {
        let error = error_of(&shipped().replace("[\"7.\"]", "[\"\"]"));
        assert!(error.contains("would accept every version"), "{error}");
    }
}
