//! The distribution's source packages through apt, without touching the system's own state.
//!
//! Invariant: apt reads the system's keys and sources, and writes **only below the cache**: private
//! lists, private cache, and none of the hooks that a system hangs on `apt-get update`. It needs no
//! root.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::host::proc::{self, CommandRunner};
use crate::interrupt;
use crate::lab::cache::{self, Cache, SourceRecord};
use crate::lab::digest;
use crate::progress::ProgressStep;

/// How many versions of a package are tried: a mirror may have dropped what its index still names.
const MOST_TRIES: usize = 8;

/// The lists of the distribution are good for this long.
const FRESH: Duration = Duration::from_secs(3600);

/// A downloaded source package.
#[derive(Debug)]
pub struct SourcePackage {
    /// The folder with its files.
    pub dir: PathBuf,
    /// The upstream archives: the main one first, then those of components, with their folder.
    pub orig: Vec<(PathBuf, Option<String>)>,
    /// The archive with `debian/`.
    pub debian: PathBuf,
    /// For the manifest.
    pub record: SourceRecord,
}

/// Whether this host has apt.
pub fn is_here() -> bool {
    proc::find_program("apt-get").is_some() && proc::find_program("apt-cache").is_some()
}

/// Downloads the newest version of `package` that starts with one of `accepts` and can be had.
pub fn download(
    cache: &Cache,
    runner: &CommandRunner,
    package: &str,
    accepts: &[String],
) -> Result<SourcePackage> {
    // Two steps may be set up at once, and apt's folder is one.
    let _lock = match runner.is_dry() {
        true => None,
        false => Some(cache.lock("apt", "the list of source packages")?),
    };
    let apt = Apt::prepare(cache, runner)?;
    apt.update(runner)?;
    if runner.is_dry() {
        runner.note(&format!("choose the newest version that starts with {}", accepts.join(" or ")));
        outln!("{}", proc::shell_line(&apt.showsrc(package)?));
        outln!("{}", proc::shell_line(&apt.source(package, "VERSION", &apt.dir.join(package))?));
        return Ok(SourcePackage {
            dir: apt.dir.join(package),
            orig: vec![(apt.dir.join(package).join(format!("{package}_VERSION.orig.tar.xz")), None)],
            debian: apt.dir.join(package).join(format!("{package}_VERSION.debian.tar.xz")),
            record: SourceRecord {
                from: format!("the distribution's source package {package}"),
                version: "VERSION".to_owned(),
                files: BTreeMap::new(),
            },
        });
    }
    let shown = proc::output_of("apt-cache showsrc", apt.showsrc(package)?, Duration::from_secs(60))?;
    let versions = acceptable_versions(&shown, accepts);
    if versions.is_empty() {
        // The lists may be old, or have been read while the network was down.
        let _none = fs::remove_file(apt.dir.join("updated"));
        bail!(
            "the distribution's lists have no source package {package} {}x (is the network up? the lists are \
             read again at the next try)",
            accepts.join("x or ")
        );
    }
    let mut failures = Vec::new();
    for version in versions.iter().take(MOST_TRIES) {
        interrupt::check()?;
        let dir = apt.dir.join("packages").join(format!("{package}_{}", file_version(version)));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let what = format!("downloading the source package {package} {version}");
        let step = ProgressStep::spinner(&what);
        let log = format!("apt-source-{package}.log");
        match runner.run(&what, &log, apt.source(package, version, &dir)?, &mut |line| step.line(line)) {
            Ok(()) => {
                step.done();
                return read_package(&dir, package, version);
            }
            Err(error) if error.is::<interrupt::Interrupted>() => return Err(error),
            Err(error) => {
                drop(step);
                let why = first_complaint(&format!("{error:#}"));
                eprintln!("  {package} {version} cannot be had: {why}");
                failures.push(format!("{version}: {why}"));
            }
        }
    }
    bail!("no version of the source package {package} can be had:\n    {}", failures.join("\n    "))
}

struct Apt {
    dir: PathBuf,
    config: PathBuf,
}

