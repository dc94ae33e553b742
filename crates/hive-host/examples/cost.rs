//! What looking costs: processor time of a survey and of a watch with so many more idle processes.
//!
//! `cargo run --release -p hive-host --example cost -- 300`

use std::fs;
use std::process::{Child, Command, Stdio};

use hive_core::machine::facts::{GroupId, Sample, SampleRequest};
use hive_host::{Acting, Host, HostConfig, Roots, Scope};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(300), |arg| arg.parse())?;
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(
            Command::new("sh")
                .args(["-c", "read x"])
                .stdin(Stdio::piped())
                .spawn()?,
        );
    }
    let (mut host, _) = Host::open(HostConfig {
        roots: Roots::default(),
        scope: Scope::OwnUser,
        state: "/nonexistent".into(),
        act: Acting::No,
    })?;
    let Sample::Survey(first) = host.sample(&SampleRequest::Survey) else {
        return Ok(());
    };
    let groups: Vec<GroupId> = first.processes.iter().map(|one| one.group).collect();
    let watch = SampleRequest::Watch {
        protected: groups.iter().copied().take(1).collect(),
        background: groups,
    };
    println!("processes in the survey: {}", first.processes.len());
    println!(
        "survey: {:.2} ms",
        median(&mut host, &SampleRequest::Survey)?
    );
    println!("watch:  {:.2} ms", median(&mut host, &watch)?);
    idle.into_iter().try_for_each(end)?;
    Ok(())
}

fn end(mut child: Child) -> std::io::Result<()> {
    drop(child.stdin.take());
    child.wait().map(|_| ())
}

/// Median processor time of 31 looks, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
fn median(host: &mut Host, request: &SampleRequest) -> std::io::Result<f64> {
    let mut costs = Vec::new();
    for _ in 0..31 {
        let before = ran_ns()?;
        std::hint::black_box(host.sample(request));
        costs.push(ran_ns()? - before);
    }
    costs.sort_unstable();
    Ok(costs[15] as f64 / 1e6)
}

fn ran_ns() -> std::io::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().map_err(std::io::Error::other)
}
