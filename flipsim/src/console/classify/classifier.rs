//! What a guest's console says of its run: kinds, stable titles, one cause, one outcome.
//!
//! Invariant: the answer depends on the bytes alone, not on the pieces they come in; memory stays bounded
//! and nothing panics, whatever a guest that was hit prints. No other module knows a kernel's message.

use std::collections::VecDeque;
use std::io::{self, Read};

use signs::{Heading, Wants};
use skip::Says;
use text::MessageDetail;

use crate::console::classify::kind::{Grade, Kind};
use crate::console::classify::open::{Report, Stalled, announces, is_about_locks};
use crate::console::classify::prefix::{self, Prefix, split_prefix};
use crate::console::classify::verdict::{Classification, ConsoleVerdict, Finding};
use crate::console::classify::{signs, skip, text};
use crate::console::lines::{LineSplitter, MAX_LINE};
use crate::console::marker::{Done, Marker, flipsim_marker};

/// How many findings are kept; of those beyond, the first of each further kind.
pub const MAX_FINDINGS: usize = 256;
/// How many oopses without an end are an exception storm, and a crash.
pub const STORM: u64 = 32;
/// How many bytes of a finding's line are kept.
const MAX_TEXT: usize = 512;
/// How many reports can wait for their function at once.
const MAX_OPEN: usize = 8;
/// After how many lines a report waits no longer.
const PATIENCE: u64 = 150;
/// The same for an OOM report, which lists all tasks first.
const OOM_PATIENCE: u64 = 5000;
/// The same for a headline that counts only with a trace, which then comes soon.
const TRACE_PATIENCE: u64 = 16;
/// In how many lines a report's function is looked for.
const FRAME_LINES: usize = 200;
/// After how many lines a report is no longer what an earlier line announced.
const ANNOUNCED: u64 = 8;
/// A kernel whose clock was there has run: its first messages have the time 0, then soon a later one.
const RAN_US: u64 = 50_000;

/// Classifies a console at once.
#[must_use]
pub fn classify(console: &[u8]) -> Classification {
    let mut classifier = Classifier::default();
    classifier.feed(console);
    classifier.finish()
}

