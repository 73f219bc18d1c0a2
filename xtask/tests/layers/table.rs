//! What stands above what: for each folder, the folders that it may use.
//!
//! **The only thing to edit for a new folder.** The top comes first, and a row names rows below it alone, so that the
//! table has no circle. What lies directly below `src` is a folder of one file.

/// The rows of one crate.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The crate, by its folder.
    pub name: &'static str,
    /// A folder, and those that it may use.
    pub rows: &'static [(&'static str, &'static [&'static str])],
    /// A folder whose children do not use one another.
    pub apart: Option<&'static str>,
    /// Which of these children may use which other after all, and why.
    pub exceptions: &'static [(&'static str, &'static str, &'static str)],
}

/// The library.
pub const FLIPSIM: Table = Table {
    name: "flipsim",
    rows: &[
        // What is shown of a campaign. It talks to no machine.
        (
            "report",
            &[
                "campaign", "trial", "fault", "machine", "kernel", "arch", "memory", "stats", "console",
                "files", "units", "text",
            ],
        ),
        // Stand-ins for a machine, and made-up campaigns.
        (
            "testing",
            &[
                "campaign", "trial", "fault", "machine", "kernel", "target", "arch", "memory", "stats",
                "console", "files", "wire", "units", "text",
            ],
        ),
        // A campaign in one file, and the folder where its parts come together.
        ("pack", &["campaign", "trial", "machine", "files", "text"]),
        (
            "campaign",
            &[
                "trial", "fault", "machine", "kernel", "target", "arch", "memory", "stats", "console",
                "files", "units", "text",
            ],
        ),
        (
            "trial",
            &[
                "fault", "machine", "kernel", "target", "arch", "memory", "stats", "console", "files",
                "wire", "units", "text",
            ],
        ),
        // A fault needs something to flip bits in, not a process; and a machine knows no faults.
        ("fault", &["kernel", "target", "arch", "memory", "stats", "files", "units", "text"]),
        ("machine", &["target", "arch", "memory", "console", "files", "wire", "units", "text"]),
        // What the guest's own kernel says of its memory.
        ("kernel", &["target", "arch", "memory", "files", "units", "text"]),
        ("target", &["arch", "memory", "files", "wire", "units", "text"]),
        // One floor: none of these six uses another.
        ("arch", &["units", "text"]),
        ("memory", &["units", "text"]),
        ("stats", &["units", "text"]),
        ("console", &["units", "text"]),
        ("files", &["units", "text"]),
        ("wire", &["units", "text"]),
        ("units", &["text"]),
        ("text", &[]),
    ],
    apart: None,
    exceptions: &[],
};

/// The runner of packs.
pub const RUNNER: Table = Table {
    name: "runner",
    rows: &[
        ("main", &["run", "args", "signals"]),
        ("run", &["join", "home", "scratch", "consent", "element", "progress", "args", "errors", "signals"]),
        ("join", &["progress", "errors", "signals"]),
        ("home", &["errors"]),
        ("scratch", &["errors"]),
        ("consent", &["errors"]),
        // One floor.
        ("element", &[]),
        ("progress", &[]),
        ("args", &[]),
        ("errors", &["signals"]),
        ("signals", &[]),
    ],
    apart: None,
    exceptions: &[],
};

/// The command line.
pub const XTASK: Table = Table {
    name: "xtask",
    rows: &[
        ("cli", &["commands", "guest", "host", "lab", "paths", "progress", "interrupt", "exit"]),
        // The doors of parsers, for the fuzz targets.
        ("fuzzing", &["commands", "source", "guest", "host", "lab"]),
        // One file or folder a command; none uses another, but for the exceptions.
        ("commands", &["source", "guest", "host", "lab", "paths", "progress", "interrupt", "exit"]),
        // Sources know no guest.
        ("source", &["host", "lab", "paths", "progress", "interrupt", "exit"]),
        ("guest", &["host", "lab", "paths", "progress", "interrupt", "exit"]),
        ("host", &["lab", "paths", "progress", "interrupt", "exit"]),
        ("lab", &["paths", "progress", "interrupt", "exit"]),
        // One floor: none of these four uses another.
        ("paths", &[]),
        ("progress", &[]),
        ("interrupt", &[]),
        ("exit", &[]),
    ],
    apart: Some("commands"),
    exceptions: &[
        ("first", "setup", "`inject` alone goes the whole way: first it sets up what is missing"),
        ("first", "inject", "the whole way takes its flags from the words of `inject`"),
        ("first", "campaign", "the whole way ends with a small campaign"),
        ("first", "report", "the whole way shows that campaign's report"),
        ("test", "setup", "the slow suite sets up what is missing of the lab"),
        ("ci", "test", "`ci` runs all that `test` runs"),
        ("ci", "tidy", "`ci` runs all that `tidy` checks"),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_names_rows_below_it_alone() {
        for table in [FLIPSIM, RUNNER, XTASK] {
            for (at, (folder, allowed)) in table.rows.iter().enumerate() {
                for name in *allowed {
                    let below = table.rows[at + 1..].iter().any(|(row, _)| row == name);
                    assert!(below, "{}: `{name}` does not stand below `{folder}`", table.name);
                }
            }
        }
    }
}
