//! Faults from power-on: the guest is saved before its first instruction.

use super::campaigns::{Campaign, results};
use super::*;

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn faults_from_power_on_come_out_the_same_by_every_way_back_and_say_how_far_the_guest_got() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    // To the end of the workload; and firmware with the kernel's first steps, where x86 is in real mode at first.
    for (arch, window) in [("aarch64", ""), ("x86_64", "window = '60ms'\n")] {
        let of = |restore: &str| {
            let spec = format!(
                "name = 'x'\nseed = 3\nrestore = '{restore}'\n{window}[guest]\narch = '{arch}'\nworkload = 'qsort'\n\
                 ready = 'power-on'\n[[stratum]]\nname = 'ram'\ntargets = ['ram']\ntrials = 6\n\
                 [[stratum]]\nname = 'core'\ntargets = ['class:core']\ntrials = 6\n\
                 [[stratum]]\nname = 'system'\ntargets = ['class:system']\ntrials = 4\n"
            );
            let path = folder.path().join("spec.toml");
            std::fs::write(&path, spec).expect("it can be written");
            let path = path.to_str().expect("it is text");
            let campaign = Campaign::new(&format!("on-{arch}-{restore}"), &["--spec", path]);
            ok(&["campaign", "run", &campaign.0, "--workers", "2"]);
            let stats = text(&ok(&["campaign", "stats", &campaign.0]));
            assert!(stats.contains("core, from power-on:\n  reached"), "{stats}");
            results(&campaign.0)
        };
        let rewound = of("rewind");
        assert_eq!(rewound, of("clone"), "{arch}");
        assert_eq!(rewound.len(), 16);
        for row in &rewound {
            let record = &row["record"];
            assert_eq!(record["output_only"], false, "the golden runs were equal: {record}");
            // From time 0 on.
            assert_eq!(record["flip_ns"], record["plan"]["after"], "{record}");
            assert!(record["outcome"] != "infra" && record["flipped"] == true, "{record}");
        }
        let reached = |what: &str| rewound.iter().filter(|row| row["record"]["reached"] == what).count();
        match window {
            "" => assert!(reached("userspace") > 0),
            _ => assert_eq!(reached("before-userspace"), rewound.len()),
        }
        assert_eq!(reached("before-userspace") + reached("userspace"), rewound.len(), "{arch}");
    }
}
