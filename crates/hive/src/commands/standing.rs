//! Verbs about what a member may do and be: role, forgive, recovery-key, recover.

use std::io::{BufRead as _, IsTerminal as _};

use hive_mind::Role;
use hive_mind::reply::{MemberView, RecoveryWords};

use crate::args::{ForgiveArgs, Place, RecoverArgs, RecoveryKeyArgs, RoleArgs, RoleWord};
use crate::commands::hive::{find_member, typed_again};
use crate::link::Link;
use crate::problem::{Exit, Problem};
use crate::render::members::numbered;

/// More than any 24 words of the list need. A guess.
const BYTES_MAX: usize = 1_024;

/// Changes what a member may do.
pub(super) fn role(place: &Place, args: &RoleArgs) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    let member = found(&link, &args.name)?;
    let (role, may) = match args.role {
        RoleWord::Admin => (Role::Admin, "let machines in and remove later ones"),
        RoleWord::Member => (Role::Member, "share and learn, and let nobody in"),
    };
    if args.rehearsal.dry_run {
        println!("would let \"{}\" {may}", member.label);
        return Ok(Exit::Ok);
    }
    let done = link.ask(link.client().set_role(&args.name, role))?;
    println!("{}", done.words);
    Ok(Exit::Ok)
}

/// Takes a forker's data back.
pub(super) fn forgive(place: &Place, args: &ForgiveArgs) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    let member = found(&link, &args.name)?;
    if args.rehearsal.dry_run {
        let now = if member.forked {
            "does not count now"
        } else {
            "counts already"
        };
        println!(
            "would count what \"{}\" measured again; it {now}",
            member.label
        );
        return Ok(Exit::Ok);
    }
    let done = link.ask(link.client().forgive(&args.name))?;
    println!("{}", done.words);
    Ok(Exit::Ok)
}

/// Makes a recovery key and shows it, once, on a terminal: not into a file or a pipe by accident.
pub(super) fn recovery_key(place: &Place, args: RecoveryKeyArgs) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    if args.rehearsal.dry_run {
        println!("would found this machine's hive anew with a recovery key and show its 24 words");
        return Ok(Exit::Ok);
    }
    if !std::io::stdout().is_terminal() && !args.anywhere {
        return Err(Problem::new(
            Exit::Usage,
            "recovery.terminal",
            "a recovery key is shown on a terminal only",
        )
        .known("whoever has the words can remove every machine")
        .try_next("hive recovery-key --anywhere   (prints it all the same)"));
    }
    let view = link.ask(link.client().recovery_key())?;
    println!(
        "  Write these 24 words on paper, in this order. They are shown once and stored\n  \
         nowhere. Whoever has them can remove every machine of this hive.\n"
    );
    print!("{}", numbered(view.words.reveal()));
    println!("\n  If this machine is lost or stolen, on another one:  hive recover --remove NAME");
    Ok(Exit::Ok)
}

/// Acts with the words of the recovery key, which are read, never given as an argument: arguments are
/// seen by every user of a machine.
pub(super) fn recover(place: &Place, args: &RecoverArgs) -> Result<Exit, Problem> {
    let link = Link::new(place)?;
    let target = args.remove.as_deref();
    let label = target.map(|name| found(&link, name)).transpose()?;
    let label = label.map(|member| member.label);
    if args.rehearsal.dry_run {
        println!("would make this machine an admin");
        if let Some(label) = label {
            println!("would remove \"{label}\" and let everybody else in again");
        }
        return Ok(Exit::Ok);
    }
    if let Some(label) = &label
        && !args.yes
        && !typed_again(label, "recover --remove")?
    {
        println!("nothing was done");
        return Ok(Exit::Ok);
    }
    let words = read_words()?;
    let done = link.ask(link.client().recover(&words, target, args.compromised))?;
    println!("{}", done.words);
    Ok(Exit::Ok)
}

fn found(link: &Link, name: &str) -> Result<MemberView, Problem> {
    let view = link.ask(link.client().members())?;
    find_member(&view, name).cloned()
}

/// The words, from a terminal or a pipe, over as many lines as it takes; an empty line ends them too.
fn read_words() -> Result<RecoveryWords, Problem> {
    if std::io::stdin().is_terminal() {
        println!("Type the 24 words; an empty line ends them:");
    }
    let mut words = String::with_capacity(BYTES_MAX);
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|why| Problem::system("the words could not be read", &why))?;
        let over = words.len() + line.len() >= BYTES_MAX;
        if over || (line.trim().is_empty() && !words.is_empty()) {
            break;
        }
        words.push_str(line.trim());
        words.push(' ');
        if words.split_whitespace().count() >= 24 {
            break;
        }
    }
    Ok(RecoveryWords::new(words))
}
