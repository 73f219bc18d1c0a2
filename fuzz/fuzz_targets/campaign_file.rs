//! Files of campaigns: one that was made elsewhere, or was damaged, is refused or read, and never more than that.
//!
//! An input that begins with 0 is the file itself. Else it is a list of changes to a small campaign that is made when
//! the target starts: an offset and the bytes that are put there, or a cell and its new value.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use flipsim::campaign::summary::SummaryOptions;
use flipsim::campaign::{Shard, Store, StoreError, Summary, TrialId};
use flipsim::report::{PageOptions, export, page};
use flipsim::testing::fake_campaign;
use flipsim_fuzz::{file, folder};
use libfuzzer_sys::fuzz_target;
use rusqlite::Connection;

/// What a reader may know in the end: nothing of this is kept, all of it is read.
fn read(path: &Path) -> Result<(), StoreError> {
    let store = Store::open_readonly(path)?;
    let _ = store.verify();
    let _ = store.status().map(|status| serde_json::to_string(&status));
    let ids: Vec<TrialId> = match store.pending(Shard::WHOLE) {
        Ok(pending) => pending,
        Err(_) => Vec::new(),
    };
    let found = store.results().take(100).filter_map(|row| Some(row.ok()?.trial.id));
    for id in ids.into_iter().take(10).chain(found) {
        let _ = (store.planned(id), store.record_of(id));
    }
    for name in ["golden", "guest"] {
        let _ = store.attachment(name);
    }
    let _ = (store.consoles(), store.overlaps(), export::csv(&store, &mut std::io::sink()));
    let summary = Summary::new(&store, &SummaryOptions::default())?;
    let _ = export::json(&store, &summary, None, &mut std::io::sink());
    let made = "2026-01-02T03:04:05Z".parse().expect("a time");
    let html = page(
        &store,
        &summary,
        &PageOptions { campaign: "fuzzed".to_owned(), made, public: false, mission: None },
    )?;
    assert!(!html.contains("<script>alert"), "what was stored is no part of the page");
    Ok(())
}

/// The bytes of a campaign of some trials, half of them run.
static CAMPAIGN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let path = folder().join("made.sqlite");
    let spec = fake_campaign::spec(24, &["range:0x1000+4K", "class:core"]);
    let mut store = fake_campaign::create(&path, &spec).expect("a campaign");
    fake_campaign::fill(&mut store, 12).expect("results");
    drop(store);
    let conn = Connection::open(&path).expect("a campaign");
    conn.execute_batch("PRAGMA page_size = 512; VACUUM").expect("smaller pages");
    drop(conn);
    std::fs::read(&path).expect("a campaign")
});

/// The cells that a change can name.
const CELLS: &[(&str, &[&str])] = &[
    ("meta", &["value"]),
    ("stratum", &["name", "targets", "faults", "times", "trials", "id"]),
    (
        "trial",
        &[
            "stratum",
            "at_ns",
            "kind",
            "address",
            "register",
            "bit",
            "mask",
            "back_ns",
            "operation",
            "more",
            "ecc",
            "id",
        ],
    ),
    (
        "result",
        &[
            "trial",
            "stratum",
            "outcome",
            "recorded_ms",
            "flip_ns",
            "end_ns",
            "end",
            "converged_ns",
            "detected_ns",
            "console_differs_ns",
            "report",
            "title",
            "region",
            "symbol",
            "error",
            "output_only",
            "restore",
            "attempts",
            "total_us",
            "record",
        ],
    ),
    ("console", &["bytes", "zlib"]),
    ("attempt", &["error", "record", "recorded_ms"]),
    ("attachment", &["name", "bytes", "zlib"]),
];

/// Puts a value into a cell of one row, or of all.
fn change_cell(conn: &Connection, words: &[u8]) -> rusqlite::Result<()> {
    let [table, column, row, kind, value @ ..] = words else { return Ok(()) };
    let (table, columns) = CELLS[usize::from(*table) % CELLS.len()];
    let column = columns[usize::from(*column) % columns.len()];
    let place = match row {
        0xff => String::new(),
        row => format!(" WHERE rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET {})", row % 16),
    };
    // These two have no rowid.
    let place = match (table, row) {
        ("meta" | "attachment", row) if *row != 0xff => {
            let key = if table == "meta" { "key" } else { "name" };
            format!(" WHERE {key} = (SELECT {key} FROM {table} LIMIT 1 OFFSET {})", row % 8)
        }
        _ => place,
    };
    let text = String::from_utf8_lossy(value);
    let sql = format!("UPDATE OR IGNORE {table} SET {column} = ?1{place}");
    match kind & 7 {
        0 => conn.execute(&sql, [value]),
        1 => conn.execute(
            &sql,
            [i64::from_le_bytes(std::array::from_fn(|at| value.get(at).copied().unwrap_or(0)))],
        ),
        2 => conn.execute(&sql, [Option::<i64>::None]),
        // A piece of the JSON that is there.
        3 => conn.execute(
            &format!("UPDATE {table} SET {column} = json_set({column}, ?1, json(?2)){place}"),
            text.split_once('=').unwrap_or((&text, "null")),
        ),
        _ => conn.execute(&sql, [&*text]),
    }?;
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else { return };
    let path = match how {
        0 => file("fuzzed.sqlite", rest),
        how if how % 2 == 1 => {
            let mut bytes = CAMPAIGN.clone();
            for change in rest.chunks(4) {
                let [low, high, value, length] = *change else { break };
                let at = usize::from(u16::from_le_bytes([low, high])) * (1 + bytes.len() / (1 << 16))
                    % bytes.len();
                let end = (at + usize::from(length % 8) + 1).min(bytes.len());
                bytes[at..end].fill(value);
            }
            file("fuzzed.sqlite", &bytes)
        }
        _ => {
            let path = file("fuzzed.sqlite", &CAMPAIGN);
            let conn = Connection::open(&path).expect("a campaign");
            // Nothing of this needs to survive a power cut.
            let _ = conn.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
            for change in rest.split(|byte| *byte == b'\n').take(4) {
                let _ = change_cell(&conn, change);
            }
            path
        }
    };
    let _ = read(&path);
    if how % 16 >= 12 {
        let _ = Store::open(&path);
        let _ = read(&path);
    }
    for ending in ["-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(folder().join(format!("fuzzed.sqlite{ending}")));
    }
});
