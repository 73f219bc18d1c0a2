//! The trials of a page: as compact columns for the page's script, and the details of some.
//!
//! A page of 100,000 trials has to open at once, so that details and consoles are there for a choice of
//! trials only: one of each outcome and title in turn, from the worst outcome on. Of more trials the worst are in the
//! columns, and of one outcome the first by their numbers, which are in random order.
//!
//! Invariant: how many results and details are left out is said ([`Trials`]).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::look::{letter, visible};
use super::map::{Spot, Spots};
use super::svg::{count, time};
use crate::campaign::store::ResultRow;
use crate::campaign::{LiveCell, Store, StoreError, TrialId};
use crate::fault::{Fault, Operation};
use crate::text::hex_value;
use crate::trial::{Heard, Outcome, Settled, TrialRecord};
use crate::units::Timing;

/// So many trials are in the columns.
const LISTED: u64 = 100_000;
/// So many trials have details.
const DETAILS: usize = 400;
/// So many of them at most are latent: there are many, and they are alike.
const LATENT: usize = 40;
/// So many bytes of consoles are in a page.
const CONSOLES: usize = 800_000;
/// So many lines of a console at its beginning, and at its end.
const LINES: (usize, usize) = (12, 28);
/// So many letters of a line.
const LETTERS: usize = 240;

/// The details of one trial.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// Its number.
    pub id: u64,
    /// `None` for a flip that did not take.
    pub outcome: Option<Outcome>,
    /// Its stratum.
    pub stratum: String,
    /// Where it struck.
    pub place: String,
    /// When, as text.
    pub at: String,
    /// What is known: a name and a text each.
    pub facts: Vec<(String, String)>,
    /// What the console said.
    pub console: Option<String>,
}

/// The trials of a page.
#[derive(Debug)]
pub struct Trials {
    /// The columns, as JSON for the page's script.
    pub data: Value,
    /// The details, from the worst outcome on.
    pub details: Vec<Detail>,
    /// How many trials there are.
    pub all: u64,
    /// How many of them are in the columns.
    pub listed: u64,
    /// How many of them have a console that is not the golden run's, and how many of these consoles are in
    /// the details.
    pub consoles: (u64, u64),
    /// The faults in RAM.
    pub ram: Vec<Spot>,
    /// The faults in registers; a place is an index of `registers`.
    pub reg: Vec<Spot>,
    /// The registers, in the order of their names and numbers.
    pub registers: Vec<String>,
    /// Where the live bytes are; empty where that is not known.
    pub live: Vec<LiveCell>,
}

/// Texts by number, each once.
#[derive(Default)]
struct Words {
    numbers: HashMap<String, usize>,
    texts: Vec<String>,
}

impl Words {
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len();
        self.numbers.insert(text.to_owned(), number);
        // What is shown is made visible where it is made, so that no script has to think of it.
        self.texts.push(visible(text));
        number
    }
}

/// What the script gets of every trial: one array a column.
#[derive(Default)]
struct Columns {
    words: Words,
    id: Vec<u64>,
    outcome: String,
    stratum: Vec<u32>,
    at: Vec<u64>,
    /// The address, or below 0 the word of the register.
    place: Vec<Value>,
    bit: Vec<i64>,
    end: Vec<Option<usize>>,
    ends: Words,
    region: Vec<Option<usize>>,
    symbol: Vec<Option<usize>>,
    offset: Vec<u64>,
    mask: BTreeMap<usize, String>,
    /// Of those that are no flips, the word.
    operation: BTreeMap<usize, usize>,
    title: BTreeMap<usize, usize>,
    detected: BTreeMap<usize, u64>,
    /// Of these, the ones that were seen at a checkpoint.
    seen: BTreeMap<usize, u8>,
    error: BTreeMap<usize, usize>,
}

