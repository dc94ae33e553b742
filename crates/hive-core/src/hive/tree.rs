//! The push tree of a large hive: news is sent at once along a tree, and only named to everybody else.
//!
//! Source: Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees" (2007), called Plumtree. Every link begins
//! as a branch of the tree; who receives something twice prunes the link it came by later, and what is left is
//! a tree. Along the other links only the names of news travel, many in one frame; who hears a name and not
//! the news grafts that link into the tree again. Differs from the paper: what is missing is a state of an
//! author's map and not a message, so only the newest per author is remembered; and a member that loses a
//! branch grafts its other links at once, because the transport tells it.
//!
//! In a hive of up to [`MESH_MEMBERS_MAX`](crate::hive::neighbours::MESH_MEMBERS_MAX) members everybody hears
//! the author itself and nothing is relayed, but for one: who has no connection to a member for a while asks
//! the others for that member's news. Who hears it twice prunes that author from the link it came by later.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::hive::Hive;
use crate::hive::outside::Lane;
use crate::id::NodeId;
use crate::time::{Instant, Now, Span};
use crate::wire::{Delta, Frame, HINTS_MAX, Have, Hint};

/// A longer delta is named and not sent: a whole map should cross a link once. A guess: some twenty entries.
const PUSH_BYTES_MAX: usize = 4 * 1024;

/// Names of news wait so long for company. A guess: the greater part of the way of an entry that a cut branch
/// made late, and above the way through a tree on a LAN.
const HINT_AFTER: Span = Span::from_ms(250);

/// News that came at most so long after other news may still be on its way together with it: nothing is
/// pruned for its sake. A guess: five times the way through a tree on a LAN.
const ALONE: Span = Span::from_ms(50);

/// So many pieces of news that came twice are put up with for that in a row, of some 350 bytes each. A guess:
/// twenty members that write at once, along three links too many.
const SPARED_MAX: u32 = 64;

/// Rounds of naming that may follow each other at once, and one more per this span: 36 a day. A round is a
/// frame on each of some four links, at 210 bytes and 7 for each name: 30 kB a day, and as much again is heard.
const ROUNDS_MAX: u64 = 8;
pub(in crate::hive) const ROUND_EVERY: Span = Span::from_secs(2_400);

/// News that was named is asked for when it has not come by then: a guess, five times the way through a tree
/// of a hundred members on a LAN; and asked of the next that named it after this, a guess too.
const GRAFT_AFTER: Span = Span::from_ms(250);
const GRAFT_AGAIN: Span = Span::from_secs(2);

/// A member with more branches than this parts with one. A tree has two at each of its members on average, and whoever
/// has three times as many carries three times the bytes. A guess: three make a tree of a hundred six steps deep.
const BRANCHES_MAX: usize = 3;

/// The tree has not changed for so long, nor for so many pieces of news, before a branch is parted with, and then the
/// next: what is too much may be pruned by itself. Guesses.
const SETTLED: Span = Span::from_secs(60);
const SETTLED_NEWS: u32 = 16;

/// News goes so much later to a branch that is parted with, so that whatever other way there is comes first. A
/// guess: twice the way through a tree of a hundred members on a LAN.
const LATE: Span = Span::from_ms(100);
/// News that may wait for that; more goes at once.
const LATE_MAX: usize = 16;

/// Members remembered that named the same news: a member has no more neighbours than that.
const TELLERS_MAX: usize = 12;

/// Names in a row that a peer could not make good. From then on its names are not heard until it brings
/// news. A guess.
const VAIN_MAX: u32 = 8;

/// A version of an author's map.
type Version = (u32, u64);

/// Where one peer stands.
#[derive(Debug, Default)]
pub(super) struct Branch {
    /// Not a branch of the tree: news is only named.
    lazy: bool,
    /// What is to be named, the newest per author.
    hints: BTreeMap<NodeId, Version>,
    /// Authors whose maps were asked for: what comes of them is no push.
    asked: BTreeSet<NodeId>,
    /// Questions after names it gave that brought nothing so far.
    vain: u32,
    /// When it last brought something first.
    brought_at: Instant,
    /// We have too many branches and part with this one: news goes there late.
    parting: bool,
    /// That news.
    late: Vec<Delta>,
    /// When it last told us that it parts with us.
    told_at: Option<Instant>,
    /// In a small hive: authors whose news the peer does not hear themselves.
    relayed: BTreeSet<NodeId>,
}

