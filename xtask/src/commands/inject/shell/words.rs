//! The words of the prompt, as data: what each takes, and how a line becomes one.
//!
//! Invariant: a line is split and checked here alone; what comes out is run or refused whole.

use anyhow::Result;
use clap::Parser;
use flipsim::units::{VirtualNs, parse_number, parse_virtual};

use crate::commands::inject::range::Mode;
use crate::exit::{Code, exit_error};
use crate::guest::flags::RamPlace;

/// One line of the prompt.
#[derive(Parser, Debug)]
#[command(
    multicall = true,
    disable_version_flag = true,
    help_template = "{subcommands}\n\n{after-help}",
    after_help = "`help WORD` says more about one. Times are virtual: 20ns, 1ms, 2s; a bare number is nanoseconds.
Between two commands the guest stands still, unless `cont` has let it run."
)]
struct Line {
    #[command(subcommand)]
    word: Word,
}

/// A word of the prompt with what belongs to it.
#[derive(clap::Subcommand, Debug)]
#[command(rename_all = "snake_case")]
pub enum Word {
    /// Show the ranges and the regions of RAM
    Listram,
    /// Show the registers, and how many bits of each take a flip
    Listreg,
    /// Show the whole memory map
    Regions,
    /// Flip a bit in RAM
    #[command(about = "Flip a bit in RAM: inject [ADDRESS [WIDTH [BIT]]]")]
    #[command(after_help = "Examples:
  inject                         a bit anywhere in RAM
  inject 0x40851000              a bit of the four bytes there
  inject 0x40851000+0x10 1 3     bit 3 of one byte
  inject jiffies 8 0             the lowest bit of a kernel symbol
  inject --region 'Kernel data'")]
    Inject {
        /// A physical address, ADDRESS+OFFSET, or a kernel symbol; without it a byte is drawn
        #[arg(conflicts_with_all = ["region", "symbol", "range", "address"])]
        at: Option<String>,
        /// How many bytes from there the bit is drawn from
        #[arg(value_parser = parse_number, default_value = "4")]
        width: u64,
        /// Which bit of them, counted from the lowest
        bit: Option<u32>,
        #[command(flatten)]
        place: RamPlace,
    },
    /// Flip a bit in a register
    #[command(about = "Flip a bit in a register: inject_reg [GLOB [BIT]]")]
    #[command(after_help = "Examples:\n  inject_reg\n  inject_reg 'x*'\n  inject_reg pc 3")]
    InjectReg {
        /// A name, or a glob; without it a register is drawn
        glob: Option<String>,
        /// Which bit
        bit: Option<u32>,
    },
    /// Flip a bit in every unit of ranges
    #[command(
        about = "Flip a bit in every unit of ranges: inject_range WIDTH sequential|random RANGE… [COUNT]"
    )]
    #[command(
        after_help = "Examples:\n  inject_range 4 random 0x41000000-0x41ffffff 100\n  inject_range 1 sequential 0x41000000-0x4100000f"
    )]
    InjectRange {
        /// The width of a unit in bytes
        #[arg(value_parser = parse_number)]
        width: u64,
        /// Every unit in order, or COUNT different ones
        #[arg(value_enum)]
        mode: Mode,
        /// Ranges FIRST-LAST (both included) or FIRST+LENGTH; for `random` the number of flips comes last
        #[arg(required = true)]
        what: Vec<String>,
        /// The time between two flips; without one all strike at the same instant
        #[arg(long, value_parser = parse_virtual)]
        interval: Option<VirtualNs>,
    },
    /// Flip bits at drawn times: autoinject COUNT MIN MAX ram|reg
    #[command(
        after_help = "Examples:\n  autoinject 10 20ns 100ns ram\n  autoinject 5 1ms 2ms reg --register 'x*'"
    )]
    Autoinject {
        /// COUNT MIN MAX ram|reg
        #[arg(num_args = 4, required = true)]
        what: Vec<String>,
        #[command(flatten)]
        place: RamPlace,
        /// Registers, by name or glob
        #[arg(long)]
        register: Vec<String>,
    },
    /// Save, flip, observe, go back
    #[command(about = "Save, flip, observe, go back: snapinject COUNT MIN MAX ram|reg TIME [TAG]")]
    #[command(
        after_help = "Examples:\n  snapinject 1 1ms 2ms ram 100ms\n  snapinject 1 1ms 2ms reg 100ms --loop 20\n  snapinject 1 1ms 2ms ram 100ms booted"
    )]
    Snapinject {
        /// COUNT MIN MAX ram|reg, how long to observe the guest after its flips, and a snapshot to start from;
        /// with one nothing is saved, and the guest is left where the last run ended
        #[arg(num_args = 5..=6, required = true, value_names = ["COUNT", "MIN", "MAX", "ram|reg", "TIME", "TAG"])]
        what: Vec<String>,
        /// How often
        #[arg(long = "loop", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        loops: u64,
        #[command(flatten)]
        place: RamPlace,
        /// Registers, by name or glob
        #[arg(long)]
        register: Vec<String>,
    },
    /// Write every flip from here on to a CSV file as well; `off` ends it
    #[command(after_help = "Examples:\n  loginject flips.csv\n  loginject off")]
    Loginject {
        /// A new file
        file: String,
    },
    /// Let the guest run for a time and stop it there; as `run`
    #[command(name = "stop_delayed", after_help = "Example:\n  stop_delayed 1000000")]
    StopDelayed {
        /// How long
        #[arg(value_parser = parse_virtual)]
        time: VirtualNs,
    },
    /// Let the guest run for a time, or until its clock shows one, and stop it there
    #[command(after_help = "Examples:\n  run 100ms\n  run --until 2s")]
    Run {
        /// How long
        #[arg(value_parser = parse_virtual, required_unless_present = "until", conflicts_with = "until")]
        time: Option<VirtualNs>,
        /// Until the virtual clock shows this
        #[arg(long, value_parser = parse_virtual)]
        until: Option<VirtualNs>,
    },
    /// Let the guest run freely, until `stop` or `run`
    Cont,
    /// Stop the guest
    Stop,
    /// Show the virtual time, and the instructions executed
    Time,
    /// Show how the guest fares
    Status,
    /// Show the seed of the next command's draws, or choose it
    Seed {
        /// The seed
        #[arg(value_parser = parse_number)]
        seed: Option<u64>,
    },
    /// Do a command so many times
    #[command(after_help = "Example:\n  loop 20 autoinject 1 1ms 2ms ram")]
    Loop {
        /// How often
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// A command for QEMU's own monitor
    #[command(after_help = "Examples:\n  monitor info status\n  monitor savevm booted")]
    Monitor {
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        text: Vec<String>,
    },
    /// Leave the prompt; the guest is left as it was found, or as `cont` and `stop` say
    #[command(alias = "exit")]
    Quit,
}

