//! `/proc/iomem`: each region is a range with a name at the end of its path.
#![no_main]

use flipsim::memory::parse_iomem;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for region in parse_iomem(text).iter().flatten() {
        assert!(region.range.first <= region.range.last);
        assert!(region.range.len() > 0);
        assert!(region.path.ends_with(&region.name));
    }
});
