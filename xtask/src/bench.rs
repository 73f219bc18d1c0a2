//! `cargo xtask bench`: our figures beside the original's method, on one guest, in one run.
//!
//! Invariant: nothing is asserted here; a slow host makes a slow table, not a failure.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flipsim::fault::{Fault, FaultSpace, Pattern, RamSpace, fault_rng, flip};
use flipsim::live::LiveTarget;
use flipsim::machine::run::{RunDir, RunRecord};
use flipsim::net::Timeouts;
use flipsim::target::Target;
use flipsim::units::{format_duration, parse_number};

use crate::boot::{self, GuestArgs};
use crate::{interrupt, proc};

/// Measure the lab beside the methods it replaces.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask bench flip
  cargo xtask bench flip --count 5000 --gdb-count 50 --json")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    Determinism(crate::determinism::Args),
    /// Time of one flip in RAM: own client, beside one gdb process a flip
    #[command(after_help = "Example:\n  cargo xtask bench flip --count 2000")]
    Flip {
        /// Flips with the lab's own client
        #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        /// Flips with one gdb process each
        #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        gdb_count: u32,
        /// The seed of the addresses
        #[arg(long, default_value = "1", value_parser = parse_number)]
        seed: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let (count, gdb_count, seed, json) = match args.what {
        What::Determinism(args) => return crate::determinism::run(&args),
        What::Flip { count, gdb_count, seed, json } => (count, gdb_count, seed, json),
    };
    let guest_args = GuestArgs {
        workload: Some("sha256".to_owned()),
        append: "flipsim.repeat=1000".to_owned(),
        ..GuestArgs::default()
    };
    let guest = boot::start_headless(&guest_args, Duration::from_secs(120), false)?;
    let rows = measure(&guest.run, &guest.record, count, gdb_count, seed);
    guest.stop()?;
    let rows = rows?;
    if json {
        outln!("{}", serde_json::to_string_pretty(&rows.iter().map(Row::json).collect::<Vec<_>>())?);
        return Ok(());
    }
    outln!("| a flip in RAM, read back | n | min | median | p99 |");
    outln!("|---|---:|---:|---:|---:|");
    for row in &rows {
        let cell = |time| format_duration(time);
        outln!(
            "| {} | {} | {} | {} | {} |",
            row.name,
            row.times.len(),
            cell(row.quantile(0.0)),
            cell(row.quantile(0.5)),
            cell(row.quantile(0.99))
        );
    }
    if let [_, ours, theirs] = rows.as_slice() {
        let ratio = theirs.quantile(0.5).as_secs_f64() / ours.quantile(0.5).as_secs_f64();
        outln!("\nguest running, median: one gdb process a flip takes {ratio:.0} times as long");
    } else {
        outln!("\ngdb-multiarch is not installed, so there is nothing to compare with");
    }
    Ok(())
}

/// One method's times, in ascending order.
struct Row {
    name: &'static str,
    times: Vec<Duration>,
}

impl Row {
    fn new(name: &'static str, mut times: Vec<Duration>) -> Row {
        times.sort_unstable();
        Row { name, times }
    }

    /// The time that this share of the flips did not exceed (nearest rank).
    fn quantile(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among a few thousand"
        )]
        let rank = (share * self.times.len() as f64).ceil() as usize;
        self.times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn json(&self) -> serde_json::Value {
        let micros = |share| self.quantile(share).as_secs_f64() * 1e6;
        serde_json::json!({
            "method": self.name, "n": self.times.len(), "min_us": micros(0.0),
            "median_us": micros(0.5), "p99_us": micros(0.99),
        })
    }
}

/// Every flip is followed by the same flip again, so that as little as can be is left in the guest.
fn measure(run: &RunDir, record: &RunRecord, count: u32, gdb_count: u32, seed: u64) -> Result<Vec<Row>> {
    let mut target = LiveTarget::attach(&run.gdb(record)?, Some(&run.qmp()), Timeouts::default())?;
    let map = target.memory_map(run.iomem().as_deref())?;
    let space = FaultSpace::Ram(RamSpace::new(&map.system_ram(), Pattern::SINGLE)?);
    let mut rng = fault_rng(seed, 0);
    let mut stopped = Vec::new();
    let mut running = Vec::new();
    for _ in 0..count.div_ceil(2) {
        interrupt::check()?;
        let fault = space.draw(&mut rng);
        for _ in 0..2 {
            let start = Instant::now();
            flip(&mut target, &fault)?;
            stopped.push(start.elapsed());
        }
        target.resume()?;
        for _ in 0..2 {
            let start = Instant::now();
            target.stop()?;
            flip(&mut target, &fault)?;
            target.resume()?;
            running.push(start.elapsed());
        }
        // The next round starts with a guest that has run for a while, as it would in use.
        std::thread::sleep(Duration::from_micros(500));
        target.stop()?;
    }
    target.release()?;
    let mut rows =
        vec![Row::new("guest stopped", stopped), Row::new("guest running: stop, flip, go on", running)];
    if let Some(gdb) = proc::find_program("gdb-multiarch") {
        let mut times = Vec::new();
        for _ in 0..gdb_count.div_ceil(2) {
            let fault = space.draw(&mut rng);
            for _ in 0..2 {
                interrupt::check()?;
                times.push(flip_by_gdb(&gdb, run, &fault)?);
            }
        }
        rows.push(Row::new("one gdb process a flip", times));
    }
    Ok(rows)
}

/// The original's external method: a gdb process that attaches, reads, writes, reads back, detaches.
fn flip_by_gdb(gdb: &std::path::Path, run: &RunDir, fault: &Fault) -> Result<Duration> {
    let Fault::Ram { address, mask } = fault else { bail!("only flips in RAM are measured") };
    let byte = format!("*(unsigned char *){address}");
    let start = Instant::now();
    let output = Command::new(gdb)
        .current_dir(run.path())
        .args(["-nx", "-batch", "-ex", "set architecture aarch64", "-ex", "target remote gdb.sock"])
        .args(["-ex", "maintenance packet Qqemu.PhyMemMode:1"])
        .args(["-ex", &format!("print/x {byte}"), "-ex", &format!("set var {byte} = {byte} ^ {}", mask[0])])
        .args(["-ex", &format!("print/x {byte}")])
        .args(["-ex", "maintenance packet Qqemu.PhyMemMode:0", "-ex", "detach"])
        .stdin(Stdio::null())
        .output()
        .context("cannot run gdb-multiarch")?;
    let took = start.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        u8::from_str_radix(line.trim().trim_start_matches("0x"), 16).ok()
    };
    // A flip that did not happen must not be timed as one.
    match (value("$1 = "), value("$2 = ")) {
        (Some(old), Some(new)) if old ^ new == mask[0] => Ok(took),
        _ => bail!(
            "gdb did not flip the bit at {address}; it said:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let row = Row::new("x", (1..=100).rev().map(Duration::from_micros).collect());
        assert_eq!(row.quantile(0.0), Duration::from_micros(1));
        assert_eq!(row.quantile(0.5), Duration::from_micros(50));
        assert_eq!(row.quantile(0.99), Duration::from_micros(99));
        assert_eq!(row.quantile(1.0), Duration::from_micros(100));
    }
}
