//! `hive doctor`: asks the daemon and looks at the machine, and names what is wrong with its remedy.

use hive_mind::ClientError;

use crate::args::{Format, Place};
use crate::commands::{bare, show};
use crate::doctor::{Roots, examine, kept_key, needs};
use crate::link::Link;
use crate::place;
use crate::problem::{Exit, Problem};
use crate::render::doctor as text;

/// Shows all checks; [`Exit::NeedsYou`] when one found a problem.
pub(super) fn run(place: &Place, format: Format) -> Result<Exit, Problem> {
    let paths = place::paths(place)?;
    let link = Link::new(place)?;
    let network = match link.try_ask(link.client().network()) {
        // What can be looked at without the daemon is looked at all the same.
        Err(error @ (ClientError::DaemonDown { .. } | ClientError::Silent { .. })) => {
            Err(link.problem(error))
        }
        asked => Ok(asked.map_err(|error| link.problem(error))?),
    };
    let members = match &network {
        Ok(_) => Some(link.ask(link.client().members())?),
        Err(_) => None,
    };
    let status = match &network {
        Ok(_) => Some(link.ask(link.client().status())?),
        Err(_) => None,
    };
    let mut report = examine(&Roots::real(), &paths, network, members.as_ref());
    report.extend(status.iter().flat_map(needs));
    let way = status.and_then(|status| bare::way_of_the_moved(&status, &paths));
    report.extend(kept_key(&paths.state, way));
    show(format, "hive.doctor/1", &report, text::report)?;
    Ok(if report.healthy {
        Exit::Ok
    } else {
        Exit::NeedsYou
    })
}
