//! What a line says by itself, and the row of a table that reads it.
//!
//! Invariant: a line is read by itself, whatever bytes it was made of.

use crate::console::classify::kind::Kind;

/// What a line says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// The kind of report that it begins, or belongs to.
    pub kind: Kind,
    /// The title so far.
    pub title: String,
    /// The function, where the line itself names it.
    pub function: Option<String>,
    /// What the lines that follow should add to the title.
    pub wants: Wants,
    /// Whether the line may also be the later half of a report that is already open.
    pub half: bool,
    /// Whether it follows from a report of its kind, and is one itself only where none was seen.
    pub alone: bool,
    /// Whether it is only a report if a trace follows: a notice may begin with the same word.
    pub if_traced: bool,
    /// Whether it only announces a `WARNING` or a `kernel BUG` that follows at once, and then is a part of it.
    pub announces: bool,
    /// Whether the frames follow without a headline of their own.
    pub frames_follow: bool,
}

/// What a title still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing: the line has it all.
    Nothing,
    /// The function, from the registers or the trace.
    Function,
    /// Whether it was a read or a write (KASAN), then the function.
    Access,
    /// The name of the program.
    Program,
    /// The name of the program that was killed.
    Victim,
}

impl Heading {
    /// A report.
    #[expect(clippy::unnecessary_wraps, reason = "a row's reader may decline, so most end with this")]
    pub fn new(kind: Kind, title: impl Into<String>, wants: Wants) -> Option<Self> {
        Some(Heading {
            kind,
            title: title.into(),
            function: None,
            wants,
            half: false,
            alone: false,
            if_traced: false,
            announces: false,
            frames_follow: false,
        })
    }

    /// A line that begins a report only if none of its kind is open.
    pub fn half(kind: Kind, title: impl Into<String>) -> Option<Self> {
        Heading::new(kind, title, Wants::Nothing).map(|heading| Heading { half: true, ..heading })
    }

    /// A line that follows from a report of its kind, and is one only where that was lost.
    pub fn alone(kind: Kind, title: impl Into<String>) -> Option<Self> {
        Heading::new(kind, title, Wants::Nothing).map(|heading| Heading { alone: true, ..heading })
    }

    /// With the function that the line names.
    pub fn with_function(mut self, function: Option<String>) -> Self {
        if function.is_some() {
            self.function = function;
        }
        self
    }
}

/// Where a sign counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Anywhere: nothing else prints this.
    Anywhere,
    /// At the start of a word.
    Word,
    /// At the start of the message, or behind the name of a subsystem: `watchdog: BUG: …`.
    Start,
}

/// Whose words a row has. A program may write into the kernel's log, and may print what the kernel prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// The kernel's: not behind `NAME[PID]: `.
    Kernel,
    /// A program's: not in the kernel's log, unless behind `NAME[PID]: `.
    Program,
    /// Nothing else prints this.
    Any,
}

/// A line around a sign.
pub struct Line<'a> {
    /// What stands before the sign, without the time stamp.
    pub before: &'a str,
    /// What stands behind the sign.
    pub rest: &'a str,
}

/// A row of a table: how a line is known, and what it says.
pub struct Sign {
    /// What stands in the line.
    pub text: &'static str,
    /// Where.
    pub place: Place,
    /// Who says it.
    pub voice: Voice,
    /// Reads the line around it, or declines.
    pub read: fn(&Line) -> Option<Heading>,
}

/// A row of a table.
pub const fn sign(
    text: &'static str,
    place: Place,
    voice: Voice,
    read: fn(&Line) -> Option<Heading>,
) -> Sign {
    Sign { text, place, voice, read }
}

/// Whether a text is a hexadecimal number.
pub fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The decimal digits at the start of a text.
pub fn number(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}