impl Apt {
    fn prepare(cache: &Cache, runner: &CommandRunner) -> Result<Apt> {
        let dir = cache.apt();
        let apt = Apt { config: dir.join("apt.conf"), dir };
        let sources = system_sources()?;
        if sources.is_empty() {
            bail!("apt knows no source of the distribution itself (looked in /etc/apt)");
        }
        runner.note(&format!("write {} and private copies of apt's sources", apt.config.display()));
        if runner.is_dry() {
            return Ok(apt);
        }
        for folder in ["lists/partial", "cache/archives/partial", "sources", "none"] {
            let folder = apt.dir.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        for (name, text) in sources {
            cache::write_atomically(&apt.dir.join("sources").join(name), text.as_bytes())?;
        }
        let sh = Shell::new()?;
        let dump = cmd!(sh, "apt-config dump").into();
        let dump = proc::output_of("apt-config", dump, Duration::from_secs(20))?;
        // write_atomically makes a file that only the user can read: a proxy's address may hold a
        // password.
        cache::write_atomically(&apt.config, private_config(&dump, &apt.dir).as_bytes())?;
        Ok(apt)
    }

    fn command(&self, command: xshell::Cmd<'_>) -> Command {
        // Apt reads the file named here before all others, so it can send apt away from the
        // system's own configuration, with its hooks. Options on the command line come too late.
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C").into()
    }

    fn update(&self, runner: &CommandRunner) -> Result<()> {
        // Without Error-Mode apt calls an update without a network a success.
        let stamp = self.dir.join("updated");
        let sh = Shell::new()?;
        let command = self.command(cmd!(sh, "apt-get -o APT::Update::Error-Mode=any update"));
        let fresh = fs::metadata(&stamp)
            .and_then(|meta| meta.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age < FRESH));
        if fresh && !runner.is_dry() {
            return Ok(());
        }
        let what = "reading the distribution's lists of source packages";
        let step = runner.step(|| ProgressStep::spinner(what));
        match runner.run("apt-get update", "apt-update.log", command, &mut |line| step.line(line)) {
            Ok(()) if runner.is_dry() => {}
            Ok(()) => {
                step.done();
                cache::write_atomically(&stamp, b"")?;
            }
            Err(error) if error.is::<interrupt::Interrupted>() => return Err(error),
            // One source that fails is no reason to do without the others.
            Err(error) => {
                drop(step);
                eprintln!("  apt-get update: {}", first_complaint(&format!("{error:#}")));
            }
        }
        Ok(())
    }

    fn showsrc(&self, package: &str) -> Result<Command> {
        let sh = Shell::new()?;
        Ok(self.command(cmd!(sh, "apt-cache showsrc --only-source {package}")))
    }

    fn source(&self, package: &str, version: &str, dir: &Path) -> Result<Command> {
        let sh = Shell::new()?;
        let wanted = format!("{package}={version}");
        let mut command =
            self.command(cmd!(sh, "apt-get source --download-only --only-source --quiet {wanted}"));
        command.current_dir(dir);
        Ok(command)
    }
}

/// The configuration for private use: how to reach the network is the system's, where to write and
/// which sources to read are ours.
pub fn private_config(dump: &str, dir: &Path) -> String {
    let mut text = String::new();
    for line in dump.lines() {
        // Index targets make apt download more than package lists; the built-in ones come back by
        // themselves.
        if line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets") {
            text += line;
            text.push('\n');
        }
    }
    let dir = dir.display();
    text += &format!(
        "Dir::Etc::Main \"/dev/null\";\nDir::Etc::Parts \"{dir}/none\";\n\
         Dir::Etc::SourceList \"/dev/null\";\nDir::Etc::SourceParts \"{dir}/sources\";\n\
         Dir::State::Lists \"{dir}/lists\";\nDir::Cache \"{dir}/cache\";\n\
         APT::Sandbox::User \"root\";\n"
    );
    text
}

