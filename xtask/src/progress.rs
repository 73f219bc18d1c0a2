//! What the user sees while something takes longer than a second.
//!
//! Invariant: nothing moves when stderr is no terminal; then a step is one plain line at its start
//! and one at its end. All of it goes to stderr, so that stdout stays for results.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One step on display.
#[derive(Debug)]
pub struct ProgressStep {
    bar: ProgressBar,
    what: String,
    started: Instant,
    ended: bool,
}

const SPINNER: &str = "  {spinner} {prefix} {elapsed:.dim} {wide_msg:.dim}";

impl ProgressStep {
    /// A step whose length is not known; [`ProgressStep::line`] shows what it is at.
    pub fn spinner(what: impl Into<String>) -> ProgressStep {
        ProgressStep::new(what.into(), None, SPINNER)
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
        ProgressStep { bar: ProgressBar::hidden(), what: String::new(), started: Instant::now(), ended: true }
    }

    fn new(what: String, total: Option<u64>, style: &str) -> ProgressStep {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr())
        } else {
            eprintln!("  {what} …");
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(what.clone());
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        ProgressStep { bar, what, started: Instant::now(), ended: false }
    }

    /// How far it is.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// How far it will go, where that turns out later or changes.
    pub fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// What it is at.
    pub fn line(&self, text: &str) {
        // A build prints many lines a second; escape codes and tabs would spoil the one line.
        if !self.bar.is_hidden() {
            let clean: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
            self.bar.set_message(clean);
        }
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

/// One line on display whose text is its owner's. It leaves no trace, and without a terminal there is none.
#[derive(Debug)]
pub struct LiveLine(ProgressBar);

impl LiveLine {
    /// An empty line.
    pub fn new() -> LiveLine {
        LiveLine::on(ProgressDrawTarget::stderr())
    }

    fn on(target: ProgressDrawTarget) -> LiveLine {
        let bar = ProgressBar::with_draw_target(None, target);
        // A line that is wider than the terminal is cut there.
        let style = ProgressStyle::with_template("{wide_msg}");
        LiveLine(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Shows what `text` says; it is not asked where nothing is shown.
    pub fn show(&self, text: impl FnOnce() -> String) {
        if !self.0.is_hidden() {
            self.0.set_message(text());
        }
    }

    /// Prints something to stderr that stays, above the line.
    pub fn above(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    /// Takes the line away.
    pub fn end(&self) {
        self.0.finish_and_clear();
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
    fn without_a_terminal_a_live_line_is_not_even_worded() {
        LiveLine::on(ProgressDrawTarget::hidden()).show(|| panic!("asked for a text"));
    }
}
