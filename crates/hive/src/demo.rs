//! `hive demo`: the story of two machines, played for real on one: real daemons, real programs, real
//! measurements. It ends within two minutes and leaves nothing behind.

mod figures;
mod follow;
mod ground;
mod own;
mod play;
mod watch;

use std::time::Duration;

use crate::args::{Format, Place};
use crate::problem::{Exit, Problem};
use crate::render;

use self::figures::Figures;
use self::ground::Ground;
use self::own::OwnDaemon;
use self::watch::Watch;

/// All of it, cleaning up included, is promised to end within 120 s.
const WHOLE: Duration = Duration::from_secs(115);

/// Plays, prints, cleans up. Exit 0 when every step ran and nothing was left.
pub(crate) fn run(place: &Place, format: Format) -> Result<Exit, Problem> {
    let watch = Watch::start(WHOLE, !format.json)?;
    watch.say(
        "Two machines, \"desk\" and \"laptop\", played on this one by real daemons and programs.\n\
         Everything is measured. It ends within two minutes and leaves nothing behind.",
    );
    // Orphans of the stage come to this process, so that none can hide from the cleaning.
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
        .map_err(|why| Problem::system("the demo cannot adopt its programs", &why.into()))?;
    let own = OwnDaemon::hold(place);
    if own.is_held() {
        watch.say("  your own daemon is paused for the demo");
    }
    let mut figures = Figures::here();
    let (played, left) = match Ground::build(&mut figures.missing) {
        Ok(mut ground) => {
            figures.machine.network = ground.network;
            for missing in &figures.missing {
                watch.say(&format!("  not here: {missing}"));
            }
            let played = play::all(&watch, &mut ground, &mut figures);
            (played, figures.step("clean", || ground.clear()))
        }
        Err(unbuilt) => (Err(unbuilt.why), unbuilt.left),
    };
    figures.clean = left.is_empty();
    for thing in &left {
        watch.say(&format!("  left behind: {thing}"));
    }
    drop(own);
    figures.ok = succeeded(played.is_ok(), &figures);
    figures.seconds = watch.seconds();
    if let Err(problem) = &played {
        let why = [problem.what.as_str(), problem.known.as_str()].join(": ");
        figures.explain(why.trim_end_matches(": "));
    }
    figures.explain("the story did not come this far");
    finish(
        format,
        &watch,
        &figures,
        played.and_then(|()| undone(&figures)),
    )
}

/// Every step ran, nothing is left, and an undo that was shown did undo.
fn succeeded(played: bool, figures: &Figures) -> bool {
    played && figures.clean && undone(figures).is_ok()
}

fn undone(figures: &Figures) -> Result<(), Problem> {
    if figures.undo_restored == Some(false) {
        return Err(Problem::new(
            Exit::Failed,
            "demo.undo",
            "after hive undo not everything was as it was before",
        ));
    }
    Ok(())
}

fn finish(
    format: Format,
    watch: &Watch,
    figures: &Figures,
    played: Result<(), Problem>,
) -> Result<Exit, Problem> {
    if format.json {
        let text = render::json("hive.demo/1", figures).map_err(|why| {
            Problem::new(Exit::Failed, "json", "the figures could not be printed")
                .known(why.to_string())
        })?;
        print!("{text}");
    }
    let clean = if figures.clean {
        "nothing left behind"
    } else {
        "NOT everything was cleaned up"
    };
    watch.say(&format!(
        "\n{:.0} s, {clean}.  The figures for machines to read:  hive demo --json",
        figures.seconds
    ));
    played?;
    Ok(if figures.ok { Exit::Ok } else { Exit::Partly })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_whose_undo_did_not_undo_has_failed() {
        let mut figures = Figures::here();
        figures.clean = true;
        assert!(succeeded(true, &figures), "no undo was shown");
        figures.undo_restored = Some(true);
        assert!(succeeded(true, &figures));
        figures.undo_restored = Some(false);
        assert!(!succeeded(true, &figures));
        assert_eq!(undone(&figures).expect_err("it failed").exit, Exit::Failed);
    }
}
