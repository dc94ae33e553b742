//! `hive members`, `pending` and `nearby`: who belongs, who waits, who was heard.

use hive_mind::Role;
use hive_mind::reply::{
    MemberView, MembersView, NearbyView, PendingMachine, PendingView, SeenView,
};

use crate::render::text::{count, fit, span, wrap};

/// The members, one a line.
pub(crate) fn members(view: &MembersView) -> String {
    let mut out = format!(
        "{} {} {} {} {}\n",
        fit("MEMBER", 26),
        fit("ID", 8),
        fit("ROLE", 8),
        fit("STATE", 20),
        "SAYS"
    );
    for (place, member) in view.members.iter().enumerate() {
        let gone = member.here && view.out.is_some();
        out.push_str(&member_line(member, place == 0, gone));
    }
    if let Some(words) = &view.out {
        let words = format!("{words}; this is what it knew last. Start anew:  hive leave");
        out.extend(["\n", &wrap(&words, 0, 2)]);
    } else if view.members.len() <= 1 {
        out.push_str("\nadd a machine:  hive invite\n");
    }
    out.push_str(&owners(view));
    out
}

/// Whose machines they are, where they are not all one person's.
fn owners(view: &MembersView) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for member in &view.members {
        match groups.iter_mut().find(|(owner, _)| *owner == member.owner) {
            Some((_, labels)) => labels.push(&member.label),
            None => groups.push((&member.owner, vec![&member.label])),
        }
    }
    if groups.len() <= 1 {
        return String::new();
    }
    let mut out = format!("\n{} owners:\n", groups.len());
    for (_, labels) in groups {
        out.push_str(&wrap(&labels.join(", "), 2, 4));
    }
    out
}

/// The machines that wait, with their words.
pub(crate) fn pending(view: &PendingView) -> String {
    let Some(first) = view.pending.first() else {
        return "no machine is waiting to be let in\nadd one:  hive invite\n".to_owned();
    };
    let mut out = String::new();
    for machine in &view.pending {
        out.extend([format!(
            "\"{}\" ({}) wants to join, {}, from {}\n  both screens must show:  {}\n",
            machine.label,
            machine.node,
            span(machine.waited_s),
            machine.address.ip(),
            machine.words
        )]);
    }
    out.extend([format!(
        "\nlet it in:  hive approve {0}      turn it away:  hive deny {0}\n",
        quoted(&first.label)
    )]);
    out
}

/// Columns for an address: room for one of IPv4.
const ADDRESS: usize = 24;

/// Machines that were heard.
pub(crate) fn nearby(view: &NearbyView) -> String {
    if view.seen.is_empty() {
        return "no machine was heard on this network yet\n\
                on the other machine:  hive up\n\
                networks without multicast:  hive join CODE --at ADDRESS:4483\n"
            .to_owned();
    }
    let mut out = format!(
        "{} {} {}\n",
        fit("ADDRESS", ADDRESS),
        fit("MACHINE", 34),
        "ANSWERED IN"
    );
    for seen in &view.seen {
        // It is typed again, so it is never cut: a long one has a line of its own.
        let mut address = seen.address.to_string();
        if address.len() > ADDRESS {
            out.extend([address.as_str(), "\n"]);
            address.clear();
        }
        out.extend([format!(
            "{} {} {:.1} ms\n",
            fit(&address, ADDRESS),
            fit(&seen_words(seen), 34),
            seen.after_ms
        )]);
    }
    out
}

/// The question to the person at the inviting machine.
pub(crate) fn knock(machine: &PendingMachine) -> String {
    format!(
        "  \"{}\" wants to join.  Both screens show:  {}\n  Let it in? [y/N] ",
        machine.label, machine.words
    )
}

/// The words of a recovery key, numbered, four a line.
pub(crate) fn numbered(words: &str) -> String {
    let mut out = String::new();
    for (place, word) in words.split_whitespace().enumerate() {
        out.extend([format!("  {:>2}. {}", place + 1, fit(word, 12))]);
        if place % 4 == 3 {
            out = out.trim_end().to_owned() + "\n";
        }
    }
    out
}

/// A label as it must be typed: in quotes when it has a space.
pub(crate) fn quoted(label: &str) -> String {
    if label.contains([' ', '\'']) {
        format!("\"{label}\"")
    } else {
        label.to_owned()
    }
}

fn member_line(member: &MemberView, founder: bool, gone: bool) -> String {
    let name = if member.here {
        format!("{} (here)", member.label)
    } else {
        member.label.clone()
    };
    let role = match (founder, member.role) {
        (true, _) => "founder",
        (false, Role::Admin) => "admin",
        (false, Role::Member) => "member",
    };
    let state = match (gone, member.forked, member.online) {
        (true, ..) => "out",
        (_, true, _) => "two versions seen",
        (_, false, true) => "online",
        (_, false, false) => "offline",
    };
    let id: String = member.node.chars().take(8).collect();
    format!(
        "{} {} {} {} {}\n",
        fit(&name, 26),
        fit(&id, 8),
        fit(role, 8),
        fit(state, 20),
        count(member.statements, "thing", "things")
    )
}

