//! The help texts: every command has one, with an example whose command line the program takes.

mod examples;

use std::process::Command;

use examples::{examples, helps, run};

#[test]
fn every_command_shows_an_example() {
    let all = helps();
    assert!(all.len() > 15, "only {} commands were found", all.len());
    for (words, help) in &all {
        assert!(!examples(help).is_empty(), "`{}` has no example:\n{help}", words.join(" "));
        // What does not fit a line is broken there, and can no longer be copied.
        let block = help.lines().skip_while(|line| !line.starts_with("Example")).skip(1);
        for line in block.take_while(|line| !line.is_empty()) {
            let whole = ["  cargo xtask", "    "].iter().any(|begin| line.starts_with(begin));
            assert!(whole, "an example of `{}` is too long for a line: {line}", words.join(" "));
        }
    }
}

#[test]
fn every_example_is_a_command_line_that_is_taken() {
    let mut seen = 0;
    for (_, help) in helps() {
        for line in examples(&help) {
            // What it is handed on to is another program.
            let mut words =
                shlex::split(line.split(" | ").next().unwrap_or(&line)).expect("its quotes are closed");
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
