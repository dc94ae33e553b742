//! Verbs about who belongs: pending, approve, deny, members, remove, label, nearby.

use std::io::IsTerminal as _;
use std::time::Duration;

use hive_mind::Role;
use hive_mind::reply::words::is_called;
use hive_mind::reply::{MemberView, MembersView, PendingMachine, PendingView};

use crate::args::{ApproveArgs, Format, LabelArgs, Place, RemoveArgs, WhoArgs};
use crate::commands::show;
use crate::consent;
use crate::link::Link;
use crate::problem::{Exit, Problem};
use crate::render::members as text;

/// How long `nearby` listens for answers. An answer on one LAN takes milliseconds; a guess with room.
const LISTEN: Duration = Duration::from_millis(700);

/// Who waits.
pub(super) fn pending(place: &Place, format: Format) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    let view = link.ask(link.client().pending())?;
    show(format, "hive.pending/1", &view, text::pending)?;
    Ok(Exit::Ok)
}

/// Lets a machine in.
pub(super) fn approve(place: &Place, args: &ApproveArgs) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    if args.rehearsal.dry_run {
        return rehearse_pending(&link, &args.name, "let in");
    }
    let role = if args.admin {
        Role::Admin
    } else {
        Role::Member
    };
    let owner = args.owner.as_deref();
    let done = link.ask(link.client().approve_for(&args.name, role, owner))?;
    println!(
        "{}",
        words_or(done.words, || format!("\"{}\" is let in", args.name))
    );
    Ok(Exit::Ok)
}

/// Turns a machine away.
pub(super) fn deny(place: &Place, args: &WhoArgs) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    if args.rehearsal.dry_run {
        return rehearse_pending(&link, &args.name, "turn away");
    }
    let done = link.ask(link.client().deny(&args.name))?;
    println!(
        "{}",
        words_or(done.words, || format!("\"{}\" is turned away", args.name))
    );
    Ok(Exit::Ok)
}

/// Who belongs.
pub(super) fn members(place: &Place, format: Format) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    let view = link.ask(link.client().members())?;
    show(format, "hive.members/1", &view, text::members)?;
    Ok(Exit::Ok)
}

/// Removes a member, after its name was typed a second time.
pub(super) fn remove(place: &Place, args: &RemoveArgs) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    let view = link.ask(link.client().members())?;
    let member = find_member(&view, &args.name)?;
    let label = member.label.clone();
    if args.rehearsal.dry_run {
        println!("would remove \"{label}\": its connections close, and it learns nothing more");
        return Ok(Exit::Ok);
    }
    if !args.yes && !typed_again(&label, "remove")? {
        println!("not removed");
        return Ok(Exit::Ok);
    }
    // By its id: what was shown and confirmed, whatever it calls itself by now.
    let done = link.ask(link.client().remove(&member.node, args.compromised))?;
    println!(
        "{}",
        words_or(done.words, || format!("\"{label}\" is removed"))
    );
    Ok(Exit::Ok)
}

/// Calls this machine something else.
pub(super) fn label(place: &Place, args: &LabelArgs) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    if args.rehearsal.dry_run {
        let now = link.ask(link.client().status())?.label;
        println!(
            "would call this machine \"{}\" instead of \"{now}\"",
            args.label
        );
        return Ok(Exit::Ok);
    }
    link.ask(link.client().label(&args.label))?;
    println!("this machine is \"{}\" from now on", args.label.trim());
    Ok(Exit::Ok)
}

/// Who is heard on the network: asks once, listens, tells.
pub(super) fn nearby(place: &Place, format: Format) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    link.ask(link.client().seek())?;
    std::thread::sleep(LISTEN);
    let view = link.ask(link.client().nearby())?;
    show(format, "hive.nearby/1", &view, text::nearby)?;
    Ok(Exit::Ok)
}

fn rehearse_pending(link: &Link, name: &str, verb: &str) -> Result<Exit, Problem> {
    let machine = find_pending(&link.ask(link.client().pending())?, name)?;
    println!("would {verb} {machine}");
    Ok(Exit::Ok)
}

