//! `cargo xtask report gate` as a build server starts it, on made-up campaigns.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flipsim::campaign::{CampaignSpec, Shard};
use flipsim::testing::fake_campaign::{create, record, spec};
use flipsim::trial::Outcome;

const RAM: &str = "range:0x40000000+1M";
const CORE: &str = "class:core";

/// A folder of campaigns; reports go there, too.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Lab {
        Lab(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Makes a campaign in which so many of a hundred trials crash, with results for so many; its file.
    fn campaign(&self, name: &str, targets: &[&str], percent: u64, [trials, done]: [usize; 2]) -> String {
        let seed = name.bytes().map(u64::from).sum();
        let spec = CampaignSpec { name: name.to_owned(), seed, ..spec(trials as u64, targets) };
        let mut store = create(&self.path(&format!("{name}.sqlite")), &spec).unwrap();
        for id in store.pending(Shard::WHOLE).unwrap().into_iter().take(done) {
            let mut record = record(&store.planned(id).unwrap());
            let outcome = if id.0 % 100 < percent { Outcome::Crash } else { Outcome::Masked };
            (record.flipped, record.error, record.outcome) = (true, None, Some(outcome));
            store.record(id, &record).unwrap();
        }
        self.text(&format!("{name}.sqlite"))
    }

    fn whole(&self, name: &str, targets: &[&str], percent: u64) -> String {
        self.campaign(name, targets, percent, [4_000, 4_000])
    }

    fn report(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("report").args(args).current_dir(self.0.path()).output().unwrap()
    }

    /// The code and the last line of the gate's output.
    fn gate(&self, args: &[&str]) -> (i32, String) {
        let html = self.text("page.html");
        let output = self.report(&[&["gate", "--html", &html], args].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), text.lines().last().unwrap_or(&errors).to_owned())
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn equal_campaigns_exit_with_0_and_a_worse_one_with_10() {
    let lab = Lab::new();
    let (a, b, c) = (
        lab.whole("a", &[RAM, CORE], 12),
        lab.whole("b", &[RAM, CORE], 12),
        lab.whole("c", &[RAM, CORE], 20),
    );
    let (code, line) = lab.gate(&[&a, &b, "--by-at-least", "5%"]);
    assert!(code == 0 && line.starts_with("gate: not worse: no rise of "), "{code} {line}");
    let (junit, markdown, json) = (lab.text("g.xml"), lab.text("g.md"), lab.text("g.json"));
    let (code, line) = lab.gate(&[
        &a,
        &c,
        "--junit",
        &junit,
        "--markdown",
        &markdown,
        "--json",
        &json,
        "--fail-if",
        "crash worse",
    ]);
    assert!(code == 10 && line.starts_with("gate: worse: crash in "), "{code} {line}");
    assert!(read(Path::new(&junit)).contains("failures=\"2\""));
    assert!(read(Path::new(&markdown)).starts_with("### c against a: worse\n"));
    let found: serde_json::Value = serde_json::from_str(&read(Path::new(&json))).unwrap();
    assert_eq!((&found["change"], found["rows"].as_array().unwrap().len()), (&"worse".into(), 2));
    assert!(read(&lab.path("page.html")).contains("<h1>c against a: worse</h1>"));
    // What crashed more is no worse in hangs; and the other way round it is better.
    assert_eq!(lab.gate(&[&a, &c, "--fail-if", "hang worse"]).0, 0);
    assert_eq!(lab.gate(&[&c, &a]).0, 0);
    // With standard output for a form the line is an error's place.
    let output = lab.report(&["gate", &a, &c, "--html", &lab.text("p.html"), "--markdown", "-"]);
    assert_eq!(output.status.code(), Some(10));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("### c against a"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("gate: worse: "));
}

#[test]
fn an_unfinished_one_exits_with_11_unless_its_batches_are_asked_for() {
    let lab = Lab::new();
    let a = lab.whole("a", &[RAM], 12);
    let b = lab.campaign("b", &[RAM], 12, [4_000, 3_000]);
    let (code, line) = lab.gate(&[&a, &b]);
    assert!(code == 11 && line.contains("b is not finished: 1000 of "), "{code} {line}");
    let (code, line) = lab.gate(&[&a, &b, "--unfinished", "--by-at-least", "5%"]);
    assert!(code == 0 && line.starts_with("gate: not worse"), "{code} {line}");
}

#[test]
fn without_a_common_stratum_gate_and_compare_exit_with_11() {
    let lab = Lab::new();
    let size = [400, 400];
    let (a, b) = (lab.campaign("a", &[RAM], 12, size), lab.campaign("b", &[CORE], 12, size));
    let (code, line) = lab.gate(&[&a, &b]);
    assert!(code == 11 && line.contains("no stratum is in both campaigns"), "{code} {line}");
    let compare = |a: &str, b: &str| {
        let output = lab.report(&["compare", a, b, "--html", &lab.text("c.html")]);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = compare(&a, &b);
    assert!(code == 11 && said.contains("nothing was compared"), "{code} {said}");
    assert!(lab.path("c.html").exists());
    let empty = lab.campaign("c", &[RAM], 12, [400, 0]);
    assert_eq!(compare(&a, &empty).0, 11);
    assert_eq!(compare(&a, &lab.campaign("d", &[RAM], 12, size)).0, 0);
}

#[test]
fn nights_are_a_trend() {
    let lab = Lab::new();
    let (a, b) = (lab.whole("night-1", &[RAM], 12), lab.whole("night-2", &[RAM, CORE], 20));
    let html = lab.text("t.html");
    let output = lab.report(&["trend", &a, &b, "--html", &html]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("failure over 2 campaigns\n"), "{text}");
    assert!(
        text.contains("\n  night-1  ") && text.contains("\n  night-2  ") && text.contains("× 1."),
        "{text}"
    );
    assert!(read(Path::new(&html)).contains("<h1>failure over 2 campaigns</h1>"));
    let json = lab.report(&["trend", &a, &b, "--outcome", "crash", "--json", "-"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(
        json["strata"][1]["nights"][0].is_null() && json["strata"][0]["nights"][1]["of_first"].is_object()
    );
    assert_eq!(lab.report(&["trend", &a, "--outcome", "infra"]).status.code(), Some(2));
}

/// A source tree in which the script of docs/ci.md runs: `cargo xtask` is the real one but for what takes a guest. Of that the
/// words are checked, and `campaign run` takes a campaign that is prepared.
fn nightly(lab: &Lab, prepared: &str) -> Output {
    let root = lab.path("tree");
    let docs = include_str!("../../docs/ci.md");
    let script = docs.split("```sh\n#!/bin/sh\n").nth(1).unwrap().split("```").next().unwrap();
    for folder in ["xtask", "bin", ".lab/campaigns"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    write("lab.toml", "");
    write("nightly.toml", "");
    write("nightly.sh", script);
    let stub = r#"#!/bin/sh
test "$1" = xtask || exit 99
shift
case "$1 $2" in
"campaign new" | "campaign run")
    "$XTASK" "$@" --help > help.txt || exit 2
    echo "$*" >> done.txt
    test "$2" = new || cp "$PREPARED" ".lab/campaigns/$3.sqlite" ;;
*) exec "$XTASK" "$@" ;;
esac
"#;
    write("bin/cargo", stub);
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(root.join("bin/cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", root.join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command
        .arg("nightly.sh")
        .current_dir(&root)
        .env("PATH", path)
        .env("BASELINE", lab.text("baseline.sqlite"));
    command.env("XTASK", env!("CARGO_BIN_EXE_xtask")).env("PREPARED", prepared);
    command.env("CARGO_MANIFEST_DIR", root.join("xtask")).output().unwrap()
}

#[test]
fn the_script_of_the_docs_runs_and_ends_with_the_gates_code() {
    for (percent, [trials, done], expected) in
        [(12, [4_000, 4_000], 0), (12, [4_000, 3_300], 0), (20, [4_000, 4_000], 10), (12, [400, 400], 11)]
    {
        let lab = Lab::new();
        lab.campaign("baseline", &[RAM, CORE], 12, [4_000, 4_000]);
        let night = lab.campaign("night", &[RAM, CORE], percent, [trials, done]);
        let output = nightly(&lab, &night);
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(expected), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("gate: ")).count(), 1, "{said}");
        let root = lab.path("tree");
        for file in ["gate.xml", "gate.md", "gate.html", "trend.html"] {
            assert!(root.join(file).exists(), "{file}: {said}");
        }
        let done = read(&root.join("done.txt"));
        assert!(done.contains("campaign new nightly-2") && done.contains("--max-time 480m"), "{done}");
    }
}

#[test]
fn too_few_trials_exit_with_11_and_wrong_words_with_2() {
    let lab = Lab::new();
    let size = [300, 300];
    let (a, b) = (lab.campaign("a", &[RAM], 12, size), lab.campaign("b", &[RAM], 12, size));
    let (code, line) = lab.gate(&[&a, &b]);
    assert!(code == 11 && line.contains("too little power: with these trials a rise of "), "{code} {line}");
    assert_eq!(lab.gate(&[&a, &b, "--by-at-least", "20%"]).0, 0);
    for wrong in [["--alpha", "60%"], ["--by-at-least", "0%"], ["--fail-if", "masked worse"]] {
        let (code, said) = lab.gate(&[&[a.as_str(), &b][..], &wrong[..]].concat());
        assert!(code == 2, "{wrong:?} {code} {said}");
    }
    assert_eq!(lab.gate(&[&a, &lab.text("none.sqlite")]).0, 2);
}
