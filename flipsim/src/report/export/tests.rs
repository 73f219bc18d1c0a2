//! Tests of `export`.

use proptest::prelude::*;

use super::*;
use crate::console::signals::Signals;
use crate::report::sample;
use crate::testing::fake_campaign as fake;

#[test]
fn csv_has_a_row_for_each_result_and_the_columns_that_are_documented() {
    let sample = sample::campaign(60);
    let mut out = Vec::new();
    csv(&sample.store, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut lines = text.split("\r\n");
    assert_eq!(lines.next().unwrap(), columns().join(","));
    let results = sample.store.results().count();
    // No field of the sample but the hostile title has a line's end in it.
    assert!(results > 40);
    assert_eq!(lines.filter(|line| line.starts_with("sample")).count(), results);
    let docs = include_str!("../../../../docs/report.md");
    for column in columns() {
        assert!(docs.contains(&format!("`{column}`")), "docs/report.md says nothing of {column}");
    }
}

#[test]
fn a_trial_that_is_sdc_has_how_wrong_it_is_and_its_grade() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = fake::spec(3, &["range:0x40000000+1M"]);
    let grade = "name = 'serious'\nbits = 1000\n";
    spec.grades = vec![toml::from_str(grade).unwrap()];
    let golden = Golden { console: b"x=100\n".to_vec(), ..fake::golden() };
    let mut store = fake::create_of(&folder.path().join("c.sqlite"), &spec, &golden).unwrap();
    for (id, console) in (0..).zip([Some("x=150\n"), Some("nothing\n"), None]) {
        let id = crate::campaign::TrialId(id);
        let record = fake::record(&store.planned(id).unwrap());
        let outcome = Some(if console.is_some() { Outcome::Sdc } else { Outcome::Latent });
        let console = console.map(str::to_owned);
        store.record(id, &crate::trial::TrialRecord { outcome, console, ..record }).unwrap();
    }
    let mut out = Vec::new();
    csv(&store, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let of: Vec<[String; 4]> = rows
        .deserialize::<std::collections::HashMap<String, String>>()
        .map(|row| {
            let row = row.unwrap();
            ["sdc_bits", "sdc_bytes", "sdc_relative", "grade"].map(|key| row[key].clone())
        })
        .collect();
    assert_eq!(of[0], ["2", "1", "0.5", "serious"]);
    // Of six bytes none is at its place, and two are too many.
    assert_eq!((of[1][1].as_str(), of[1][2].as_str(), of[1][3].as_str()), ("7", "", "serious"));
    assert_eq!(of[2], ["", "", "", ""]);
}

#[test]
fn a_row_says_how_much_of_its_trial_was_run() {
    let folder = tempfile::tempdir().unwrap();
    let spec = fake::spec(200, &["range:0x40000000+1M"]);
    let mut store = fake::create_settled(&folder.path().join("c.sqlite"), &spec).unwrap();
    fake::fill_settled(&mut store, 200).unwrap();
    let mut out = Vec::new();
    csv(&store, &mut out).unwrap();
    let mut rows = csv::Reader::from_reader(out.as_slice());
    for row in rows.deserialize::<std::collections::HashMap<String, String>>() {
        let row = row.unwrap();
        let record =
            store.record_of(crate::campaign::TrialId(row["trial"].parse().unwrap())).unwrap().unwrap();
        let settled = match record.settled {
            Some(Settled::NeverRead) => "never-read",
            Some(Settled::Overwritten) => "overwritten",
            Some(Settled::Unchanged) => "unchanged",
            None => "",
        };
        let begun = record.begun_ns.map_or_else(String::new, |at| at.to_string());
        let found = ["settled", "begun_ns", "cut_ns", "audited"].map(|key| row[key].as_str());
        assert_eq!(found, [settled, &begun, "", if record.audited { "true" } else { "false" }]);
    }
}

#[test]
fn json_is_one_object_with_the_same_rows() {
    let sample = sample::campaign(60);
    let mut out = Vec::new();
    json(&sample.store, &sample.summary, None, &mut out).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value["format"], FORMAT);
    let trials = value["trials"].as_array().unwrap();
    assert_eq!(trials.len(), sample.store.results().count());
    for trial in trials {
        let keys: Vec<&str> = trial.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, columns());
    }
    assert!(value["summary"]["totals"]["counted"].as_u64().unwrap() > 0);
    assert_eq!(value["manifest"]["template"], "template-of-a-fake");
}

