//! `--merge`: joins what is home into one campaign's file, with its page, where there is no lab.
//!
//! Invariant: what is missing is said, with the command that runs just that.

use std::path::{Path, PathBuf};

use flipsim::campaign::summary::SummaryOptions;
use flipsim::campaign::{Store, Summary};
use flipsim::files;
use flipsim::pack::{Pack, check};
use flipsim::report::{PageOptions, page};
use flipsim::text::shell_quote;

use crate::errors::{Error, io_error};
use crate::progress::say;
use crate::signals;

/// Joins the parts in a folder.
pub fn join(pack: &Pack, out: &Path) -> Result<(), Error> {
    let info = pack.info();
    check(out)?;
    let whole = out.join(format!("{}.sqlite", info.name));
    if !whole.exists() {
        let folder = files::private_folder_in(out).map_err(io_error("write to", out))?;
        let campaign = pack.campaign(folder.path(), signals::raised)?;
        Store::open_readonly(&campaign)?.copy_plan(&whole)?;
    }
    let mut store = Store::open(&whole)?;
    let parts = parts(out, &info.name)?;
    let merged = store.merge(&parts)?;
    say(&format!(
        "{} parts: {} results were added, {} were there already and are the same",
        parts.len(),
        merged.added,
        merged.same
    ));
    let summary = Summary::new(&store, &SummaryOptions::default())?;
    let html = out.join(format!("{}.html", info.name));
    let campaign = shell_quote(&info.name);
    let options = PageOptions { campaign, made: jiff::Timestamp::now(), public: false, mission: None };
    let text = page(&store, &summary, &options)?;
    files::write_readable(&html, text.as_bytes()).map_err(io_error("write", &html))?;
    say(&format!("campaign: {}, page: {}", whole.display(), html.display()));
    let missing = store.missing(info.slices)?;
    let trials: u64 = missing.iter().map(|(_, count)| count).sum();
    if trials == 0 {
        say(&format!("all {} trials have a result", store.len()));
        return Ok(());
    }
    let [pack, out] = [pack.path(), out].map(|path| shell_quote(&path.to_string_lossy()));
    for (shard, count) in &missing {
        say(&format!("{count} trials are missing: flipsim-run {pack} --shard {shard} --out {out}"));
    }
    Err(Error::Here(format!(
        "{trials} of {} trials are missing; `flipsim-run {pack} --out {out}` runs them all",
        store.len()
    )))
}

/// The parts of a campaign in a folder.
fn parts(out: &Path, name: &str) -> Result<Vec<PathBuf>, Error> {
    let error = io_error("read", out);
    let begin = format!("{name}.part-");
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(out).map_err(&error)? {
        let entry = entry.map_err(&error)?;
        let name = entry.file_name();
        let is_part = name.to_str().is_some_and(|name| name.starts_with(&begin) && name.ends_with(".sqlite"));
        if is_part {
            parts.push(entry.path());
        }
    }
    parts.sort();
    Ok(parts)
}
