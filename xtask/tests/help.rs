//! The help texts: every command has one, with an example whose command line the program takes.

use std::process::Command;

fn run(args: &[&str]) -> (bool, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().expect("the program was built");
    (output.status.success(), String::from_utf8(output.stdout).expect("help is text"))
}

/// The words of every visible command, from the top down.
fn commands(prefix: &[String]) -> Vec<Vec<String>> {
    let mut args: Vec<&str> = prefix.iter().map(String::as_str).collect();
    args.push("--help");
    let (ok, help) = run(&args);
    assert!(ok, "{prefix:?} --help fails");
    let mut found = vec![prefix.to_vec()];
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in listed.take_while(|line| !line.is_empty()) {
        // A continued description is indented deeper than the two columns of a command's name.
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
        let Some(name) = name.and_then(|rest| rest.split_whitespace().next()) else { continue };
        if name != "help" {
            let mut words = prefix.to_vec();
            words.push(name.to_owned());
            found.extend(commands(&words));
        }
    }
    found
}

/// Splits a command line of an example as a shell would, as far as the examples go.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().expect("there is always a word").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_shows_an_example() {
    let all = commands(&[]);
    assert!(all.len() > 15, "only {} commands were found", all.len());
    for words in &all {
        let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
        args.push("--help");
        let (_, help) = run(&args);
        assert!(help.contains("  cargo xtask "), "`{}` has no example:\n{help}", words.join(" "));
    }
}

#[test]
fn every_example_is_a_command_line_that_is_taken() {
    let mut seen = 0;
    for words in commands(&[]) {
        let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
        args.push("--help");
        let (_, help) = run(&args);
        for line in help.lines().filter_map(|line| line.strip_prefix("  cargo xtask ")) {
            // What stands behind the command line is set off by two spaces, or is another program.
            let line = line.split("  ").next().unwrap_or(line).split(" | ").next().unwrap_or(line);
            let mut words = split(line);
            // Help wins over running, and is only shown where the words before it are understood.
            words.push("--help".to_owned());
            let args: Vec<&str> = words.iter().map(String::as_str).collect();
            let (ok, _) = run(&args);
            assert!(ok, "the example `cargo xtask {line}` is not understood");
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} examples were found");
}

#[test]
fn the_first_help_is_a_short_manual() {
    insta::assert_snapshot!(run(&["--help"]).1);
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for args in [
        &["bogus"][..],
        &["boot", "--memory", "x"],
        &["inject", "ram", "--count", "0"],
        &["boot", "--gdb", "0"],
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().expect("the program was built");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "), "{args:?}");
    }
}
