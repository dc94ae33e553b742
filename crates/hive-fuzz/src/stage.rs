//! One real node on a stage: a disk that is always quick, a clock that the script moves, and every output
//! handed back to be judged.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hive_core::event::{Command, Input, Output};
use hive_core::hive::outside::{HiveEffect, Record, Table};
use hive_core::hive::store::{AuthorMap, disk};
use hive_core::id::{CommandId, HiveId, NodeId};
use hive_core::machine::Containers;
use hive_core::machine::facts::{MachineFacts, Rights};
use hive_core::node::{Node, NodeConfig};
use hive_core::reply::{Mode, Reply};
use hive_core::statement::Label;
use hive_core::time::{Instant, Now, Span, WallTime};
use hive_core::wire::Genesis;

use crate::forge::Who;

/// What a machine saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk(pub(crate) BTreeMap<(Table, Vec<u8>), Vec<u8>>);

/// A node and its disk.
pub(crate) struct Player {
    node: Node,
    pub(crate) disk: Disk,
    boot: u64,
    wake: Option<Instant>,
    commands: u64,
}

/// Outputs of one input at most. A guess far above what a frame can cause; a node that never falls silent
/// would hang the daemon.
const OUTPUTS_MAX: usize = 100_000;

impl Disk {
    /// All records, as a node reads them at start.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.0.iter().map(record).collect()
    }

    pub(crate) fn write(&mut self, records: &[Record]) {
        for record in records {
            let place = (record.table, record.key.clone());
            match &record.value {
                Some(value) => self.0.insert(place, value.clone()),
                None => self.0.remove(&place),
            };
        }
    }

    /// A single value.
    pub(crate) fn meta(&self, key: &[u8]) -> Option<&[u8]> {
        let value = self.0.get(&(Table::Meta, key.to_vec()));
        value.map(Vec::as_slice)
    }

    pub(crate) fn genesis(&self) -> Genesis {
        postcard::from_bytes(self.meta(b"genesis").expect("a hive")).expect("a genesis")
    }

    /// One author's map as it lies here; none if nothing of it does. Panics if it is damaged.
    pub(crate) fn map(&self, hive: HiveId, author: NodeId) -> Option<AuthorMap> {
        let mine = |(table, key): &(Table, Vec<u8>)| {
            matches!(table, Table::Heads | Table::Entries) && key.starts_with(&author.0)
        };
        let records: Vec<Record> = self
            .0
            .iter()
            .filter(|(at, _)| mine(at))
            .map(record)
            .collect();
        let (store, damaged) = disk::restore(hive, &records);
        assert_eq!(damaged, [], "a map was saved that does not hold together");
        store.map(author).cloned()
    }
}

impl Player {
    /// Starts a node from a disk; what it wanted at start comes with it.
    pub(crate) fn start(who: Who, disk: Disk, boot: u64) -> (Self, Vec<Output>) {
        let config = NodeConfig {
            key: who.key(),
            facts: MachineFacts {
                cores: 4,
                kernel: (6, 12),
                autogroup: true,
                pressure: true,
                rights: Rights::default(),
                uid: 1_000,
            },
            mode: Mode::Observe,
            label: Some(Label::new(&format!("machine {}", who as u8)).expect("a label")),
            protect: Vec::new(),
            never: Vec::new(),
            containers: Containers::default(),
            peers: Vec::new(),
        };
        let mut seed = who.secret();
        seed[..8].copy_from_slice(&boot.to_le_bytes());
        let node = Node::new(config, &disk.records(), seed, now_at(boot));
        let mut this = Self {
            node,
            disk,
            boot,
            wake: None,
            commands: 0,
        };
        let outputs = this.drain();
        (this, outputs)
    }

    pub(crate) fn boot(&self) -> u64 {
        self.boot
    }

    /// One input and everything that follows from it, saves answered at once.
    pub(crate) fn feed(&mut self, input: Input) -> Vec<Output> {
        self.node.handle(now_at(self.boot), input);
        self.drain()
    }

    /// A command and its answer.
    pub(crate) fn ask(&mut self, command: Command) -> (Option<Reply>, Vec<Output>) {
        self.commands += 1;
        let id = CommandId(self.commands);
        let outputs = self.feed(Input::Command { id, command });
        let reply = outputs.iter().find_map(|output| match output {
            Output::Reply { id: other, reply } if *other == id => Some(reply.clone()),
            _ => None,
        });
        (reply, outputs)
    }

    /// Lets time pass; the node is woken when it wants to be, but no more than a few times.
    pub(crate) fn pass(&mut self, span: Span) -> Vec<Output> {
        let end = self.boot.saturating_add(span.0);
        let mut outputs = Vec::new();
        for _ in 0..8 {
            let Some(wake) = self.wake.filter(|wake| wake.0 <= end) else {
                break;
            };
            self.boot = self.boot.max(wake.0);
            outputs.extend(self.feed(Input::TimeoutReached));
        }
        self.boot = end;
        outputs.extend(self.feed(Input::TimeoutReached));
        outputs
    }

    fn drain(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        let mut saves = std::collections::VecDeque::new();
        loop {
            while let Some(output) = self.node.poll() {
                match &output {
                    Output::Hive(HiveEffect::Save { id, records }) => {
                        self.disk.write(records);
                        saves.push_back(*id);
                    }
                    Output::WakeAt(at) => self.wake = Some(*at),
                    _ => {}
                }
                outputs.push(output);
                assert!(outputs.len() < OUTPUTS_MAX, "the node never falls silent");
            }
            let Some(id) = saves.pop_front() else {
                return outputs;
            };
            self.node.handle(now_at(self.boot), Input::Saved(id));
        }
    }
}

fn record(((table, key), value): (&(Table, Vec<u8>), &Vec<u8>)) -> Record {
    Record {
        table: *table,
        key: key.clone(),
        value: Some(value.clone()),
    }
}

/// Both clocks, which run together.
fn now_at(boot: u64) -> Now {
    Now {
        boot: Instant(boot),
        wall: WallTime(1_700_000_000_000 + boot / 1_000),
    }
}

/// Where somebody is.
pub(crate) fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 4_483).into()
}

/// Records that outputs saved.
pub(crate) fn saved(outputs: &[Output]) -> impl Iterator<Item = &Record> {
    outputs.iter().flat_map(|output| match output {
        Output::Hive(HiveEffect::Save { records, .. }) => records.as_slice(),
        _ => &[],
    })
}
