//! Records of trials: what is written of one is read as the same one.
#![no_main]

use std::sync::LazyLock;

use flipsim::testing::fake_campaign;
use flipsim::trial::TrialRecord;
use flipsim::trial::golden::Golden;
use libfuzzer_sys::fuzz_target;

static GOLDEN: LazyLock<Golden> = LazyLock::new(fake_campaign::golden);

fuzz_target!(|data: &[u8]| {
    let Ok(record) = serde_json::from_slice::<TrialRecord>(data) else { return };
    let written = serde_json::to_string(&record).expect("a record can be written");
    let again: TrialRecord =
        serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(again, record, "{written}");
    assert!(record.is_same(&again));
    let _ = (record.lost_because(), record.is_converged(), record.plan.check(&GOLDEN));
    let fault = &record.plan.fault;
    let _ = (
        fault.kind(),
        fault.place(),
        fault.single_bit(),
        fault.operation().apply(fault.mask(), fault.mask()),
    );
});
