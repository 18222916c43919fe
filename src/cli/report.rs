//! `dpc report`: runs as one HTML page.

use std::io::Write;
use std::path::PathBuf;

use miette::Result;

use super::output;
use crate::files;
use crate::report::{Run, page};

/// Write runs as one HTML page: certificates, what is covered, and curves
#[derive(clap::Args)]
pub struct Args {
    /// The runs' directories; several are compared
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// The page to write
    #[arg(long, short, value_name = "FILE.html")]
    out: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let page = page(&Run::read_all(&args.runs)?)?;
    files::write_atomic(&args.out, |file| file.write_all(page.as_bytes()))?;
    output::line(format!("wrote {}", args.out.display()))
}