impl Columns {
    fn add(&mut self, row: &ResultRow) {
        let index = self.id.len();
        let plan = &row.trial.plan;
        self.id.push(row.trial.id.0);
        self.outcome.push(letter(row.outcome));
        self.stratum.push(row.trial.stratum);
        self.at.push(plan.after.0);
        // Small numbers only.
        let word = |number: usize| -1 - i64::try_from(number).unwrap_or(i64::MAX - 1);
        let place = match plan.fault.register() {
            Some(register) => json!(word(self.words.number(register))),
            None => json!(plan.fault.address().map(|address| address.0)),
        };
        self.place.push(place);
        match plan.fault.single_bit() {
            Some(bit) => self.bit.push(bit.0.into()),
            None => {
                self.bit.push(-1);
                self.mask.insert(index, hex_value(plan.fault.mask()));
            }
        }
        let more = further(plan.more.len());
        if plan.fault.operation() != Operation::Flip || !more.is_empty() {
            self.operation.insert(index, self.words.number(&format!("{}{more}", plan.fault.operation())));
        }
        let since = |ns: u64| row.flip_ns.map(|flip| ns.saturating_sub(flip));
        self.end.push(row.end_ns.map(|end| self.ends.number(&end.to_string())));
        self.region.push(row.region.as_deref().map(|region| self.words.number(region)));
        let symbol = row.symbol.as_deref().map(|symbol| {
            let (name, offset) = symbol.rsplit_once("+0x").unwrap_or((symbol, ""));
            match u64::from_str_radix(offset, 16) {
                Ok(offset) => (self.words.number(name), offset),
                Err(_) => (self.words.number(symbol), 0),
            }
        });
        self.symbol.push(symbol.map(|(name, _)| name));
        self.offset.push(symbol.map_or(0, |(_, offset)| offset));
        if let Some(title) = &row.title {
            self.title.insert(index, self.words.number(title));
        }
        if let Some(detected) = row.detected_ns.and_then(since) {
            self.detected.insert(index, detected);
            if row.heard == Heard::Checkpoint {
                self.seen.insert(index, 1);
            }
        }
        if let Some(error) = &row.error {
            self.error.insert(index, self.words.number(error));
        }
    }

    fn json(self, strata: &[String], begin: Option<u64>) -> Value {
        // As a rule trials are numbered without a gap, and nothing has to say so.
        let id = self.id.iter().zip(0..).any(|(id, index)| *id != index).then_some(self.id);
        let or_none = |numbers: Vec<Option<usize>>| -> Vec<i64> {
            numbers.into_iter().map(|n| n.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1)).collect()
        };
        let ends: Vec<u64> = self.ends.texts.iter().filter_map(|text| text.parse().ok()).collect();
        json!({
            "strata": strata, "begin": begin, "words": self.words.texts, "ends": ends, "id": id,
            "outcome": self.outcome, "stratum": self.stratum, "at": self.at, "place": self.place,
            "bit": self.bit, "end": or_none(self.end), "region": or_none(self.region),
            "symbol": or_none(self.symbol), "offset": self.offset, "mask": self.mask, "operation": self.operation, "title": self.title,
            "detected": self.detected, "seen": self.seen, "error": self.error,
        })
    }
}

/// Sorts registers as people count them, x2 before x10, and renumbers the places of their faults.
fn in_order(names: Vec<String>, spots: &mut [Spot]) -> Vec<String> {
    let key = |name: &String| {
        let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = name[letters.len()..].parse::<u64>().ok();
        // Numbered ones first: sp and pc stand behind x30.
        (number.is_none(), letters.to_owned(), number)
    };
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|index| key(&names[*index]));
    let mut places = vec![0u64; names.len()];
    order.iter().zip(0..).for_each(|(old, new)| places[*old] = new);
    for spot in spots {
        spot.place = usize::try_from(spot.place).ok().and_then(|old| places.get(old)).copied().unwrap_or(0);
    }
    order.into_iter().map(|index| names[index].clone()).collect()
}

/// Where a fault strikes, as `campaign trial` takes it.
#[must_use]
pub fn place_of(fault: &Fault) -> String {
    let place = fault.place();
    let place = match fault.single_bit() {
        Some(bit) => format!("{place}:{bit}"),
        None => format!("{place} mask {}", hex_value(fault.mask())),
    };
    match fault.operation() {
        Operation::Flip => place,
        other => format!("{place} {other}"),
    }
}

/// What is said of a trial's further faults.
fn further(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}

/// How bad an outcome is, 0 the worst; what has none comes before latent ones, as it says why.
fn rank(outcome: Option<Outcome>) -> u8 {
    outcome.unwrap_or(Outcome::Infra).row().rank
}

/// How many trials of each outcome have room in the columns: of the worst all, as long as there is room.
fn rooms(store: &Store, most: u64) -> Result<BTreeMap<Option<Outcome>, u64>, StoreError> {
    let mut counts: BTreeMap<Option<Outcome>, u64> = BTreeMap::new();
    for own in store.summary()? {
        own.outcomes.iter().for_each(|(outcome, count)| *counts.entry(Some(*outcome)).or_default() += count);
        *counts.entry(None).or_default() += own.not_flipped;
    }
    let mut left = most;
    let mut by_rank: Vec<_> = counts.iter_mut().collect();
    by_rank.sort_by_key(|(outcome, _)| rank(**outcome));
    for (_, room) in by_rank {
        *room = left.min(*room);
        left -= *room;
    }
    Ok(counts)
}

