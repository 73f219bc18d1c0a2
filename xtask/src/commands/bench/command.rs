//! `cargo xtask bench`: our figures beside the original's methods, on one guest, in one run.
//!
//! Invariant: nothing is asserted here; a slow host makes a slow table, not a failure.

use std::time::Duration;

use anyhow::{Context, Result};
use flipsim::files;
use flipsim::machine::folder::RunRecord;
use flipsim::units::format_size;
use serde::Serialize;

use super::options::{AUTO, Options, archs};
use super::original::Subject;
use super::table::{Measured, Quantified, markdown};
use super::{campaign, determinism, ours, trials};
use crate::exit::{Code, ExitWith};
use crate::guest::headless::{self, HeadlessGuest};
use crate::guest::plan::{ClockArg, GuestArgs};
use crate::guest::spec::GuestSpec;
use crate::interrupt::Interrupted;
use crate::progress::ProgressStep;

/// Measure the lab beside the methods it replaces.
///
/// One guest of each architecture, one run: flips with the lab's own client, with one gdb process a flip, with pygdbmi (if it is
/// installed), and `auto 10 20ns 100ns ram` beside the gdb commands that do the same.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  cargo xtask bench                                everything but determinism
  cargo xtask bench --arch aarch64,x86_64 --out bench.json
  cargo xtask bench flip --count 5000 --gdb-count 50 --json
  cargo xtask bench auto --autos 500 --gdb-autos 0
  cargo xtask bench determinism
  cargo xtask bench trials
  cargo xtask bench campaign

gdb-multiarch and pygdbmi are measured where they are installed; the lab itself needs neither."
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Only flips in RAM, and how long the guest stands still for one
    #[command(after_help = "Example:\n  cargo xtask bench flip --count 2000")]
    Flip(Options),
    /// Only stops at virtual times, and `auto 10 20ns 100ns ram`
    #[command(after_help = "Example:\n  cargo xtask bench auto --autos 500")]
    Auto(Options),
    Determinism(Box<determinism::Args>),
    Trials(trials::Args),
    Campaign(campaign::Args),
}

/// The version of the JSON's keys.
const FORMAT: u32 = 2;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Parts {
    flip: bool,
    auto: bool,
}

/// Everything that a run has to report.
#[derive(Serialize)]
struct Report<'a> {
    format: u32,
    measured: String,
    host: Host,
    guests: Vec<BenchGuest>,
    auto: &'a str,
    options: &'a Options,
    methods: Vec<Quantified<'a>>,
}

/// One guest that was measured.
#[derive(Debug, Serialize)]
struct BenchGuest {
    arch: &'static str,
    qemu: String,
    guest: String,
}

/// What it was measured on.
#[derive(Debug, Serialize)]
struct Host {
    architecture: &'static str,
    processor: Option<String>,
    cores: usize,
    /// The load average of the last minute, before and after: figures from a busy host are worth little.
    load: [Option<f64>; 2],
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let (parts, options) = match args.what {
        Some(What::Determinism(args)) => return determinism::run(&args),
        Some(What::Trials(args)) => return trials::run(&args),
        Some(What::Campaign(args)) => return campaign::run(&args),
        Some(What::Flip(options)) => (Parts { flip: true, auto: false }, options),
        Some(What::Auto(options)) => (Parts { flip: false, auto: true }, options),
        None => (Parts { flip: true, auto: true }, args.options),
    };
    // Found out now, and not after minutes of measuring.
    let out = options.out.as_ref().map(|path| {
        let made = files::Output::new(path);
        made.with_context(|| format!("cannot write --out {}", path.display())).exit_with(Code::Usage)
    });
    let out = out.transpose()?;
    let load = load();
    let (mut methods, mut guests) = (Vec::new(), Vec::new());
    for arch in archs(&options.arch)? {
        let guest_args = GuestArgs {
            spec: GuestSpec {
                arch: Some(arch),
                workload: Some("sha256".to_owned()),
                // Busy for as long as it takes.
                append: "flipsim.repeat=1000000".to_owned(),
                ..GuestSpec::default()
            },
            clock: ClockArg::Exact,
            no_share: true,
            ..GuestArgs::default()
        };
        let guest = headless::start_headless(&guest_args, Duration::from_secs(120), false)?;
        let measured = measure(&guest, parts, &options);
        guests.push(BenchGuest {
            arch: arch.name,
            qemu: guest.record.qemu_version.clone(),
            guest: describe(&guest.record),
        });
        guest.stop()?;
        methods.extend(measured?.into_iter().map(|measured| Measured { arch: arch.name, ..measured }));
    }
    let report = Report {
        format: FORMAT,
        measured: jiff::Timestamp::now().to_string(),
        host: Host { load: [load, self::load()], ..Host::find() },
        guests,
        auto: AUTO,
        options: &options,
        methods: methods.iter().map(Measured::summary).collect(),
    };
    let json = serde_json::to_string_pretty(&report)?;
    if let Some(output) = out {
        use std::io::Write;
        let written = writeln!(output.file(), "{json}").and_then(|()| output.finish());
        written.context("cannot write the file of --out")?;
    }
    if options.json {
        outln!("{json}");
        return Ok(());
    }
    outln!("{}", markdown(&methods, AUTO));
    let guests: Vec<String> =
        report.guests.iter().map(|guest| format!("{} on {}", guest.guest, guest.qemu)).collect();
    outln!("{} · {}", report.host, guests.join("; "));
    Ok(())
}

