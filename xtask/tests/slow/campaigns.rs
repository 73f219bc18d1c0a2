//! Campaigns on the real guest: the same trials on any number of workers, and however often it is killed.

use super::*;

/// A campaign's results, by trial, without what depends on the way and the host.
pub fn results(name: &str) -> Vec<Value> {
    let output = ok(&["campaign", "export", name]);
    let mut rows = json_lines(&output);
    for row in &mut rows {
        // How much of it was run is no result, either: settled or run whole, a trial has the same record.
        const OF_THE_RUN: [&str; 10] = [
            "attempts",
            "costs",
            "restore",
            "settled",
            "begun_ns",
            "cut_ns",
            "audited",
            "looked_up",
            "control",
            "first_use",
        ];
        for key in OF_THE_RUN {
            row["record"].as_object_mut().expect("a record is an object").remove(key);
            row.as_object_mut().expect("a row is an object").remove(key);
        }
    }
    rows
}

fn name(what: &str) -> String {
    format!("test-{what}-{}", std::process::id())
}

/// Deletes a campaign's file when its test has passed.
pub struct Campaign(pub String);

impl Campaign {
    pub fn new(what: &str, args: &[&str]) -> Campaign {
        let name = name(what);
        ok(&[&["campaign", "new", &name], args].concat());
        Campaign(name)
    }

    pub fn file(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../.lab/campaigns").join(format!("{}.sqlite", self.0))
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(self.file());
        }
    }
}

