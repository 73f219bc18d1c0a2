//! Instructions, as a guest has them in its memory.
#![no_main]

use flipsim::arch::Arch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for arch in Arch::all() {
        let decoded = (arch.decode)(data);
        assert!(decoded.is_none_or(|(length, _)| length <= data.len()));
        for part in (arch.operands)(data).into_iter().flat_map(|found| [found.read, found.written]).flatten()
        {
            assert!(part.bits > 0 && part.low + part.bits <= 128, "{part:?}");
        }
    }
});
