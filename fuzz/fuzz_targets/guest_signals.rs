//! How a guest is spoken to, from a specification, and a console against it.
#![no_main]

use flipsim::console::LineSplitter;
use flipsim::console::signals::{Approach, Exchange, Next, Signals};
use flipsim_fuzz::parts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [text, console] = parts(data);
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(Exchange { wait, send }) = text.parse::<Exchange>() {
        assert!(!send.contains('\n') && wait.to_string().parse() == Ok(wait));
    }
    let Ok(signals) = toml::from_str::<Signals>(text) else { return };
    let json = serde_json::to_string(&signals).expect("signals are text");
    assert_eq!(serde_json::from_str::<Signals>(&json).ok().as_ref(), Some(&signals));

    let mut approach = Approach::new(&signals);
    let mut typed = 0;
    for line in LineSplitter::default().push(console) {
        for next in [approach.partial(&line), approach.line(&line), approach.settle()] {
            typed += usize::from(matches!(next, Next::Type(_)));
        }
        let _ = approach.awaits();
    }
    assert!(typed <= signals.dialogue.len());
    let _ = signals.is_done_in(console);
    assert!(signals.output_of(console).len() <= 4 * console.len());
});
