//! Which kind of work a program does, by its name: a small list of programs whose kind nobody disputes.
//!
//! The kind is part of a pattern's key, so it must not change from minute to minute: it follows from the name, which does not,
//! and from whether `gamemode` counts the program as a game, which it does for as long as the program plays.

use crate::id::ProgramName;
use crate::pattern::WorkloadType;

/// Names as the kernel tells them, cut at 15 bytes. Collected by hand from the packages' own programs; whoever is not
/// here is told by behaviour alone.
const KNOWN: [(WorkloadType, &[&str]); 4] = [
    (
        WorkloadType::Browser,
        &[
            "brave",
            "chrome",
            "chromium",
            "chromium-browse",
            "epiphany",
            "falkon",
            "firefox",
            "firefox-bin",
            "firefox-esr",
            "GeckoMain",
            "konqueror",
            "librewolf",
            "microsoft-edge",
            "opera",
            "qutebrowser",
            "vivaldi-bin",
        ],
    ),
    (
        WorkloadType::Media,
        &[
            "amarok",
            "ardour",
            "audacity",
            "celluloid",
            "clementine",
            "elisa",
            "ffplay",
            "guitarix",
            "haruna",
            "kodi",
            "kodi.bin",
            "mpv",
            "obs",
            "parole",
            "rhythmbox",
            "smplayer",
            "spotify",
            "strawberry",
            "totem",
            "vlc",
        ],
    ),
    (
        WorkloadType::Call,
        &[
            "Discord",
            "jitsi",
            "linphone",
            "mumble",
            "skypeforlinux",
            "teams",
            "zoom",
            "zoom.real",
        ],
    ),
    (
        WorkloadType::Game,
        &[
            "0ad",
            "dolphin-emu",
            "dosbox",
            "etlegacy",
            "extremetuxrace",
            "gzdoom",
            "hedgewars",
            "luanti",
            "minetest",
            "neverball",
            "openarena",
            "openmw",
            "openttd",
            "quakespasm",
            "retroarch",
            "scummvm",
            "supertux2",
            "supertuxkart",
            "teeworlds",
            "warzone2100",
            "wesnoth",
            "xonotic-glx",
            "xonotic-sdl",
        ],
    ),
];

/// What `gamemode` says of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaming {
    /// It asked for a game's settings.
    Asked,
    /// It did not.
    No,
}

/// The kind of a program that somebody waits for. Whoever asked to be treated as a game is one.
#[must_use]
pub fn of(name: &ProgramName, gaming: Gaming) -> WorkloadType {
    if gaming == Gaming::Asked {
        return WorkloadType::Game;
    }
    let known = |(_, names): &&(WorkloadType, &[&str])| names.contains(&name.local());
    let found = KNOWN.iter().find(known);
    found.map_or(WorkloadType::Interactive, |(role, _)| *role)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_has_one_kind_and_fits_into_what_the_kernel_tells() {
        let mut seen = BTreeSet::new();
        for name in KNOWN.iter().flat_map(|(_, names)| names.iter()) {
            assert!(seen.insert(name), "{name} twice");
            assert!(name.len() <= 15, "{name} is never told whole");
        }
    }

    #[test]
    fn a_kind_follows_from_the_name_or_from_who_asked_to_be_a_game() {
        let role = |name: &str, gaming| of(&ProgramName::new(name), gaming);
        assert_eq!(role("firefox", Gaming::No), WorkloadType::Browser);
        assert_eq!(role("mpv", Gaming::No), WorkloadType::Media);
        assert_eq!(role("wesnoth", Gaming::No), WorkloadType::Game);
        assert_eq!(role("Discord", Gaming::No), WorkloadType::Call);
        assert_eq!(role("vim", Gaming::No), WorkloadType::Interactive);
        assert_eq!(role("vim", Gaming::Asked), WorkloadType::Game);
    }
}
