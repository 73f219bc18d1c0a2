//! stub to compile
use anyhow::Result;
#[derive(clap::Args, Debug)]
pub struct Args {}
pub fn run(_: &Args) -> Result<()> {
    Ok(())
}
