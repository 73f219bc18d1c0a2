//! Every example of every `--help`, run by a shell in the order in which a newcomer comes to it.
//!
//! Invariants: an example runs as it is printed, or stands in [`INSTEAD`] with what runs in its place and why;
//! one that neither table knows fails the test, and so does a row that no example needs any more. The lab in use
//! is not touched: the source tree is one of links, with its own home, runs and campaigns.

#![expect(clippy::unwrap_used, reason = "this file is a test as a whole, and a test fails by a panic")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::helps::{examples, helps};

/// How examples begin, in the order in which they are run; what a newcomer has done before each of them;
/// and with which codes they may end: 4 where bits flip at random, which a guest need not survive.
const ORDER: &[(&str, &str, &[i32])] = &[
    ("", "", &[0]),
    ("doctor", "", &[0]),
    (
        "setup",
        "mkdir -p ~/linux/scripts/kconfig; touch ~/linux/Kbuild ~/linux/scripts/kconfig/merge_config.sh",
        &[0],
    ),
    (
        "image add",
        "printf '#!/bin/sh\\necho 42\\n' > mine; chmod +x mine; mkdir -p data; echo 1 > data/input.txt",
        &[0],
    ),
    ("image list", "", &[0]),
    ("image remove", "", &[0]),
    ("image convert", "test -f disk.img || head -c 2M /dev/urandom | tee disk.img > rootfs.ext4", &[0]),
    ("boot", "cargo xtask boot prune; mkdir -p ~/exchange", &[0]),
    ("boot --headless", "cargo xtask boot prune", &[0]),
    ("boot list", "", &[0]),
    ("boot prune", "", &[0]),
    ("boot stop", "fresh", &[0]),
    ("inject list", "guest", &[0]),
    ("inject ram", "guest", &[0, 4]),
    ("inject range", "guest", &[0, 4]),
    ("inject auto", "guest", &[0, 4]),
    ("inject reg", "fresh", &[0, 4]),
    ("inject snap", "fresh; echo 'monitor savevm booted' | cargo xtask inject shell", &[0, 4]),
    ("inject shell", "guest", &[0]),
    ("inject", "cargo xtask boot stop --all", &[0]),
    ("campaign new", "cp $TREE/docs/examples/demo.toml campaign.toml", &[0]),
    ("campaign run", "", &[0]),
    ("campaign resume", "", &[0]),
    ("campaign status", "", &[0]),
    ("campaign stats", "", &[0]),
    ("campaign export", "", &[0]),
    ("campaign grow", "", &[0]),
    ("campaign check", "", &[0]),
    ("campaign merge", "for n in 1 2 3; do cp .lab/campaigns/first.sqlite part$n.sqlite; done", &[0]),
    ("campaign pack", "", &[0]),
    ("campaign slurm", "", &[0]),
    ("campaign trial", "", &[0]),
    (
        "campaign replay",
        "test -f trial.json || cargo xtask campaign trial --at 30ms --ram jiffies:0 --json > trial.json",
        &[0],
    ),
    ("campaign classify", "guest; cp .lab/runs/g1/console.log a.log; cp a.log b.log", &[0]),
    ("profile", "", &[0]),
    ("report", "cp $TREE/docs/examples/mission-sea-level.toml mission.toml", &[0]),
    // Small campaigns at random faults: whatever they say.
    ("report gate", "", &[0, 10, 11]),
    ("report trend", "", &[0]),
    ("report runs", "for n in 1 2; do cargo xtask campaign run several-$n; done", &[0]),
    ("bench", "", &[0]),
    ("test", "", &[0]),
    ("tidy", "", &[0]),
    ("ci", "", &[0]),
];

const LONG: &str = "takes minutes";
const ASKS: &str = "installs packages of the host";
const BUILDS: &str = "builds for minutes";
const TERMINAL: &str = "is for a terminal";
const NAMES: &str = "has names that another guest of this host may have";
const FOREIGN: &str = "needs a distribution's kernel and image";
const PARTS: &str = "mkdir -p parts/slices; cargo xtask campaign status parts";
const CARGO: &str = "runs this very test";