/// Classifies a console as it is read.
///
/// # Errors
/// It cannot be read.
pub fn classify_reader(mut console: impl Read) -> io::Result<Classification> {
    let mut classifier = Classifier::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        match console.read(&mut buffer) {
            Ok(0) => return Ok(classifier.finish()),
            Ok(count) => classifier.feed(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A console without the time stamps of the kernel's messages: what it says, and not when.
#[must_use]
pub fn without_stamps(console: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(console.len());
    let mut rest = console;
    while let Some(at) = rest.iter().position(|byte| *byte == b'[') {
        text.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let length = prefix::stamp(rest).unwrap_or_else(|| {
            text.push(b'[');
            1
        });
        rest = &rest[length..];
    }
    text.extend_from_slice(rest);
    text
}

/// The kind of report that a single line begins or belongs to.
#[must_use]
pub fn kind_of(line: &str) -> Option<Kind> {
    // Where another message is cut into the line, that one counts.
    let mut rest = line;
    loop {
        let end = prefix::cut(rest).unwrap_or(rest.len());
        let (prefix, message) = split_prefix(&rest[..end]);
        if let Some((_, heading)) = signs::find(message, prefix).filter(|(_, heading)| !heading.if_traced) {
            return Some(heading.kind);
        }
        rest = &rest[end..];
        if rest.is_empty() {
            return None;
        }
    }
}

const CHUNK: usize = 64 * 1024;

/// Reads a console piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Classifier {
    splitter: LineSplitter,
    /// Lines that are complete.
    lines: u64,
    /// The beginning of a line that another message was cut into, and its place.
    held: Option<(Place, String)>,
    open: VecDeque<Report>,
    findings: Vec<Found>,
    unlisted: u64,
    oopses: u64,
    /// What the console said comes from a kernel, or a program, that runs.
    ran: bool,
    done: Option<(Place, Done)>,
}

/// Line, and the part of the line.
type Place = (u64, u32);

/// A finding with its place.
#[derive(Clone, Debug)]
struct Found {
    place: Place,
    finding: Finding,
    /// Whether it counts: a headline may still lack its trace, or turn out to be a part of another report.
    counts: bool,
}

impl Classifier {
    /// Takes in what the console printed next.
    pub fn feed(&mut self, bytes: &[u8]) {
        // In parts, so that lines do not pile up; the splitter is lent out meanwhile.
        let mut splitter = std::mem::take(&mut self.splitter);
        for part in bytes.chunks(CHUNK) {
            splitter.each(part, |line, ends| {
                self.line(line);
                self.lines += u64::from(ends);
            });
        }
        self.splitter = splitter;
    }

    /// The reports so far, in the order of their discovery. A title may still gain its function.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|found| found.counts).map(|found| &found.finding)
    }

    /// What the console says, now that there is no more of it.
    #[must_use]
    pub fn finish(mut self) -> Classification {
        let last = self.splitter.partial();
        self.line(&last);
        self.release_held();
        while let Some(report) = self.open.pop_front() {
            self.close(report, None);
        }
        self.decide()
    }

    /// One line, or a piece of an endless one.
    fn line(&mut self, line: &str) {
        let number = self.lines + 1;
        let (head, mut rest) = line.split_at(prefix::cut(line).unwrap_or(line.len()));
        // Behind a time stamp, the word that a journal would write first is a part of the message.
        let stamped_held = || self.held.as_ref().is_some_and(|(_, held)| split_prefix(held).0.at.is_some());
        let continues = !split_prefix(head).0.stamped || head.starts_with("kernel: ") && stamped_held();
        match (self.take_held(continues), rest.is_empty()) {
            (Some((at, held)), true) => self.rejoined(at, &held, (number, 0), head),
            (Some((at, held)), false) => self.hold(at, held + head),
            (None, true) => self.message((number, 0), head),
            (None, false) => self.hold((number, 0), head.to_owned()),
        }
        // What cut into the line ends where the line does, or where something else cuts in.
        for part in 1.. {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at(prefix::cut(rest).unwrap_or(rest.len()));
            self.message((number, part), piece);
            rest = behind;
        }
    }

    fn hold(&mut self, place: Place, piece: String) {
        self.held = Some((place, text::shorten(&piece, MAX_LINE)));
    }

    /// The held beginning of a line, if the next line may be its end. The end of a message comes at once;
    /// what a program prints waits until the kernel has had its say.
    fn take_held(&mut self, continues: bool) -> Option<(Place, String)> {
        let (place, held) = self.held.as_ref()?;
        if continues {
            return self.held.take();
        }
        if split_prefix(held).0.stamped || self.lines - place.0 > PATIENCE {
            self.release_held();
        }
        None
    }

    fn release_held(&mut self) {
        if let Some((place, held)) = self.held.take() {
            self.message(place, &held);
        }
    }

    /// The end of a line that was cut, or another line without a time stamp: which of the two is not known.
    fn rejoined(&mut self, at: Place, held: &str, place: Place, piece: &str) {
        let joined = format!("{held}{piece}");
        if let Some(cut) = prefix::cut(&joined) {
            // The time stamp itself had been cut.
            self.message(at, &joined[..cut]);
            self.message(place, &joined[cut..]);
            return;
        }
        let (prefix, message) = split_prefix(&joined);
        let before = joined.len() - message.len();
        match sign_in(message, prefix) {
            Some(sign) if before + sign >= held.len() && sign_in(piece, Prefix::default()).is_some() => {
                self.message(place, piece);
            }
            Some(sign) => {
                self.message(at, &joined);
                if before + sign < held.len() && sign_in(piece, Prefix::default()).is_some() {
                    self.message(place, piece);
                }
            }
            None => self.message(at, &joined),
        }
    }

    fn message(&mut self, place: Place, line: &str) {
        let (prefix, message) = split_prefix(line);
        self.expire();
        self.restart(place, prefix, message, line);
        if message.contains("FLIPSIM ") && self.marker(place, line) {
            return;
        }
        if let Some((_, heading)) = signs::find(message, prefix) {
            self.heading(place, heading, prefix, line);
            return;
        }
        if !self.open.is_empty()
            && let Some(detail) = text::detail(message)
        {
            self.detail(detail, prefix.caller);
        }
    }

    /// Sees a machine that begins again: its clock is at 0 again, or something speaks that comes before a kernel.
    fn restart(&mut self, place: Place, prefix: Prefix, message: &str, line: &str) {
        let begins = prefix.at.map_or_else(|| signs::is_firmware(message), |at| at == 0);
        if begins && self.ran {
            self.ran = false;
            if !self.findings().any(|finding| finding.kind.is_end()) {
                self.found(place, Kind::Reboot, "restarted without a word".to_owned(), line);
            }
        }
        // Its second first line is no boot loader's.
        let first = prefix.at.is_none() && message.starts_with("Linux version ");
        self.ran |= first || prefix.at.is_some_and(|at| at >= RAN_US) || signs::is_running(message);
    }

    /// Takes in a line of the lab's guests. Whether it was one.
    fn marker(&mut self, place: Place, line: &str) -> bool {
        match flipsim_marker(line) {
            Some(Marker::Check(text)) => {
                let (workload, what) =
                    match text.strip_prefix("workload=").and_then(|rest| rest.split_once(' ')) {
                        Some((workload, what)) => (Some(workload), what),
                        None => (None, text.as_str()),
                    };
                let what = text::clean(what);
                let title = workload
                    .map_or_else(|| format!("check: {what}"), |name| format!("check in {name}: {what}"));
                self.found(place, Kind::Check, title, line);
            }
            Some(Marker::Done(done)) => {
                let title = match done.status.as_str() {
                    "ok" => None,
                    "wrong" => Some((Kind::WrongResult, format!("wrong result of {}", done.workload))),
                    "error" => Some((Kind::Check, format!("{} gave up", done.workload))),
                    // Cut or damaged: no end that can be believed.
                    _ => return true,
                };
                if self.done.as_ref().is_none_or(|(_, first)| first.status == "ok") {
                    self.done = Some((place, done));
                }
                if let Some((kind, title)) = title {
                    self.found(place, kind, title, line);
                }
            }
            Some(_) => {}
            None => return false,
        }
        true
    }

    fn heading(&mut self, place: Place, heading: Heading, prefix: Prefix, line: &str) {
        if heading.half && self.second_half(&heading, prefix)
            || heading.alone && self.findings().any(|finding| finding.kind == heading.kind)
        {
            return;
        }
        // A report whose trace was seen has all that it will get, and a panic's trace is its own.
        let ended = heading.kind.is_end();
        // But for the trace of a panic that the report itself asked for.
        let over = |r: &Report| {
            let asked = ended && !r.in_trace && announces(r.kind, heading.kind, &heading.title);
            (r.in_trace || ended || r.if_traced) && r.is_of(prefix.caller) && !asked
        };
        while let Some(at) = self.open.iter().position(over) {
            self.close_at(at, None);
        }
        self.announced(&heading, prefix);
        self.oopses += u64::from(heading.kind == Kind::Oops);
        let title = titled(&heading.title, heading.function.as_deref());
        let Some(finding) = self.found(place, heading.kind, title, line) else { return };
        self.findings[finding].finding.function.clone_from(&heading.function);
        self.findings[finding].counts = !heading.if_traced;
        let much = |function: &String| skip::says(function, heading.kind, line, true) == Says::Much;
        let wants = match heading.wants {
            Wants::Function if heading.function.as_ref().is_some_and(much) => Wants::Nothing,
            wants => wants,
        };
        if wants == Wants::Nothing {
            return;
        }
        let watchdog = matches!(heading.kind, Kind::RcuStall | Kind::SoftLockup | Kind::HardLockup);
        if self.open.len() == MAX_OPEN {
            self.close_at(0, None);
        }
        self.open.push_back(Report {
            finding,
            kind: heading.kind,
            title: heading.title,
            wants,
            caller: prefix.caller,
            since: self.lines,
            died: heading.half,
            in_trace: heading.frames_follow,
            pc: heading.function,
            lr: None,
            helper: None,
            if_traced: heading.if_traced,
            announces: heading.announces,
            stalled: watchdog.then(Stalled::default),
        });
    }

    /// Drops what announced this report: it is one, not two.
    fn announced(&mut self, heading: &Heading, prefix: Prefix) {
        let checks = heading.kind == Kind::Warning && heading.title == "WARNING"
            || heading.kind == Kind::Bug && heading.title.starts_with("kernel BUG");
        let part = |r: &Report| r.announces && self.lines - r.since <= ANNOUNCED && r.is_of(prefix.caller);
        if let Some(at) = self.open.iter().position(part).filter(|_| checks)
            && let Some(report) = self.open.remove(at)
        {
            self.findings[report.finding].counts = false;
        }
    }

    /// A line that may belong to a report before it. Whether it does.
    fn second_half(&mut self, heading: &Heading, prefix: Prefix) -> bool {
        match heading.kind {
            kind if kind.is_end() => self
                .findings()
                .any(|finding| finding.kind == kind || (kind.is_panic() && finding.kind.is_panic())),
            Kind::OomKill => {
                let waiting = |r: &Report| r.wants == Wants::Victim;
                let Some(at) = self.open.iter().position(waiting) else { return false };
                self.open[at].title.clone_from(&heading.title);
                self.close_at(at, None);
                true
            }
            _ => {
                let dies = |kind| {
                    matches!(kind, Kind::Oops | Kind::Bug | Kind::UnhandledFault | Kind::Serror | Kind::Ubsan)
                };
                let open = self.open.iter_mut();
                let mut waiting = open.filter(|r| dies(r.kind) && !r.died && r.is_of(prefix.caller));
                waiting.next().map(|report| report.died = true).is_some()
            }
        }
    }

    fn detail(&mut self, detail: MessageDetail, caller: Option<(u8, u32)>) {
        // The oldest report that can use it: reports of several CPUs mostly keep their order.
        let mut at =
            self.open.iter().enumerate().filter(|(_, r)| r.is_of(caller)).filter(|(_, r)| match &detail {
                MessageDetail::Pc(_) | MessageDetail::Lr(_) | MessageDetail::Trace => {
                    r.wants == Wants::Function
                }
                MessageDetail::Frame(_) => r.wants == Wants::Function && r.in_trace,
                MessageDetail::Lock(_) => r.wants == Wants::Function && is_about_locks(&r.title),
                MessageDetail::Access(_) => r.wants == Wants::Access,
                MessageDetail::Program(_) => r.wants == Wants::Program,
                MessageDetail::Interrupt
                | MessageDetail::Interrupted
                | MessageDetail::Cpu
                | MessageDetail::Task
                | MessageDetail::RcuThread => r.stalled.is_some(),
            });
        let Some(at) = at.next().map(|(at, _)| at) else { return };
        let about = &self.findings[self.open[at].finding].finding.text;
        let report = &mut self.open[at];
        let says = |function: &str, is_pc| skip::says(function, report.kind, about, is_pc);
        match detail {
            MessageDetail::Pc(Some(function)) => {
                let ours = report.stalled.as_ref().is_some_and(|s| s.in_interrupt || s.rcu_thread);
                if !ours && says(&function, true) == Says::Much {
                    self.close_at(at, Some(function));
                } else {
                    report.pc = report.pc.take().or(Some(function));
                }
            }
            MessageDetail::Pc(None) => {}
            MessageDetail::Lr(function) => report.lr = report.lr.take().or(Some(function)),
            MessageDetail::Lock(function) => {
                if says(&function, false) == Says::Much {
                    self.close_at(at, Some(function));
                }
            }
            MessageDetail::Frame(function) => {
                let says = says(&function, false);
                let done = match &mut report.stalled {
                    None => says == Says::Much,
                    Some(stalled) => stalled.frame(&function, says == Says::Much),
                };
                if done {
                    self.close_at(at, Some(function));
                } else if says == Says::Little && report.stalled.is_none() {
                    report.helper.get_or_insert(function);
                }
            }
            MessageDetail::Access(access) => {
                report.title.push(' ');
                report.title.push_str(access);
                match report.pc.take() {
                    Some(function) if says(&function, true) != Says::Much => {
                        report.pc = Some(function);
                        report.wants = Wants::Function;
                    }
                    function => self.close_at(at, function),
                }
            }
            MessageDetail::Program(name) => {
                report.title = format!("user fault in {name}: {}", report.title);
                self.close_at(at, None);
            }
            MessageDetail::Trace | MessageDetail::Cpu | MessageDetail::Task | MessageDetail::RcuThread => {
                let known = report.stalled.as_ref().and_then(|stalled| stalled.candidate.clone());
                if known.is_some() {
                    self.close_at(at, known);
                    return;
                }
                if let Some(stalled) = &mut report.stalled {
                    stalled.begins(&detail);
                }
                let begins = detail == MessageDetail::Trace;
                report.in_trace |= begins;
                if begins && report.if_traced {
                    report.if_traced = false;
                    self.findings[report.finding].counts = true;
                }
            }
            MessageDetail::Interrupt | MessageDetail::Interrupted => {
                if let Some(stalled) = &mut report.stalled {
                    stalled.in_interrupt = detail == MessageDetail::Interrupt;
                    stalled.interrupted = detail == MessageDetail::Interrupted;
                    stalled.candidate = None;
                }
            }
        }
    }

    /// Gives up on reports that have waited for too long.
    fn expire(&mut self) {
        while let Some(at) = self.open.iter().position(|report| {
            let patience = match report {
                Report { wants: Wants::Victim, .. } => OOM_PATIENCE,
                Report { if_traced: true, .. } => TRACE_PATIENCE,
                _ => PATIENCE,
            };
            self.lines - report.since > patience
        }) {
            self.close_at(at, None);
        }
    }

    fn close_at(&mut self, at: usize, function: Option<String>) {
        if let Some(report) = self.open.remove(at) {
            self.close(report, function);
        }
    }

    /// Gives a finding its final title.
    fn close(&mut self, report: Report, function: Option<String>) {
        let stalled = report.stalled.and_then(|stalled| stalled.candidate);
        let function = function.or(stalled).or(report.helper).or(report.pc).or(report.lr);
        if let Some(found) = self.findings.get_mut(report.finding) {
            found.finding.title = titled(&report.title, function.as_deref());
            found.finding.function = function;
        }
    }

    /// Keeps a finding, if there is room for it.
    fn found(&mut self, place: Place, kind: Kind, title: String, line: &str) -> Option<usize> {
        // Pieces of an endless line overlap.
        if self.findings.last().is_some_and(|last| {
            last.place.0 == place.0 && last.finding.kind == kind && last.finding.title == title
        }) {
            return None;
        }
        if self.findings.len() >= MAX_FINDINGS && self.findings.iter().any(|found| found.finding.kind == kind)
        {
            self.unlisted += 1;
            return None;
        }
        let text = text::shorten(line.trim(), MAX_TEXT);
        let finding = Finding { kind, title, function: None, line: place.0, text };
        self.findings.push(Found { place, finding, counts: true });
        Some(self.findings.len() - 1)
    }

    fn decide(mut self) -> Classification {
        self.findings.retain(|found| found.counts);
        self.findings.sort_by_key(|found| found.place);
        let done = self.done.as_ref();
        let end = self.findings.iter().position(|Found { place, finding, .. }| {
            // Switching off after the workload is in order.
            finding.kind.is_end()
                && !(finding.kind == Kind::PowerOff && done.is_some_and(|(end, _)| end < place))
        });
        let findings: Vec<Finding> = self.findings.into_iter().map(|found| found.finding).collect();
        let first = |before: usize, wanted: &dyn Fn(Kind) -> bool| {
            findings[..before].iter().position(|finding| wanted(finding.kind))
        };
        let graded = |grade: Grade| move |kind: Kind| kind.grade() == grade;
        let cause = match end {
            Some(end) => first(end, &graded(Grade::KernelDamaged))
                .or_else(|| first(end, &|kind| announces(kind, findings[end].kind, &findings[end].title)))
                .or(Some(end)),
            None => [Grade::KernelDamaged, Grade::Kernel, Grade::Program]
                .into_iter()
                .find_map(|grade| first(findings.len(), &graded(grade))),
        };
        let noticed = findings.iter().any(|f| !f.kind.is_end() && f.kind != Kind::WrongResult);
        let outcome = if end.is_some() || (self.oopses >= STORM && done.is_none()) {
            ConsoleVerdict::Crash
        } else if noticed {
            ConsoleVerdict::Detected
        } else {
            match done {
                Some((_, done)) if done.status == "ok" => ConsoleVerdict::Clean,
                Some(_) => ConsoleVerdict::Sdc,
                None => ConsoleVerdict::Incomplete,
            }
        };
        Classification {
            outcome,
            cause,
            findings,
            unlisted: self.unlisted,
            done: self.done.map(|(_, done)| done),
        }
    }
}

fn titled(title: &str, function: Option<&str>) -> String {
    function.map_or_else(|| title.to_owned(), |function| format!("{title} in {function}"))
}

/// Where in its function a report struck: what a console says of it first, from the report's line on. The name is as it
/// stands there, with the suffixes of compilers.
#[must_use]
pub fn frame_of(console: &[u8], finding: &Finding) -> Option<(String, u64)> {
    let function = finding.function.as_deref()?;
    let lines =
        console.split(|byte| *byte == b'\n').skip(usize::try_from(finding.line).ok()?.saturating_sub(1));
    lines.take(FRAME_LINES).find_map(|line| text::frame(&String::from_utf8_lossy(line), function))
}

/// Where a sign is in a message: of trouble, or one of the lab's.
fn sign_in(message: &str, prefix: Prefix) -> Option<usize> {
    let trouble = signs::find(message, prefix).map(|(at, _)| at);
    let own = message.find("FLIPSIM ");
    trouble.into_iter().chain(own).min()
}
