//! `campaign status` and `stats` on campaigns whose results are drawn instead of observed.

use std::path::{Path, PathBuf};
use std::process::Command;

use flipsim::campaign::TrialId;
use flipsim::campaign::store::Recorded;
use flipsim::testing::fake_campaign as fake;

/// A campaign of 1,000 trials in three strata, in two batches: one is done, with a trial that was given up, and 97 of the
/// other.
fn campaign(folder: &Path) -> PathBuf {
    let path = folder.join("c.sqlite");
    let targets = ["range:0x40000000+1M", "range:0x50000000+3M", "class:core"];
    let mut store = fake::create(&path, &fake::spec(1000, &targets)).expect("the campaign is made");
    while store.fail(TrialId(17), "QEMU died").expect("it is recorded") != Recorded::GivenUp {}
    fake::fill(&mut store, 596).expect("results are recorded");
    path
}

/// The exit code, what was said, and what was complained of.
fn xtask(args: &[&str], path: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command.arg("campaign").arg(args[0]).arg(path).args(&args[1..]).output();
    let output = output.expect("the program was built");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What is said, without how fast the results were recorded.
fn said(args: &[&str], path: &Path) -> String {
    let (code, out, err) = xtask(args, path);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let timeless = |line: &str| match line.find(" trials a second in ") {
        Some(at) => {
            let from = line[..at].rfind(' ').map_or(0, |from| from + 1);
            format!("{}PACE", &line[..from])
        }
        None => line.to_owned(),
    };
    out.lines().map(timeless).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_status_is_a_table_a_stratum_with_interval_and_absolute_count() {
    let folder = tempfile::tempdir().expect("a folder");
    insta::assert_snapshot!("campaign_status", said(&["status"], &campaign(folder.path())));
}

#[test]
fn what_was_settled_and_what_is_known_stands_with_the_rates() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.sqlite");
    let targets = ["range:0x40000000+1M", "range:0x50000000+3M", "class:core"];
    let mut store = fake::create_settled(&path, &fake::spec(3000, &targets)).expect("the campaign is made");
    fake::fill_settled(&mut store, 3000).expect("results are recorded");
    drop(store);
    let status = said(&["status"], &path);
    insta::assert_snapshot!("campaign_status_settled", status);
    // Statistics have the same lines, and `status --json` the counts.
    let stats = said(&["stats"], &path);
    for line in status.lines().filter(|line| line.contains("live:") || line.contains("without a run")) {
        assert!(stats.contains(line), "{line}");
    }
    let (_, json, _) = xtask(&["status", "--json"], &path);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let number = |of: &serde_json::Value, key: &str| of["ways"][key].as_u64().expect("a number");
    assert_eq!(number(&json, "trials"), 3000);
    let strata = json["strata"].as_array().expect("strata");
    assert_eq!(
        strata.iter().map(|stratum| number(stratum, "never_read")).sum::<u64>(),
        number(&json, "never_read")
    );
}

#[test]
fn the_statistics_are_broken_down_as_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = campaign(folder.path());
    let by = ["bit", "register", "region", "symbol", "title"].map(|by| format!("--by={by}"));
    let mut args = vec!["stats", "--top", "3", "--survival", "--interval", "exact", "--confidence", "99%"];
    args.extend(by.iter().map(String::as_str));
    args.extend(["--raw-fit", "1700", "--flips-per-gib-month", "10", "--years", "5", "--gib", "1"]);
    insta::assert_snapshot!("campaign_stats", said(&args, &path));
}

#[test]
fn scripts_find_the_same_numbers_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = campaign(folder.path());
    let json = |args: &[&str]| -> serde_json::Value {
        let (code, out, _) = xtask(args, &path);
        assert_eq!(code, Some(0));
        serde_json::from_str(&out).expect("JSON")
    };
    let stats = json(&[
        "stats",
        "--json",
        "--raw-fit",
        "1000",
        "--flips-per-gib-month",
        "10",
        "--years",
        "5",
        "--gib",
        "16",
    ]);
    assert_eq!(stats["format"], 3);
    assert_eq!(stats["totals"]["infra"], 1);
    let first = &stats["strata"][0];
    let failure = &first["classes"][0];
    assert_eq!(failure["outcome"], "failure");
    let rate = failure["rate"]["value"].as_f64().expect("a rate");
    let counted = first["counted"].as_f64().expect("a number");
    assert!((rate - failure["count"].as_f64().expect("a number") / counted).abs() < 1e-12);
    let last = stats["fit"]["rows"][0]["fit"].as_array().and_then(|rows| rows.last()).expect("a row");
    assert!((last[1]["value"].as_f64().expect("FIT") - 8.0 * 1000.0 * rate).abs() < 1e-6);
    // The seed's mission: 10 flips a month and GiB, 16 GiB, 5 years.
    assert!((stats["mission"]["upsets"].as_f64().expect("flips") - 9600.0).abs() < 1e-6);
    assert_eq!(stats["warnings"][0]["kind"], "unfinished");
    // The status keeps its keys.
    let status = json(&["status", "--json"]);
    assert_eq!((&status["done"], &status["strata"][0]["faults"]), (&597.into(), &8_388_608.into()));
    assert!(stats["fit"]["rows"].as_array().is_some_and(|rows| rows.len() == 4));
}

