//! A page for readers elsewhere: files by their names alone.
//!
//! Invariant: **no path of the host's that the campaign was made with is in a public page**; what the guest printed is
//! shown as it is.

use serde_json::Value;

use crate::campaign::CampaignSpec;

/// A word of a command line, or a value of a file, whose path is left out: `/home/me/Image` is `Image`, and so it is
/// behind the name of a flag. Any other text is as it was.
pub(super) fn without_path(word: &str) -> String {
    let (flag, value) = match word.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (Some(flag), value),
        _ => (None, word),
    };
    let is_path = value.starts_with(['/', '~']) || value.starts_with("./") || value.starts_with("../");
    let ends_in = value.trim_end_matches('/').rsplit('/').next().filter(|_| is_path);
    match (flag, ends_in) {
        (Some(flag), Some(name)) => format!("{flag}={name}"),
        (None, Some(name)) => name.to_owned(),
        (_, None) => word.to_owned(),
    }
}

/// The specification with the guest's files by their names alone.
pub(super) fn spec_without_paths(spec: &CampaignSpec) -> CampaignSpec {
    let mut spec = spec.clone();
    strip(&mut spec.guest);
    spec
}

fn strip(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_path(text),
        Value::Array(values) => values.iter_mut().for_each(strip),
        Value::Object(values) => values.values_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_and_their_folders_are_not() {
        for (word, public) in [
            ("/home/me/Image", "Image"),
            ("../lab/first.toml", "first.toml"),
            ("--spec=/home/me/a.toml", "--spec=a.toml"),
            ("~/x/", "x"),
            ("/", ""),
            ("region:Kernel code", "region:Kernel code"),
            ("name=range:0x1000-0x1fff", "name=range:0x1000-0x1fff"),
            ("corrected (\\d+)/s", "corrected (\\d+)/s"),
        ] {
            assert_eq!(without_path(word), public, "{word}");
        }
        let guest =
            serde_json::json!({ "kernel": "/home/me/Image", "qemu-args": ["-name", "/a/b"], "cpus": 1 });
        let spec = CampaignSpec { guest, ..CampaignSpec::default() };
        let public = serde_json::json!({ "kernel": "Image", "qemu-args": ["-name", "b"], "cpus": 1 });
        assert_eq!(spec_without_paths(&spec).guest, public);
    }
}