impl Trials {
    /// Reads the trials of a campaign.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(store: &Store) -> Result<Trials, StoreError> {
        Trials::read_some(store, LISTED)
    }

    /// As [`Trials::read`], with at most so many in the columns.
    fn read_some(store: &Store, most: u64) -> Result<Trials, StoreError> {
        let strata: Vec<String> = store.strata().iter().map(|stratum| visible(&stratum.name)).collect();
        let mut columns = Columns::default();
        let mut begin = None;
        let (mut ram, mut reg, mut registers) = (Spots::default(), Spots::default(), Words::default());
        // Most campaigns are not that large.
        let mut rooms = if store.len() > most { Some(rooms(store, most)?) } else { None };
        let mut all = 0;
        // By rank and title; those of a title in the order of the plan.
        let mut groups: BTreeMap<(u8, Option<String>), Vec<TrialId>> = BTreeMap::new();
        for row in store.results() {
            let row = row?;
            let plan = &row.trial.plan;
            begin = begin.or(row.flip_ns.and_then(|flip| flip.checked_sub(plan.after.0)));
            if let Some(outcome) = row.outcome.filter(|outcome| outcome.is_counted()) {
                let at = plan.after.0;
                if let Some(address) = plan.fault.address() {
                    ram.push(Spot::new(at, address.0, outcome));
                }
                if let Some(register) = plan.fault.register() {
                    reg.push(Spot::new(at, registers.number(register) as u64, outcome));
                }
            }
            all += 1;
            let has_room = rooms.as_mut().is_none_or(|rooms| {
                // What is recorded meanwhile has none.
                let room = rooms.entry(row.outcome).or_default();
                let left = *room;
                *room = left.saturating_sub(1);
                left > 0
            });
            if !has_room {
                continue;
            }
            columns.add(&row);
            let rank = rank(row.outcome);
            if !matches!(row.outcome, Some(Outcome::Masked | Outcome::EccCorrected)) {
                let group = groups.entry((rank, row.title.clone())).or_default();
                let alike = matches!(row.outcome, Some(Outcome::Latent | Outcome::EccDetected));
                let most = if alike { LATENT } else { DETAILS };
                if group.len() < most {
                    group.push(row.trial.id);
                }
            }
        }
        let (ram, mut reg) = (ram.finish(), reg.finish());
        let registers = in_order(registers.texts, &mut reg);
        let mut trials = Trials {
            all,
            listed: columns.id.len() as u64,
            consoles: (store.consoles()?, 0),
            details: Vec::new(),
            data: columns.json(&strata, begin),
            ram,
            reg,
            registers,
            live: store.live_cells()?,
        };
        trials.read_details(store, &strata, groups)?;
        Ok(trials)
    }

    fn read_details(
        &mut self,
        store: &Store,
        strata: &[String],
        groups: BTreeMap<(u8, Option<String>), Vec<TrialId>>,
    ) -> Result<(), StoreError> {
        let mut chosen: Vec<TrialId> = Vec::new();
        let longest = groups.values().map(Vec::len).max().unwrap_or(0);
        'all: for turn in 0..longest {
            for ids in groups.values() {
                let Some(id) = ids.get(turn) else { continue };
                if chosen.len() == DETAILS {
                    break 'all;
                }
                chosen.push(*id);
            }
        }
        // Consoles are taken in turn as well, so that each title has one.
        let mut room = CONSOLES;
        for id in &chosen {
            let planned = store.planned(*id)?;
            let record = store.record_of(*id)?;
            let stratum = usize::try_from(planned.stratum).ok().and_then(|at| strata.get(at));
            let console = record.as_ref().and_then(|record| record.console.as_deref()).map(excerpt);
            let console = console.filter(|text| text.len() <= room);
            if let Some(text) = &console {
                room -= text.len();
                self.consoles.1 += 1;
            }
            self.details.push(Detail {
                id: id.0,
                outcome: match &record {
                    Some(record) => record.outcome,
                    None => Some(Outcome::Infra),
                },
                stratum: stratum.cloned().unwrap_or_default(),
                place: visible(&place_of(&planned.plan.fault)),
                at: planned.plan.after.to_string(),
                facts: record.as_ref().map(facts).unwrap_or_default(),
                console,
            });
        }
        // The worst first, and of those the first of each title.
        self.details.sort_by_key(|detail| rank(detail.outcome));
        Ok(())
    }
}

