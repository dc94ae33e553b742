//! One terminal session as a shell makes it: a leader, an editor in front, a build behind.
//!
//! Which of two programs gets a core depends on sessions and process groups, so they are real here.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, ioctl_tiocsctty, setsid};
use rustix::termios::tcsetpgrp;

use crate::args::SessionArgs;
use crate::problem::{Exit, Problem};
use crate::stage::{self, failed};

/// Leads a session on the terminal that is its standard input; tells the groups it made, one a line.
pub(super) fn run(args: &SessionArgs) -> Result<Exit, Problem> {
    // As a shell would be: no daemon, which is never touched, nor its session.
    rustix::thread::set_name(c"demo-shell").map_err(|why| failed(why.into()))?;
    let tty = std::io::stdin();
    setsid().map_err(|why| failed(why.into()))?;
    ioctl_tiocsctty(&tty).map_err(|why| failed(why.into()))?;
    let mut children = Vec::new();
    let mut groups = Vec::new();
    if args.editor {
        let mut editor = program()?;
        editor.arg("editor").process_group(0);
        let editor = editor.spawn().map_err(failed)?;
        let group = Pid::from_child(&editor);
        // Only the foreground job may hand the terminal over, and until here that is this leader.
        tcsetpgrp(&tty, group).map_err(|why| failed(why.into()))?;
        groups.push(group);
        children.push(editor);
    }
    if let Some(group) = start_jobs(args, &mut children)? {
        if !args.editor {
            // Without an editor in front, the build is what was typed last: the foreground job.
            tcsetpgrp(&tty, group).map_err(|why| failed(why.into()))?;
        }
        groups.push(group);
    }
    let mut out = std::io::stdout();
    for group in &groups {
        writeln!(out, "{}", group.as_raw_nonzero()).map_err(failed)?;
    }
    writeln!(out, "ready")
        .and_then(|()| out.flush())
        .map_err(failed)?;
    for mut child in children {
        child.wait().map_err(failed)?;
    }
    Ok(Exit::Ok)
}

/// All jobs are one process group, as those of one `make -j` are.
fn start_jobs(args: &SessionArgs, children: &mut Vec<Child>) -> Result<Option<Pid>, Problem> {
    let mut group: Option<Pid> = None;
    for _ in 0..args.jobs {
        let mut job = program()?;
        match &args.source {
            Some(source) => job.arg("compile").arg(source),
            None => job.arg("job"),
        };
        job.process_group(group.map_or(0, |leader| leader.as_raw_nonzero().get()));
        let job = job.spawn().map_err(failed)?;
        group.get_or_insert(Pid::from_child(&job));
        children.push(job);
    }
    Ok(group)
}

fn program() -> Result<Command, Problem> {
    let mut command = Command::new(stage::program()?);
    command
        .arg("stage")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Ok(command)
}
