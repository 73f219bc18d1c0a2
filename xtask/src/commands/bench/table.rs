//! What was measured of each method, as Markdown tables and as JSON.
//!
//! Invariant: every time shown is one that was measured (nearest rank), none is interpolated.

use std::time::Duration;

use flipsim::units::{VirtualNs, format_duration};
use serde::Serialize;

/// What was measured of one method. What it cannot do, or what was not asked for, stays empty.
#[derive(Debug, Default)]
pub struct Measured {
    /// What it is.
    pub method: String,
    /// The architecture of the guest that it worked on.
    pub arch: &'static str,
    /// Why nothing was measured, if so.
    pub missing: Option<String>,
    /// One flip in RAM, with its check.
    pub flips: Vec<Duration>,
    /// From asking for a stop at a virtual time to its being known.
    pub stops: Vec<Duration>,
    /// `auto` in total.
    pub autos: Vec<Duration>,
    /// How long the guest stood still at each stop, by QEMU's own events.
    pub stood: Vec<Duration>,
    /// By how much each interval was missed, on the virtual clock.
    pub errors: Vec<u64>,
}

impl Measured {
    /// A method of which nothing is known yet.
    pub fn new(method: &str) -> Measured {
        Measured { method: method.to_owned(), ..Measured::default() }
    }

    /// A method that could not be measured.
    pub fn missing(method: &str, why: &str) -> Measured {
        Measured { missing: Some(why.to_owned()), ..Measured::new(method) }
    }

    /// For JSON.
    pub fn summary(&self) -> Quantified<'_> {
        Quantified {
            arch: self.arch,
            method: &self.method,
            missing: self.missing.as_deref(),
            flip: Quantiles::of(&self.flips),
            stop_at: Quantiles::of(&self.stops),
            auto: Quantiles::of(&self.autos),
            stop_to_resumed: Quantiles::of(&self.stood),
            interval_error: Errors::of(&self.errors),
        }
    }
}

/// One method in the JSON.
#[derive(Debug, Serialize)]
pub struct Quantified<'a> {
    arch: &'a str,
    method: &'a str,
    missing: Option<&'a str>,
    flip: Option<Quantiles>,
    stop_at: Option<Quantiles>,
    auto: Option<Quantiles>,
    stop_to_resumed: Option<Quantiles>,
    interval_error: Option<Errors>,
}

/// Times by rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// How many were measured.
    pub n: usize,
    /// The shortest.
    #[serde(rename = "min_us", serialize_with = "micros")]
    pub min: Duration,
    /// The middle one.
    #[serde(rename = "median_us", serialize_with = "micros")]
    pub median: Duration,
    /// What 99 of 100 did not exceed.
    #[serde(rename = "p99_us", serialize_with = "micros")]
    pub p99: Duration,
    #[serde(rename = "max_us", serialize_with = "micros")]
    max: Duration,
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
fn micros<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Divided, so that 20 µs is written as 20.0 and not as 20.000000000000004.
    serializer.serialize_f64(time.as_nanos() as f64 / 1000.0)
}

impl Quantiles {
    /// `None` where nothing was measured.
    pub fn of(times: &[Duration]) -> Option<Quantiles> {
        let mut times = times.to_vec();
        times.sort_unstable();
        Some(Quantiles {
            n: times.len(),
            min: rank(&times, 0.0)?,
            median: rank(&times, 0.5)?,
            p99: rank(&times, 0.99)?,
            max: rank(&times, 1.0)?,
        })
    }
}

/// Missed intervals by rank, in nanoseconds of virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Errors {
    n: usize,
    median_ns: u64,
    max_ns: u64,
}

impl Errors {
    /// `None` where nothing was measured.
    pub fn of(errors: &[u64]) -> Option<Errors> {
        let mut errors = errors.to_vec();
        errors.sort_unstable();
        Some(Errors { n: errors.len(), median_ns: rank(&errors, 0.5)?, max_ns: rank(&errors, 1.0)? })
    }
}

/// The value that this share of the sorted values does not exceed.
fn rank<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank among a few thousand"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// One table: a title, and the times of each method that it is about.
struct Table<'a> {
    title: &'a str,
    times: fn(&Measured) -> &[Duration],
    /// Whether the intervals belong to it.
    errors: bool,
}