/// The examples that are not run as they are printed, what is run in their place, and why.
const INSTEAD: &[(&str, &str, &str)] = &[
    ("setup --install-deps", "cargo xtask setup --install-deps --dry-run", ASKS),
    ("setup qemu --from-distro", "cargo xtask setup qemu --from-distro --dry-run", BUILDS),
    (
        "setup qemu --qemu-bin /usr/bin/qemu-system-aarch64",
        "cargo xtask setup qemu --qemu-bin $QEMU --dry-run",
        "has a QEMU that this host may lack",
    ),
    ("setup kernel --kernel-src ~/linux", "cargo xtask setup kernel --kernel-src ~/linux --dry-run", BUILDS),
    (
        "setup kernel --kernel-src ~/linux --config-only",
        "cargo xtask setup kernel --kernel-src ~/linux --config-only --dry-run",
        "needs a whole kernel tree",
    ),
    (
        "setup kernel --kernel-src ~/linux --kernel-config ~/my.config --llvm",
        "touch ~/my.config; cargo xtask setup kernel --kernel-src ~/linux --kernel-config ~/my.config --llvm --dry-run",
        BUILDS,
    ),
    (
        "boot --kernel vmlinuz --initrd initrd.img --image debian.img --memory 512M",
        "head -c 1M /dev/zero > debian.img; gzip < debian.img > initrd.img; \
         (head -c 56 debian.img; printf ARMd; cat debian.img) > vmlinuz; \
         cargo xtask boot --kernel vmlinuz --initrd initrd.img --image debian.img --memory 512M --dry-run",
        FOREIGN,
    ),
    ("boot", "power_off g1 | cargo xtask boot", TERMINAL),
    ("boot --share ~/exchange", "power_off g1 | cargo xtask boot --share ~/exchange", TERMINAL),
    (
        "boot --monitor /tmp/qemu_socket --gdb tcp:1234",
        "power_off g1 | cargo xtask boot --monitor qemu_socket --gdb tcp:$PORT",
        NAMES,
    ),
    (
        "boot --debug",
        "cargo xtask boot --debug --headless --gdb tcp:$PORT && cargo xtask boot stop g1",
        "waits for a debugger",
    ),
    ("inject", "cargo xtask inject --count 4 --trials 60 --seed 1", "takes longer than the suite has"),
    (
        "campaign trial --at 100ms --reg pc:40 --gdb",
        "echo | cargo xtask campaign trial --at 100ms --reg pc:40 --gdb",
        TERMINAL,
    ),
    ("campaign replay - --diff", "cargo xtask campaign replay - --diff < trial.json", "reads standard input"),
    ("campaign classify -", "cargo xtask campaign classify - < a.log", "reads standard input"),
    ("campaign status parts", PARTS, "has a folder that a runner makes"),
    (
        "campaign merge first parts",
        "mkdir -p parts; cp .lab/campaigns/first.sqlite parts/first.part-0001-of-0001.sqlite; \
         cargo xtask campaign merge first parts",
        "has a folder that a runner makes",
    ),
    (
        "campaign pack first -o /data/first.pack --slices 256",
        "cargo xtask campaign pack first -o again.pack --slices 256",
        "has a folder that this host may lack",
    ),
    (
        "campaign slurm first --nodes 200 --cpus 4 --submit",
        "cargo xtask campaign slurm first --nodes 200 --cpus 4 --dry-run",
        "needs a cluster",
    ),
    ("bench", FLIPS, LONG),
    ("bench --arch aarch64,x86_64 --out bench.json", FLIPS, LONG),
    ("bench flip --count 5000 --gdb-count 50 --json", FLIPS, LONG),
    ("bench flip --count 2000", FLIPS, LONG),
    ("bench auto --autos 500 --gdb-autos 0", "cargo xtask bench auto --autos 2 --gdb-autos 0", LONG),
    ("bench auto --autos 500", "cargo xtask bench auto --autos 2 --gdb-autos 0", LONG),
    ("bench determinism", RUNS, LONG),
    ("bench determinism --workload sha256,fs --runs 5 --load", RUNS, LONG),
    ("bench determinism --at 10ms,20ms,1s --json", RUNS, LONG),
    (
        "bench determinism --kernel vmlinuz --image debian.img --ready 'login: $'",
        "cargo xtask bench determinism --ready 'FLIPSIM READY' --workload none --at 10ms,20ms",
        FOREIGN,
    ),
    ("bench trials", TRIALS, LONG),
    ("bench trials --workload sha256 --memory 128M,2G --count 0", TRIALS, LONG),
    ("bench trials --count 500 --window 50ms --load --json", TRIALS, LONG),
    ("bench campaign", CAMPAIGN, LONG),
    ("bench campaign --workload fs --strata core=class:core --count 100 --ways walk,start", CAMPAIGN, LONG),
    ("bench campaign --count 1000 --ways walk,one,start,loaded,killed --json", CAMPAIGN, LONG),
    ("test", "CARGO=echo $IN_TREE cargo xtask test", CARGO),
    ("test --fast", "CARGO=echo $IN_TREE cargo xtask test --fast", CARGO),
    ("test --yes", "CARGO=echo $IN_TREE cargo xtask test --yes", CARGO),
    ("ci --yes", "CARGO=echo $IN_TREE cargo xtask ci --yes", CARGO),
    ("tidy", "$IN_TREE cargo xtask tidy", "needs a checkout"),
];

const FLIPS: &str = "cargo xtask bench --count 20 --autos 2 --gdb-count 1 --gdb-autos 0 --out bench.json";
const RUNS: &str = "cargo xtask bench determinism --workload sha256 --at 10ms,20ms --json";
const TRIALS: &str =
    "cargo xtask bench trials --workload sha256 --memory 128M --restores 2 --count 2 --window 20ms";