/// The names of all words, for completion.
#[must_use]
pub fn names() -> Vec<String> {
    use clap::CommandFactory;
    let mut names: Vec<String> =
        Line::command().get_subcommands().map(|word| word.get_name().to_owned()).collect();
    names.push("help".to_owned());
    names.sort();
    names
}

/// What a line asks for.
#[derive(Debug)]
pub enum Asked {
    /// Nothing: it is empty, or a comment.
    Nothing,
    /// A text to be shown.
    Help(String),
    /// A command. Boxed: it is large.
    Command(Box<Word>),
}

/// Reads a line. `#` at its start makes it a comment.
///
/// # Errors
/// The line is no command; the text says what would be.
pub fn parse_line(line: &str) -> Result<Asked> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Asked::Nothing);
    }
    // QEMU's monitor has its own quotes.
    if let Some((word, text)) = line.split_once(char::is_whitespace)
        && word == "monitor"
        && !text.trim().starts_with('-')
    {
        return Ok(Asked::Command(Box::new(Word::Monitor { text: vec![text.trim().to_owned()] })));
    }
    let words = shlex::split(line)
        .ok_or_else(|| exit_error(Code::Usage, format!("a quote is not closed: {line}")))?;
    parse_words(&words)
}

/// Reads a line that is split already.
///
/// # Errors
/// As [`parse_line`].
pub fn parse_words(words: &[String]) -> Result<Asked> {
    use clap::error::ErrorKind;
    match Line::try_parse_from(words) {
        Ok(line) => Ok(Asked::Command(Box::new(line.word))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Ok(Asked::Help(error.to_string()))
            }
            _ => {
                let text = error.to_string();
                // The first lines say what is wrong; what follows repeats how to ask for help.
                let text = text.trim_start_matches("error: ").split("\n\nFor more").next().unwrap_or("");
                let text = text.trim().trim_end_matches("Usage: <COMMAND>").trim_end();
                Err(exit_error(Code::Usage, text.to_owned()))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Word {
        match parse_line(line) {
            Ok(Asked::Command(word)) => *word,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_word_of_the_original_is_understood() {
        for line in [
            "listram",
            "listreg",
            "stop_delayed 1000",
            "inject",
            "inject 0x1234+0x11 4 3",
            "inject_reg",
            "inject_reg x* 3",
            "inject_range 1 sequential 0x1000-0x1fff 0x3000-0x3fff",
            "inject_range 4 random 0x1000-0x1fff 10",
            "loginject /tmp/x.csv",
            "autoinject 10 20ns 100ns ram",
            "snapinject 10 345ms 1s reg 10s",
            "snapinject 10 345ms 1s reg 10s booted",
        ] {
            command(line);
        }
    }

    #[test]
    fn what_belongs_to_a_word_is_read() {
        assert!(matches!(
            command("run --until 2s"),
            Word::Run { time: None, until: Some(VirtualNs(2_000_000_000)) }
        ));
        assert!(matches!(command("stop_delayed 20us"), Word::StopDelayed { time: VirtualNs(20_000) }));
        let Word::Inject { at, width, bit, place } = command("inject --region 'Kernel data'") else {
            panic!("inject was expected")
        };
        assert_eq!((at, width, bit, place.region), (None, 4, None, vec!["Kernel data".to_owned()]));
        let Word::Loop { count, command: rest } =
            command("loop 3 autoinject 1 1ms 2ms ram --region 'Kernel data'")
        else {
            panic!("loop was expected")
        };
        assert_eq!((count, rest.len()), (3, 7));
        assert!(matches!(command("exit"), Word::Quit));
    }

    #[test]
    fn the_monitors_text_is_left_as_it_is() {
        let Word::Monitor { text } = command("monitor  xp /4xb 0x40000000 \"a'b") else {
            panic!("monitor was expected")
        };
        assert_eq!(text, ["xp /4xb 0x40000000 \"a'b"]);
    }

    #[test]
    fn nothing_and_comments_ask_for_nothing() {
        for line in ["", "   ", "# inject"] {
            assert!(matches!(parse_line(line), Ok(Asked::Nothing)), "{line}");
        }
    }

    #[test]
    fn help_is_shown_of_all_and_of_one() {
        let Ok(Asked::Help(all)) = parse_line("help") else { panic!("help was expected") };
        for name in names() {
            assert!(all.contains(&name), "{name} is missing in:\n{all}");
        }
        let Ok(Asked::Help(one)) = parse_line("help inject_reg") else { panic!("help was expected") };
        assert!(one.contains("inject_reg pc 3"), "{one}");
    }

    #[test]
    fn a_wrong_line_is_reported_in_short() {
        for (line, part) in [
            ("injekt", "injekt"),
            ("inject 0x1 4 3 9", "unexpected argument"),
            ("run", "required"),
            ("run 5 fortnights", "fortnights"),
            ("inject 'x", "a quote is not closed"),
            ("loop 0 inject", "0"),
        ] {
            let error = parse_line(line).unwrap_err();
            assert!(error.to_string().contains(part), "{line}: {error}");
            assert_eq!(crate::exit::code_of(&error), 2);
        }
    }
}
