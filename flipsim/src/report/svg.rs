//! The parts of a chart: scales, ticks, axes, the frame with its text alternative.
//!
//! Every chart is [`WIDTH`] units wide, so that its text can be read on a narrow screen, and grows with
//! the column it stands in.
//!
//! Invariant: what is not a finite number is never written into a chart.

use std::time::Duration;

use maud::{Markup, html};

use crate::units::format_duration;

/// The width of every chart.
pub const WIDTH: f64 = 430.0;

/// About how wide a letter of a chart's text is.
const LETTER: f64 = 6.6;

/// A straight or logarithmic way from values to places.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// Values `from` to `to` lie at `low` to `high`.
    #[must_use]
    pub fn linear((from, to): (f64, f64), (low, high): (f64, f64)) -> Scale {
        let to = if to > from { to } else { from + 1.0 };
        Scale { from, to, low, high, log: false }
    }

    /// The same for the logarithms of values above 0.
    #[must_use]
    pub fn log((from, to): (f64, f64), (low, high): (f64, f64)) -> Scale {
        let from = if from > 0.0 { from } else { f64::MIN_POSITIVE };
        let to = if to > from { to } else { from * 10.0 };
        Scale { from, to, low, high, log: true }
    }

    /// Where a value lies; what is beyond an end, at that end.
    #[must_use]
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.from).ln() - self.from.ln()) / (self.to.ln() - self.from.ln())
        } else {
            (value - self.from) / (self.to - self.from)
        };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.low + share * (self.high - self.low)
    }

    /// Round values along it, about `wanted` of them; on a logarithmic one every power of ten for 0.
    #[must_use]
    pub fn ticks(&self, wanted: u32) -> Vec<f64> {
        if self.log {
            let (first, last) = ((self.from.log10() - 1e-9).ceil(), self.to.log10().floor() + 1e-9);
            let step =
                if wanted == 0 { 1.0 } else { ((last - first - 1e-6) / f64::from(wanted)).ceil().max(1.0) };
            return whole(0.0, (last - first) / step).map(|n| 10f64.powf(first + n * step)).collect();
        }
        let span = self.to - self.from;
        let rough = span / f64::from(wanted.max(1));
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(span);
        whole((self.from / step).ceil(), (self.to / step + 1e-9).floor()).map(|n| n * step).collect()
    }
}

/// Whole numbers, not too many.
fn whole(from: f64, to: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(from), |n| Some(n + 1.0)).take_while(move |n| *n <= to).take(64)
}

/// A share as people read it, without a place where a line can be broken.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value {
        0.0 => "0\u{202f}%".to_owned(),
        v if v.abs() < 0.001 => format!("{v:.1e}\u{202f}%"),
        v if v.abs() < 0.1 => format!("{v:.3}\u{202f}%"),
        v if v.abs() < 10.0 => format!("{v:.2}\u{202f}%"),
        v => format!("{v:.1}\u{202f}%"),
    }
}

