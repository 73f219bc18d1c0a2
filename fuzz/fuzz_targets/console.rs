//! The console: the same verdict in pieces as at once, lines and findings bounded.
#![no_main]

use flipsim::console::classify::{
    Classifier, MAX_FINDINGS, classify, classify_reader, kind_of, without_stamps,
};
use flipsim::console::{LineSplitter, MAX_LINE, flipsim_marker, marker};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((size, console)) = data.split_first() else { return };
    let pieces = || console.chunks(usize::from(*size) + 1);

    let whole = classify(console);
    let mut classifier = Classifier::default();
    pieces().for_each(|piece| classifier.feed(piece));
    assert_eq!(classifier.finish(), whole);
    assert_eq!(classify_reader(console).ok().as_ref(), Some(&whole));
    // One of each kind may come after the list is full.
    assert!(whole.findings.len() <= MAX_FINDINGS + 64);
    assert!(whole.findings.iter().all(|finding| finding.title.len() <= 2 * MAX_LINE));
    assert!(whole.cause.is_none_or(|cause| cause < whole.findings.len()));

    let lines = LineSplitter::default().push(console);
    let mut splitter = LineSplitter::default();
    let in_pieces: Vec<String> = pieces().flat_map(|piece| splitter.push(piece)).collect();
    assert_eq!(in_pieces, lines);
    for line in &lines {
        // Bytes that are no UTF-8 grow to three each.
        assert!(line.len() <= 3 * MAX_LINE);
        let _ = (kind_of(line), flipsim_marker(line), marker(line));
    }
    assert!(without_stamps(console).len() <= console.len());
});
