//! The incomplete hypercube: labels, edges, routes, broadcast trees and homes, computed from integers alone.
//!
//! N peers stand at the vertices `0..N`, in `D = ceil(log2 N)` dimensions, and two of them share an edge when
//! their numbers differ in one bit. N need not be a power of two, so some vertices miss neighbours; folded
//! edges (see [`Cube::folded_neighbours`]) make up for them. Nothing here knows who is alive.

mod detour;
mod edges;

use std::num::ParseIntError;

use crate::ids::Vertex;
use crate::limits;

/// The shape of a hypercube: nothing but its number of peers.
///
/// Methods that take a vertex expect one of this cube, see [`Cube::contains`]. For any other they neither
/// panic nor loop, but the answer means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cube {
    peers: u16,
}

/// A number of peers that no hypercube has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hypercube has 1 to {} peers, not {peers}", limits::PEERS_MAX)]
pub struct CubeError {
    /// What was asked for.
    pub peers: u16,
}

/// Why a text is not the label of a vertex.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Not exactly one binary digit for each dimension.
    #[error("{label:?} is not a label: {digits} binary digits are, from {first} to {last}")]
    Form {
        /// What was given, cut off after a few characters.
        label: String,
        /// Digits of every label of this hypercube.
        digits: usize,
        /// The label of the lowest vertex.
        first: String,
        /// The label of the highest vertex.
        last: String,
    },
    /// Well formed, but growth has not reached that vertex.
    #[error("no peer has the label {label:?}: the last of the {peers} labels is {last}")]
    Absent {
        /// What was given.
        label: String,
        /// Peers of this hypercube.
        peers: u16,
        /// The label of the highest vertex.
        last: String,
    },
}

impl Cube {
    /// The hypercube of that many peers, 1 to [`limits::PEERS_MAX`].
    pub fn new(peers: u16) -> Result<Self, CubeError> {
        if (1..=limits::PEERS_MAX).contains(&peers) { Ok(Self { peers }) } else { Err(CubeError { peers }) }
    }

    /// N, the number of peers.
    #[must_use]
    pub fn peers(self) -> u16 {
        self.peers
    }

    /// D, the number of dimensions: `ceil(log2 N)`, 0 for a single peer.
    #[must_use]
    pub fn dimension(self) -> u32 {
        u16::BITS - (self.peers - 1).leading_zeros()
    }

    /// Whether the vertex is one of this hypercube.
    #[must_use]
    pub fn contains(self, vertex: Vertex) -> bool {
        vertex.0 < self.peers
    }

    /// All vertices, in order.
    pub fn vertices(self) -> impl Iterator<Item = Vertex> {
        (0..self.peers).map(Vertex)
    }

    /// The vertex in binary: D digits, one for a single peer.
    #[must_use]
    pub fn label(self, vertex: Vertex) -> String {
        format!("{:0width$b}", vertex.0, width = self.label_digits())
    }

    /// The vertex of a label, which has exactly the digits that [`Cube::label`] writes.
    pub fn parse_label(self, label: &str) -> Result<Vertex, LabelError> {
        let digits = self.label_digits();
        let last = || self.label(Vertex(self.peers - 1));
        let binary = label.len() == digits && label.bytes().all(|b| matches!(b, b'0' | b'1'));
        let parsed: Option<Result<u16, ParseIntError>> = binary.then(|| u16::from_str_radix(label, 2));
        match parsed {
            Some(Ok(number)) if self.contains(Vertex(number)) => Ok(Vertex(number)),
            Some(Ok(_)) => {
                Err(LabelError::Absent { label: label.to_owned(), peers: self.peers, last: last() })
            }
            _ => Err(LabelError::Form {
                // An error must not carry a megabyte that somebody sent as a label.
                label: label.chars().take(32).collect(),
                digits,
                first: self.label(Vertex(0)),
                last: last(),
            }),
        }
    }

    /// Hops between two vertices along plain edges: the bits in which they differ.
    #[must_use]
    pub fn distance(self, u: Vertex, v: Vertex) -> u32 {
        (u.0 ^ v.0).count_ones()
    }

    /// The way from `s` to `t`, both included: clears bits from the top down to `s & t`, then sets bits from
    /// the bottom up. As clearing only lowers and setting ends at `t`, it never leaves the hypercube, whatever
    /// N is; its length is the distance.
    #[must_use]
    pub fn route(self, s: Vertex, t: Vertex) -> Vec<Vertex> {
        std::iter::successors(Some(s), |at| self.next_hop(*at, t)).collect()
    }

    /// The vertex after `s` on the route to `t`; none when they are the same.
    #[must_use]
    pub fn next_hop(self, s: Vertex, t: Vertex) -> Option<Vertex> {
        let clear = s.0 & !t.0;
        let set = t.0 & !s.0;
        match (clear, set) {
            (0, 0) => None,
            (0, _) => Some(Vertex(s.0 ^ lowest_bit(set))),
            _ => Some(Vertex(s.0 ^ highest_bit(clear))),
        }
    }

    /// The vertices to which `at` passes on what `root` says to everybody, in order.
    ///
    /// They are those whose route from the root comes through `at` last. So each vertex but the root is told
    /// exactly once, after as many hops as it is distant, and nobody tells more than D others.
    pub fn broadcast_children(self, at: Vertex, root: Vertex) -> Vec<Vertex> {
        self.neighbours(at).filter(|child| broadcast_parent(*child, root) == Some(at)).collect()
    }

    /// The vertex that a hash calls home, by linear hashing (Litwin 1980): its low D bits, without the top one
    /// where that names a vertex that does not exist yet.
    ///
    /// When vertex N joins, keys move only to it, and only from its parent, N without its top bit; when it
    /// leaves, exactly these go back.
    #[must_use]
    pub fn home(self, hash: u64) -> Vertex {
        let low = hash & ((1 << self.dimension()) - 1);
        let low = u16::try_from(low).expect("a hypercube has at most 10 dimensions");
        Vertex(self.fold(low))
    }

    /// A missing vertex is played by its parent: the same number without its top bit.
    fn fold(self, number: u16) -> u16 {
        if number < self.peers { number } else { number ^ self.top_bit() }
    }

    /// The bit of the highest dimension; 0 for a single peer.
    fn top_bit(self) -> u16 {
        highest_bit(self.peers - 1)
    }

    fn label_digits(self) -> usize {
        self.dimension().max(1) as usize
    }
}

/// The vertex before `at` on the route from `root`; none for the root itself.
fn broadcast_parent(at: Vertex, root: Vertex) -> Option<Vertex> {
    let cleared = root.0 & !at.0;
    let set = at.0 & !root.0;
    match (cleared, set) {
        (0, 0) => None,
        (_, 0) => Some(Vertex(at.0 ^ lowest_bit(cleared))),
        _ => Some(Vertex(at.0 ^ highest_bit(set))),
    }
}

/// The lowest bit that is set, alone; 0 for 0.
fn lowest_bit(number: u16) -> u16 {
    number & number.wrapping_neg()
}

/// The highest bit that is set, alone; 0 for 0.
fn highest_bit(number: u16) -> u16 {
    number.checked_ilog2().map_or(0, |bit| 1 << bit)
}
