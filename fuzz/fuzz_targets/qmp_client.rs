//! The client of the monitor against one that says anything: no answer makes it panic, wait for ever or keep more than
//! it was sent.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use flipsim::wire::net::Timeouts;
use flipsim::wire::qmp::{QmpClient, QmpError, result_of};
use flipsim_fuzz::{Server, parts};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static MONITOR: LazyLock<Server> = LazyLock::new(Server::start);
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), reply: Duration::from_secs(5) };

/// How a monitor begins.
const BEGINNING: &[u8] =
    b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 2, \"major\": 7}, \"package\": \
    \"\"}, \"capabilities\": [\"oob\"]}}\n{\"return\": {}}\n";

fn ask(client: &mut QmpClient, word: u8) -> Result<(), QmpError> {
    match word & 7 {
        0 => client.execute("stop", Value::Null).map(drop),
        1 => client.execute("cont", json!({ "a": word })).map(drop),
        2 => client.hmp("info mtree -f").map(drop),
        3 => client.query_commands().map(drop),
        4 => client.status().map(drop),
        5 => client.take_events().map(drop),
        6 => client.wait_event(&["STOP", "RESUME"], Duration::from_secs(5)).map(drop),
        _ => client.wait_event(&[], Duration::ZERO).map(drop),
    }
}

fuzz_target!(|data: &[u8]| {
    let [words, said] = parts(data);
    let Some((how, words)) = words.split_first() else { return };
    let said = if how & 1 == 0 { [BEGINNING, said].concat() } else { said.to_vec() };
    if let Ok(mut client) = QmpClient::connect(MONITOR.that_says(said), TIMEOUTS) {
        for word in words.iter().take(64) {
            let _ = ask(&mut client, *word);
        }
    }
    let [_, said] = parts(data);
    let _ = result_of("query-status", &String::from_utf8_lossy(said));
});
