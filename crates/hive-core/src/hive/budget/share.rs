//! How many bytes a day each author may cause, so that everything counted stays below what was promised.
//!
//! ```text
//! author = (promised × planned − fixed) / (2 × (members − 1)), planned = 95 % in a small hive, 75 % in a large one
//! fixed  = handshakes + mDNS + repair + audit + naming
//! ```
//!
//! Twice the others: of a batch, every other member receives a copy, and somebody sent each of those copies,
//! whether the author itself (in a small hive) or along a tree (in a large one). So a day of all authors'
//! batches costs a member, on average, 2 × (members − 1) × what one author may cause.

use serde::{Deserialize, Serialize};

use crate::hive::tree::ROUND_EVERY;
use crate::time::{Instant, Now, Span, WallTime};

/// What a message costs beyond its own bytes: 283 + 77 bytes for 200 of payload (`research/transport.md` 3.1,
/// acknowledgement and Ethernet header included).
pub const MESSAGE_BYTES: u64 = 160;

/// What the two kernels of a connection ask each other when they have not for [`ARP_LASTS`]: where the other's address
/// is, each once, and each answered, 42 bytes each. Counted on interfaces: 191 for each exchange of five members at
/// rest, whose words are minutes apart (some questions go to all), 84 for each message of twenty, where half of
/// the links are still known (decision 0047).
pub const ARP_BYTES: u64 = 4 * 42;
/// A kernel believes an address for 15 to 45 s (`base_reachable_time`), whatever was sent meanwhile: no datagram confirms it.
pub const ARP_LASTS: Span = Span::from_secs(30);

/// One connection, as one side counts it: 3 packets of 1,242 bytes for the handshake; 510 in short packets right
/// after it that carry no frame of ours (its end confirmed, session tickets, new connection ids, their acknowledgements:
/// 1,130 to 1,230 in all, of which three frames are counted for themselves); 160 for the closing of both ends. Counted
/// packet by packet on the interfaces of three members that were restarted (decision 0047).
pub const HANDSHAKE_BYTES: u64 = 3 * 1_242 + 510 + 160;

/// One question to the network, and one answer to it with one address. Counted on interfaces (`hive-lab bytes`).
pub const QUESTION_BYTES: u64 = 81;
/// See [`QUESTION_BYTES`].
pub const ANSWER_BYTES: u64 = 232;

/// A delta's fixed part, numbers and signature, and the author's key if somebody passes it on. Counted from the
/// encoding, rounded up.
pub const DELTA_BYTES: u64 = 80;
/// See [`DELTA_BYTES`].
pub const RELAYED_BYTES: u64 = 32;

/// What an entry adds to its value on the wire; less where an entry of the same batch said its id. Counted from
/// the encoding, rounded up.
pub const ENTRY_BYTES: u64 = 20;
/// See [`ENTRY_BYTES`].
pub const SAME_ID_BYTES: u64 = 5;

/// A day.
pub const DAY: Span = Span::from_secs(86_400);

/// What a member promises for a day, everything counted: in a small and in a large hive. Source: DESIGN 13.
const SMALL_BYTES_PER_DAY: u64 = 400_000;
const LARGE_BYTES_PER_DAY: u64 = 800_000;

/// Of which so much is planned with: the rest is for maps that are caught up, and in a large hive for what comes
/// twice and for members in the middle of the tree. A guess.
const PLANNED_PERCENT: u64 = 95;
const PLANNED_PERCENT_LARGE: u64 = 75;

/// A bucket holds so much of a day's bytes and earns the rest in a day: whatever 24 hours are looked at, a start
/// with a full bucket among them, they cost a day's bytes.
const BURST_PERCENT: i64 = 60;

/// Starts of a machine in a day, or wakes from sleep. A guess: one each morning (`research/transport.md` 5.2
/// counts two; the second costs some 30 kB).
const STARTS_PER_DAY: u64 = 1;

/// What all others hear when this machine's record is new: two announcements (RFC 6762 section 8.3). Counted on interfaces.
pub const ANNOUNCED_BYTES: u64 = 2 * 226;

/// What all others hear when a process ends in order: its record, with nothing to live. Counted on interfaces.
pub const GOODBYE_BYTES: u64 = 226;