const CAMPAIGN: &str =
    "cargo xtask bench campaign --workload sha256 --strata core=class:core --count 4 --ways walk,start";

/// What the shell knows besides: a guest `g1` that has just started, or one that is well; power off at its console
/// once it is ready.
const WORDS: &str = r#"
fresh() { cargo xtask boot stop --all; cargo xtask boot prune; cargo xtask boot --headless; }
guest() { cargo xtask inject list ram --guest g1 || fresh; }
power_off() {
    until grep -qs 'FLIPSIM READY' .lab/runs/$1/console.log; do sleep 0.1; done
    echo 'poweroff -f'
}
"#;

/// A shell in a source tree of links.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        let scratch = Scratch(tree_of_links());
        let root = scratch.0.path();
        for folder in ["home", "bin"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
        // `cargo xtask` without another build.
        let cargo = root.join("bin/cargo");
        let program = env!("CARGO_BIN_EXE_xtask");
        std::fs::write(
            &cargo,
            format!("#!/bin/sh\ntest \"$1\" = xtask || exit 99\nshift\nexec '{program}' \"$@\"\n"),
        )
        .unwrap();
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
        scratch
    }

    fn run(&self, line: &str) -> Output {
        let root = self.0.path();
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let lab: Value = serde_json::from_slice(&std::fs::read(root.join(".lab/lab.json")).unwrap()).unwrap();
        let path = std::env::var("PATH").unwrap();
        let cache = cache();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "300", "bash", "-o", "pipefail", "-c", &format!("{WORDS}{line}")]);
        command.current_dir(root).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", root.join("bin").display()));
        command.env("HOME", root.join("home")).env("FLIPSIM_CACHE", cache);
        command.env("CARGO_MANIFEST_DIR", root.join("xtask"));
        command.env("TREE", tree).env("IN_TREE", format!("env CARGO_MANIFEST_DIR={}/xtask", tree.display()));
        command.env("PORT", free_port().to_string());
        command.env("QEMU", lab["archs"]["aarch64"]["qemu"]["system"].as_str().unwrap());
        command.output().expect("timeout(1) is there")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.run("cargo xtask boot stop --all");
        assert!(std::thread::panicking() || !qemu_with(self.0.path().to_str().unwrap()), "a QEMU is left");
    }
}

/// The row of [`ORDER`] that an example belongs to: the one that says most of it.
fn row_of(example: &str) -> Option<usize> {
    let begins =
        |begin: &str| example == begin || example.starts_with(&format!("{begin} ")) && !begin.is_empty();
    let rows = ORDER.iter().enumerate().filter(|(_, (begin, ..))| begins(begin));
    rows.max_by_key(|(_, (begin, ..))| begin.len()).map(|(row, _)| row)
}

#[test]
#[ignore = "boots guests; `cargo xtask test` runs it"]
fn every_example_of_every_help_runs() {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (_, help) in helps() {
        for example in examples(&help) {
            let row = row_of(&example).unwrap_or_else(|| panic!("no row of ORDER is for `{example}`"));
            if !found.iter().any(|(_, other)| *other == example) {
                found.push((row, example));
            }
        }
    }
    found.sort_by_key(|(row, _)| *row);
    for (example, ..) in INSTEAD {
        assert!(found.iter().any(|(_, other)| other == example), "no help has the example `{example}`");
    }
    for (row, (begin, ..)) in ORDER.iter().enumerate() {
        assert!(
            found.iter().any(|(other, _)| *other == row),
            "no help has an example that begins with `{begin}`"
        );
    }
    let jq = Command::new("jq").arg("--version").stdout(Stdio::null()).status().is_ok();
    let scratch = Scratch::new();
    let mut done = BTreeSet::new();
    for (row, example) in found {
        let (_, before, codes) = ORDER[row];
        let instead = INSTEAD.iter().find(|(other, ..)| *other == example);
        let line =
            instead.map_or_else(|| format!("cargo xtask {example}"), |(_, line, _)| (*line).to_owned());
        if line.contains("| jq") && !jq {
            eprintln!("SKIPPED: jq is not installed, so that `{line}` was not run");
            continue;
        }
        // Several long examples have one short line in their place.
        if !done.insert(line.clone()) {
            continue;
        }
        if !before.is_empty() {
            let output = scratch.run(before);
            assert!(output.status.success(), "{before}, before `{line}`:\n{}", text(&output));
        }
        let began = Instant::now();
        let output = scratch.run(&line);
        eprintln!("{:5.1} s  {line}", began.elapsed().as_secs_f64());
        let code = output.status.code();
        assert!(code.is_some_and(|code| codes.contains(&code)), "{code:?} of `{line}`:\n{}", text(&output));
    }
}
