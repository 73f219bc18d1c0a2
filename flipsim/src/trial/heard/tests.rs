//! Tests of `heard`.

use super::*;
use crate::trial::judge::tests::{DONE, golden, noticed_line};

/// Where the line that ends with `end` has its last byte.
fn after(said: &str, end: &str) -> usize {
    said.find(end).unwrap() + end.len() - 1
}

fn places(golden: &Golden, said: &str) -> Places {
    let same_output = golden.same_output(said.as_bytes());
    let noticed = noticed_line(golden, said);
    Console { golden, said: said.as_bytes(), same_output, noticed }.places()
}

#[test]
fn what_is_the_golden_runs_has_the_end_of_the_workload_alone() {
    let said = format!("[    0.200000] kernel: hello\n{DONE}");
    assert_eq!(
        places(&golden(), &said),
        Places { differs: None, noticed: None, done: Some(said.len() - 1) },
        "when the kernel wrote it is no difference"
    );
}

#[test]
fn a_report_is_timed_by_its_first_line_and_a_difference_by_the_first_line_that_differs() {
    let oops = "[    0.150000] Unable to handle kernel NULL pointer dereference at virtual address 0\n";
    let said = format!(
        "[    0.100000] kernel: hello\n{oops}[    0.150001] Internal error: Oops: 96000004 [#1]\n{DONE}"
    );
    let at = after(&said, "address 0\n");
    let done = Some(said.len() - 1);
    assert_eq!(places(&golden(), &said), Places { differs: Some(at), noticed: Some(at), done });
    // A line that is neither a report nor the golden run's comes first.
    let said = format!("[    0.100000] kernel: hullo\n{oops}{DONE}");
    let found = places(&golden(), &said);
    assert_eq!(found.differs, Some(after(&said, "hullo\n")));
    assert_eq!(found.noticed, Some(after(&said, "address 0\n")));
}

#[test]
fn an_output_that_lacks_lines_has_no_line_that_differs() {
    let none = Places { differs: None, noticed: None, done: None };
    assert_eq!(places(&golden(), "[    0.100000] kernel: hello\n"), none);
    assert_eq!(places(&golden(), ""), none);
    // A line that is cut off differs where the console ends.
    let cut = format!("[    0.100000] kernel: hello\n{}", &DONE[..9]);
    assert_eq!(places(&golden(), &cut).differs, Some(cut.len() - 1));
}

#[test]
fn where_some_lines_are_the_output_a_difference_is_found_in_the_whole_console() {
    let mut golden = golden();
    golden.signals.output = Some("digest=([0-9a-f]+)".parse().unwrap());
    let wrong = DONE.replace("0123", "9123");
    let said = format!("[    0.100000] kernel: hullo\nnoise\n{wrong}tail\n");
    let at = after(&said, "status=ok\n");
    assert_eq!(places(&golden, &said), Places { differs: Some(at), noticed: None, done: Some(at) });
    // A report outside of the output is noticed all the same.
    let said = format!(
        "[    0.100000] kernel: hello\n[    0.200000] BUG: scheduling while atomic: sh/1/0x00000002\n{DONE}"
    );
    let found = places(&golden, &said);
    assert_eq!((found.differs, found.noticed), (None, Some(after(&said, "0x00000002\n"))));
}
