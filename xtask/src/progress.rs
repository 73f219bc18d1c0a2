//! What the user sees while something takes longer than a second.
//!
//! Invariant: nothing moves when stderr is no terminal; then a step is one plain line at its start and one at its
//! end, and **a plain line every [`SIGN`] or so in between**: no wait is silent. All of it goes to stderr, so that
//! stdout stays for results.

use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flipsim::units::format_size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long there is no sign of life at most where stderr is no terminal.
const SIGN: Duration = Duration::from_secs(12);

/// The same for what has taken more than [`LONG`] already, so that a log of hours can be read.
const LATER_SIGN: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(120);

/// How long until the next sign of life of what has taken so long.
fn sign_after(taken: Duration) -> Duration {
    if taken < LONG { SIGN } else { LATER_SIGN }
}

/// One step on display.
#[derive(Debug)]
pub struct ProgressStep {
    bar: ProgressBar,
    what: String,
    started: Instant,
    ended: bool,
    /// Where stderr is no terminal.
    signs: Option<Signs>,
}

/// Plain lines that say, now and then, that a step goes on.
#[derive(Debug)]
struct Signs {
    shared: Arc<(Mutex<Sign>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// What such a line says.
#[derive(Debug, Default)]
struct Sign {
    ended: bool,
    line: String,
    /// How far of how much, in the unit that the words below say.
    position: Option<u64>,
    total: Option<u64>,
    in_bytes: bool,
}

impl Sign {
    /// The line of a step that has taken so long.
    fn text(&self, what: &str, taken: Duration) -> String {
        let amount = |number: u64| if self.in_bytes { format_size(number) } else { number.to_string() };
        let far = match (self.position, self.total) {
            (Some(position), Some(total)) => format!(", {} of {}", amount(position), amount(total)),
            (Some(position), None) => format!(", {}", amount(position)),
            (None, _) => String::new(),
        };
        let line = if self.line.is_empty() { String::new() } else { format!(": {}", self.line) };
        format!("  {what} … {}{far}{line}", seconds(taken))
    }
}

impl Signs {
    fn start(what: String, started: Instant, total: Option<u64>, in_bytes: bool) -> Signs {
        let sign = Sign { total, in_bytes, ..Sign::default() };
        let shared = Arc::new((Mutex::new(sign), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let say = move || {
            let (sign, ended) = &*theirs;
            let mut sign = sign.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let wait = sign_after(started.elapsed());
                let waited = ended.wait_timeout_while(sign, wait, |sign| !sign.ended);
                sign = waited.unwrap_or_else(PoisonError::into_inner).0;
                if sign.ended {
                    return;
                }
                eprintln!("{}", sign.text(&what, started.elapsed()));
            }
        };
        // Without the thread the step says nothing in between, and works.
        let thread = std::thread::Builder::new().name("signs".to_owned()).spawn(say).ok();
        Signs { shared, thread }
    }

    fn change(&self, change: impl FnOnce(&mut Sign)) {
        change(&mut self.shared.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Signs {
    fn drop(&mut self) {
        self.change(|sign| sign.ended = true);
        self.shared.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // One that has panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

const SPINNER: &str = "  {spinner} {prefix} {elapsed:.dim} {wide_msg:.dim}";

impl ProgressStep {
    /// A step whose length is not known; [`ProgressStep::line`] shows what it is at.
    pub fn spinner(what: impl Into<String>) -> ProgressStep {
        ProgressStep::new(what.into(), None, SPINNER)
    }

    /// A wait that is hardly ever long: without a terminal it is silent unless it is.
    pub fn quiet(what: impl Into<String>) -> ProgressStep {
        ProgressStep::begun(what.into(), None, SPINNER)
    }

    /// A step over bytes: bar, rate and time left. Without a total it counts up.
    pub fn bytes(what: impl Into<String>, total: Option<u64>) -> ProgressStep {
        let with_end = "  {prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
        let without = "  {spinner} {prefix} {bytes} {bytes_per_sec}";
        ProgressStep::new(what.into(), total, if total.is_some() { with_end } else { without })
    }

    /// A step of countable parts, shown as `n/m`.
    pub fn parts(what: impl Into<String>, total: u64) -> ProgressStep {
        ProgressStep::new(
            what.into(),
            Some(total),
            "  {prefix} [{bar:30}] {pos}/{len}, {eta} left {wide_msg:.dim}",
        )
    }

    /// A step that shows nothing: in a dry run nothing happens that would take time.
    pub fn silent() -> ProgressStep {
        let started = Instant::now();
        ProgressStep { bar: ProgressBar::hidden(), what: String::new(), started, ended: true, signs: None }
    }

    fn new(what: String, total: Option<u64>, style: &str) -> ProgressStep {
        if !std::io::stderr().is_terminal() {
            eprintln!("  {what} …");
        }
        ProgressStep::begun(what, total, style)
    }

    fn begun(what: String, total: Option<u64>, style: &str) -> ProgressStep {
        let started = Instant::now();
        let (bar, signs) = if std::io::stderr().is_terminal() {
            (ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr()), None)
        } else {
            let signs = Signs::start(what.clone(), started, total, style.contains("{bytes}"));
            (ProgressBar::hidden(), Some(signs))
        };
        let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(what.clone());
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        ProgressStep { bar, what, started, ended: false, signs }
    }

    /// How far it is.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
        self.sign(|sign| sign.position = Some(position));
    }

    /// How far it will go, where that turns out later or changes.
    pub fn set_total(&self, total: u64) {
        self.bar.set_length(total);
        self.sign(|sign| sign.total = Some(total));
    }

    fn sign(&self, change: impl FnOnce(&mut Sign)) {
        if let Some(signs) = &self.signs {
            signs.change(change);
        }
    }

    /// What it is at.
    pub fn line(&self, text: &str) {
        // A build prints many lines a second; escape codes and tabs would spoil the one line.
        let clean = || text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
        if !self.bar.is_hidden() {
            self.bar.set_message(clean());
        }
        self.sign(|sign| sign.line = clean());
    }

    /// Prints something to stderr that stays, above the step.
    pub fn above(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// The step has succeeded: its line stays, with the time it took.
    pub fn done(self) {
        let time = seconds(self.started.elapsed());
        let line = format!("  {} ({time})", self.what);
        self.finish(&line);
    }

    /// The step has succeeded, and `note` says what the result is.
    pub fn done_with(self, note: &str) {
        let time = seconds(self.started.elapsed());
        let line = format!("  {}: {note} ({time})", self.what);
        self.finish(&line);
    }

    fn finish(mut self, line: &str) {
        self.ended = true;
        self.signs = None;
        self.bar.finish_and_clear();
        eprintln!("{line}");
    }
}

impl Drop for ProgressStep {
    fn drop(&mut self) {
        // A step that failed leaves no line: the error that follows says it better.
        if !self.ended {
            self.bar.finish_and_clear();
        }
    }
}

/// One line on display whose text is its owner's. On a terminal it leaves no trace; without one it is printed now
/// and then.
#[derive(Debug)]
pub struct LiveLine {
    bar: ProgressBar,
    started: Instant,
    printed: Cell<Instant>,
}

impl LiveLine {
    /// An empty line.
    pub fn new() -> LiveLine {
        LiveLine::on(ProgressDrawTarget::stderr())
    }

    fn on(target: ProgressDrawTarget) -> LiveLine {
        let bar = ProgressBar::with_draw_target(None, target);
        // A line that is wider than the terminal is cut there.
        let style = ProgressStyle::with_template("{wide_msg}");
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        LiveLine { bar, started: Instant::now(), printed: Cell::new(Instant::now()) }
    }

    /// Shows what `text` says; it is not asked where nothing is shown.
    pub fn show(&self, text: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(text());
        } else if self.is_due() {
            eprintln!("  {}", text());
        }
    }

    /// Whether it is time for a line where there is no terminal.
    fn is_due(&self) -> bool {
        let due = self.printed.get().elapsed() >= sign_after(self.started.elapsed());
        if due {
            self.printed.set(Instant::now());
        }
        due
    }

    /// Prints something to stderr that stays, above the line.
    pub fn above(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Takes the line away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        self.end();
    }
}

/// A time as people say it: `0.4 s`, `75 s`, `6 min 10 s`.
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..=9 => format!("{:.1} s", time.as_secs_f64()),
        whole @ 10..=119 => format!("{whole} s"),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    #[test]
    fn times_read_naturally() {
        assert_eq!(seconds(Duration::from_millis(430)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(75)), "75 s");
        assert_eq!(seconds(Duration::from_secs(370)), "6 min 10 s");
    }

    /// A terminal of 20 columns that keeps what is on its one line.
    #[derive(Clone, Debug, Default)]
    struct Narrow(Arc<Mutex<String>>);

    impl TermLike for Narrow {
        fn width(&self) -> u16 {
            20
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_live_line_is_cut_at_the_terminals_width_and_leaves_nothing() {
        let terminal = Narrow::default();
        let on_it = || terminal.0.lock().unwrap().trim_end().to_owned();
        let line = LiveLine::on(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
        line.show(|| "3/200  1.5/s".to_owned());
        assert_eq!(on_it(), "3/200  1.5/s");
        line.show(|| "4/200  1.5/s  failures 4.0 %".to_owned());
        assert_eq!(on_it(), "4/200  1.5/s  failur");
        line.end();
        assert_eq!(on_it(), "");
    }

    #[test]
    fn without_a_terminal_a_live_line_is_worded_only_when_a_sign_of_life_is_due() {
        let mut line = LiveLine::on(ProgressDrawTarget::hidden());
        line.show(|| panic!("asked for a text"));
        line.printed.set(Instant::now().checked_sub(SIGN).unwrap());
        let mut asked = 0;
        for _ in 0..2 {
            line.show(|| {
                asked += 1;
                "3/200".to_owned()
            });
        }
        assert_eq!(asked, 1);
        // After minutes a line a minute is enough.
        line.started = Instant::now().checked_sub(LONG).unwrap();
        line.printed.set(Instant::now().checked_sub(SIGN).unwrap());
        assert!(!line.is_due());
        line.printed.set(Instant::now().checked_sub(LATER_SIGN).unwrap());
        assert!(line.is_due());
    }

    #[test]
    fn a_sign_of_life_says_what_for_how_long_and_how_far() {
        let mut sign = Sign { line: "booting".to_owned(), ..Sign::default() };
        let text = |sign: &Sign| sign.text("Booting guest g1", Duration::from_secs(24));
        assert_eq!(text(&sign), "  Booting guest g1 … 24 s: booting");
        sign.line.clear();
        (sign.position, sign.total) = (Some(3), Some(8));
        assert_eq!(text(&sign), "  Booting guest g1 … 24 s, 3 of 8");
        (sign.position, sign.total, sign.in_bytes) = (Some(3 << 20), None, true);
        assert_eq!(text(&sign), "  Booting guest g1 … 24 s, 3.0 MiB");
    }

    #[test]
    fn a_step_that_ends_does_not_wait_for_its_next_sign() {
        let began = Instant::now();
        drop(Signs::start("a step".to_owned(), began, None, false));
        assert!(began.elapsed() < SIGN / 2);
    }
}
