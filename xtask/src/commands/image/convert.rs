//! `image convert`: raw disk images to qcow2 and back, checked and compared afterwards.
//!
//! Invariant: **an image is there whole or not at all.**

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flipsim::units::format_size;

use crate::exit::{Code, ExitWith};
use crate::guest::image::{convert as convert_image, kinds};
use crate::host::proc::{self, CommandRunner};
use crate::lab::cache::Cache;
use crate::lab::in_use::Lab;

/// Makes `dst` from `src`.
pub(super) fn convert(src: &Path, dst: &Path, force: bool, dry_run: bool) -> Result<()> {
    kinds(src, dst, force).exit_with(Code::Usage)?;
    let cache = if dry_run { Cache::look()? } else { Cache::open()? };
    let runner = CommandRunner::new(dry_run, cache.logs());
    let img = qemu_img()?;
    convert_image(&runner, &img, src, dst, force)?;
    if !dry_run {
        let size = std::fs::metadata(dst).map_or(0, |meta| meta.len());
        eprintln!("{}: {}, compared with {}: equal", dst.display(), format_size(size), src.display());
    }
    Ok(())
}

/// The lab's own qemu-img, or the host's.
fn qemu_img() -> Result<PathBuf> {
    let lab = Lab::load()?;
    let mut own = flipsim::arch::Arch::all().filter_map(|arch| Some(lab.arch(arch).qemu?.img));
    own.find(|path| path.is_file())
        .or_else(|| proc::find_program("qemu-img"))
        .context("no qemu-img: run `cargo xtask setup qemu`, or install it")
}
