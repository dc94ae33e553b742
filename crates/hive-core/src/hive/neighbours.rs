//! Whom a member keeps a connection with: everybody in a small hive, six in a large one.
//!
//! A large hive's members stand on three rings, each in an order of its own that only the hive's id and the
//! members' keys decide. A member's neighbours are the one before and the one after it on each ring. One ring
//! alone connects everybody, so the graph is connected by construction and not only probably; three random
//! rings together make short ways (the union of random Hamiltonian cycles is an expander with overwhelming
//! probability). Both ends compute the same, so nothing is negotiated; who is away is stepped over, by both
//! sides alike.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::id::{HiveId, NodeId};

/// Up to so many members everybody is connected with everybody. Source: DESIGN section 7.
pub const MESH_MEMBERS_MAX: usize = 8;

/// Rings in a larger hive: twice as many neighbours. Source: DESIGN section 7 (6 neighbours).
pub const RINGS: usize = 3;

/// Members that are away and stepped over, but still looked for, on one side of one ring. The others come by
/// themselves when they return: it is they who start anew. A guess: each costs a dial now and then.
const SOUGHT: usize = 2;

/// The other members on each ring, in walking order from this machine onwards.
#[derive(Clone, Debug, Default)]
pub struct Rings {
    others: Vec<Vec<NodeId>>,
}

impl Rings {
    /// Places this machine and the others.
    #[must_use]
    pub fn of(hive: HiveId, me: NodeId, others: &[NodeId]) -> Self {
        let rings = 0..u8::try_from(RINGS).unwrap_or(u8::MAX);
        let walk = |ring| {
            let mine = (place(hive, ring, me), me);
            let mut placed: Vec<_> = others
                .iter()
                .map(|node| (place(hive, ring, *node), *node))
                .collect();
            placed.sort_unstable();
            let after = placed.partition_point(|other| *other < mine);
            placed.rotate_left(after);
            placed.into_iter().map(|(_, node)| node).collect()
        };
        Self {
            others: rings.map(walk).collect(),
        }
    }

    /// Whom to be connected with, given who is away: on both sides of each ring the first that is not, and
    /// the first few that are.
    #[must_use]
    pub fn wanted(&self, is_away: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
        let mut wanted = BTreeSet::new();
        for ring in &self.others {
            step_over(ring.iter(), &is_away, &mut wanted);
            step_over(ring.iter().rev(), &is_away, &mut wanted);
        }
        wanted
    }
}

fn step_over<'a>(
    walk: impl Iterator<Item = &'a NodeId>,
    is_away: &impl Fn(NodeId) -> bool,
    wanted: &mut BTreeSet<NodeId>,
) {
    for (steps, node) in walk.enumerate() {
        let away = is_away(*node);
        if !away || steps < SOUGHT {
            wanted.insert(*node);
        }
        if !away {
            return;
        }
    }
}

/// Where a member stands on a ring.
fn place(hive: HiveId, ring: u8, node: NodeId) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("hive-mind/v1/ring");
    hasher.update(&hive.0);
    hasher.update(&[ring]);
    hasher.update(&node.0);
    let mut place = [0; 16];
    place.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    place
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::chance::Chance;

    struct Crowd {
        rings: BTreeMap<NodeId, Rings>,
    }

    impl Crowd {
        fn new(count: usize, seed: u8) -> Self {
            let mut chance = Chance::from_seed([seed; 32]);
            let hive = HiveId(chance.bytes());
            let nodes: Vec<NodeId> = (0..count).map(|_| NodeId(chance.bytes())).collect();
            let rings = nodes.iter().map(|me| {
                let others: Vec<_> = nodes.iter().copied().filter(|node| node != me).collect();
                (*me, Rings::of(hive, *me, &others))
            });
            Self {
                rings: rings.collect(),
            }
        }

        /// Who is connected when both ends know who is away.
        fn graph(&self, away: &BTreeSet<NodeId>) -> BTreeMap<NodeId, BTreeSet<NodeId>> {
            let here = self.rings.iter().filter(|(node, _)| !away.contains(node));
            here.map(|(node, rings)| {
                let wanted = rings.wanted(|other| away.contains(&other));
                (*node, wanted.difference(away).copied().collect())
            })
            .collect()
        }
    }

    /// The longest of the shortest ways from one node; none when somebody cannot be reached.
    fn reach(graph: &BTreeMap<NodeId, BTreeSet<NodeId>>) -> Option<usize> {
        let first = *graph.keys().next()?;
        let mut seen = BTreeSet::from([first]);
        let mut edge = seen.clone();
        let mut steps = 0;
        loop {
            let next: BTreeSet<NodeId> = edge
                .iter()
                .flat_map(|node| graph[node].iter().copied())
                .filter(|node| !seen.contains(node))
                .collect();
            if next.is_empty() {
                return (seen.len() == graph.len()).then_some(steps);
            }
            seen.extend(next.iter().copied());
            edge = next;
            steps += 1;
        }
    }

    #[test]
    fn the_graph_is_connected_symmetric_and_of_bounded_degree_whoever_is_away() {
        for count in [9, 20, 50, 100] {
            for seed in 0..20 {
                let crowd = Crowd::new(count, seed);
                let mut chance = Chance::from_seed([seed + 100; 32]);
                for away_percent in [0, 5, 20, 50, 80] {
                    let away: BTreeSet<NodeId> = crowd
                        .rings
                        .keys()
                        .copied()
                        .filter(|_| chance.below(100) < away_percent)
                        .collect();
                    let graph = crowd.graph(&away);
                    for (node, near) in &graph {
                        assert!(near.len() <= 2 * RINGS, "{count} {seed}");
                        assert!(!near.contains(node));
                        assert!(near.iter().all(|other| graph[other].contains(node)));
                    }
                    if graph.len() > 1 {
                        let steps = reach(&graph).expect("connected");
                        assert!(steps <= 12, "{count} {seed} {away_percent}: {steps} steps");
                    }
                }
            }
        }
    }

    #[test]
    fn one_who_comes_or_goes_moves_few_connections() {
        let crowd = Crowd::new(100, 1);
        let everybody = crowd.graph(&BTreeSet::new());
        let (gone, near) = everybody.iter().next().expect("somebody");
        let without = crowd.graph(&BTreeSet::from([*gone]));
        let moved = without
            .iter()
            .filter(|(node, now)| **now != everybody[*node])
            .count();
        assert_eq!(moved, near.len());
    }

    #[test]
    fn those_away_are_looked_for_but_not_all_of_them() {
        let crowd = Crowd::new(100, 2);
        let rings = crowd.rings.values().next().expect("somebody");
        let wanted = rings.wanted(|_| true);
        assert!(wanted.len() <= 2 * RINGS * SOUGHT);
        assert!(!wanted.is_empty());
    }
}