/// What is known of a trial, as texts.
#[expect(clippy::cast_precision_loss, reason = "times for people")]
fn facts(record: &TrialRecord) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, text: String| facts.push((name.to_owned(), visible(&text)));
    let since = |ns: u64| format!("{} after the flip", time(ns.saturating_sub(record.flip_ns) as f64));
    let seen = |ns: u64| match record.heard {
        Heard::Byte => since(ns),
        Heard::Checkpoint => format!("after the checkpoint before, by the one {}", since(ns)),
    };
    if !record.old.is_empty() {
        add("value", format!("{} → {}", record.old, record.new));
    }
    if let Some(error) = &record.error {
        add("not flipped", error.clone());
    }
    if let Some(because) = &record.because {
        add("because", because.to_string());
    }
    let known: Vec<&str> = record.region.as_deref().into_iter().chain(record.symbol.as_deref()).collect();
    if !known.is_empty() {
        add("place", known.join(", "));
    }
    add(
        "virtual time",
        format!("flip at {} ns, end at {} ns of the guest's clock", record.flip_ns, record.end_ns),
    );
    if let Some(title) = &record.title {
        add("report", title.clone());
    }
    let ended = record.end.and_then(|end| serde_json::to_value(end).ok());
    if let Some(end) = ended.as_ref().and_then(Value::as_str) {
        add("the guest ended", format!("{end}, {}", since(record.end_ns)));
    }
    if let Some(at) = record.detected_ns {
        add("noticed", seen(at));
    }
    if let Some(at) = record.console_differs_ns {
        add("console differs", seen(at));
    }
    if !record.counts.is_empty() {
        let counts = record.counts.iter().map(|(name, count)| format!("{name} {count}"));
        add("counted", counts.collect::<Vec<_>>().join(", "));
    }
    if let Some(at) = record.converged_ns {
        add("converged", format!("at the checkpoint {}", since(at)));
    }
    if let Some(state) = &record.state {
        if let Some(pages) = state.pages_differ {
            let some = state.pages.iter().take(4).cloned().collect::<Vec<_>>().join(" ");
            let more = if pages > 4 { " …" } else { "" };
            add("pages that differ at the end", format!("{} ({some}{more})", count(pages)));
        }
        if !state.registers.is_empty() {
            let mut text = String::new();
            for register in state.registers.iter().take(6) {
                // Writing to a string does not fail.
                let _ = write!(text, "{} {} (golden {})  ", register.name, register.here, register.golden);
            }
            if state.registers.len() > 6 {
                let _ = write!(text, "and {} more", state.registers.len() - 6);
            }
            add("registers that differ", text.trim_end().to_owned());
        }
        if !state.devices.is_empty() {
            add("devices that differ", state.devices.join(" "));
        }
        if state.disk == Some(true) {
            add("disk", "differs".to_owned());
        }
    }
    let settled = record.settled.map(|settled| match settled {
        Settled::NeverRead => "the golden run never reads it again",
        Settled::Overwritten => "the golden run overwrites it before it is read",
        Settled::Unchanged => "it was what the fault sets it to",
    });
    match (record.audited, settled) {
        (false, Some(why)) => add("settled without a run", why.to_owned()),
        (true, why) => {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            add("audited", format!("run whole to check the others, and equal{why}"));
        }
        (false, None) => (),
    }
    if let Some(at) = record.begun_ns {
        add("begun late", format!("{}, right before the first read", since(at)));
    }
    if let Some(at) = record.cut_ns {
        add("ended early", format!("{}: nothing that differed is read any more", since(at)));
    }
    if record.timing == Timing::Approximate {
        add("timing", "approximate: run again, the flip may strike elsewhere".to_owned());
    }
    if record.output_only {
        let why = record.output_only_because.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        add("compared", format!("the output only{why}"));
    }
    facts
}