/// How many a year, in one command: a sentence with its uncertainty.
#[test]
fn a_year_in_orbit_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = campaign(folder.path());
    let args = ["stats", "--upsets-per-bit-day", "ram=2e-7", "--raw-factor", "3", "--gib", "0.125"];
    let out = said(&args, &path);
    let field: Vec<&str> = out.lines().filter(|line| line.contains("are expected")).collect();
    insta::assert_snapshot!(field.join("\n"));
    let kinds = ["stats", "--cross-section", "ram=1e-14cm2/bit", "--cross-section", "registers=2e-15"];
    let args: Vec<&str> = kinds.into_iter().chain(["--flux", "sea-level", "--years", "10"]).collect();
    insta::assert_snapshot!(
        "a_cross_section_a_kind",
        said(&args, &path).split_once("at RAM").expect("FIT").1
    );
    // The same rate, however it is written.
    let fit = |args: &[&str]| {
        let args: Vec<&str> = ["stats", "--json"].into_iter().chain(args.iter().copied()).collect();
        let json: serde_json::Value = serde_json::from_str(&said(&args, &path)).expect("JSON");
        json["fit"]["raw_fit_per_mbit"].as_f64().expect("a number")
    };
    let old = fit(&["--cross-section", "1e-14", "--flux", "sea-level"]);
    assert!((old / fit(&["--rate", "1e-14cm2/bit", "--flux", "sea-level"]) - 1.0).abs() < 1e-12);
    assert!((fit(&["--raw-fit", "1700"]) / fit(&["--rate", "1700FIT/Mbit"]) - 1.0).abs() < 1e-12);
    assert!((fit(&["--upsets-per-bit-day", "1e-7"]) / fit(&["--rate", "1e-7/bit/day"]) - 1.0).abs() < 1e-12);
    // 4.04e-7 a bit and day over 24 hours.
    let args = ["stats", "--json", "--upsets-per-bit-day", "alsat-1", "--raw-interval", "2e-7..8.08e-7"];
    let json: serde_json::Value = serde_json::from_str(&said(&args, &path)).expect("JSON");
    let raw = json["fit"]["raw_fit_per_mbit"].as_f64().expect("a number");
    assert!((raw / (4.04e-7 / 24.0 * 1e9 * 1_048_576.0) - 1.0).abs() < 1e-12);
    assert_eq!(json["fit"]["raw"]["spread"]["upper"], 2.0);
    assert!(json["fit"]["together"]["expected"]["mttf_hours"]["value"].as_f64().is_some());
}