/// Private versions of the system's sources: `(file name, text)`.
fn system_sources() -> Result<Vec<(String, String)>> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suites = own_suites(&release);
    let mut one_line = String::new();
    let mut deb822 = String::new();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut more: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        more.sort();
        files.extend(more);
    }
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|ext| ext.to_str()) {
            Some("list") => one_line += &private_list(&text, &suites),
            Some("sources") => deb822 += &private_deb822(&text, &suites),
            _ => {}
        }
    }
    let files = [("lab.list", one_line), ("lab.sources", deb822)];
    Ok(files
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.into(), text))
        .collect())
}

/// How the suites of the distribution itself are called, from `/etc/os-release`.
pub fn own_suites(release: &str) -> Vec<String> {
    let names = release.lines().filter_map(|line| {
        let value =
            line.strip_prefix("VERSION_CODENAME=").or_else(|| line.strip_prefix("UBUNTU_CODENAME="))?;
        Some(value.trim_matches('"').to_owned())
    });
    let mut suites: Vec<String> = names.filter(|name| !name.is_empty()).collect();
    suites.extend(["stable", "oldstable", "testing", "unstable", "sid"].map(str::to_owned));
    suites
}

/// Whether a source is the distribution's own. Others may serve a suite of the same name, but they
/// name their own keyring.
fn is_own(suite: &str, components: &str, signed_by: Option<&str>, own: &[String]) -> bool {
    let base = ["-updates", "-security", "/updates", "-backports", "-proposed-updates", "-proposed"]
        .iter()
        .find_map(|end| suite.strip_suffix(end))
        .unwrap_or(suite);
    own.iter().any(|name| name == base)
        && components.split_whitespace().any(|name| name == "main")
        && signed_by.is_none_or(|key| key.contains("debian-archive") || key.contains("ubuntu-archive"))
}

/// `deb [options] uri suite component…` lines as `deb-src` lines.
pub fn private_list(text: &str, own: &[String]) -> String {
    let mut out: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb ").or_else(|| line.strip_prefix("deb-src ")) else {
            continue;
        };
        let rest = rest.trim();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest.trim()),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        let components = words.collect::<Vec<_>>().join(" ");
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        if !is_own(suite, &components, signed_by, own) {
            continue;
        }
        // Sources have no architecture.
        let options: Vec<&str> =
            options.split_whitespace().filter(|option| !option.starts_with("arch")).collect();
        let options = if options.is_empty() { String::new() } else { format!("[{}] ", options.join(" ")) };
        let line = format!("deb-src {options}{uri} {suite} {components}\n");
        if !out.contains(&line) {
            out.push(line);
        }
    }
    out.concat()
}

/// Stanzas with `Types: deb` as stanzas with `Types: deb-src`.
pub fn private_deb822(text: &str, own: &[String]) -> String {
    let mut out: Vec<String> = Vec::new();
    for stanza in stanzas(text) {
        let field = |name: &str| {
            stanza.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let disabled =
            field("Enabled").is_some_and(|v| matches!(v.trim(), "no" | "false" | "0" | "off" | "without"));
        let suites: Vec<&str> = field("Suites").unwrap_or_default().split_whitespace().collect();
        let components = field("Components").unwrap_or_default();
        // A key in the stanza itself says nothing about whose it is; the suite has to do.
        let signed_by = field("Signed-By").filter(|value| value.trim_start().starts_with('/'));
        if disabled
            || suites.is_empty()
            || !suites.iter().all(|suite| is_own(suite, components, signed_by, own))
        {
            continue;
        }
        let mut text = String::from("Types: deb-src\n");
        for (key, value) in &stanza {
            if !["types", "architectures", "enabled"].contains(&key.to_ascii_lowercase().as_str()) {
                text += &format!("{key}:{value}\n");
            }
        }
        text.push('\n');
        if !out.contains(&text) {
            out.push(text);
        }
    }
    out.concat()
}

/// Control-file stanzas: fields with their values, continuation lines kept as they are.
fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut all: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            all.push(Vec::new());
        } else if let Some(stanza) = all.last_mut() {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = stanza.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((key, value)) = line.split_once(':') {
                stanza.push((key.to_owned(), value.to_owned()));
            }
        }
    }
    all.retain(|stanza| !stanza.is_empty());
    all
}

