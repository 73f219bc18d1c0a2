//! `template.json`, which says what a saved guest was made of.
#![no_main]

use flipsim::trial::template::{Template, TemplateInfo};
use flipsim_fuzz::{file, folder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    file("template.json", data);
    if let Ok(template) = Template::open(folder()) {
        let _ = (template.virtual_time(), template.is_verified(), template.iomem());
    }
    let Ok(info) = serde_json::from_slice::<TemplateInfo>(data) else { return };
    let written = serde_json::to_string(&info).expect("what a template is can be written");
    let again: TemplateInfo =
        serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(serde_json::to_string(&again).ok(), Some(written));
    // A set is in order, and its ranges hold something.
    for range in info.ram.ranges() {
        assert!(range.len() > 0 && info.ram.covers(*range));
    }
    let _ = (info.ram.bytes(), info.identity(), info.plan.boot_spec().argv());
});