/// A share at a tick: without noughts behind.
#[must_use]
pub fn tick_percent(share: f64) -> String {
    let text = format!("{:.6}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A virtual time in nanoseconds as people read it.
#[must_use]
pub fn time(ns: f64) -> String {
    if !ns.is_finite() || ns < 0.0 {
        return "–".to_owned();
    }
    format_duration(Duration::from_secs_f64((ns / 1e9).min(1e9)))
}

/// The unit that suits values up to `most` nanoseconds, and how many nanoseconds it has.
#[must_use]
pub fn time_unit(most: f64) -> (&'static str, f64) {
    match most {
        m if m >= 2e9 => ("s", 1e9),
        m if m >= 2e6 => ("ms", 1e6),
        m if m >= 2e3 => ("µs", 1e3),
        _ => ("ns", 1.0),
    }
}

/// A number with at most two digits behind the point, and thousands set apart.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value.abs() >= 1e15 {
        return format!("{value:.3e}");
    }
    let text = format!("{:.2}", value.abs());
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    let mut out = String::from(if value < 0.0 { "-" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && whole.len() > 4 {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if !part.is_empty() {
        out.push('.');
        out.push_str(part);
    }
    out
}

/// A large number with three digits: an extrapolated count.
#[must_use]
pub fn large(value: f64) -> String {
    if value.abs() < 1e6 { number(value.round()) } else { format!("{value:.2e}") }
}

/// A number of any size with three digits: what is expected in a year.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 5")]
pub fn rough(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "–".to_owned();
    }
    match size {
        0.0 => "0".to_owned(),
        _ if !(1e-3..1e6).contains(&size) => format!("{value:.2e}"),
        _ => {
            let places = (2.0 - size.log10().floor()).clamp(0.0, 5.0) as usize;
            format!("{value:.places$}")
        }
    }
}

/// So many times, at least once: `2.1`.
#[must_use]
pub fn times(value: f64) -> String {
    match value {
        v if v < 1.2 => format!("{v:.2}"),
        v if v < 10.0 => format!("{v:.1}"),
        v if v < 1e4 => format!("{v:.0}"),
        v => format!("{v:.0e}"),
    }
}

/// A whole number, likewise.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of trials; larger ones are rounded")]
pub fn count(value: u64) -> String {
    number(value as f64)
}

/// About how wide a text is.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a few dozen letters")]
pub fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

/// As much of a text as has room in `width` units.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few dozen letters")]
pub fn fit(text: &str, width: f64) -> String {
    let room = (width / LETTER).max(2.0) as usize;
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room - 1).chain(['…']).collect()
}

/// A chart in its frame: title and description are there for readers who cannot see it.
#[must_use]
pub fn chart(id: &str, title: &str, description: &str, height: f64, body: &Markup) -> Markup {
    html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (place(height)) } role="img" aria-labelledby={ (id) "-t " (id) "-d" } {
            title id={ (id) "-t" } { (title) }
            desc id={ (id) "-d" } { (description) }
            (body)
        }
    }
}

/// A place in a chart.
#[must_use]
pub fn place(value: f64) -> String {
    if value.is_finite() { format!("{value:.1}") } else { "0".to_owned() }
}

/// The horizontal axis at `y`, with a line up to `top` at each tick.
#[must_use]
pub fn x_axis(
    scale: &Scale,
    (top, y): (f64, f64),
    wanted: u32,
    label: &str,
    text: &dyn Fn(f64) -> String,
) -> Markup {
    let middle = f64::midpoint(scale.low, scale.high);
    html! {
        @for tick in scale.ticks(wanted) {
            line.grid x1=(place(scale.at(tick))) x2=(place(scale.at(tick))) y1=(place(top)) y2=(place(y)) {}
            text.tick x=(place(scale.at(tick))) y=(place(y + 15.0)) text-anchor="middle" { (text(tick)) }
        }
        line.axis x1=(place(scale.low)) x2=(place(scale.high)) y1=(place(y)) y2=(place(y)) {}
        text.label x=(place(middle)) y=(place(y + 32.0)) text-anchor="middle" { (label) }
    }
}