fn find_pending(view: &PendingView, name: &str) -> Result<String, Problem> {
    let called = |machine: &&PendingMachine| is_called(name, &machine.node, &machine.label);
    let found: Vec<&PendingMachine> = view.pending.iter().filter(called).collect();
    if let [machine] = found.as_slice() {
        return Ok(format!("\"{}\" ({})", machine.label, machine.words));
    }
    let waiting: Vec<String> = view
        .pending
        .iter()
        .map(|machine| format!("{} ({})", machine.label, machine.node))
        .collect();
    let known = if waiting.is_empty() {
        "no machine is waiting".to_owned()
    } else {
        format!("waiting now: {}", waiting.join(", "))
    };
    let what = format!("no single machine called \"{name}\" is waiting");
    Err(Problem::new(Exit::NotFound, "join.unknown", what)
        .known(known)
        .try_next("hive pending"))
}

pub(super) fn find_member<'a>(
    view: &'a MembersView,
    name: &str,
) -> Result<&'a MemberView, Problem> {
    let called = |member: &&MemberView| is_called(name, &member.node, &member.label);
    let found: Vec<&MemberView> = view.members.iter().filter(called).collect();
    if let [member] = found.as_slice() {
        return Ok(member);
    }
    let first = |node: &str| node.chars().take(8).collect::<String>();
    let labels: Vec<String> = view
        .members
        .iter()
        .map(|member| format!("{} ({})", member.label, first(&member.node)))
        .collect();
    Err(Problem::new(
        Exit::NotFound,
        "member.unknown",
        format!("no single member is called \"{name}\""),
    )
    .known(format!("members: {}", labels.join(", ")))
    .try_next("hive members"))
}

/// Removing cannot be taken back, so the name is typed twice; a script says `--yes`.
/// `verb` is what removes it.
pub(super) fn typed_again(label: &str, verb: &str) -> Result<bool, Problem> {
    if !std::io::stdin().is_terminal() {
        return Err(Problem::new(
            Exit::Usage,
            "remove.confirm",
            "removing a machine must be confirmed",
        )
        .known("a removed machine comes back only under a new key (there: hive leave)")
        .try_next(format!("hive {verb} {} --yes", text::quoted(label))));
    }
    let line = consent::typed(&format!(
        "A removed machine comes back only under a new key (there: hive leave).\nType \"{label}\" to remove it: "
    ))?;
    Ok(line.trim() == label)
}

fn words_or(words: String, otherwise: impl FnOnce() -> String) -> String {
    if words.is_empty() { otherwise() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_not_found_and_says_who_is_there() {
        let none = find_pending(&PendingView::default(), "lab-7").expect_err("nobody waits");
        assert_eq!(
            (none.exit, none.known.as_str()),
            (Exit::NotFound, "no machine is waiting")
        );
        let none = find_member(&MembersView::default(), "lab-7").expect_err("no members");
        assert_eq!(none.exit, Exit::NotFound);
    }

    #[test]
    fn a_label_that_looks_like_the_beginning_of_an_id_names_its_machine() {
        let member = |node: &str, label: &str| MemberView {
            node: node.to_owned(),
            label: label.to_owned(),
            owner: String::new(),
            role: Role::Member,
            here: false,
            online: true,
            statements: 0,
            forked: false,
            address: None,
            first_up_us: None,
        };
        let view = MembersView {
            members: vec![
                member("bd10e370aa", "climb joke"),
                member("77aa0011", "bd1"),
            ],
            ..MembersView::default()
        };
        let found = |name: &str| find_member(&view, name).map(|member| member.label.clone());
        assert_eq!(found("BD1").expect("by its label"), "bd1");
        assert_eq!(found("bd10").expect("by four digits"), "climb joke");
        assert!(found("").is_err() && found("77a").is_err());
        let twins = MembersView {
            members: vec![member("aaaa1111", "desk"), member("bbbb2222", "desk")],
            ..MembersView::default()
        };
        assert!(find_member(&twins, "desk").is_err(), "which of the two?");
    }
}
