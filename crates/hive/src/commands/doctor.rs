//! `hive doctor`: asks the daemon and looks at the machine, and names what is wrong with its remedy.

use hive_mind::ClientError;

use crate::args::{Format, Place};
use crate::commands::show;
use crate::doctor::{Roots, examine};
use crate::link::Link;
use crate::place;
use crate::problem::{Exit, Problem};
use crate::render::doctor as text;

/// Shows all checks; [`Exit::NeedsYou`] when one found a problem.
pub(super) fn run(place: &Place, format: Format) -> Result<Exit, Problem> {
    let paths = place::paths(place)?;
    let link = Link::new(place)?;
    let network = match link.try_ask(link.client().network()) {
        Ok(view) => Some(view),
        Err(ClientError::DaemonDown { .. }) => None,
        Err(other) => return Err(link.problem(other)),
    };
    let members = match &network {
        Some(_) => Some(link.ask(link.client().members())?),
        None => None,
    };
    let report = examine(&Roots::real(), &paths, network, members.as_ref());
    show(format, "hive.doctor/1", &report, text::report)?;
    Ok(if report.healthy {
        Exit::Ok
    } else {
        Exit::NeedsYou
    })
}
