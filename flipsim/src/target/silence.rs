//! How long a guest has idled and said nothing.
//!
//! On the exact clock an instruction takes 1 ns and idle time is skipped: what has passed and was not executed was
//! idled away. A guest at a prompt executes next to nothing, for as long as it is left there.
//!
//! Invariant: **a guest that computes is never said to idle**, however long it says nothing.

use crate::target::live::VirtualClock;
use crate::units::VirtualNs;

/// How long a guest idles and says nothing until it is taken for one that waits for us.
pub const SILENCE: VirtualNs = VirtualNs(30_000_000_000);

/// A guest that executes no more than one part in so many of its time idles: a kernel at rest has its timers.
const BUSY_PART: u64 = 20;

/// Watches for it.
#[derive(Clone, Debug, Default)]
pub struct Silence {
    since: Option<VirtualClock>,
}

impl Silence {
    /// The guest said something, or something was said to it.
    pub fn broken(&mut self) {
        self.since = None;
    }

    /// Takes in what the clock shows. For how long the guest has idled in silence up to there; `None` where its
    /// clock does not count instructions, so that this is not known.
    pub fn at(&mut self, clock: &VirtualClock) -> Option<VirtualNs> {
        let executed = clock.instructions.filter(|_| clock.icount)?;
        let since = *self.since.get_or_insert(*clock);
        let passed = clock.virtual_ns.saturating_sub(since.virtual_ns);
        let executed = executed.saturating_sub(since.instructions.unwrap_or(0));
        if executed.saturating_mul(BUSY_PART) > passed {
            // It computed: silence counts from here.
            self.since = Some(*clock);
            return Some(VirtualNs(0));
        }
        Some(VirtualNs(passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that is looked at every 10 ms of its time.
    struct Guest(VirtualClock, Silence);

    impl Guest {
        fn new() -> Guest {
            let clock = VirtualClock { virtual_ns: 7, icount: true, instructions: Some(7), stop_at: None };
            Guest(clock, Silence::default())
        }

        /// So many steps, in each of which it executes so many instructions; how long it has idled then.
        fn steps(&mut self, count: u64, executed: u64) -> u64 {
            let mut idled = 0;
            for _ in 0..count {
                self.0.virtual_ns += 10_000_000;
                self.0.instructions = self.0.instructions.map(|before| before + executed);
                idled = self.1.at(&self.0).unwrap().0;
            }
            idled
        }
    }

    #[test]
    fn a_guest_at_a_prompt_idles_from_its_last_word_on() {
        let mut guest = Guest::new();
        assert!(guest.steps(3001, 30_000) >= SILENCE.0, "its timers do not count");
        guest.1.broken();
        assert_eq!(guest.steps(1, 0), 0);
        assert_eq!(guest.steps(100, 0), 1_000_000_000);
    }

    #[test]
    fn a_guest_that_computes_in_silence_never_idles() {
        let mut guest = Guest::new();
        assert_eq!(guest.steps(100_000, 10_000_000), 0);
        // Nor does one that waits for its disk or a timer half of the time.
        assert_eq!(guest.steps(100_000, 5_000_000), 0);
        // Once it has computed all that, it idles from there, and not only when the share has come down.
        assert!(guest.steps(3001, 0) >= SILENCE.0);
    }

    #[test]
    fn a_daemon_that_wakes_up_now_and_then_makes_no_guest_busy() {
        let mut guest = Guest::new();
        for _ in 0..40 {
            guest.steps(97, 10_000);
            guest.steps(3, 10_000_000);
        }
        assert!(guest.steps(1, 0) >= SILENCE.0);
    }

    #[test]
    fn without_a_clock_that_counts_instructions_nothing_is_claimed() {
        let clock = VirtualClock { virtual_ns: u64::MAX, icount: false, instructions: None, stop_at: None };
        let mut silence = Silence::default();
        assert_eq!((silence.at(&clock), silence.at(&clock)), (None, None));
    }
}
