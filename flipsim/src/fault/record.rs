//! One record a flip, as a JSON line and as a CSV row.
//!
//! Invariant: the keys stay. A key may be added (then [`FORMAT`] rises); none is renamed or changes
//! its unit. A record is written before the next fault is drawn.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::flip::{Flip, FlipError};
use crate::fault::model::Fault;
use crate::fault::names::GuestNames;
use crate::fault::operation::Operation;
use crate::files;
use crate::text::hex_value;
use crate::units::{GuestPhys, Timing, VirtualNs};

/// The version of the record's keys.
pub const FORMAT: u32 = 3;

/// The result of one fault that was to be applied.
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
    /// What was done to these bits; a flip in records of before format 3.
    #[serde(default)]
    pub operation: Operation,
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

/// When a flip was applied, as far as it is known.
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
        let address = fault.address();
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
            kind: fault.kind().to_owned(),
            address: address.map(GuestPhysText),
            register: fault.register().map(str::to_owned),
            bit: fault.single_bit().map(|bit| bit.0),
            mask: hex_value(fault.mask()),
            operation: fault.operation(),
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

/// Whether the rows of a file have the columns of ours. Those of an older version would not fit one header.
fn has_our_columns(mut file: &File) -> io::Result<bool> {
    let mut header = String::new();
    file.seek(SeekFrom::Start(0))?;
    BufReader::new(file).read_line(&mut header)?;
    Ok(header.trim_end() == FlipRecord::csv_header())
}

/// Keeps the rows of an older version under the first free name.
fn set_aside(folder: &Path) -> io::Result<()> {
    let mut names = (1..).map(|number: u64| folder.join(format!("flips.{number}.csv")));
    let free = names.find(|name| !name.exists());
    free.map_or(Ok(()), |free| std::fs::rename(folder.join("flips.csv"), free))
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
        let open = |name: &str| files::append(&folder.join(name));
        let (mut json, mut csv) = (open("flips.jsonl")?, open("flips.csv")?);
        end_cut_line(&mut json)?;
        end_cut_line(&mut csv)?;
        if csv.metadata()?.len() > 0 && !has_our_columns(&csv)? {
            set_aside(folder)?;
            csv = open("flips.csv")?;
        }
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
mod tests;
