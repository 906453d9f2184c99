//! Which peers reach which: pure, so that the proxies only have to do as they are told.

use std::collections::{BTreeMap, BTreeSet};

use hcube_core::ids::Vertex;

/// How a cut shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// Connections stay, and carry nothing.
    Stalled,
    /// Connections are closed, and new ones refused.
    Closed,
}

/// What does not get through, by sender and receiver. Nothing where it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cuts {
    cuts: BTreeMap<(Vertex, Vertex), Cut>,
}

impl Cuts {
    /// What one sends does not reach the other.
    pub fn one_way(from: Vertex, to: Vertex, cut: Cut) -> Self {
        Self { cuts: BTreeMap::from([((from, to), cut)]) }
    }

    /// Nothing passes between those within and those without.
    pub fn between(within: &BTreeSet<Vertex>, without: &BTreeSet<Vertex>, cut: Cut) -> Self {
        let pairs = within.iter().flat_map(|a| without.iter().map(move |b| (*a, *b)));
        let both = pairs.filter(|(a, b)| a != b).flat_map(|(a, b)| [((a, b), cut), ((b, a), cut)]);
        Self { cuts: both.collect() }
    }

    /// How what one sends to another is held up.
    pub fn of(&self, from: Vertex, to: Vertex) -> Option<Cut> {
        self.cuts.get(&(from, to)).copied()
    }

    /// Whether bytes pass.
    pub fn passes(&self, from: Vertex, to: Vertex) -> bool {
        self.of(from, to).is_none()
    }

    /// Whether a connection that one has made to another may be.
    pub fn allows(&self, dialler: Vertex, listener: Vertex) -> bool {
        self.of(dialler, listener) != Some(Cut::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Vertex = Vertex(0);
    const B: Vertex = Vertex(1);
    const C: Vertex = Vertex(2);

    #[test]
    fn one_way_leaves_the_other() {
        let cuts = Cuts::one_way(A, B, Cut::Closed);
        assert!(!cuts.passes(A, B) && cuts.passes(B, A));
        // The connection that B made to A stays, but carries nothing from A to B.
        assert!(!cuts.allows(A, B) && cuts.allows(B, A));
    }

    #[test]
    fn a_cut_between_groups_leaves_each_group_whole() {
        let cuts = Cuts::between(&BTreeSet::from([A]), &BTreeSet::from([A, B, C]), Cut::Stalled);
        for other in [B, C] {
            assert!(!cuts.passes(A, other) && !cuts.passes(other, A));
            assert!(cuts.allows(A, other), "a stalled connection may stay");
        }
        assert!(cuts.passes(B, C) && cuts.passes(C, B) && cuts.passes(A, A));
    }

    #[test]
    fn nothing_is_cut_unless_said() {
        assert!(Cuts::default().passes(A, B) && Cuts::default().allows(A, B));
    }
}
