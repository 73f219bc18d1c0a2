//! A specification as the TOML file that draws the same plan again.
//!
//! Invariant: what [`CampaignSpec::from_toml`] reads from it is the specification it was written from.

use std::fmt::Write as _;

use serde_json::Value;

use crate::campaign::CampaignSpec;
use crate::campaign::size::Size;
use crate::campaign::spec::{Sharing, Times};
use crate::fault::format_pattern;
use crate::trial::golden::Window;
use crate::units::VirtualNs;

fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

fn list<T>(values: &[T], one: impl Fn(&T) -> String) -> String {
    format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A time in the largest unit that has no fraction.
fn exact_time(ns: u128) -> String {
    let units = [("s", 1_000_000_000u128), ("ms", 1_000_000), ("us", 1000)];
    let unit = units.into_iter().find(|(_, size)| ns > 0 && ns.is_multiple_of(*size));
    let (unit, size) = unit.unwrap_or(("ns", 1));
    format!("\"{}{unit}\"", ns / size)
}

fn virtual_time(time: VirtualNs) -> String {
    exact_time(time.0.into())
}

/// JSON without its nulls, as TOML has none.
fn without_nulls(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => Some(Value::Object(
            map.iter().filter_map(|(k, v)| Some((k.clone(), without_nulls(v)?))).collect(),
        )),
        other => Some(other.clone()),
    }
}

/// Writes a specification as TOML.
#[must_use]
pub fn toml_of(spec: &CampaignSpec) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let mut line = |key: &str, value: String| _ = writeln!(out, "{key} = {value}");
    line("name", text(&spec.name));
    line("seed", spec.seed.to_string());
    match spec.size {
        None => {}
        Some(Size::Trials(trials)) => line("trials", trials.to_string()),
        Some(Size::Margin { margin, confidence }) => {
            line("margin", format!("\"{}\"", margin.value()));
            line("confidence", format!("\"{}\"", confidence.level()));
        }
        Some(Size::Relative { relative, rate, confidence }) => {
            line("relative", format!("\"{}\"", relative.value()));
            line("rate", format!("\"{}\"", rate.value()));
            line("confidence", format!("\"{}\"", confidence.level()));
        }
    }
    let sharing = match spec.sharing {
        Sharing::Proportional => "\"proportional\"",
        Sharing::Equal => "\"equal\"",
    };
    line("sharing", sharing.to_owned());
    let window = match spec.window {
        Window::Done => "\"done\"".to_owned(),
        Window::Time(length) => virtual_time(length),
    };
    line("window", window);
    match &spec.times {
        Times::At(times) => line("at", list(times, |time| virtual_time(*time))),
        Times::Within { from, to } => {
            line("from", virtual_time(*from));
            if let Some(to) = to {
                line("to", virtual_time(*to));
            }
        }
    }
    line("pattern", text(&format_pattern(spec.pattern)));
    line("hang-factor", format!("{:?}", spec.trial.hang_factor));
    line("wall", exact_time(spec.trial.wall.as_nanos()));
    if let Some(spacing) = spec.trial.spacing {
        line("spacing", virtual_time(spacing));
    }
    line("restore", text(spec.trial.restore.name()));
    line("attempts", spec.trial.attempts.to_string());
    if let Some(guest) = without_nulls(&spec.guest).and_then(|guest| toml::to_string(&guest).ok()) {
        let _ = write!(out, "\n[guest]\n{guest}");
    }
    for stratum in &spec.strata {
        let _ = writeln!(out, "\n[[stratum]]\nname = {}", text(&stratum.name));
        let _ = writeln!(out, "targets = {}", list(&stratum.targets, |target| text(&target.to_string())));
        if let Some(pattern) = stratum.pattern {
            let _ = writeln!(out, "pattern = {}", text(&format_pattern(pattern)));
        }
        if let Some(trials) = stratum.trials {
            let _ = writeln!(out, "trials = {trials}");
        }
        if let Some(share) = stratum.share {
            let _ = writeln!(out, "share = \"{}\"", share.value());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_as_the_same() {
        for file in [
            "name = 'a'\nseed = 1\ntrials = 10\n[[stratum]]\ntargets = ['ram']\n",
            "name = 'b'\nseed = 2\nmargin = '1%'\nconfidence = '99%'\nwindow = '400ms'\nfrom = '10ms'\nto = '390ms'\n\
             pattern = 'adjacent:2'\nhang-factor = 2.5\nwall = '30s'\nspacing = '5ms'\nrestore = 'clone'\n\
             attempts = 5\nsharing = 'equal'\n[guest]\nworkload = 'fs'\nmemory = 134217728\n\
             [[stratum]]\nname = 'odd \"name\" = [x]'\ntargets = ['region:Kernel code', 'symbol:tcp_*']\n\
             [[stratum]]\ntargets = ['class:core', 'reg:v*']\npattern = 'mask:0x81'\ntrials = 100\n",
            "name = 'c'\nseed = 3\nrelative = '20%'\nrate = '0.1%'\nat = ['1ms', '2ms']\n[[stratum]]\n\
             targets = ['range:0x40000000-0x4000ffff']\n",
            "name = 'd'\nseed = 4\ntrials = 100\n[[stratum]]\nname = 'x'\ntargets = ['ram']\nshare = '7%'\n\
             [[stratum]]\ntargets = ['reg:x1']\n",
        ] {
            let spec = CampaignSpec::from_toml(file).unwrap();
            let written = toml_of(&spec);
            assert_eq!(CampaignSpec::from_toml(&written).unwrap(), spec, "{written}");
        }
        let nothing = serde_json::json!({ "workload": null, "append": "" });
        let spec = CampaignSpec { guest: nothing, size: Some(Size::Trials(5)), ..CampaignSpec::default() };
        let again = CampaignSpec::from_toml(&toml_of(&spec)).unwrap();
        assert_eq!(again.guest, serde_json::json!({ "append": "" }));
    }
}
