//! An ext4 file system that is filled without root: the commands for debugfs, run and checked.
//!
//! Invariant: **owners, modes and times are those of the recipe**, and no name is more than one word of a command.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flipsim::files;
use xshell::{Shell, cmd};

use crate::host::proc::CommandRunner;
use crate::host::{needs, proc};
use crate::lab::cache;
use crate::lab::recipe::FileSystem;
use crate::progress;

/// The commands for debugfs that fill a file system.
///
/// `mke2fs -d` would take owners from the user who builds and the order of entries from the host's file
/// system; here both are fixed, and no root is needed either.
#[derive(Debug)]
pub struct Script {
    text: String,
    made: Vec<String>,
    at_root: bool,
}

impl Script {
    /// Of a file system that has nothing but this.
    pub fn new(made: &[&str]) -> Script {
        let made = made.iter().map(|path| (*path).to_owned()).collect();
        Script { text: String::new(), made, at_root: true }
    }

    /// Makes a folder; the one that holds it must be there.
    pub fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        let name = word(path)?;
        self.go_to_root(path)?;
        writeln!(self.text, "mkdir {name}")?;
        writeln!(self.text, "sif {name} mode 0{:o}", 0o040_000 | mode)?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// Writes a file of the host's to a place in a folder that is there.
    pub fn file(&mut self, source: &Path, path: &str, mode: u32) -> Result<()> {
        let (folder, name) = path.rsplit_once('/').context("a destination without a folder")?;
        // `write` takes a name in the current folder, not a path.
        writeln!(self.text, "cd {}", if folder.is_empty() { "/".into() } else { word(folder)? })?;
        self.at_root = folder.is_empty();
        let source = source.to_str().filter(|text| is_printable(text)).with_context(|| {
            format!("debugfs cannot be given the path {}; use folders of plain names", source.display())
        })?;
        writeln!(self.text, "write \"{source}\" {}", word(name)?)?;
        writeln!(self.text, "sif {} mode 0{:o}", word(path)?, 0o100_000 | mode)?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// Makes a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.go_to_root(path)?;
        writeln!(self.text, "symlink {} {}", word(path)?, word(target)?)?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// debugfs makes `/name` in the current folder: of the path it looks up what stands before the last slash, which
    /// is nothing.
    fn go_to_root(&mut self, path: &str) -> Result<()> {
        if path.rfind('/') == Some(0) && !self.at_root {
            self.at_root = true;
            writeln!(self.text, "cd /")?;
        }
        Ok(())
    }

    /// All of it, with one owner and one time for what it made.
    pub fn finish(mut self, time: u32) -> Result<String> {
        for path in self.made {
            let path = word(&path)?;
            for owner in ["uid", "gid"] {
                writeln!(self.text, "sif {path} {owner} 0")?;
            }
            for field in ["atime", "ctime", "mtime", "crtime"] {
                writeln!(self.text, "sif {path} {field} @{time}")?;
            }
        }
        Ok(self.text)
    }
}

/// Whether a name can be in quotes in a script: debugfs reads a line at a time, a quote ends a word, and it knows no
/// other way to write one (`ss_parse` in e2fsprogs' `lib/ss/parse.c`).
pub fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"')
}

