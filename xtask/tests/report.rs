//! `cargo xtask report` as a user starts it, on made-up campaigns.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flipsim::campaign::CampaignSpec;
use flipsim::testing::fake_campaign::{create, fill};
use flipsim::testing::hostile_campaign::{sample, spec};

fn report(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).arg("report").args(args).output().unwrap()
}

fn ok(args: &[&str]) -> String {
    let output = report(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(args: &[&str]) -> (i32, String) {
    let output = report(args);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

struct Campaign {
    folder: tempfile::TempDir,
    file: String,
}

impl Campaign {
    fn new(trials: u64) -> Campaign {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sample.sqlite");
        drop(sample(&file, trials).unwrap());
        Campaign { file: file.to_str().unwrap().to_owned(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn the_terminal_has_rates_warnings_and_the_pages_place() {
    let campaign = Campaign::new(600);
    let text = ok(&[&campaign.file, "--html", &campaign.text("p.html")]);
    for part in [
        "campaign sample: 600 of 600 trials",
        "core <b>registers</b>: ",
        "failure",
        "(exact)",
        "from flip to crash",
        "warning: stratum kernel: ",
        "page: ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let page = std::fs::read_to_string(campaign.path("p.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    // What is written is readable for others, too, and nothing is left beside it.
    let left: Vec<_> = campaign.folder.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn standard_output_has_the_table_alone() {
    let campaign = Campaign::new(60);
    let csv = ok(&[&campaign.file, "--csv", "-"]);
    assert!(csv.starts_with("campaign,trial,stratum,"), "{csv}");
    let json: serde_json::Value = serde_json::from_str(&ok(&[&campaign.file, "--json", "-"])).unwrap();
    assert_eq!(json["trials"].as_array().unwrap().len(), csv.lines().count() - 1);
    assert!(ok(&[&campaign.file, "--html", "-"]).starts_with("<!DOCTYPE html>"));
    assert_eq!(fails(&[&campaign.file, "--csv", "-", "--json", "-"]).0, 2);
}

#[test]
fn errors_say_what_and_with_which_code() {
    let campaign = Campaign::new(60);
    let (code, text) = fails(&[&campaign.text("none.sqlite")]);
    assert!(code == 2 && text.contains("there is no campaign"), "{code} {text}");
    let (code, text) = fails(&["no/name"]);
    assert!(code == 2 && text.contains("no campaign's name"), "{code} {text}");
    assert_eq!(fails(&[]).0, 2);

    std::fs::write(campaign.path("text.sqlite"), "this is no campaign").unwrap();
    let (code, text) = fails(&[&campaign.text("text.sqlite")]);
    assert!(code == 2 && text.contains("is not a campaign"), "{code} {text}");

    // The pages behind the first are overwritten: what is read of them is nonsense.
    let mut bytes = std::fs::read(&campaign.file).unwrap();
    let length = bytes.len();
    bytes[8192..length].fill(0xa5);
    std::fs::write(campaign.path("damaged.sqlite"), bytes).unwrap();
    let (code, text) = fails(&[&campaign.text("damaged.sqlite"), "--html", &campaign.text("d.html")]);
    assert!(code == 2 && text.contains("damaged"), "{code} {text}");
    assert!(!campaign.path("d.html").exists());

    let there = campaign.text("no/folder/page.html");
    let (code, text) = fails(&[&campaign.file, "--html", &there]);
    assert!(
        code == 1 && text.contains("cannot write") && text.contains("no/folder/page.html"),
        "{code} {text}"
    );
    if Path::new("/dev/full").exists() {
        let (code, text) = fails(&[&campaign.file, "--csv", "/dev/full"]);
        assert!(code == 1 && text.contains("cannot write /dev/full"), "{code} {text}");
    }
}

#[test]
fn a_campaign_without_a_result_is_reported() {
    let campaign = Campaign::new(60);
    drop(create(&campaign.path("empty.sqlite"), &spec(30)).unwrap());
    let (file, html) = (campaign.text("empty.sqlite"), campaign.text("e.html"));
    assert!(ok(&[&file, "--html", &html]).contains("no trial has a result yet"));
    assert!(std::fs::read_to_string(html).unwrap().contains("No trial has a result yet"));
    assert_eq!(ok(&[&file, "--csv", "-"]).lines().count(), 1);
}

#[test]
fn two_campaigns_are_compared() {
    let campaign = Campaign::new(300);
    let other = campaign.path("other.sqlite");
    let mut store = create(&other, &CampaignSpec { seed: 43, name: "other".into(), ..spec(300) }).unwrap();
    fill(&mut store, 300).unwrap();
    drop(store);
    let other = other.to_str().unwrap();
    let html = campaign.text("both.html");
    let text = ok(&["compare", &campaign.file, other, "--html", &html]);
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}\n{text}"));
    // Doubts, then absolute counts, then rates.
    let doubt = at("warning: 1 trials of sample were given up");
    assert!(doubt < at("extrapolated number") && at("extrapolated number") < at("  rates, "));
    assert!(text.contains("differs: seed: 42 in A, 43 in B") && text.contains("p = "));
    assert!(text.contains("page: ") && text.ends_with("both.html\n"), "{text}");
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("sample and other"));
    assert!(ok(&["compare", &campaign.file, other, "--html", "-"]).starts_with("<!DOCTYPE html>"));
    let json: serde_json::Value =
        serde_json::from_str(&ok(&["compare", &campaign.file, other, "--json", "-"])).unwrap();
    assert_eq!(json["strata"].as_array().unwrap().len(), 3);
    let (code, said) = fails(&["compare", &campaign.file, other, "--json", "-", "--html", "-"]);
    assert!(code == 2 && said.contains("both --html and --json"), "{said}");

    let same = ok(&["compare", &campaign.file, &campaign.file, "--html", &html]);
    assert!(same.contains("one plan: 300 trials have a result in both, 0 came out differently"), "{same}");
}

#[test]
fn missions_are_read_and_what_is_wrong_with_one_is_said() {
    let campaign = Campaign::new(300);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/mission-sea-level.toml");
    let html = campaign.text("m.html");
    let text = ok(&[&campaign.file, "--mission", example, "--html", &html]);
    for part in [
        "in the field: A board with 128 MiB",
        "source: flux: neutrons",
        "upsets a year",
        "in 5 years: ",
        "assumed: ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(std::fs::read_to_string(&html).unwrap().contains("In the field: A board with 128 MiB"));
    let json: serde_json::Value =
        serde_json::from_str(&ok(&[&campaign.file, "--mission", example, "--json", "-"])).unwrap();
    assert_eq!(json["field"]["mission"]["years"], 5.0);
    assert!(json["field"]["expected"]["parts"][0]["upsets"]["value"].as_f64().unwrap() > 0.0);

    let both = ["compare", &campaign.file, &campaign.file, "--html", &html];
    let said = |more: &[&str]| ok(&both.iter().chain(more).copied().collect::<Vec<_>>());
    let upset = said(&["--per", "upset"]);
    assert!(upset.contains("numbers are per upset") && upset.contains("per run × 1.00"), "{upset}");
    assert!(said(&[]).contains("numbers are per run"));
    let year = said(&["--mission", example]);
    assert!(year.contains("numbers are per year") && year.contains("B − A 0 ("), "{year}");
    assert!(std::fs::read_to_string(&html).unwrap().contains("--mission "), "the page's own command");

    for (mission, says) in [
        ("[ram]\nrate = \"2e-7/bit/day\"\n", "it has no `source`"),
        ("[ram]\nrate = \"1e-14cm2/bit\"\nsource = \"x\"\n", "say in which flux"),
        ("[ram]\nrate = \"2e-7/bit/day\"\nsource = \"x\"\nfactors = 2\n", "unknown field `factors`"),
        ("years = 5\n", "there is no default"),
    ] {
        std::fs::write(campaign.path("m.toml"), mission).unwrap();
        let (code, text) = fails(&[&campaign.file, "--mission", &campaign.text("m.toml")]);
        assert!(code == 2 && text.contains(says) && text.contains("m.toml"), "{code} {text}");
    }
    for wrong in [&["--mission", "no.toml"][..], &["--per", "year"], &["--per", "day"]] {
        let args: Vec<&str> = both.iter().chain(wrong).copied().collect();
        let (code, text) = fails(&args);
        assert!(code == 2 && !text.is_empty(), "{code} {text}");
    }
}

/// A program of docs/report.md, in the language that its fence names.
fn program(language: &str) -> String {
    let docs = include_str!("../../docs/report.md");
    let fence = format!("```{language}\n");
    docs.split(&fence).nth(1).unwrap().split("```").next().unwrap().to_owned()
}

/// Runs a program of the docs on a campaign's CSV, where its interpreter is there, and compares what it
/// says with our own counts.
fn run_program(language: &str, ending: &str, interpreter: &str, probe: &[&str]) {
    let there = Command::new(interpreter).args(probe).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: `{interpreter} {}` fails here, so that the example in {language} was not run",
            probe.join(" ")
        );
        return;
    }
    let campaign = Campaign::new(900);
    let csv = campaign.text("t.csv");
    ok(&[&campaign.file, "--csv", &csv]);
    let file = campaign.path(ending);
    std::fs::write(&file, program(language)).unwrap();
    let output = Command::new(interpreter).arg(&file).arg(&csv).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_str(&ok(&[&campaign.file, "--json", "-"])).unwrap();
    for stratum in json["summary"]["strata"].as_array().unwrap() {
        let name = stratum["name"].as_str().unwrap();
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap_or_else(|| panic!("{name}\n{text}"));
        let numbers: Vec<f64> = line[line.find(name).unwrap() + name.len()..]
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        let failure = &stratum["classes"][0];
        assert_eq!(failure["outcome"], "failure");
        let rate = failure["rate"]["value"].as_f64().unwrap();
        let failures = failure["rate"]["failures"]["value"].as_f64().unwrap();
        let [.., trials, found, extrapolated] = numbers[..] else { panic!("{line}") };
        assert_eq!(trials, stratum["counted"].as_f64().unwrap(), "{line}");
        assert!((found / rate - 1.0).abs() < 1e-5 && (extrapolated / failures - 1.0).abs() < 1e-5, "{line}");
    }
}

#[test]
fn the_pandas_example_of_the_docs_runs_and_agrees() {
    run_program("python", "example.py", "python3", &["-c", "import pandas"]);
}

#[test]
fn the_r_example_of_the_docs_runs_and_agrees() {
    run_program("r", "example.R", "Rscript", &["--version"]);
}

#[test]
fn several_runs_are_one_estimate() {
    let (one, two) = (Campaign::new(300), Campaign::new(300));
    let text = ok(&["runs", &one.file, &two.file]);
    for part in [
        "2 golden runs: sample, sample",
        "they are one run",
        "failure",
        "ignoring runs",
        "an interval of 95 %",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&ok(&["runs", &one.file, &two.file, "--json", "-"])).unwrap();
    let row = &json["strata"][0]["rows"][0];
    assert_eq!((&row["outcome"], &json["format"]), (&"failure".into(), &1.into()));
    // Twice the same run: nothing lies between them.
    assert_eq!(row["together"]["between_sd"], 0.0);
    assert_eq!(row["together"]["design_effect"], 0.0);
    assert_eq!(fails(&["runs", &one.file]).0, 2);
}