fn seen_words(seen: &SeenView) -> String {
    match (&seen.member, seen.inviting) {
        (Some(label), _) => format!("{label}, a member"),
        (None, true) => "not a member, has an open invite".to_owned(),
        (None, false) => "not a member".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::text::WIDTH;

    fn member(label: &str, here: bool, online: bool) -> MemberView {
        let json = serde_json::json!({
            "node": "3f9a0c12".repeat(8), "label": label, "role": "admin", "here": here,
            "online": online, "statements": 12, "forked": false, "address": null, "first_up_us": null,
        });
        serde_json::from_value(json).expect("a member")
    }

    #[test]
    fn members_are_a_table_of_words() {
        let view = MembersView {
            members: vec![member("desk", true, true), member("laptop", false, false)],
            ..MembersView::default()
        };
        assert_eq!(
            members(&view),
            "MEMBER                     ID       ROLE     STATE                SAYS\n\
             desk (here)                3f9a0c12 founder  online               12 things\n\
             laptop                     3f9a0c12 admin    offline              12 things\n"
        );
        assert!(
            members(&view)
                .lines()
                .all(|line| line.chars().count() <= WIDTH)
        );
    }

    #[test]
    fn a_removed_machine_does_not_show_itself_as_a_member_that_is_online() {
        let view = MembersView {
            members: vec![member("desk", false, false), member("laptop", true, true)],
            out: Some("this machine was removed from its hive".to_owned()),
        };
        let text = members(&view);
        assert!(!text.contains("online"), "{text}");
        assert!(text.contains("was removed") && text.contains("hive leave"));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn an_address_that_must_be_typed_again_is_never_cut() {
        let address = "[fe80::1c1f:eff:fe63:3e12%3]:44830";
        let view = NearbyView {
            seen: vec![SeenView {
                address: address.parse().expect("an address"),
                member: None,
                node: None,
                inviting: true,
                after_ms: 123.25,
            }],
        };
        let text = nearby(&view);
        assert!(text.contains(address), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }

    #[test]
    fn owners_are_told_where_there_are_several() {
        let mut view = MembersView {
            members: vec![
                member("desk", true, true),
                member("ana", false, true),
                member("laptop", false, true),
            ],
            ..MembersView::default()
        };
        assert!(!members(&view).contains("owners"));
        view.members[1].owner = "another".to_owned();
        let text = members(&view);
        assert!(
            text.ends_with("\n2 owners:\n  desk, laptop\n  ana\n"),
            "{text}"
        );
    }

    #[test]
    fn a_lonely_machine_is_told_how_to_add_one() {
        let view = MembersView {
            members: vec![member("desk", true, true)],
            ..MembersView::default()
        };
        assert!(members(&view).ends_with("add a machine:  hive invite\n"));
        assert!(pending(&PendingView::default()).contains("hive invite"));
        assert!(nearby(&NearbyView::default()).contains("hive up"));
    }

    #[test]
    fn a_waiting_machine_is_shown_with_its_words_and_what_to_type() {
        let view = PendingView {
            pending: vec![PendingMachine {
                node: "aabbccdd".to_owned(),
                label: "amber otter".to_owned(),
                words: "velvet hammer otter cliff".to_owned(),
                address: "192.168.1.23:4483".parse().expect("an address"),
                waited_s: 130,
            }],
        };
        assert_eq!(
            pending(&view),
            "\"amber otter\" (aabbccdd) wants to join, 2 min, from 192.168.1.23\n  \
             both screens must show:  velvet hammer otter cliff\n\
             \n\
             let it in:  hive approve \"amber otter\"      turn it away:  hive deny \"amber otter\"\n"
        );
        assert_eq!(
            knock(&view.pending[0]),
            "  \"amber otter\" wants to join.  Both screens show:  velvet hammer otter cliff\n  \
             Let it in? [y/N] "
        );
    }

    #[test]
    fn the_words_of_a_recovery_key_fit_on_a_screen_in_their_order() {
        let words: Vec<String> = (1..=24).map(|n| format!("word{n}")).collect();
        let text = numbered(&words.join(" "));
        assert_eq!(text.lines().count(), 6);
        assert!(text.starts_with("   1. word1        "), "{text}");
        assert!(text.ends_with("24. word24\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn machines_heard_are_told_from_members() {
        let view = NearbyView {
            seen: vec![SeenView {
                address: "192.168.1.23:4483".parse().expect("an address"),
                member: Some("laptop".to_owned()),
                node: None,
                inviting: false,
                after_ms: 3.25,
            }],
        };
        let text = nearby(&view);
        assert!(
            text.contains("192.168.1.23:4483        laptop, a member"),
            "{text}"
        );
        assert!(text.contains("3.2 ms"));
    }
}
