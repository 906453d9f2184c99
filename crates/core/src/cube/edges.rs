//! Plain and folded edges of the incomplete hypercube.

use super::Cube;
use crate::ids::Vertex;

impl Cube {
    /// The vertices that differ from `vertex` in one bit, by dimension.
    pub fn neighbours(self, vertex: Vertex) -> impl Iterator<Item = Vertex> {
        (0..self.dimension()).map(move |bit| Vertex(vertex.0 ^ (1 << bit))).filter(move |v| self.contains(*v))
    }

    /// Every plain edge once, as (higher vertex, lower vertex) in order of the higher, then by dimension.
    pub fn edges(self) -> impl Iterator<Item = (Vertex, Vertex)> {
        self.vertices().flat_map(move |u| self.neighbours(u).filter(move |v| *v < u).map(move |v| (u, v)))
    }

    /// The number of plain edges: each vertex brings one edge for every bit that is set in its number.
    #[must_use]
    pub fn edge_count(self) -> u32 {
        self.vertices().map(|v| v.0.count_ones()).sum()
    }

    /// The vertices linked to `vertex` by plain or folded edges, in order; symmetric.
    ///
    /// A missing vertex is played by its parent, the same number without its top bit. A vertex therefore has
    /// the edges of its own number and those of the missing child it plays, and where such an edge ends in a
    /// missing vertex, it ends at that one's parent. Every vertex gets at least `floor(log2 N)` links and at
    /// most `2 (D - 1)` (for N > 4), and any `floor(log2 N) - 1` dead vertices leave the rest connected.
    #[must_use]
    pub fn folded_neighbours(self, vertex: Vertex) -> Vec<Vertex> {
        let child = vertex.0 | self.top_bit();
        let played = (child != vertex.0 && child >= self.peers).then_some(child);
        let mut linked: Vec<Vertex> = std::iter::once(vertex.0)
            .chain(played)
            .flat_map(|number| (0..self.dimension()).map(move |bit| Vertex(self.fold(number ^ (1 << bit)))))
            .filter(|other| *other != vertex)
            .collect();
        linked.sort_unstable();
        linked.dedup();
        linked
    }
}