/// All tables that have something in them, each method compared with the first one on a guest of its architecture.
pub fn markdown(methods: &[Measured], auto: &str) -> String {
    let auto = format!("`{auto}` in total");
    let tables = [
        Table { title: "a flip in RAM, read back", times: |m| &m.flips, errors: false },
        Table { title: "stop → resumed", times: |m| &m.stood, errors: false },
        Table { title: "a stop at a virtual time", times: |m| &m.stops, errors: true },
        Table { title: &auto, times: |m| &m.autos, errors: true },
    ];
    let mut texts: Vec<String> = tables.iter().filter_map(|table| table.markdown(methods)).collect();
    let missing =
        methods.iter().filter_map(|m| Some(format!("{}, {}: {}\n", m.arch, m.method, m.missing.as_ref()?)));
    let missing: String = missing.collect();
    if !missing.is_empty() {
        texts.push(missing);
    }
    texts.join("\n")
}

impl Table<'_> {
    fn markdown(&self, methods: &[Measured]) -> Option<String> {
        let rows: Vec<_> =
            methods.iter().filter_map(|m| Some((m, Quantiles::of((self.times)(m))?))).collect();
        if rows.is_empty() {
            return None;
        }
        let (head, rule) = if self.errors {
            (" interval missed, median | interval missed, max |", "---:|---:|")
        } else {
            ("", "")
        };
        let mut text =
            format!("| {} | guest | n | min | median | p99 | × the guest's first |{head}\n", self.title);
        text.push_str(&format!("|---|---|---:|---:|---:|---:|---:|{rule}\n"));
        for (measured, q) in &rows {
            // Found: it is this row at the latest.
            let first = rows.iter().find(|(other, _)| other.arch == measured.arch).map_or(q, |(_, q)| q);
            text.push_str(&format!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                measured.method,
                measured.arch,
                q.n,
                format_duration(q.min),
                format_duration(q.median),
                format_duration(q.p99),
                ratio(q.median.as_secs_f64() / first.median.as_secs_f64())
            ));
            if self.errors {
                match Errors::of(&measured.errors) {
                    Some(e) => {
                        let (median, max) = (VirtualNs(e.median_ns), VirtualNs(e.max_ns));
                        text.push_str(&format!(" {median} | {max} |"));
                    }
                    None => text.push_str(" | |"),
                }
            }
            text.push('\n');
        }
        Some(text)
    }
}

/// How many times as long.
fn ratio(times: f64) -> String {
    if times < 10.0 { format!("{times:.1}") } else { format!("{times:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(micros: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        micros.into_iter().map(Duration::from_micros).collect()
    }

    fn methods() -> Vec<Measured> {
        vec![
            Measured {
                arch: "aarch64",
                flips: times([30, 20, 40]),
                stood: times([25]),
                autos: times([2100, 1900]),
                errors: vec![0; 20],
                ..Measured::new("ours")
            },
            Measured {
                arch: "aarch64",
                flips: times([80_000, 70_000]),
                autos: times([20_000_000]),
                errors: vec![3, 1_500_000, 5],
                ..Measured::new("theirs")
            },
            Measured { arch: "aarch64", ..Measured::missing("another", "not installed") },
            Measured { flips: times([60]), arch: "x86_64", ..Measured::new("ours") },
            Measured { flips: times([600]), arch: "x86_64", ..Measured::new("theirs") },
        ]
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let q = Quantiles::of(&times((1..=100).rev())).unwrap();
        let time = Duration::from_micros;
        assert_eq!(q, Quantiles { n: 100, min: time(1), median: time(50), p99: time(99), max: time(100) });
        let one = Quantiles::of(&times([7])).unwrap();
        assert_eq!((one.min, one.median, one.p99), (time(7), time(7), time(7)));
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        assert_eq!(Quantiles::of(&[]), None);
        assert_eq!(Errors::of(&[]), None);
    }

    #[test]
    fn missed_intervals_are_not_averaged_away() {
        assert_eq!(Errors::of(&[0, 0, 9]), Some(Errors { n: 3, median_ns: 0, max_ns: 9 }));
    }

    #[test]
    fn tables_show_what_was_measured_and_what_was_not() {
        insta::assert_snapshot!(markdown(&methods(), "auto 10 20ns 100ns ram"));
    }

    #[test]
    fn the_json_has_every_method_with_all_its_keys() {
        let methods = methods();
        let summaries: Vec<_> = methods.iter().map(Measured::summary).collect();
        insta::assert_snapshot!(serde_json::to_string_pretty(&summaries).unwrap());
    }
}
