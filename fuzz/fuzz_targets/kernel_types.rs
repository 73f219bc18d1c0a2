//! The types of a kernel (BTF), from a guest's RAM or from a file.
#![no_main]

use flipsim::kernel::Types;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(types) = Types::parse(data) else { return };
    for of in ["page", "outer", "inner", "pageflags", ""] {
        for path in ["flags", "list.next", "inuse", "objects", "name", "a.b.c.d", ""] {
            let _ = (types.field(of, path), types.array(of, path), types.constant(of, path));
        }
        for offset in [0, 1, 9, 40, u64::MAX] {
            let _ = types.member_at(of, offset);
        }
        let _ = types.size(of);
    }
});
