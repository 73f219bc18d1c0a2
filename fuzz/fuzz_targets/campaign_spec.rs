//! Specifications of campaigns: what is written of one is read as the same one, and its plan can be drawn or is refused.
#![no_main]

use flipsim::campaign::{CampaignSpec, Plan, TrialId};
use flipsim::fault::{FaultSpace, RamSpace};
use flipsim::memory::RangeSet;
use flipsim::units::VirtualNs;
use libfuzzer_sys::fuzz_target;

fn plan(spec: &CampaignSpec) -> Option<Plan> {
    let bytes: RangeSet = ["0x40000000+64K".parse().ok()?].into_iter().collect();
    let space = |stratum| RamSpace::new(&bytes, spec.pattern_of(stratum)).map(FaultSpace::Ram);
    let spaces = spec.strata.iter().map(space).collect::<Result<_, _>>().ok()?;
    Plan::new(spec, VirtualNs(400_000_000), spaces).ok()
}

fuzz_target!(|text: &str| {
    let spec = match CampaignSpec::from_toml(text) {
        Ok(spec) => spec,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let written = spec.to_toml();
    let again = CampaignSpec::from_toml(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(again, spec, "{written}");
    let json = spec.json();
    let again: CampaignSpec = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}\n{json}"));
    assert_eq!(again, spec, "{json}");

    let Some(plan) = plan(&spec) else { return };
    assert!(plan.len() > 0 && plan.nth(TrialId(plan.len())).is_none());
    for id in [0, plan.len() / 2, plan.len() - 1] {
        assert!(plan.nth(TrialId(id)).is_some_and(|trial| trial.id == TrialId(id)));
    }
});