/// The versions in `apt-cache showsrc`'s answer that will do, newest first.
pub fn acceptable_versions(shown: &str, accepts: &[String]) -> Vec<String> {
    let mut versions: Vec<String> = stanzas(shown)
        .into_iter()
        .flat_map(|stanza| stanza.into_iter().filter(|(key, _)| key == "Version"))
        .map(|(_, value)| value.trim().to_owned())
        .filter(|version| {
            let upstream = version.split_once(':').map_or(version.as_str(), |(_, rest)| rest);
            // deb-version(7). A version becomes the name of a folder, and the crate of that name relies on ASCII.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte);
            !version.is_empty()
                && version.bytes().all(plain)
                && accepts.iter().any(|start| upstream.starts_with(start))
        })
        .collect();
    versions.sort_by(|a, b| deb_version::compare_versions(b, a));
    versions.dedup();
    versions
}

/// A version without its epoch, as file names have it.
fn file_version(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

/// Apt's first complaint, in one line.
pub fn first_complaint(text: &str) -> String {
    // The line with `E:` names the reason as well; the one with `Err:` leaves it to the next line.
    let line = ["E: ", "Err:"]
        .iter()
        .find_map(|start| text.lines().map(str::trim).find(|line| line.starts_with(start)))
        .or_else(|| text.lines().next())
        .unwrap_or_default();
    line.trim_start_matches("E: ").chars().take(160).collect()
}

/// Reads what apt has put into `dir`. Apt has checked the digests against the signed lists; they
/// are recorded here, and checked once more, because files may have lain there from a run before.
fn read_package(dir: &Path, package: &str, version: &str) -> Result<SourcePackage> {
    let dsc = dir.join(format!("{package}_{}.dsc", file_version(version)));
    let text = fs::read_to_string(&dsc).with_context(|| format!("cannot read {}", dsc.display()))?;
    let sums = checksums(&text);
    if sums.is_empty() {
        bail!("{} names no files with sha256", dsc.display());
    }
    let mut files = BTreeMap::new();
    for (name, expected) in &sums {
        let path = dir.join(name);
        let found = digest::of_file(&path)?;
        if found != *expected {
            cache::remove_file(&path)?;
            bail!("{}: sha256 {found}, expected {expected}; removed, run setup again", path.display());
        }
        files.insert(name.clone(), found);
    }
    let mut orig = Vec::new();
    let mut debian = None;
    for (name, _) in &sums {
        let Some((_, rest)) = name.split_once(".orig") else {
            if name.contains(".debian.tar.") {
                debian = Some(dir.join(name));
            }
            continue;
        };
        if rest.ends_with(".asc") {
            continue;
        }
        match rest.strip_prefix('-').and_then(|rest| rest.split_once(".tar.")) {
            Some((component, _)) => orig.push((dir.join(name), Some(component.to_owned()))),
            None => orig.insert(0, (dir.join(name), None)),
        }
    }
    let (Some(debian), false) = (debian, orig.is_empty()) else {
        bail!("{}: not of the format `3.0 (quilt)`, which is what setup can unpack", dsc.display());
    };
    let from = format!("the distribution's source package {package} {version}");
    let record = SourceRecord { from, version: version.to_owned(), files };
    Ok(SourcePackage { dir: dir.to_owned(), orig, debian, record })
}

/// The field `Checksums-Sha256` of a .dsc: `(file name, digest)`.
pub fn checksums(dsc: &str) -> Vec<(String, String)> {
    let mut sums = Vec::new();
    let mut inside = false;
    for line in dsc.lines() {
        if !line.starts_with(' ') {
            inside = line.starts_with("Checksums-Sha256:");
        } else if inside {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [digest, _size, name] = words[..]
                && !name.contains('/')
            {
                sums.push((name.to_owned(), digest.to_owned()));
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests;