#[test]
fn the_columns_keep_their_names_and_their_order() {
    insta::assert_snapshot!(columns().join(","), @"campaign,trial,stratum,kind,address,register,bit,mask,operation,at_ns,flip_ns,flipped,old,new,outcome,because,end_ns,end,converged_ns,detected_ns,console_differs_ns,report,title,region,symbol,pages_differ,error,output_only,timing,restore,attempts,restore_us,walk_us,mark_us,run_us,compare_us,total_us,recorded_ms,stratum_faults,stratum_times,stratum_when,sdc_bits,sdc_bytes,sdc_relative,grade,settled,begun_ns,cut_ns,audited,hang,counts,corrected,first_use,first_read_ns,control,faults,ecc,reached,subsystem,source,reports,cascade");
}

#[test]
fn cells_are_quoted_where_they_must_be() {
    let of = |title: &str| {
        let row = Row { campaign: "c", title: Some(title.to_owned()), flipped: true, ..Row::default() };
        let line = String::from_utf8(csv_line(&row).unwrap()).unwrap();
        let end = ",,,,,,,,0,,,,,,,0,0,0,time,,,,,,,,,,,,,,,0,,,,,0,\r\n";
        line.strip_prefix("c,0,,,,,,,flip,0,,true,,,,,,,,,,,").unwrap().strip_suffix(end).unwrap().to_owned()
    };
    assert_eq!(of("plain"), "plain");
    assert_eq!(of("a b"), "a b");
    assert_eq!(of("a,b"), "\"a,b\"");
    assert_eq!(of("say \"x\"\n"), "\"say \"\"x\"\"\n\"");
    assert_eq!(of("a\rb"), "\"a\rb\"");
    assert_eq!(of(" a"), "\" a\"");
    assert_eq!(of("a\t"), "\"a\t\"");
    assert_eq!(of(" "), "\" \"");
    assert_eq!(of(" \"a\", "), "\" \"\"a\"\", \"");
}

/// What this did before the csv crate did it.
fn by_hand(row: &Row<'_>) -> String {
    let serde_json::Value::Object(cells) = serde_json::to_value(row).unwrap() else { unreachable!() };
    let cells = cells.values().map(|cell| match cell {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) if text.contains([',', '"', '\r', '\n']) || text != text.trim() => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    format!("{}\r\n", cells.collect::<Vec<_>>().join(","))
}

#[test]
fn each_row_is_byte_for_byte_what_it_was_before_the_csv_crate() {
    let sample = sample::campaign(60);
    for result in sample.store.results() {
        let row = row(&sample.store, &Right::default(), result.unwrap()).unwrap();
        assert_eq!(String::from_utf8(csv_line(&row).unwrap()).unwrap(), by_hand(&row));
    }
}

proptest! {
    #[test]
    fn any_text_is_written_as_before_the_csv_crate(
        campaign in "[ a,\"\r\n\u{a0}é]{0,4}",
        title in proptest::option::of("[ a,\"\r\n\t]{0,6}"),
        flipped: bool, output_only: Option<bool>, at_ns: u64, recorded_ms: i64,
    ) {
        let row = Row {
            campaign: &campaign, title, flipped, output_only, at_ns, recorded_ms,
            outcome: Some(Outcome::Sdc), timing: Some(Timing::Exact), restore: Some(RestoreMethod::Loadvm),
            ..Row::default()
        };
        prop_assert_eq!(String::from_utf8(csv_line(&row).unwrap()).unwrap(), by_hand(&row));
    }
}

#[test]
fn hangs_counts_and_what_was_corrected_are_columns() {
    let folder = tempfile::tempdir().unwrap();
    let mut golden = crate::testing::fake_campaign::golden();
    golden.signals.count = toml::from_str::<Signals>("count = 'corrected (\\d+)'").unwrap().count;
    let spec = crate::testing::fake_campaign::spec(60, &["class:core"]);
    let path = folder.path().join("c.sqlite");
    let mut store = crate::testing::fake_campaign::create_of(&path, &spec, &golden).unwrap();
    let mut pending = store.pending(crate::campaign::Shard::WHOLE).unwrap();
    pending.sort_unstable();
    for id in pending {
        let mut record = crate::testing::fake_campaign::record(&store.planned(id).unwrap());
        record.counts = [("corrected".to_owned(), id.0 % 2)].into();
        if record.outcome == Some(Outcome::Hang) && id.0 % 2 == 1 {
            record.title = Some("user fault in app: x".to_owned());
        }
        store.record(id, &record).unwrap();
    }
    let right = Right::of(&store).unwrap();
    for result in store.results() {
        let row = row(&store, &right, result.unwrap()).unwrap();
        let odd = row.trial % 2 == 1;
        let right = matches!(row.outcome, Some(Outcome::Masked | Outcome::Latent));
        assert_eq!(
            (row.corrected, row.counts),
            (Some(odd && right), Some(format!("corrected={}", row.trial % 2)))
        );
        let hang = (row.outcome == Some(Outcome::Hang)).then_some(if odd { "reported" } else { "silent" });
        assert_eq!(row.hang, hang, "{}", row.trial);
    }
}