/// What all peers together named.
#[derive(Debug)]
pub(super) struct Tree {
    missing: BTreeMap<NodeId, Missing>,
    hints_at: Option<Instant>,
    /// The moment up to which rounds of naming are paid for.
    paid_until: Instant,
    /// The next round is not paid for: the tree has just changed, or what is named was too long to be sent.
    free_round: bool,
    /// When news was last under way, and when some was while other news still was.
    news_at: Option<Instant>,
    crowded_at: Option<Instant>,
    /// Links that were not pruned because of that, since news last travelled alone.
    spared: u32,
    /// When the tree last changed here, and what went along it since.
    changed_at: Instant,
    news_since: u32,
    /// When late news goes out.
    late_at: Option<Instant>,
}

/// News that was named and has not come.
#[derive(Debug)]
struct Missing {
    version: Version,
    tellers: VecDeque<NodeId>,
    at: Instant,
}

impl Branch {
    /// Notes that an author's map was asked for.
    pub(super) fn ask(&mut self, author: NodeId) {
        self.asked.insert(author);
    }
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            missing: BTreeMap::new(),
            hints_at: None,
            paid_until: Instant::START,
            free_round: false,
            news_at: None,
            crowded_at: None,
            spared: 0,
            changed_at: Instant::START,
            news_since: 0,
            late_at: None,
        }
    }

    /// Which links are branches has changed, or which links there are.
    pub(super) fn changed(&mut self, now: Now) {
        self.changed_at = now.boot;
        self.news_since = 0;
    }

    fn is_settled(&self, now: Now) -> bool {
        now.boot.since(self.changed_at) >= SETTLED && self.news_since >= SETTLED_NEWS
    }
}

impl Hive {
    /// Sends news on: one's own, or what was first heard `from` a peer.
    pub(super) fn spread(&mut self, now: Now, delta: &Delta, from: Option<NodeId>) {
        let frame = Frame::Delta(delta.clone());
        if self.is_mesh() {
            let author = delta.author;
            let branches = self.links.branches();
            let hear = branches.filter(|(peer, branch)| {
                let asked = branch.relayed.contains(&author) && *peer != author;
                from.is_none() || (asked && Some(*peer) != from)
            });
            let hear: Vec<NodeId> = hear.map(|(peer, _)| peer).collect();
            for peer in hear {
                self.send(peer, Lane::Urgent, &frame);
            }
            return;
        }
        let version = (delta.incarnation, delta.seq);
        self.note_traffic(now);
        let short = frame.encode().len() <= PUSH_BYTES_MAX;
        let mut branches: Vec<_> = self
            .links
            .branches()
            .filter(|(peer, _)| Some(*peer) != from)
            .collect();
        // A member without any branch would only name its own news.
        let bare = from.is_none() && branches.iter().all(|(_, branch)| branch.lazy);
        let mut eager = Vec::new();
        for (peer, branch) in &mut branches {
            if short && (bare || !branch.lazy) {
                if branch.parting && branch.late.len() < LATE_MAX {
                    branch.late.push(delta.clone());
                    self.tree.late_at.get_or_insert(now.boot.after(LATE));
                } else {
                    eager.push(*peer);
                }
            } else {
                branch.hints.insert(delta.author, version);
                self.tree.hints_at.get_or_insert(now.boot.after(HINT_AFTER));
                self.tree.free_round |= !short;
            }
        }
        for peer in eager {
            self.send(peer, Lane::Urgent, &frame);
        }
        self.part_with_a_branch(now);
    }