#[test]
fn what_is_no_number_is_refused_with_exit_code_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = campaign(folder.path());
    for (args, says) in [
        (&["stats", "--confidence", "95"][..], "`95` is not a confidence"),
        (&["status", "--confidence", "100%"], "`100%` is not a confidence"),
        (&["stats", "--raw-fit", "-1"], "-1"),
        (&["stats", "--raw-fit=0"], "`0` is not a raw rate"),
        (&["stats", "--raw-fit", "rom=5"], "write ram=… or registers=…"),
        (&["stats", "--raw-fit", "5", "--raw-fit", "7"], "RAM has two raw rates"),
        (&["stats", "--raw-fit", "5", "--upsets-per-bit-day", "1e-7"], "cannot be used with"),
        (&["stats", "--cross-section", "1e-14"], "--flux"),
        (&["stats", "--flux", "sea-level"], "--cross-section"),
        (&["stats", "--cross-section", "1e-14", "--flux", "leo"], "one of: sea-level"),
        (&["stats", "--cross-section", "7m", "--flux", "sea-level"], "`7m` is not a cross section"),
        (&["stats", "--upsets-per-bit-day", "550km"], "one of: alsat-1"),
        (&["stats", "--rate", "5"], "as in 2e-7/bit/day"),
        (&["stats", "--rate", "1e-14cm2/bit"], "say in which flux"),
        (&["stats", "--rate", "1e-7/bit/day", "--flux", "sea-level"], "no cross section"),
        (&["stats", "--rate", "1e-7/bit/day", "--raw-fit", "5"], "cannot be used with"),
        (&["stats", "--raw-factor", "2"], "--raw-fit"),
        (&["stats", "--raw-fit", "5", "--raw-factor", "0.5"], "`0.5` is not a factor"),
        (&["stats", "--raw-fit", "5", "--raw-interval", "9..3"], "`9..3` is not a range"),
        (&["stats", "--raw-fit", "5", "--raw-interval", "6..9"], "does not lie in its own interval"),
        (&["stats", "--raw-fit", "5", "--raw-factor", "2", "--raw-interval", "3..9"], "cannot be used with"),
        (&["stats", "--by", "colour"], "possible values: bit, register, region, symbol, title"),
        (&["stats", "--interval", "wald"], "possible values: wilson, exact"),
        (&["stats", "--flips-per-gib-month", "10", "--years", "5"], "--gib"),
        (&["stats", "--years", "5"], "--flips-per-gib-month"),
        (&["stats", "--gib", "5"], "--raw-fit"),
        (&["stats", "--flips-per-gib-month", "10", "--years", "0", "--gib", "1"], "a number above 0"),
        (&["stats", "--flips-per-gib-month", "10", "--years", "nan", "--gib", "1"], "a number above 0"),
    ] {
        let (code, out, err) = xtask(args, &path);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: {err}");
    }
    for command in ["stats", "status"] {
        let (code, _, err) = xtask(&[command], &folder.path().join("none.sqlite"));
        assert_eq!(code, Some(2), "{err}");
        let stranger = folder.path().join("stranger.sqlite");
        std::fs::write(&stranger, "no campaign").expect("it is written");
        let (code, _, err) = xtask(&[command], &stranger);
        assert_eq!(code, Some(2), "{err}");
    }
}

#[test]
fn a_campaign_without_results_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.sqlite");
    drop(fake::create(&path, &fake::spec(10, &["range:0x40000000+1M"])).expect("the campaign is made"));
    insta::assert_snapshot!(said(&["stats", "--by", "bit", "--survival", "--raw-fit", "1"], &path), @r"
    campaign fake: 0 of 10 trials
    1M: 0 trials of N = 8388608 faults × 400000000 ns (range:0x40000000-0x400fffff)
    warning: 10 of 10 trials are pending: `campaign run` runs the rest; no rate is known yet
    1M by bit: no trial counts
    at 1 FIT/Mbit:
      space                         Mbit  outcome           FIT  95%
      no stratum of single bits has trials and a raw rate; FIT is raw rate × bits × rate
    ");
}

#[test]
fn a_campaign_that_grew_shows_intervals_that_hold_at_any_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.sqlite");
    let targets = ["range:0x40000000+1M", "range:0x50000000+3M"];
    let mut store = fake::create(&path, &fake::spec(200, &targets)).expect("the campaign is made");
    fake::fill(&mut store, 200).expect("results are recorded");
    fake::grow(&mut store, 500).expect("it grows");
    fake::fill(&mut store, 300).expect("results are recorded");
    drop(store);
    let status = said(&["status"], &path);
    assert_eq!(status.matches("95% (any look)").count(), 3, "{status}");
    assert_eq!(status.matches("of a campaign of fixed size, failure: ").count(), 2, "{status}");
    assert!(status.contains("warning: grown once: 200 + 300 trials; "), "{status}");
    // A number that is no more is refused before a guest is started; so is a campaign that is not there.
    let (code, _, err) = xtask(&["grow", "--trials", "500"], &path);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("has 500 trials already"), "{err}");
    let (code, _, err) = xtask(&["grow", "--trials", "500"], &folder.path().join("none.sqlite"));
    assert_eq!(code, Some(2), "{err}");
    // Another process works on it.
    let _open = flipsim::campaign::Store::open(&path).expect("it is opened");
    let (code, _, err) = xtask(&["grow", "--trials", "600"], &path);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("is being worked on"), "{err}");
}