const STRATA: [&str; 6] = ["--stratum", "ram=ram", "--stratum", "core=class:core", "--sharing", "equal"];

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn one_worker_or_two_killed_or_not_the_trials_come_out_the_same() {
    for workload in ["sha256", "fs"] {
        let args = [&["--trials", "40", "--seed", "9", "--workload", workload], &STRATA[..]].concat();
        let one = Campaign::new(&format!("one-{workload}"), &args);
        let output = ok(&["campaign", "run", &one.0, "--workers", "1"]);
        assert!(text(&output).contains("40 trials in"), "{}", text(&output));

        let two = Campaign::new(&format!("two-{workload}"), &args);
        for _ in 0..3 {
            let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
            command.args(["campaign", "run", &two.0, "--workers", "2"]);
            let mut child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
            std::thread::sleep(Duration::from_millis(900));
            child.kill();
        }
        let status = || -> Value {
            serde_json::from_slice(&ok(&["campaign", "status", &two.0, "--json"]).stdout).unwrap()
        };
        let before = status();
        if before["done"].as_u64() < Some(40) {
            ok(&["campaign", "resume", &two.0, "--workers", "2"]);
        }
        let after = status();
        assert_eq!((&after["done"], &after["trials"]), (&40.into(), &40.into()), "{after}");
        assert_eq!(results(&one.0), results(&two.0), "{workload}");
        // A third run has nothing to do.
        assert!(text(&ok(&["campaign", "run", &two.0])).contains("nothing is left to do"));
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn shards_are_joined_and_strangers_refused() {
    let args = [&["--trials", "12", "--seed", "9"], &STRATA[..]].concat();
    let whole = Campaign::new("whole", &args);
    let parts = [Campaign(name("part1")), Campaign(name("part2"))];
    for (index, part) in parts.iter().enumerate() {
        std::fs::copy(whole.file(), part.file()).unwrap();
        ok(&["campaign", "run", &part.0, "--shard", &format!("{}/2", index + 1)]);
    }
    let joined = Campaign(name("joined"));
    let output = ok(&["campaign", "merge", &joined.0, &parts[0].0, &parts[1].0]);
    assert!(text(&output).contains("12 of 12 trials"), "{}", text(&output));
    ok(&["campaign", "run", &whole.0]);
    assert_eq!(results(&whole.0), results(&joined.0));
    let stranger = Campaign::new("stranger", &[&["--trials", "12", "--seed", "10"], &STRATA[..]].concat());
    let (code, output) = fails(&["campaign", "merge", &joined.0, &stranger.0]);
    assert_eq!(code, 2, "{output}");
    let (code, output) = fails(&["campaign", "new", &whole.0, "--trials", "5"]);
    assert_eq!(code, 2, "{output}");
    assert!(output.contains("exists already"), "{output}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_campaign_whose_qemus_are_killed_loses_no_trial() {
    let args = [&["--trials", "30", "--seed", "3"], &STRATA[..]].concat();
    let (calm, wild) = (Campaign::new("calm", &args), Campaign::new("wild", &args));
    ok(&["campaign", "run", &calm.0]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["campaign", "run", &wild.0]);
    let child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let pid = child.0.id();
    wait_until("a clone", || !trials::clones_of(pid).is_empty());
    // A trial that is lost three times is given up: twice is what none may notice.
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(350));
        for clone in trials::clones_of(pid) {
            Command::new("kill").args(["-9", &clone.to_string()]).status().unwrap();
        }
    }
    let output = child.output();
    // Killed before its first trial it says so, and goes on when it is asked to.
    if !output.status.success() {
        ok(&["campaign", "resume", &wild.0]);
    }
    assert_eq!(results(&calm.0), results(&wild.0), "{}", text(&output));
    wait_until("all clones to be gone", || trials::clones_of(pid).is_empty());
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn any_trial_of_a_campaign_comes_out_the_same_again() {
    let campaign = Campaign::new("replay", &[&["--trials", "12", "--seed", "5"], &STRATA[..]].concat());
    let (code, output) = fails(&["campaign", "replay", &campaign.0, "--trial", "3"]);
    assert!(code == 2 && output.contains("has no record to compare with"), "{output}");
    ok(&["campaign", "run", &campaign.0]);
    let again = text(&ok(&["campaign", "replay", &campaign.0, "--trial", "3", "--trial", "8"]));
    assert_eq!(again.matches("the same as before").count(), 2, "{again}");
    let (code, output) = fails(&["campaign", "replay", &campaign.0, "--trial", "12"]);
    assert!(code == 2 && output.contains("no trial 12"), "{output}");
    // The report has the command, and one that is repeated is compared with it.
    let page = text(&ok(&["report", &campaign.0, "--html", "-"]));
    assert!(page.contains(&format!("cargo xtask campaign replay {} --trial ", campaign.0)));
    // A trial that is said to have ended elsewhere: the replay must find it out.
    let line = text(&ok(&["campaign", "trial", "--json", "--at", "5ms", "--reg", "sp:0"]));
    let mut trial: Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    trial["trial"]["end_ns"] = 1.into();
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("trial.jsonl");
    std::fs::write(&lines, format!("{trial}\n")).unwrap();
    let (code, output) = fails(&["campaign", "replay", lines.to_str().unwrap()]);
    assert!(code == 1 && output.contains("1 of 1 trials came out differently"), "{output}");
    // What is stored is made another: it is neither compared nor shown.
    let file = campaign.file();
    let sql = "UPDATE result SET record = json_set(record, '$.end_ns', 1) WHERE trial = 8";
    let changed = Command::new("python3")
        .args([
            "-c",
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()",
        ])
        .arg(&file)
        .arg(sql)
        .status();
    assert!(changed.is_ok_and(|status| status.success()));
    let (code, output) = fails(&["campaign", "replay", &campaign.0, "--trial", "8"]);
    assert!(code == 2 && output.contains("is damaged: the result of trial 8"), "{output}");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn after_an_exception_storm_a_worker_goes_on_by_every_restore_method() {
    // The highest byte of the first instruction of the kernel's own exception handler, 0xd1, becomes 0. The kernel has some
    // exceptions as it starts the workload, and none later.
    let probe = ["campaign", "trial", "--json", "--at", "100us", "--ram", "vectors+0x203", "--mask", "0xd1"];
    let probe = &json_lines(&ok(&probe))[0]["trial"];
    assert_eq!((&probe["old"], &probe["end"]), (&"0xd1".into(), &"exception-storm".into()), "{probe}");
    let address = probe["plan"]["fault"]["address"].clone();
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("storm.toml");
    let mut first = None;
    for way in ["rewind", "clone", "loadvm"] {
        let place =
            address.as_u64().map_or_else(|| address.as_str().unwrap().to_owned(), |at| format!("{at:#x}"));
        let text = format!(
            "name = \"storm\"\nseed = 5\ntrials = 3\nto = \"120us\"\npattern = \"mask:0xd1\"\nrestore = \"{way}\"\n\
             [[stratum]]\nname = \"storm\"\ntargets = [\"range:{place}+1\"]\n"
        );
        std::fs::write(&spec, text).unwrap();
        let campaign = Campaign::new(&format!("storm-{way}"), &["--spec", spec.to_str().unwrap()]);
        let output = text_of_run(&campaign);
        let found = results(&campaign.0);
        assert_eq!(found.len(), 3, "{output}");
        for row in &found {
            assert_eq!(row["record"]["outcome"], "crash", "{row}");
            assert_eq!(row["record"]["end"], "exception-storm", "{row}");
        }
        assert!(!output.contains("was lost"), "{output}");
        let disk = |mut rows: Vec<Value>| {
            // By loadvm it is not known what is on the disk.
            rows.iter_mut().for_each(|row| row["record"]["state"]["disk"] = Value::Null);
            rows
        };
        let found = disk(found);
        assert_eq!(*first.get_or_insert_with(|| found.clone()), found, "{way}");
    }
}

fn text_of_run(campaign: &Campaign) -> String {
    text(&ok(&["campaign", "run", &campaign.0, "--workers", "1"]))
}