    /// Who has too many branches parts with the one that brought least lately: most likely a leaf. It is told, so that
    /// it tries its other links, and from now on hears from here late. If news reaches it another way, either end finds
    /// that it comes twice, and prunes this link as any other; if not, nothing is lost, and it is another one's turn.
    fn part_with_a_branch(&mut self, now: Now) {
        self.tree.news_since = self.tree.news_since.saturating_add(1);
        if !self.tree.is_settled(now) || self.branch_count() <= BRANCHES_MAX {
            return;
        }
        let mut eager: Vec<_> = self.links.branches().filter(|(_, it)| !it.lazy).collect();
        // Whoever was tried is the last to be tried again.
        eager.sort_by_key(|(_, branch)| (branch.parting, branch.brought_at));
        for (_, branch) in &mut eager {
            branch.parting = false;
        }
        let Some((peer, branch)) = eager.into_iter().next() else {
            return;
        };
        branch.parting = true;
        self.tree.changed(now);
        let parting = Frame::Prune(alloc::vec![self.me]);
        self.send(peer, Lane::Urgent, &parting);
    }

    /// Late news goes out, where it has not come by another way.
    fn send_late(&mut self, now: Now) {
        self.tree.late_at = None;
        let mut out = Vec::new();
        for (peer, branch) in self.links.branches() {
            for delta in core::mem::take(&mut branch.late) {
                if branch.lazy {
                    let version = (delta.incarnation, delta.seq);
                    branch.hints.insert(delta.author, version);
                    self.tree.hints_at.get_or_insert(now.boot.after(HINT_AFTER));
                } else {
                    out.push((peer, delta));
                }
            }
        }
        for (peer, delta) in out {
            self.send(peer, Lane::Urgent, &Frame::Delta(delta));
        }
    }

    fn branch_count(&mut self) -> usize {
        self.links.branches().filter(|(_, it)| !it.lazy).count()
    }

    /// News is on its way from now on; whether it travels alone is known afterwards.
    fn note_traffic(&mut self, now: Now) {
        let recent = |at: Instant| now.boot.since(at) < ALONE;
        if self.tree.news_at.replace(now.boot).is_some_and(recent) {
            self.tree.crowded_at = Some(now.boot);
        } else {
            self.tree.spared = 0;
        }
    }

    /// A delta came from a peer; whether it was asked for.
    pub(super) fn note_delta(&mut self, peer: NodeId, delta: &Delta) -> bool {
        let version = (delta.incarnation, delta.seq);
        let Some(branch) = self.links.branch(peer) else {
            return false;
        };
        branch.knows(delta.author, version);
        branch.asked.remove(&delta.author)
    }

    /// That delta was news: who brings it first is a branch, and is told so if it was pruned before.
    pub(super) fn note_news(&mut self, now: Now, peer: NodeId, author: NodeId, asked: bool) {
        let is_mesh = self.is_mesh();
        if let Some(branch) = self.links.branch(peer) {
            branch.vain = 0;
            branch.brought_at = now.boot;
            if branch.lazy && !asked {
                branch.lazy = false;
                if !is_mesh {
                    self.send(peer, Lane::Urgent, &Frame::Graft(Vec::new()));
                }
            }
        }
        let held = self.held(author);
        if self
            .tree
            .missing
            .get(&author)
            .is_some_and(|missing| missing.version <= held)
        {
            self.tree.missing.remove(&author);
        }
    }

    /// Something was pushed that was held already: the link it came by is no branch. The last one is kept.
    ///
    /// Differs from the paper: where several pieces of news are on their way at the same time nothing is pruned.
    /// Each of two could prune the link that the other came by first, and somebody is cut off.
    pub(super) fn prune(&mut self, now: Now, peer: NodeId, author: NodeId) {
        if self.is_mesh() {
            if peer != author {
                self.send(peer, Lane::Urgent, &Frame::Prune(alloc::vec![author]));
            }
            return;
        }
        let crowded = self.tree.crowded_at;
        let crowded = crowded.is_some_and(|at| now.boot.since(at) < ALONE);
        if crowded && self.tree.spared < SPARED_MAX {
            self.tree.spared += 1;
            return;
        }
        let eager = self.branch_count();
        let Some(branch) = self.links.branch(peer) else {
            return;
        };
        // Where this end is pruned already, the other end has not heard of it, or has grafted meanwhile.
        if branch.lazy || eager > 1 {
            branch.lazy = true;
            branch.parting = false;
            self.tree.changed(now);
            self.tree.free_round = true;
            self.send(peer, Lane::Urgent, &Frame::Prune(Vec::new()));
        }
    }