/// Questions of the repair timer at rest, one's own and others': an interval of 30 minutes is over after 15 to
/// 30. In a small hive a question to which the answer is "yes" is answered once per connection.
const PROBES_PER_DAY: u64 = 2 * 64;
const PROBE_BYTES: u64 = MESSAGE_BYTES + ARP_BYTES + 18;
const SAME_BYTES: u64 = MESSAGE_BYTES + 2;

/// The daily audit, asked once and answered once: a mark of 8 bytes for each author, and 16 head ids of 17 bytes for
/// each of whom two members saw something else. Simulated days of 20 and 50 members had fewer than one of these in
/// a hundred, one of 5 had one in nine; one in twenty is planned with.
const AUDIT_BYTES_PER_AUTHOR: u64 = 2 * (8 + 16 * 17 / 20);

/// Rounds of naming news in a large hive (see `hive/tree.rs`), each a frame of half a dozen names on some four
/// links; what is named to others and what others name to us meet halfway.
const NAMING_BYTES_PER_DAY: u64 = DAY.0 / ROUND_EVERY.0 * 4 * (MESSAGE_BYTES + ARP_BYTES + 40);

/// An author may always cause one small batch a day, in however large a hive. A hive of 256 still stays below
/// the 1 MB of the specification with it; one of 1,000 does not.
const AUTHOR_BYTES_MIN: u64 = 450;

/// What a member sends and receives in a day without any news, in bytes.
#[must_use]
pub fn fixed_bytes_per_day(members: usize) -> u64 {
    let members = count(members);
    let others = members - 1;
    let (links, probe, naming) = if is_small(members) {
        (others, PROBE_BYTES, 0)
    } else {
        (6, PROBE_BYTES + SAME_BYTES, NAMING_BYTES_PER_DAY)
    };
    // Each connection is made anew once a day, at each start of this side and at each start of the other.
    let handshakes = links * (1 + 2 * STARTS_PER_DAY) * HANDSHAKE_BYTES;
    let asked = QUESTION_BYTES + others * ANSWER_BYTES;
    let answered = others * (QUESTION_BYTES + ANSWER_BYTES);
    let mdns = STARTS_PER_DAY * (asked + answered + members * (ANNOUNCED_BYTES + GOODBYE_BYTES));
    let audit = members * AUDIT_BYTES_PER_AUTHOR + 2 * (MESSAGE_BYTES + ARP_BYTES);
    handshakes + mdns + PROBES_PER_DAY * probe + audit + naming
}

/// What one author's batches may cost one receiver in a day, in bytes on the wire.
#[must_use]
pub fn author_bytes_per_day(members: usize) -> u64 {
    let planned = if is_small(count(members)) {
        SMALL_BYTES_PER_DAY / 100 * PLANNED_PERCENT
    } else {
        LARGE_BYTES_PER_DAY / 100 * PLANNED_PERCENT_LARGE
    };
    let copies = 2 * (count(members) - 1).max(1);
    let author = planned.saturating_sub(fixed_bytes_per_day(members)) / copies;
    author.max(AUTHOR_BYTES_MIN)
}

/// What the addresses cost, that one copy of a batch asks for. In a small hive the last word between two members
/// was minutes ago; in a large one every link carries everybody's news.
#[must_use]
pub fn arp_bytes_of_a_copy(members: usize) -> u64 {
    if is_small(count(members)) {
        ARP_BYTES
    } else {
        ARP_BYTES / 2
    }
}

/// A token bucket that holds three fifths of a day's bytes and earns the rest in a day. What must be said at once
/// may leave a debt as large as the bucket.
#[derive(Clone, Debug)]
pub struct Allowance {
    tokens: i64,
    capacity: i64,
    /// Earned in a day.
    income: i64,
    filled: Instant,
    /// Time for which the machine was off; it is earned for too.
    off: Span,
}

/// What a bucket held and when, as the disk keeps it: a start does not fill it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    tokens: i64,
    at: WallTime,
}

