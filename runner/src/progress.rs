//! What is said while a slice is run: a line now and then, for a log that is read later.
//!
//! Invariant: nothing is overwritten; each line says when it was written.

use std::time::{Duration, Instant};

use flipsim::campaign::Shard;
use flipsim::units::format_duration;
use jiff::Timestamp;

/// How often a line is written, at most.
const APART: Duration = Duration::from_secs(60);

/// Writes a line with the time.
pub fn say(text: &str) {
    println!("{} {text}", Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"));
}

/// The lines of a slice.
pub struct Lines {
    shard: Shard,
    began: Instant,
    last: Instant,
    done: u64,
    pending: u64,
}

impl Lines {
    pub fn new(shard: Shard, pending: u64) -> Lines {
        let now = Instant::now();
        Lines { shard, began: now, last: now, done: 0, pending }
    }

    pub fn add(&mut self, done: i64) {
        self.done = self.done.saturating_add_signed(done);
    }

    /// Writes a line if it is time.
    pub fn tick(&mut self) {
        if self.last.elapsed() >= APART {
            self.last = Instant::now();
            say(&self.text());
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn text(&self) -> String {
        let rate = self.done as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        let left = self.pending.saturating_sub(self.done) as f64 / rate.max(1e-3);
        let left = format_duration(Duration::from_secs_f64(left.min(1e8)));
        format!(
            "slice {}: {} of {} trials, {rate:.1}/s, about {left} left",
            self.shard, self.done, self.pending
        )
    }
}
