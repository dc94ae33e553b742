//! Waiting for a process that was started here, but not for ever: a test that hangs tells nobody why.

use std::process::{Child, Output};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Far longer than anything here takes, even on a machine that is very busy; nothing is asserted about time.
const PATIENCE: Duration = Duration::from_mins(5);

/// What a process said, once it has ended. One that does not end is killed, and the test fails.
pub(crate) fn ended(child: Child) -> Output {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (said, hears) = mpsc::channel();
    let waiter = std::thread::spawn(move || said.send(child.wait_with_output()));
    let Ok(output) = hears.recv_timeout(PATIENCE) else {
        // Not waited for yet, so the number is still its own.
        kill_process(pid.expect("a process"), Signal::KILL).expect("it was ours to end");
        let output = hears.recv().expect("killed").expect("a child");
        panic!(
            "it had to be killed; it had said: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    waiter
        .join()
        .expect("it did not panic")
        .expect("it was heard");
    output.expect("a child")
}