impl Allowance {
    /// A full bucket. It shrinks when it is known how large the hive is.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let (capacity, income) = split(author_bytes_per_day(1));
        Self {
            tokens: capacity,
            capacity,
            income,
            filled: now,
            off: Span(0),
        }
    }

    /// What the disk kept, and what was earned since. A calendar that went back earns nothing, one that went ahead a
    /// bucket at most.
    #[must_use]
    pub fn restored(kept: Kept, now: Now) -> Self {
        let mut allowance = Self::new(now.boot);
        let most = allowance.capacity;
        allowance.tokens = kept.tokens.clamp(-most, most);
        allowance.off = Span::from_ms(now.wall.0.saturating_sub(kept.at.0));
        allowance
    }

    /// For the disk.
    #[must_use]
    pub fn kept(&self, at: WallTime) -> Kept {
        let tokens = self.tokens;
        Kept { tokens, at }
    }

    /// Fills up for the time gone by; `times` the share of an author in a hive of so many members.
    pub fn fill(&mut self, members: usize, times: u64, now: Instant) {
        let day = author_bytes_per_day(members).saturating_mul(times);
        (self.capacity, self.income) = split(day);
        let gone = now.since(self.filled).0.saturating_add(self.off.0);
        let income = u128::try_from(self.income).unwrap_or(0);
        let earned = income * u128::from(gone) / u128::from(DAY.0);
        if earned > 0 {
            // The part of a byte that is on its way is not lost, however often this is called.
            let spent = (earned * u128::from(DAY.0)).div_ceil(income.max(1));
            let rest = u128::from(gone).saturating_sub(spent);
            let rest = u64::try_from(rest).unwrap_or(0);
            self.filled = Instant(now.0.saturating_sub(rest));
            self.off = Span(0);
        }
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(earned);
        self.tokens = self.tokens.clamp(-self.capacity, self.capacity);
    }

    /// Whether a cost can be paid and so many percent of a bucket be left. A full bucket pays anything.
    #[must_use]
    pub fn affords(&self, cost: u64, left_percent: u64) -> bool {
        self.tokens >= self.needed(cost, left_percent)
    }

    /// Whether there is so much, be the bucket full or not.
    #[must_use]
    pub fn has(&self, cost: u64) -> bool {
        self.tokens >= signed(cost)
    }

    /// Pays.
    pub fn pay(&mut self, cost: u64) {
        let left = self.tokens.saturating_sub(signed(cost));
        self.tokens = left.max(-self.capacity);
    }

    /// When a cost can be paid.
    #[must_use]
    pub fn ready_at(&self, cost: u64, left_percent: u64, now: Instant) -> Instant {
        let missing = self.needed(cost, left_percent).saturating_sub(self.tokens);
        let missing = u64::try_from(missing).unwrap_or(0);
        // Never at this very moment: the caller has just found that it cannot be paid.
        now.after(self.time_to_earn(missing).max(Span::from_secs(1)))
    }

    /// How long it takes to earn so much.
    #[must_use]
    pub fn time_to_earn(&self, bytes: u64) -> Span {
        let income = u128::try_from(self.income.max(1)).unwrap_or(1);
        let span = u128::from(bytes) * u128::from(DAY.0) / income;
        Span(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// What a scarce bucket earns before it is nearly full: waiting for more than that would waste it.
    #[must_use]
    pub fn worth_waiting_for(&self) -> u64 {
        u64::try_from(self.capacity / 4 * 3).unwrap_or(0)
    }

    /// Whether less than an eighth of a bucket is left.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.tokens < self.capacity / 8
    }

    /// Whether more was spent than there was.
    #[must_use]
    pub fn is_overdrawn(&self) -> bool {
        self.tokens < 0
    }

    fn needed(&self, cost: u64, left_percent: u64) -> i64 {
        let left = self.capacity / 100 * signed(left_percent);
        signed(cost).saturating_add(left).min(self.capacity)
    }
}

/// What a bucket holds, and what it earns in a day.
fn split(day: u64) -> (i64, i64) {
    let day = signed(day);
    let burst = day / 100 * BURST_PERCENT;
    (burst, day - burst)
}

fn is_small(members: u64) -> bool {
    members <= count(crate::hive::neighbours::MESH_MEMBERS_MAX)
}