    pub(super) fn on_prune(&mut self, now: Now, peer: NodeId, authors: &[NodeId]) {
        let is_mesh = self.is_mesh();
        let Some(branch) = self.links.branch(peer) else {
            return;
        };
        if !is_mesh && authors == [peer] {
            // Nobody honest parts with us more often.
            let lately = |at: Instant| now.boot.since(at) < SETTLED;
            if !branch.told_at.is_some_and(lately) {
                branch.told_at = Some(now.boot);
                self.regrow(now, true);
            }
            return;
        }
        branch.lazy |= authors.is_empty();
        branch.parting &= !branch.lazy;
        branch.relayed.retain(|author| !authors.contains(author));
        self.tree.changed(now);
        self.tree.free_round = true;
    }

    pub(super) fn on_graft(&mut self, now: Now, peer: NodeId, wants: &[Have]) {
        self.tree.changed(now);
        let authors = wants.iter().map(|want| want.author);
        let authors: Vec<NodeId> = authors.filter(|author| self.is_allowed(*author)).collect();
        let is_mesh = self.is_mesh();
        if let Some(branch) = self.links.branch(peer) {
            branch.lazy = false;
            if is_mesh {
                branch.relayed.extend(authors);
            }
        }
        self.on_want(peer, wants);
    }

    /// Asks peers of a small hive for the news of members that this machine cannot hear itself.
    pub(super) fn ask_around(&mut self, peers: &[NodeId], authors: &[NodeId]) {
        let wants: Vec<Have> = authors
            .iter()
            .map(|author| {
                let (incarnation, seq) = self.held(*author);
                Have {
                    author: *author,
                    incarnation,
                    seq,
                }
            })
            .collect();
        for peer in peers {
            if !wants.is_empty() {
                self.send(*peer, Lane::Urgent, &Frame::Graft(wants.clone()));
            }
        }
    }

    /// A peer named what it holds.
    pub(super) fn on_hints(&mut self, now: Now, peer: NodeId, hints: &[Hint]) {
        let Some(branch) = self.links.branch(peer) else {
            return;
        };
        if branch.vain >= VAIN_MAX {
            return;
        }
        for hint in hints {
            let version = (hint.incarnation, hint.seq);
            for author in self.authors_beginning(hint.author) {
                if let Some(branch) = self.links.branch(peer) {
                    branch.knows(author, version);
                }
                if version <= self.held(author) || self.is_sealed_below(author, version) {
                    continue;
                }
                let missing = self.tree.missing.entry(author).or_insert(Missing {
                    version,
                    tellers: VecDeque::new(),
                    at: now.boot.after(GRAFT_AFTER),
                });
                missing.version = missing.version.max(version);
                if missing.tellers.len() < TELLERS_MAX && !missing.tellers.contains(&peer) {
                    missing.tellers.push_back(peer);
                }
            }
        }
    }

    /// A peer is gone, or parts with us. If it was a branch, something may be cut off: every other link becomes one,
    /// and the next news prunes what is too much.
    pub(super) fn regrow(&mut self, now: Now, was_eager: bool) {
        if self.is_mesh() || !was_eager {
            return;
        }
        self.tree.changed(now);
        let mut grafted = Vec::new();
        for (peer, branch) in self.links.branches() {
            if branch.lazy {
                branch.lazy = false;
                grafted.push(peer);
            }
        }
        for peer in grafted {
            self.send(peer, Lane::Urgent, &Frame::Graft(Vec::new()));
        }
    }

    /// Whether a peer is a branch of the tree.
    pub(super) fn is_eager(&mut self, peer: NodeId) -> bool {
        self.links.branch(peer).is_some_and(|branch| !branch.lazy)
    }

    pub(super) fn tree_wake(&self) -> Option<Instant> {
        let missing = self.tree.missing.values().map(|missing| missing.at);
        let named = missing.chain(self.tree.hints_at);
        named.chain(self.tree.late_at).min()
    }

