//! The program `hive`: what a person types, the daemon behind it, and the demo that shows it all.

mod args;
mod consent;
mod doctor;
mod guard;
mod left;
mod link;
mod log;
mod output;
mod place;
mod problem;
mod render;
mod stage;
mod demo;
mod commands;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    output::guarded(|| {
        // clap itself prints usage errors and ends with 2, as promised.
        let cli = args::Cli::parse();
        let json = cli.verb.speaks_json();
        match commands::run(cli) {
            Ok(exit) => ExitCode::from(exit as u8),
            Err(problem) => {
                eprint!("{}", problem.told(json));
                ExitCode::from(problem.exit as u8)
            }
        }
    })
}
