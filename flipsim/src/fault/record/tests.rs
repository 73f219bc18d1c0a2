//! Tests of `record`.

use super::*;
use crate::fault::flip;
use crate::memory::MemoryMap;
use crate::target::FakeTarget;

fn records() -> Vec<FlipRecord> {
    let iomem = "40000000-4000ffff : System RAM\n  40001000-40001fff : Kernel, \"code\"\n";
    let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
    let map = MemoryMap::new(Some(iomem), mtree).unwrap();
    let names = GuestNames::without_symbols(map, "none are known");
    let context = RecordContext { names: &names, seed: 42, timing: Timing::Approximate };
    let mut target = FakeTarget::new("0x40000000+64K".parse().unwrap())
        .with_register("x0", 64, "core", &[0xff; 8])
        .with_stuck_bits(GuestPhys(0x4000_0000), 0xff);
    let faults = [
        Fault::in_ram(GuestPhys(0x4000_1000), vec![8]),
        Fault::in_register("x0".into(), vec![0, 0x81, 0, 0, 0, 0, 0, 0]),
        Fault::in_ram(GuestPhys(0x4000_0000), vec![1]),
    ];
    let time = Some(VirtualNs(1500));
    let moment = Moment { at: time, wanted: time, instructions: Some(1400) };
    let mut records = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        let result = flip(&mut target, fault);
        let mut record = context.record(index as u64 + 1, fault, &result, moment);
        assert!(record.host_time.parse::<Timestamp>().is_ok());
        record.host_time = "2026-11-23T00:00:00Z".into();
        records.push(record);
    }
    records
}

#[test]
fn records_keep_their_keys_as_json() {
    let lines: Vec<String> = records().iter().map(FlipRecord::json).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"format":3,"index":1,"kind":"ram","address":"0x40001000","register":null,"bit":3,"mask":"0x08","operation":"flip","old":"0x00","new":"0x08","flipped":true,"error":null,"region":"Kernel, \"code\"","symbol":null,"virtual_ns":1500,"wanted_ns":1500,"instructions":1400,"timing":"approximate","host_time":"2026-11-23T00:00:00Z","seed":42}
    {"format":3,"index":2,"kind":"reg","address":null,"register":"x0","bit":null,"mask":"0x0000000000008100","operation":"flip","old":"0x0000000000000000","new":"0x0000000000008100","flipped":true,"error":null,"region":null,"symbol":null,"virtual_ns":1500,"wanted_ns":1500,"instructions":1400,"timing":"approximate","host_time":"2026-11-23T00:00:00Z","seed":42}
    {"format":3,"index":3,"kind":"ram","address":"0x40000000","register":null,"bit":0,"mask":"0x01","operation":"flip","old":"0x00","new":"0x00","flipped":false,"error":"the flip did not take: wrote 0x01, read back 0x00","region":"System RAM","symbol":null,"virtual_ns":1500,"wanted_ns":1500,"instructions":1400,"timing":"approximate","host_time":"2026-11-23T00:00:00Z","seed":42}
    "#);
}

#[test]
fn records_keep_their_columns_as_csv() {
    let rows: Vec<String> = records().iter().map(FlipRecord::csv).collect();
    insta::assert_snapshot!(format!("{}\n{}", FlipRecord::csv_header(), rows.join("\n")), @r#"
    format,index,kind,address,register,bit,mask,operation,old,new,flipped,error,region,symbol,virtual_ns,wanted_ns,instructions,timing,host_time,seed
    3,1,ram,0x40001000,,3,0x08,flip,0x00,0x08,true,,"Kernel, ""code""",,1500,1500,1400,approximate,2026-11-23T00:00:00Z,42
    3,2,reg,,x0,,0x0000000000008100,flip,0x0000000000000000,0x0000000000008100,true,,,,1500,1500,1400,approximate,2026-11-23T00:00:00Z,42
    3,3,ram,0x40000000,,0,0x01,flip,0x00,0x00,false,"the flip did not take: wrote 0x01, read back 0x00",System RAM,,1500,1500,1400,approximate,2026-11-23T00:00:00Z,42
    "#);
}

#[test]
fn csv_quotes_a_cell_for_what_would_end_it_and_for_nothing_else() {
    let of = |error: &str| {
        let record = FlipRecord { error: Some(error.to_owned()), ..FlipRecord::default() };
        let row = record.csv();
        row.strip_prefix("0,0,,,,,,flip,,,false,").unwrap().strip_suffix(",,,,,,exact,,0").unwrap().to_owned()
    };
    assert_eq!(of("a,b"), "\"a,b\"");
    assert_eq!(of("say \"x\""), "\"say \"\"x\"\"\"");
    assert_eq!(of("two\nlines"), "\"two\nlines\"");
    assert_eq!(of("two\rlines"), "\"two\rlines\"");
    assert_eq!(of(" it's; a\tblank "), " it's; a\tblank ");
    assert_eq!(of(""), "");
}

#[test]
fn json_is_read_back_as_it_was_written() {
    for record in records() {
        assert_eq!(serde_json::from_str::<FlipRecord>(&record.json()).unwrap(), record);
    }
}

#[test]
fn a_line_that_a_full_disk_has_cut_is_ended_first() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("flips.jsonl"), "{\"format\":1,\"ind").unwrap();
    RecordLog::open(folder.path()).unwrap().append(&records()[0]).unwrap();
    let text = std::fs::read_to_string(folder.path().join("flips.jsonl")).unwrap();
    let last = text.lines().last().unwrap();
    assert_eq!(serde_json::from_str::<FlipRecord>(last).unwrap(), records()[0]);
}

#[test]
fn a_record_of_an_older_format_is_a_flip() {
    for (index, record) in records().into_iter().enumerate() {
        let old = record.json().replace("\"operation\":\"flip\",", "");
        assert_ne!(old, record.json(), "{index}");
        assert_eq!(serde_json::from_str::<FlipRecord>(&old).unwrap(), record);
    }
}

#[test]
fn rows_of_an_older_version_are_kept_in_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let older = "format,index,kind\n2,1,ram\n";
    std::fs::write(at("flips.csv"), older).unwrap();
    for record in records() {
        RecordLog::open(folder.path()).unwrap().append(&record).unwrap();
    }
    assert_eq!(std::fs::read_to_string(at("flips.1.csv")).unwrap(), older);
    let csv = std::fs::read_to_string(at("flips.csv")).unwrap();
    assert!(csv.starts_with(&FlipRecord::csv_header()), "{csv}");
    assert_eq!(csv.lines().count(), 4);
    assert!(!at("flips.2.csv").exists());
}

#[test]
fn the_log_gets_one_header_however_often_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    for record in records() {
        RecordLog::open(folder.path()).unwrap().append(&record).unwrap();
    }
    let csv = std::fs::read_to_string(folder.path().join("flips.csv")).unwrap();
    assert_eq!(csv.lines().filter(|line| line.starts_with("format,")).count(), 1);
    assert_eq!(csv.lines().count(), 4);
    let json = std::fs::read_to_string(folder.path().join("flips.jsonl")).unwrap();
    assert_eq!(json.lines().count(), 3);
}