    pub(super) fn on_tree_time(&mut self, now: Now) {
        let due = |missing: &Missing| missing.at <= now.boot;
        let overdue: Vec<NodeId> = self
            .tree
            .missing
            .iter()
            .filter(|(_, missing)| due(missing))
            .map(|(author, _)| *author)
            .collect();
        for author in overdue {
            self.ask_for_missing(now, author);
        }
        if self.tree.late_at.is_some_and(|at| at <= now.boot) {
            self.send_late(now);
        }
        if self.tree.hints_at.is_some_and(|at| at <= now.boot) {
            self.name_news(now);
        }
    }

    fn ask_for_missing(&mut self, now: Now, author: NodeId) {
        let held = self.held(author);
        let Some(missing) = self.tree.missing.get_mut(&author) else {
            return;
        };
        if missing.version <= held {
            self.tree.missing.remove(&author);
            return;
        }
        missing.at = now.boot.after(GRAFT_AGAIN);
        while let Some(peer) = missing.tellers.pop_front() {
            let Some(branch) = self.links.branch(peer) else {
                continue;
            };
            branch.lazy = false;
            branch.vain += 1;
            branch.asked.insert(author);
            let (incarnation, seq) = held;
            let want = Have {
                author,
                incarnation,
                seq,
            };
            self.send(peer, Lane::Urgent, &Frame::Graft(alloc::vec![want]));
            return;
        }
        // Nobody made it good: the timer finds what is really missing.
        self.tree.missing.remove(&author);
        self.reset_repair(now);
    }

    /// Names what waits to be named, when a round is paid for. One is free after each change of the tree, so that
    /// whoever that cut off hears of it at once.
    fn name_news(&mut self, now: Now) {
        let paid_until = self.tree.paid_until.max(now.boot);
        let free = core::mem::take(&mut self.tree.free_round);
        if !free && paid_until.since(now.boot).0 > ROUND_EVERY.0 * (ROUNDS_MAX - 1) {
            let credit = Span(ROUND_EVERY.0 * (ROUNDS_MAX - 1));
            self.tree.hints_at = Some(Instant(paid_until.0.saturating_sub(credit.0)));
            return;
        }
        self.tree.hints_at = None;
        let mut frames = Vec::new();
        for (peer, branch) in self.links.branches() {
            let hints = core::mem::take(&mut branch.hints);
            let lines: Vec<Hint> = hints.into_iter().map(hint).collect();
            frames.extend(lines.chunks(HINTS_MAX).map(|lines| (peer, lines.to_vec())));
        }
        if !free && !frames.is_empty() {
            self.tree.paid_until = paid_until.after(ROUND_EVERY);
        }
        for (peer, lines) in frames {
            self.send(peer, Lane::Bulk, &Frame::IHave(lines));
        }
    }

    /// The version of an author's map that is held; zeros = none.
    pub(super) fn held(&self, author: NodeId) -> Version {
        let map = self.store.map(author);
        map.map_or((0, 0), |map| (map.head().incarnation, map.head().seq))
    }

    /// Stored authors whose keys begin so: one, as good as always.
    fn authors_beginning(&self, first: [u8; 4]) -> Vec<NodeId> {
        let from = self.allowed.partition_point(|node| node.0[..4] < first[..]);
        let like = self.allowed[from..].iter();
        let like = like.take_while(|node| node.0[..4] == first);
        like.copied()
            .filter(|author| self.roster.stores(*author))
            .collect()
    }
}

impl Branch {
    /// The peer holds this: it need not be named to it.
    fn knows(&mut self, author: NodeId, version: Version) {
        if self.hints.get(&author).is_some_and(|told| *told <= version) {
            self.hints.remove(&author);
        }
        let known = |late: &Delta| late.author == author && (late.incarnation, late.seq) <= version;
        self.late.retain(|late| !known(late));
    }
}

fn hint((author, (incarnation, seq)): (NodeId, Version)) -> Hint {
    let mut first = [0; 4];
    first.copy_from_slice(&author.0[..4]);
    Hint {
        author: first,
        incarnation,
        seq,
    }
}
