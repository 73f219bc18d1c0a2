//! The examples of every `--help`, for the tests that read them and the one that runs them.
//!
//! Invariant: no visible command is left out.

use std::process::Command;

/// Runs the program, and says whether it succeeded and what it printed.
pub fn run(args: &[&str]) -> (bool, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().expect("the program was built");
    (output.status.success(), String::from_utf8(output.stdout).expect("help is text"))
}

/// The words of every visible command with its help, from the top down.
pub fn helps() -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    collect(&[], &mut found);
    found
}

fn collect(words: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
    args.push("--help");
    let (ok, help) = run(&args);
    assert!(ok, "{words:?} --help fails");
    found.push((words.to_vec(), help.clone()));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in listed.take_while(|line| !line.is_empty()) {
        // A continued description is indented deeper than the two columns of a command's name.
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
        let Some(name) = name.and_then(|rest| rest.split_whitespace().next()) else { continue };
        if name != "help" {
            collect(&[words, &[name.to_owned()]].concat(), found);
        }
    }
}

/// The examples of a help, without `cargo xtask` and what is said of them behind two spaces.
pub fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  cargo xtask"));
    lines.map(|line| line.split("  ").next().unwrap_or_default().trim().to_owned()).collect()
}
