//! Replays one input through one target, or writes the seeds anew: `hive-fuzz TARGET FILE...` and
//! `hive-fuzz seeds FOLDER`. Needs no fuzzing tool.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use hive_fuzz::TARGETS;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.split_first() {
        Some((word, folder)) if word == "seeds" && folder.len() == 1 => told(write(&folder[0])),
        Some((name, files)) if !files.is_empty() => told(replay(name, files)),
        _ => {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!("hive-fuzz TARGET FILE... | hive-fuzz seeds FOLDER");
            eprintln!("targets: {}", names.join(" "));
            ExitCode::from(2)
        }
    }
}

fn told(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn replay(name: &str, files: &[String]) -> io::Result<()> {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.ok_or_else(|| io::Error::other("no such target"))?;
    for file in files {
        println!("{file}: {:?}", target.run(&fs::read(file)?));
    }
    Ok(())
}

fn write(folder: &str) -> io::Result<()> {
    for target in TARGETS {
        let folder = Path::new(folder).join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed)?;
        }
    }
    Ok(())
}
