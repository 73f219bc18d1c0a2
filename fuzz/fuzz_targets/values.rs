//! Values of flags and of specifications: what is written of one is read as the same one.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use flipsim::campaign::spec::StratumSpec;
use flipsim::campaign::{MissionFile, Shard};
use flipsim::fault::{FaultTarget, Operation, format_pattern, parse_pattern};
use flipsim::memory::PhysRange;
use flipsim::stats::fit::FitPerMbit;
use flipsim::stats::mission::{UpsetRate, parse_field_time};
use flipsim::stats::upsets::Written;
use flipsim::stats::{Confidence, Share};
use flipsim::text::{glob_matches, hex_value, shell_quote, unhex, unhex_value};
use flipsim::units::{self, GuestPhys, GuestVirt};
use flipsim::wire::net::Endpoint;
use libfuzzer_sys::fuzz_target;

fn same<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        assert_eq!(written.parse::<T>().ok(), Some(value), "`{text}` is written `{written}`");
    }
}

fuzz_target!(|text: &str| {
    same::<GuestPhys>(text);
    same::<GuestVirt>(text);
    same::<PhysRange>(text);
    same::<Endpoint>(text);
    same::<Shard>(text);
    same::<FaultTarget>(text);
    same::<Operation>(text);
    same::<Written>(text);
    let _ = MissionFile::from_toml(text);
    let _ = text.parse::<StratumSpec>();
    let _ = (
        text.parse::<Share>(),
        text.parse::<Confidence>(),
        text.parse::<FitPerMbit>(),
        text.parse::<UpsetRate>(),
    );
    let _ = (parse_field_time(text), units::parse_number(text));
    if let Ok(size) = units::parse_size(text) {
        let _ = units::format_size(size);
    }
    if let Ok(duration) = units::parse_duration(text) {
        let _ = units::format_duration(duration);
    }
    if let Ok(time) = units::parse_virtual(text) {
        let _ = (time.exact(), time.to_string());
    }
    if let Ok(pattern) = parse_pattern(text) {
        assert_eq!(parse_pattern(&format_pattern(pattern)), Ok(pattern));
    }
    if let Some(bytes) = unhex_value(text) {
        assert_eq!(unhex_value(&hex_value(&bytes)), Some(bytes));
    }
    let _ = unhex(text);
    assert!(glob_matches("*", text));
    if let Some((glob, name)) = text.split_once(' ') {
        let _ = glob_matches(glob, name);
    }
    let quoted = shell_quote(text);
    assert!(quoted.len() >= text.len());
});