/// The beginning and the end of a console, made visible.
fn excerpt(text: &str) -> String {
    // What a serial line ends its lines with is no news.
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.lines().collect();
    let cut = |line: &&str| {
        let line = visible(line);
        match line.char_indices().nth(LETTERS) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line,
        }
    };
    if lines.len() <= LINES.0 + LINES.1 {
        return lines.iter().map(cut).collect::<Vec<_>>().join("\n");
    }
    let left_out = lines.len() - LINES.0 - LINES.1;
    let head = lines[..LINES.0].iter().map(cut);
    let tail = lines[lines.len() - LINES.1..].iter().map(cut);
    let note = format!("… {left_out} lines are left out here …");
    head.chain([note]).chain(tail).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_result_is_in_the_columns_and_the_worst_have_details() {
        let sample = sample::campaign(1000);
        let trials = Trials::read(&sample.store).unwrap();
        let results = sample.store.results().count();
        assert_eq!(results, 999);
        assert_eq!((trials.all, trials.listed), (results as u64, results as u64));
        for column in ["stratum", "at", "place", "bit", "end", "region", "symbol", "offset", "id"] {
            assert_eq!(trials.data[column].as_array().unwrap().len(), results, "{column}");
        }
        assert_eq!(trials.data["outcome"].as_str().unwrap().len(), results);
        assert!(trials.details.len() <= DETAILS);
        let ranks: Vec<u8> = trials.details.iter().map(|detail| rank(detail.outcome)).collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(
            trials.ram.len() + trials.reg.len(),
            sample.summary.totals.outcomes.values().sum::<u64>() as usize
        );
        // Each title of a crash has at least one, with its console.
        let titles = sample.summary.strata.iter().flat_map(|stratum| &stratum.by.title.rows);
        for title in titles.filter_map(|row| row.key.as_deref()) {
            let with = |detail: &&Detail| detail.facts.iter().any(|(_, text)| *text == visible(title));
            assert!(trials.details.iter().filter(with).any(|detail| detail.console.is_some()), "{title}");
        }
    }

    #[test]
    fn of_too_many_the_worst_are_in_the_columns_and_of_one_outcome_the_first() {
        let sample = sample::campaign(1000);
        let all = Trials::read(&sample.store).unwrap();
        let outcomes = |trials: &Trials| trials.data["outcome"].as_str().unwrap().to_owned();
        let letters = outcomes(&all);
        let of = |letter: char| letters.chars().filter(|one| *one == letter).count() as u64;
        let worst = Outcome::WORST_FIRST
            .map(|outcome| letter(Some(outcome)))
            .into_iter()
            .find(|one| of(*one) > 0)
            .unwrap();
        let first = of(worst);
        let some = Trials::read_some(&sample.store, first + 3).unwrap();
        assert_eq!((some.all, some.listed), (999, first + 3));
        assert_eq!(outcomes(&some).matches(worst).count() as u64, first);
        let next = outcomes(&some).replace(worst, "");
        assert!(next.chars().all(|one| next.starts_with(one)), "{next}");
        // They are the first by number.
        let ids: Vec<u64> =
            some.data["id"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        let places = letters.char_indices().filter(|(_, one)| next.starts_with(*one));
        let number = |at: usize| all.data["id"][at].as_u64().unwrap();
        assert!(places.take(3).all(|(at, _)| ids.contains(&number(at))));
        assert!(
            some.details.iter().all(|detail| ids.contains(&detail.id)),
            "a detail of what is not in the list"
        );
        assert_eq!(some.ram.len() + some.reg.len(), all.ram.len() + all.reg.len());
    }

    #[test]
    fn a_long_console_is_cut_in_its_middle_and_says_so() {
        let long: String = (0..100).map(|n| format!("line {n}\r\n")).collect();
        let cut = excerpt(&long);
        assert!(cut.contains("line 11\n… 60 lines are left out here …\nline 72\n"), "{cut}");
        assert!(cut.ends_with("line 99"));
        assert_eq!(excerpt(&"x".repeat(500)).chars().count(), LETTERS + 1);
        assert_eq!(excerpt("a\u{1b}[1m"), "a\\x1b[1m");
    }

    #[test]
    fn a_page_of_many_trials_holds_few_details() {
        let sample = sample::campaign(6000);
        let trials = Trials::read(&sample.store).unwrap();
        assert_eq!(trials.details.len(), DETAILS);
        let (all, shown) = trials.consoles;
        assert!(shown > 0 && shown < all, "{shown} of {all}");
        let latent = trials.details.iter().filter(|detail| detail.outcome == Some(Outcome::Latent)).count();
        assert!(latent <= LATENT);
        assert!(trials.data.to_string().len() < 6000 * 70);
    }
}
