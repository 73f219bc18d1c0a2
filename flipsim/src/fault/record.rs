//! One record a flip, as a JSON line and as a CSV row.
//!
//! Invariant: the keys stay. A key may be added (then [`FORMAT`] rises); none is renamed or changes
//! its unit. A record is written before the next fault is drawn.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::flip::{Flip, FlipError};
use crate::fault::model::Fault;
use crate::fault::names::GuestNames;
use crate::text::hex_value;
use crate::units::Timing;
use crate::units::{GuestPhys, VirtualNs};

/// The version of the record's keys.
pub const FORMAT: u32 = 2;

/// What came of one fault that was to be carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlipRecord {
    /// The version of these keys.
    pub format: u32,
    /// The place in the command's sequence, from 1.
    pub index: u64,
    /// `ram` or `reg`.
    pub kind: String,
    /// The physical address of the first byte, in hex; RAM only.
    pub address: Option<GuestPhysText>,
    /// The register's name; registers only.
    pub register: Option<String>,
    /// The bit, when a single one flips: of the byte at `address`, or of the register.
    pub bit: Option<u32>,
    /// The flipped bits, in hex, as one number (in RAM lowest address least significant).
    pub mask: String,
    /// The value before, in hex; empty when it could not be read.
    pub old: String,
    /// The value after, in hex, as read back; empty when it could not be read.
    pub new: String,
    /// Whether the flip was read back as wanted.
    pub flipped: bool,
    /// Why it was not.
    pub error: Option<String>,
    /// The innermost region of the guest's memory map.
    pub region: Option<String>,
    /// The kernel symbol, with the offset in it.
    pub symbol: Option<String>,
    /// Nanoseconds on the guest's virtual clock; absent where QEMU cannot be asked.
    pub virtual_ns: Option<u64>,
    /// The virtual time that was asked for; absent for a flip at no time in particular.
    #[serde(default)]
    pub wanted_ns: Option<u64>,
    /// Instructions that the guest had executed, where they are counted.
    #[serde(default)]
    pub instructions: Option<u64>,
    /// How exactly that time was kept.
    pub timing: Timing,
    /// The host's time, UTC, RFC 3339.
    pub host_time: String,
    /// The seed of the command's draws.
    pub seed: u64,
}

/// A physical address that is written as hex text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPhysText(pub GuestPhys);

impl Serialize for GuestPhysText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for GuestPhysText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(GuestPhysText).map_err(serde::de::Error::custom)
    }
}

/// When a flip was carried out, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The virtual time.
    pub at: Option<VirtualNs>,
    /// The virtual time that was asked for.
    pub wanted: Option<VirtualNs>,
    /// Instructions that the guest had executed.
    pub instructions: Option<u64>,
}

/// What all records of one command share.
#[derive(Clone, Copy)]
pub struct RecordContext<'a> {
    /// The guest's names, for `region` and `symbol`.
    pub names: &'a GuestNames,
    /// The seed of the draws.
    pub seed: u64,
    /// How exactly the time of the flips is kept.
    pub timing: Timing,
}

impl RecordContext<'_> {
    /// The record of one attempt.
    #[must_use]
    pub fn record(
        &self,
        index: u64,
        fault: &Fault,
        result: &Result<Flip, FlipError>,
        moment: Moment,
    ) -> FlipRecord {
        let (kind, address, register) = match fault {
            Fault::Ram { address, .. } => ("ram", Some(*address), None),
            Fault::Reg { register, .. } => ("reg", None, Some(register.clone())),
        };
        let (old, new, error) = match result {
            Ok(flip) => (hex_value(&flip.old), hex_value(&flip.new), None),
            Err(error @ FlipError::NotFlipped { old, read, .. }) => {
                (old.clone(), read.clone(), Some(error.to_string()))
            }
            Err(error) => (String::new(), String::new(), Some(error.to_string())),
        };
        FlipRecord {
            format: FORMAT,
            index,
            kind: kind.to_owned(),
            address: address.map(GuestPhysText),
            register,
            bit: fault.single_bit().map(|bit| bit.0),
            mask: hex_value(fault.mask()),
            old,
            new,
            flipped: result.is_ok(),
            error,
            region: address.and_then(|a| self.names.region_at(a)),
            symbol: address.and_then(|a| self.names.symbol_at(a)),
            virtual_ns: moment.at.map(|time| time.0),
            wanted_ns: moment.wanted.map(|time| time.0),
            instructions: moment.instructions,
            timing: self.timing,
            host_time: Timestamp::now().to_string(),
            seed: self.seed,
        }
    }
}

/// The names of the columns of such rows, in their order: the fields, as serde knows them.
pub(crate) fn columns<T: Serialize + Default>() -> Vec<String> {
    let names = || {
        let mut rows = csv::Writer::from_writer(Vec::new());
        rows.serialize(T::default())?;
        let text = rows.into_inner().map_err(|error| error.into_error())?;
        let names = csv::Reader::from_reader(&text[..]).headers()?.iter().map(str::to_owned).collect();
        Ok::<_, csv::Error>(names)
    };
    names().expect("rows are structs of plain fields, and memory takes every write")
}

