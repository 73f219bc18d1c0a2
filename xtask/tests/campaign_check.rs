//! Campaigns that are damaged, on the command line: every command sees it, and `check` finds a way to go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flipsim::campaign::Store;
use flipsim::testing::fake_campaign as fake;

/// The exit code, what was said, and what was complained of.
fn xtask(args: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().expect("the program was built");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A campaign of 60 trials, of which 40 have a result.
fn campaign(folder: &Path) -> (PathBuf, String) {
    let path = folder.join("c.sqlite");
    let mut store =
        fake::create(&path, &fake::spec(60, &["range:0x40000000+1M", "class:core"])).expect("a campaign");
    fake::fill(&mut store, 40).expect("results");
    let text = path.to_str().expect("a plain path").to_owned();
    (path, text)
}

fn edit(path: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(path).expect("a file");
    assert_eq!(conn.execute(sql, []).expect("it is edited"), 1, "{sql}");
}

/// What is said of it by each command that reads or runs it.
fn refused(name: &str, says: &str) {
    for args in [
        &["campaign", "status", name][..],
        &["campaign", "status", name, "--json"],
        &["campaign", "stats", name],
        &["campaign", "export", name],
        &["campaign", "run", name],
        &["campaign", "replay", name, "--trial", "7"],
        &["campaign", "check", name],
        &["report", name, "--csv", "-"],
        &["report", name, "--json", "-"],
        &["report", "compare", name, name, "--json", "-"],
    ] {
        let (code, out, err) = xtask(args);
        assert!(code == Some(2), "{args:?}: {code:?} {err}");
        assert!(err.contains(says) || args[1] == "check" && out.contains(says), "{args:?}: {out} {err}");
    }
}

#[test]
fn an_edited_result_is_seen_by_every_command_and_the_rest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (path, name) = campaign(folder.path());
    let (code, out, _) = xtask(&["campaign", "check", &name]);
    assert!(code == Some(0) && out.ends_with("nothing is damaged\n"), "{out}");
    edit(&path, "UPDATE result SET outcome = 'hang' WHERE trial = 7");
    // `run` looks for a lab first, where there is none.
    refused(&name, "7");
    let before = fs::read(&path).unwrap();
    let (code, out, _) = xtask(&["campaign", "check", &name]);
    assert!(code == Some(2) && out.contains("damaged    1 results, of trial 7\n"), "{out}");
    let (code, out, err) = xtask(&["campaign", "check", &name, "--repair"]);
    assert_eq!(code, Some(0), "{err}");
    let new = folder.path().join("c-repaired.sqlite");
    assert!(
        out.contains("39 results are in") && out.contains("the other 21 trials are pending there"),
        "{out}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    fake::fill(&mut Store::open(&new).unwrap(), 60).unwrap();
    assert_eq!(xtask(&["campaign", "status", new.to_str().unwrap()]).0, Some(0));
}

#[test]
fn an_edited_plan_is_never_run() {
    let folder = tempfile::tempdir().unwrap();
    let (path, name) = campaign(folder.path());
    edit(&path, "UPDATE trial SET at_ns = at_ns + 1 WHERE id = 59");
    refused(&name, "its plan is not the one that was drawn");
    let (code, _, err) = xtask(&["campaign", "check", &name, "--repair"]);
    assert!(code == Some(2) && err.contains("nothing of") && err.contains("can be kept"), "{err}");
    edit(&path, "UPDATE trial SET at_ns = at_ns - 1 WHERE id = 59");
    edit(&path, "UPDATE meta SET value = replace(value, 'aaaa', 'aaab') WHERE key = 'manifest'");
    refused(&name, "its manifest");
}

#[test]
fn a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (_, name) = campaign(folder.path());
    let (theirs, lock) = (folder.path().join("theirs"), folder.path().join("c.sqlite.lock"));
    fs::write(&theirs, "precious").unwrap();
    std::os::unix::fs::symlink(&theirs, &lock).unwrap();
    let (code, _, err) = xtask(&["campaign", "run", &name]);
    assert!(code == Some(2) && err.contains("c.sqlite.lock is a symbolic link"), "{code:?} {err}");
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, "mine").unwrap();
    let (code, _, err) = xtask(&["campaign", "run", &name]);
    assert!(code == Some(2) && err.contains("is no lock of flipsim's"), "{code:?} {err}");
    assert_eq!(fs::read(&lock).unwrap(), b"mine");
    // A link that a user names is replaced, and what it leads to stays.
    let out = folder.path().join("out.csv");
    std::os::unix::fs::symlink(&theirs, &out).unwrap();
    assert_eq!(xtask(&["report", &name, "--csv", out.to_str().unwrap()]).0, Some(0));
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
    assert!(fs::symlink_metadata(&out).unwrap().is_file());
}

#[test]
fn messages_on_odd_names_are_short_and_move_no_cursor() {
    let long = "x".repeat(300);
    let odd = "a\u{1b}[2Jb".to_owned();
    for name in [&long, &odd, &format!("{long}.sqlite"), &format!("{odd}.sqlite")] {
        for command in ["status", "stats", "export", "check", "run"] {
            let (code, out, err) = xtask(&["campaign", command, name]);
            assert_eq!(code, Some(2), "{command} {err}");
            assert!(err.len() < 400 && !err.contains('\u{1b}') && out.is_empty(), "{command} {err}");
        }
    }
}

#[test]
fn a_specification_of_thousands_of_strata_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("spec.toml");
    let strata: String =
        (0..10_000).map(|at| format!("[[stratum]]\nname = \"s{at}\"\ntargets = [\"ram\"]\n")).collect();
    fs::write(&spec, format!("name = \"n\"\nseed = 1\ntrials = 100000\n{strata}")).unwrap();
    let new = folder.path().join("n.sqlite");
    let (code, _, err) = xtask(&["campaign", "new", new.to_str().unwrap(), "--spec", spec.to_str().unwrap()]);
    assert!(
        code == Some(2) && err.contains("there are 10000 strata, and 1000 are the most"),
        "{code:?} {err}"
    );
    assert!(err.len() < 600, "{}", err.len());
}