/// The vertical axis at `x`, with a line to `right` at each tick; its label stands above it.
#[must_use]
pub fn y_axis(
    scale: &Scale,
    (x, right): (f64, f64),
    wanted: u32,
    label: &str,
    text: &dyn Fn(f64) -> String,
) -> Markup {
    let (low, high) = (scale.low.min(scale.high), scale.low.max(scale.high));
    html! {
        @for tick in scale.ticks(wanted) {
            line.grid x1=(place(x)) x2=(place(right)) y1=(place(scale.at(tick))) y2=(place(scale.at(tick))) {}
            text.tick x=(place(x - 5.0)) y=(place(scale.at(tick) + 4.0)) text-anchor="end" { (text(tick)) }
        }
        line.axis x1=(place(x)) x2=(place(x)) y1=(place(low)) y2=(place(high)) {}
        text.label x="2" y=(place(low - 10.0)) { (label) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::end_text;

    #[test]
    fn ticks_are_round_and_lie_inside() {
        assert_eq!(Scale::linear((0.0, 370.0), (0.0, 1.0)).ticks(4), [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(Scale::linear((0.0, 1.0), (0.0, 1.0)).ticks(5).len(), 6);
        let log = Scale::log((0.001, 1.0), (0.0, 90.0));
        assert_eq!(log.ticks(0).len(), 4);
        assert!((log.at(0.01) - 30.0).abs() < 1e-9);
        // No decade is left out before there are too many.
        assert_eq!(Scale::log((1e-5, 1.0), (0.0, 1.0)).ticks(5).len(), 6);
        assert_eq!(Scale::log((1e-9, 1.0), (0.0, 1.0)).ticks(5).len(), 5);
    }

    #[test]
    fn a_scale_of_nothing_still_has_places() {
        for scale in [
            Scale::linear((3.0, 3.0), (0.0, 9.0)),
            Scale::log((0.0, 0.0), (0.0, 9.0)),
            Scale::linear((f64::NAN, 1.0), (0.0, 9.0)),
        ] {
            for value in [0.0, 3.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX] {
                let at = scale.at(value);
                assert!((0.0..=9.0).contains(&at), "{scale:?} {value}: {at}");
            }
            assert!(scale.ticks(5).len() <= 64);
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(1_073_741_824.0), "1\u{202f}073\u{202f}741\u{202f}824");
        assert_eq!(number(-0.5), "-0.5");
        assert_eq!(number(1234.0), "1234");
        assert_eq!(percent(0.0), "0\u{202f}%");
        assert_eq!(percent(0.123_45), "12.3\u{202f}%");
        assert_eq!(percent(0.000_05), "0.005\u{202f}%");
        assert_eq!(tick_percent(0.0001), "0.01 %");
        assert_eq!(fit("abcdefgh", 30.0), "abc…");
    }

    proptest::proptest! {
        #[test]
        fn an_end_is_rounded_away_from_the_other(value in 0.0..1.0f64, power in 0i32..9, large_one in 0.0..1e15f64) {
            let read = |text: &str| -> f64 {
                text.chars().filter(|c| c.is_ascii_digit() || "+-.e".contains(*c)).collect::<String>().parse().unwrap()
            };
            let share = value * 10f64.powi(-power);
            type Show<'a> = &'a dyn Fn(f64) -> String;
            let shows: [(f64, f64, Show<'_>); 4] =
                [(share, 100.0, &percent), (value * 10f64.powi(power), 1.0, &number), (large_one, 1.0, &large), (value * 1e4, 1.0, &large)];
            for (value, scale, show) in shows {
                let exact = value * scale;
                let [down, up] = [false, true].map(|up| read(&end_text(value, up, show)));
                proptest::prop_assert!(down <= exact * (1.0 + 1e-8) && exact * (1.0 - 1e-8) <= up, "{down} {exact} {up}");
                // Two digits at least are right.
                proptest::prop_assert!(up - down <= (exact * 0.12).max(if scale == 1.0 { 1.0 } else { 0.0011 }), "{down} {exact} {up}");
            }
        }
    }

    #[test]
    fn a_bound_is_never_printed_below_itself() {
        let bound = crate::stats::proportion::upper_bound(
            crate::stats::Observed::new(0, 300).unwrap(),
            crate::stats::Confidence::P95,
        );
        assert!((bound - 0.009_936).abs() < 1e-6);
        assert_eq!(percent(bound), "0.99\u{202f}%");
        assert_eq!(end_text(bound, true, &percent), "1.00\u{202f}%");
        assert_eq!(end_text(0.123_45, false, &percent), "12.3\u{202f}%");
        assert_eq!(end_text(0.3, true, &percent), "30.0\u{202f}%");
        assert_eq!(end_text(0.999_7, true, &percent), "100.0\u{202f}%");
        assert_eq!(end_text(0.0, false, &percent), percent(0.0));
    }
}
