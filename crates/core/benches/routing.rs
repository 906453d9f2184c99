//! What finding the way costs. Counted by `tests/bench/regress`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

#[path = "../../../tests/bench/counted.rs"]
mod counted;

use std::hint::black_box;

use counted::{Counted, Step, repeat, run};
use hcube_core::cube::Cube;
use hcube_core::ids::Vertex;

/// Not a power of two, so that edges are missing.
const PEERS: u16 = 50;
const ROOT: Vertex = Vertex(21);

fn cube() -> Cube {
    Cube::new(black_box(PEERS)).unwrap()
}

/// Asks something of each vertex.
fn of_each<R>(ask: impl Fn(&Cube, Vertex) -> R + 'static) -> Step {
    let cube = cube();
    repeat(move || {
        for vertex in cube.vertices() {
            black_box(ask(&cube, black_box(vertex)));
        }
    })
}

fn next_hops() -> Step {
    of_each(|cube, to| cube.next_hop(ROOT, to))
}

fn routes() -> Step {
    of_each(|cube, from| cube.route(from, ROOT))
}

fn broadcast() -> Step {
    of_each(|cube, at| cube.broadcast_children(at, ROOT))
}

fn homes() -> Step {
    let cube = cube();
    let mut hash = 0x9E37_79B9_7F4A_7C15_u64;
    repeat(move || {
        for _ in 0..PEERS {
            hash = hash.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            black_box(cube.home(hash));
        }
    })
}

fn main() -> std::io::Result<()> {
    run(&[
        Counted { name: "routing: next hop to each of 50 peers", repeats: 1000, ready: next_hops },
        Counted { name: "routing: route from each of 50 peers", repeats: 200, ready: routes },
        Counted { name: "routing: broadcast tree of 50 peers", repeats: 200, ready: broadcast },
        Counted { name: "routing: homes of 50 hashes", repeats: 1000, ready: homes },
    ])
}