/// Each method in its turn, the lab's own first.
fn measure(guest: &HeadlessGuest, parts: Parts, options: &Options) -> Result<Vec<Measured>> {
    let name = &guest.record.name;
    let mut methods = Vec::new();
    let mut timed = |what: &str, work: &mut dyn FnMut() -> Result<Vec<Measured>>| -> Result<()> {
        let step = ProgressStep::spinner(what);
        methods.extend(work()?);
        step.done();
        Ok(())
    };
    let (mut session, space) = ours::attach(name)?;
    if parts.flip {
        timed("our flips", &mut || Ok(ours::flips(&mut session.target, &space, options)?.into()))?;
    }
    if parts.auto {
        timed("our stops and auto", &mut || {
            Ok(vec![
                ours::stops(&mut session.target, options)?,
                ours::autos(&mut session.target, &space, options)?,
                ours::recorded(&mut session, &space, options)?,
            ])
        })?;
    }
    session.finish_quietly()?;
    if parts.auto {
        timed("our whole command", &mut || Ok(vec![ours::command(name, AUTO, options)?]))?;
    }
    let mut subject = Subject::new(&guest.run, &guest.record)?;
    if options.gdb_count > 0 {
        let name = "one gdb process a flip";
        timed(name, &mut || Ok(vec![or_missing(name, subject.processes(name, &space, options))?]))?;
        for (name, how) in [("pygdbmi, five writes a flip", "each"), ("pygdbmi, one write a flip", "one")] {
            timed(name, &mut || Ok(vec![or_missing(name, subject.pygdbmi(name, how, &space, options))?]))?;
        }
    }
    if parts.auto && options.gdb_autos > 0 {
        let name = "gdb commands: `cont`, `stop_delayed`, list of RAM, flip";
        timed(name, &mut || Ok(vec![or_missing(name, subject.gdb_commands(name, &space, options))?]))?;
    }
    Ok(methods)
}

/// What does not work with the original's methods is reported, and costs none of the other figures.
fn or_missing(name: &str, result: Result<Measured>) -> Result<Measured> {
    match result {
        Err(error) if !error.is::<Interrupted>() => {
            Ok(Measured::missing(name, &format!("not measured: {error:#}")))
        }
        other => other,
    }
}

fn describe(guest: &RunRecord) -> String {
    let (arch, memory) = (&guest.arch, format_size(guest.memory));
    let workload = guest.workload.as_deref().unwrap_or("none");
    format!("{arch} guest, {memory}, {} vCPU, clock {}, workload {workload}", guest.cpus, guest.clock.name())
}

impl Host {
    fn find() -> Host {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Host {
            architecture: std::env::consts::ARCH,
            processor: processor(&cpuinfo),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load: [None, None],
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cores of {}", self.cores, self.processor.as_deref().unwrap_or(self.architecture))?;
        if let [Some(before), Some(after)] = self.load {
            write!(f, ", load {before:.1} before and {after:.1} after")?;
        }
        Ok(())
    }
}

/// The processor's name, where the system knows one.
fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

pub(super) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_a_name_is_no_error() {
        assert_eq!(
            processor("processor : 0\nmodel name\t: A CPU @ 2 GHz\n").as_deref(),
            Some("A CPU @ 2 GHz")
        );
        assert_eq!(processor("processor : 0\nBogoMIPS : 50\n"), None);
    }

    #[test]
    fn the_report_says_what_was_measured_on_what() {
        let options = Options {
            count: 2,
            autos: 1,
            gdb_count: 0,
            gdb_autos: 0,
            seed: 1,
            arch: Vec::new(),
            json: true,
            out: None,
        };
        let methods =
            [Measured { arch: "aarch64", flips: vec![Duration::from_micros(31)], ..Measured::new("ours") }];
        let report = Report {
            format: FORMAT,
            measured: "2026-11-23T00:00:00Z".to_owned(),
            host: Host {
                architecture: "x86_64",
                processor: Some("A CPU".to_owned()),
                cores: 2,
                load: [Some(0.5), None],
            },
            guests: vec![BenchGuest {
                arch: "aarch64",
                qemu: "7.1.0".to_owned(),
                guest: "aarch64 guest".to_owned(),
            }],
            auto: AUTO,
            options: &options,
            methods: methods.iter().map(Measured::summary).collect(),
        };
        insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
    }
}