impl FlipRecord {
    /// One line of JSON, without the line's end.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a record has only text keys and finite numbers")
    }

    /// One row of CSV (RFC 4180), without the line's end, in the order of [`FlipRecord::csv_header`].
    #[must_use]
    pub fn csv(&self) -> String {
        let mut rows = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        rows.serialize(self).expect("a record is a struct of plain fields");
        let text = rows.into_inner().expect("memory takes every write");
        let text = String::from_utf8(text).expect("all of it was text");
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }

    /// The names of the columns, as the first line of a file.
    #[must_use]
    pub fn csv_header() -> String {
        columns::<FlipRecord>().join(",")
    }
}

/// A full disk cuts a line; the next record must not continue it.
fn end_cut_line(file: &mut File) -> io::Result<()> {
    let mut last = [0];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// Appends records to `flips.jsonl` and `flips.csv` of a folder.
#[derive(Debug)]
pub struct RecordLog {
    json: File,
    csv: File,
}

impl RecordLog {
    /// Opens the two files, and makes them when they are missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let open =
            |name: &str| OpenOptions::new().create(true).read(true).append(true).open(folder.join(name));
        let (mut json, mut csv) = (open("flips.jsonl")?, open("flips.csv")?);
        end_cut_line(&mut json)?;
        end_cut_line(&mut csv)?;
        if csv.metadata()?.len() == 0 {
            writeln!(csv, "{}", FlipRecord::csv_header())?;
        }
        Ok(RecordLog { json, csv })
    }

    /// Appends one record to both, each in one write, so that a line is never cut by another writer.
    ///
    /// # Errors
    /// What the system says, a full disk for example.
    pub fn append(&mut self, record: &FlipRecord) -> io::Result<()> {
        self.json.write_all(format!("{}\n", record.json()).as_bytes())?;
        self.csv.write_all(format!("{}\n", record.csv()).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::flip;
    use crate::memory::MemoryMap;
    use crate::target::FakeTarget;

    fn records() -> Vec<FlipRecord> {
        let iomem = "40000000-4000ffff : System RAM\n  40001000-40001fff : Kernel, \"code\"\n";
        let mtree = "FlatView #1\n AS \"memory\"\n  0000000040000000-000000004000ffff (prio 0, ram): r\n";
        let map = MemoryMap::new(Some(iomem), mtree).unwrap();
        let names = GuestNames { map, symbols: None, symbols_missing: None };
        let context = RecordContext { names: &names, seed: 42, timing: Timing::Approximate };
        let mut target = FakeTarget::new("0x40000000+64K".parse().unwrap())
            .with_register("x0", 64, "core", &[0xff; 8])
            .with_stuck_bits(GuestPhys(0x4000_0000), 0xff);
        let faults = [
            Fault::Ram { address: GuestPhys(0x4000_1000), mask: vec![8] },
            Fault::Reg { register: "x0".into(), mask: vec![0, 0x81, 0, 0, 0, 0, 0, 0] },
            Fault::Ram { address: GuestPhys(0x4000_0000), mask: vec![1] },
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
        {"format":2,"index":1,"kind":"ram","address":"0x40001000","register":null,"bit":3,"mask":"0x08","old":"0x00","new":"0x08","flipped":true,"error":null,"region":"Kernel, \"code\"","symbol":null,"virtual_ns":1500,"wanted_ns":1500,"instructions":1400,"timing":"approximate","host_time":"2026-11-23T00:00:00Z","seed":42}
        {"format":2,"index":2,"kind":"reg","address":null,"register":"x0","bit":null,"mask":"0x0000000000008100","old":"0x0000000000000000","new":"0x0000000000008100","flipped":true,"error":null,"region":null,"symbol":null,"virtual_ns":1500,"wanted_ns":1500,"instructions":1400,"timing":"approximate","host_time":"2026-11-23T00:00:00Z","seed":42}
        {"format":2,"index":3,"kind":"ram","address":"0x40000000","register":null,"bit":0,"mask":"0x01","old":"0x00","new":"0x00","flipped":false,"error":"the flip did not take: wrote 0x01, read back 0x00","region":"System RAM","symbol":null,"virtual_ns":1500,"wanted_ns":1500,"instructions":1400,"timing":"approximate","host_time":"2026-11-23T00:00:00Z","seed":42}
        "#);
    }

    #[test]
    fn records_keep_their_columns_as_csv() {
        let rows: Vec<String> = records().iter().map(FlipRecord::csv).collect();
        insta::assert_snapshot!(format!("{}\n{}", FlipRecord::csv_header(), rows.join("\n")), @r#"
        format,index,kind,address,register,bit,mask,old,new,flipped,error,region,symbol,virtual_ns,wanted_ns,instructions,timing,host_time,seed
        2,1,ram,0x40001000,,3,0x08,0x00,0x08,true,,"Kernel, ""code""",,1500,1500,1400,approximate,2026-11-23T00:00:00Z,42
        2,2,reg,,x0,,0x0000000000008100,0x0000000000000000,0x0000000000008100,true,,,,1500,1500,1400,approximate,2026-11-23T00:00:00Z,42
        2,3,ram,0x40000000,,0,0x01,0x00,0x00,false,"the flip did not take: wrote 0x01, read back 0x00",System RAM,,1500,1500,1400,approximate,2026-11-23T00:00:00Z,42
        "#);
    }

    #[test]
    fn csv_quotes_a_cell_for_what_would_end_it_and_for_nothing_else() {
        let of = |error: &str| {
            let record = FlipRecord { error: Some(error.to_owned()), ..FlipRecord::default() };
            let row = record.csv();
            row.strip_prefix("0,0,,,,,,,,false,").unwrap().strip_suffix(",,,,,,exact,,0").unwrap().to_owned()
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
}
