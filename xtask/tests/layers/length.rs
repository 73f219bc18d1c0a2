//! No file is longer than a reader's patience, and long tests stand in a file beside the code.

use super::house::House;

/// The most lines that a file has, its inline tests included. Files of tests may be longer: they are tables of cases.
const LONGEST: usize = 600;

/// The most lines that tests have inside the file of what they test.
const LONGEST_INLINE_TESTS: usize = 110;

/// The files and the inline tests that are too long.
pub fn findings(house: &House) -> Vec<String> {
    let mut found = Vec::new();
    for (path, lines) in house.all.iter().filter(|(path, _)| !house.is_test(path)) {
        if *lines > LONGEST {
            found.push(format!(
                "{path}: {lines} lines, more than {LONGEST}. Remedy: move one of its concerns to a separate file"
            ));
        }
    }
    for file in &house.files {
        for tests in file.code.inline_tests.iter().filter(|tests| tests.lines > LONGEST_INLINE_TESTS) {
            let beside =
                format!("{}/{}.rs", file.path.trim_end_matches(".rs").trim_end_matches("/mod"), tests.name);
            found.push(format!(
                "{}\n    {} lines of tests in the file, more than {LONGEST_INLINE_TESTS}.\n    Remedy: move them \
                 to {beside}",
                file.quote(tests.line),
                tests.lines
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::house::made_up;
    use super::*;

    fn lines(count: usize) -> String {
        "//\n".repeat(count)
    }

    #[test]
    fn files_up_to_the_limit_and_long_files_of_tests_pass() {
        let longest = format!("{}#[cfg(test)]\nmod tests;\n", lines(LONGEST - 2));
        let inline = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(LONGEST_INLINE_TESTS - 2));
        let house = made_up(&[
            ("lib.rs", "pub mod a;\nmod b;\n"),
            ("a.rs", &longest),
            ("a/tests.rs", &lines(LONGEST + 1)),
            ("b.rs", &inline),
        ]);
        assert_eq!(findings(&house), [""; 0]);
    }

    #[test]
    fn a_long_file_is_found() {
        let house = made_up(&[("lib.rs", "pub mod a;\n"), ("a.rs", &lines(LONGEST + 1))]);
        assert_eq!(
            findings(&house),
            ["toy/src/a.rs: 601 lines, more than 600. Remedy: move one of its concerns to a separate file"]
        );
    }

    #[test]
    fn long_inline_tests_are_found() {
        let inline = format!("\n#[cfg(test)]\nmod tests {{\n{}}}\n", lines(LONGEST_INLINE_TESTS - 1));
        let house = made_up(&[("lib.rs", "pub mod a;\n"), ("a/mod.rs", &inline)]);
        assert_eq!(
            findings(&house),
            ["toy/src/a/mod.rs:3: mod tests {\n    111 lines of tests in the file, more than 110.\n    \
              Remedy: move them to toy/src/a/tests.rs"]
        );
    }
}