pub(super) fn count(members: usize) -> u64 {
    u64::try_from(members).unwrap_or(u64::MAX).clamp(1, 1 << 20)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_stays_below_what_was_promised() {
        for (members, promised) in [
            (2, 400),
            (5, 400),
            (8, 400),
            (9, 800),
            (20, 800),
            (50, 800),
            (100, 800),
        ] {
            let others = count(members) - 1;
            let author = author_bytes_per_day(members);
            let day = fixed_bytes_per_day(members) + 2 * others * author;
            assert!(
                day <= promised * 1_000 * PLANNED_PERCENT / 100,
                "{members}: {day}"
            );
            // And it is worth something: some batches of two small entries for everybody.
            let batch = MESSAGE_BYTES + DELTA_BYTES + 2 * (ENTRY_BYTES + 40);
            assert!(author >= 3 * batch, "{members}: {author}");
        }
        // The largest hive is still below the specification's megabyte.
        let day = fixed_bytes_per_day(256) + 2 * 255 * author_bytes_per_day(256);
        assert!(day < 1_000_000, "{day}");
    }

    #[test]
    fn the_shares_are_those_of_the_record() {
        let record = include_str!("../../../../../docs/decisions/0018-an-authors-share.md");
        for members in [5, 20, 50, 100] {
            let tenths = (author_bytes_per_day(members) + 50) / 100;
            let told = alloc::format!("{}.{} kB among {members}", tenths / 10, tenths % 10);
            assert!(record.contains(&told), "{told}");
        }
        let beyond = alloc::format!("{MESSAGE_BYTES} bytes beyond its own, and {ARP_BYTES} ");
        assert!(record.contains(&beyond), "{beyond}");
        let handshakes = HANDSHAKE_BYTES / 1_000;
        let handshakes = alloc::format!("{handshakes},{:03} bytes", HANDSHAKE_BYTES % 1_000);
        assert!(record.contains(&handshakes), "{handshakes}");
    }

    #[test]
    fn a_bucket_holds_a_day_and_a_debt_is_paid_back() {
        let mut allowance = Allowance::new(Instant(0));
        allowance.fill(5, 1, Instant(0));
        let day = author_bytes_per_day(5);
        assert!(allowance.affords(day, 0) && !allowance.is_scarce());
        allowance.pay(3 * day);
        assert!(allowance.is_overdrawn());
        assert!(!allowance.affords(1, 0));
        let soon = Instant(0).after(Span(DAY.0 / 2));
        allowance.fill(5, 1, soon);
        assert!(
            !allowance.affords(1, 0),
            "the debt of a day is paid back first"
        );
        let ready = allowance.ready_at(400, 0, soon);
        allowance.fill(5, 1, ready.after(Span::from_secs(1)));
        assert!(allowance.affords(400, 0));
        assert!(!allowance.affords(400, 50));
        allowance.fill(5, 1, Instant(100 * DAY.0));
        assert!(allowance.affords(day, 0));
        // More than a day's worth is paid by a full bucket, or it would wait for ever.
        assert!(allowance.affords(5 * day, 50));
    }

    #[test]
    fn a_start_does_not_fill_the_bucket() {
        const MS: u64 = 1_000;
        let began = WallTime(1_800_000_000_000);
        let mut allowance = Allowance::new(Instant(0));
        allowance.fill(5, 1, Instant(0));
        let (burst, day) = (signed(author_bytes_per_day(5)) * 6 / 10, DAY.0 / MS);
        allowance.pay(author_bytes_per_day(5));
        let kept = allowance.kept(began);
        let after = |ms: u64, boot: u64| {
            let wall = WallTime(began.0 + ms);
            let boot = Instant(boot);
            let mut again = Allowance::restored(kept, Now { boot, wall });
            again.fill(5, 1, boot);
            again.tokens
        };
        assert_eq!(after(0, 0), kept.tokens);
        assert!(kept.tokens < 0);
        // A day off earns what a day on does, and no more than a bucket holds.
        let income = allowance.income;
        assert_eq!(after(day, 17), kept.tokens + income);
        assert!((after(1_000 * day, 0) - burst).abs() < 100);
        // A calendar that was set back: nothing, but what is earned from now on.
        let then = WallTime(began.0 - day);
        let boot = Instant(DAY.0);
        let mut again = Allowance::restored(kept, Now { boot, wall: then });
        again.fill(5, 1, boot);
        assert_eq!(again.tokens, kept.tokens);
        again.fill(5, 1, Instant(2 * DAY.0));
        assert_eq!(again.tokens, kept.tokens + income);
        // Nonsense on the disk is bounded by the bucket.
        let tokens = i64::MIN;
        let wild = Kept { tokens, at: began };
        let wall = WallTime(u64::MAX);
        let mut again = Allowance::restored(wild, Now { boot, wall });
        again.fill(5, 1, boot);
        assert!(again.tokens <= allowance.capacity && again.tokens > 0);
    }
}