/// A text as one word of a command.
fn word(text: &str) -> Result<String> {
    if text.is_empty() || text.len() > LONGEST || !is_printable(text) {
        bail!("`{}` cannot be a name in the guest's file system", flipsim::text::shown(text, 80));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+[".contains(c);
    Ok(if text.chars().all(plain) { text.to_owned() } else { format!("\"{text}\"") })
}

/// The longest word; debugfs reads lines of up to 8192 bytes.
const LONGEST: usize = 2000;

/// The e2fsprogs, with our defaults in place of the host's, and a time that stands still.
#[derive(Debug)]
pub struct E2fs<'a> {
    runner: &'a CommandRunner,
    made_of: &'a FileSystem,
    images: &'a Path,
}

impl<'a> E2fs<'a> {
    /// For a file system of the recipe in the folder `images`.
    pub fn new(runner: &'a CommandRunner, made_of: &'a FileSystem, images: &'a Path) -> E2fs<'a> {
        E2fs { runner, made_of, images }
    }

    /// A program of the host by its full path: mke2fs lies in sbin, which is not in every PATH.
    fn tool(&self, name: &str) -> Result<PathBuf> {
        if self.runner.is_dry() {
            return Ok(proc::find_program(name).unwrap_or_else(|| name.into()));
        }
        needs::program(name)
    }

    fn with_defaults(&self, mut command: Command) -> Command {
        command
            .env("MKE2FS_CONFIG", self.images.join(&self.made_of.mke2fs_config))
            .env("E2FSPROGS_FAKE_TIME", self.made_of.timestamp.to_string())
            .env("LC_ALL", "C");
        command
    }

    /// Makes an empty file system in a file.
    pub fn make(&self, raw: &Path) -> Result<()> {
        let sh = Shell::new()?;
        let program = self.tool("mke2fs")?;
        let FileSystem { size, label, uuid, hash_seed, block_size, reserved_percent, .. } = self.made_of;
        let (block_size, reserved) = (block_size.to_string(), reserved_percent.to_string());
        let mut options = vec![format!("hash_seed={hash_seed}"), "root_owner=0:0".to_owned()];
        options.extend(self.made_of.extended_options.iter().cloned());
        let options = options.join(",");
        let command = cmd!(
            sh,
            "{program} -q -F -t ext4 -L {label} -U {uuid} -b {block_size} -m {reserved} -E {options} {raw} {size}"
        );
        self.runner.run_quietly("making the file system", "mke2fs.log", self.with_defaults(command.into()))
    }

    /// Lengthens a file system to so many bytes, and the file that it is in.
    pub fn grow(&self, raw: &Path, bytes: u64) -> Result<()> {
        let sh = Shell::new()?;
        let program = self.tool("resize2fs")?;
        let size = format!("{}K", bytes.div_ceil(1024));
        let command = self.with_defaults(cmd!(sh, "{program} {raw} {size}").into());
        self.runner.run_quietly("lengthening the file system", "resize2fs.log", command)
    }

    /// Runs a script on it, and checks it afterwards.
    pub fn fill(&self, script: &str, raw: &Path) -> Result<()> {
        let sh = Shell::new()?;
        let runner = self.runner;
        let (debugfs, e2fsck) = (self.tool("debugfs")?, self.tool("e2fsck")?);
        let script_file = files::beside(raw, ".debugfs");
        if runner.is_dry() {
            runner.note(&format!("write the commands for debugfs to {}", script_file.display()));
        } else {
            cache::write_atomically(&script_file, script.as_bytes())?;
        }
        let step = runner.step(|| progress::ProgressStep::spinner("filling the file system"));
        let command = cmd!(sh, "{debugfs} -w -f {script_file} {raw}");
        // debugfs succeeds whatever its commands come to: its complaints are what counts.
        let mut complaints = Vec::new();
        let on_line = &mut |line: &str| {
            let expected = ["debugfs", "Allocated inode:"].iter().any(|start| line.starts_with(start));
            if !expected && !line.is_empty() {
                complaints.push(line.to_owned());
            }
        };
        let what = "filling the file system";
        runner.run(what, "debugfs.log", self.with_defaults(command.into()), on_line)?;
        if !complaints.is_empty() {
            bail!("{what} failed; debugfs says:\n  {}", complaints.join("\n  "));
        }
        let command = self.with_defaults(cmd!(sh, "{e2fsck} -f -n {raw}").into());
        runner.run_quietly("checking the file system", "e2fsck.log", command)?;
        if !runner.is_dry() {
            step.done();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_or_is_refused() {
        assert_eq!(word("/srv/a/b-c_d.so.1").unwrap(), "/srv/a/b-c_d.so.1");
        assert_eq!(word("/srv/a b#;$(x)'").unwrap(), "\"/srv/a b#;$(x)'\"");
        for bad in ["", "a\"b", "a\nrm /sbin/init", "a\tb", "é", "a\u{7f}", &"x".repeat(3000)] {
            assert!(word(bad).is_err(), "{bad}");
        }
        let mut script = Script::new(&[]);
        assert!(script.file(Path::new("/cache/a\"b"), "/x", 0o644).is_err());
        assert!(script.link("/x", "a\nb").is_err());
    }

    #[test]
    fn what_was_made_has_one_owner_and_one_time() {
        let mut script = Script::new(&["/lost+found"]);
        script.folder("/srv", 0o755).unwrap();
        script.file(Path::new("/in/0"), "/srv/two words", 0o755).unwrap();
        script.link("/srv/l", "two words").unwrap();
        script.folder("/top", 0o755).unwrap();
        let text = script.finish(7).unwrap();
        let begin = "mkdir /srv\nsif /srv mode 040755\ncd /srv\nwrite \"/in/0\" \"two words\"\n\
                     sif \"/srv/two words\" mode 0100755\nsymlink /srv/l \"two words\"\n\
                     cd /\nmkdir /top\nsif /top mode 040755\nsif /lost+found uid 0\n";
        assert!(text.starts_with(begin), "{text}");
        for path in ["/lost+found", "/srv", "\"/srv/two words\"", "/srv/l"] {
            for field in ["uid 0", "gid 0", "atime @7", "ctime @7", "mtime @7", "crtime @7"] {
                assert!(text.contains(&format!("sif {path} {field}\n")), "{path} {field}");
            }
        }
    }
}
