//! Golden cases as readable text: what clients in other languages and older releases must agree with.
//!
//! Each file under `golden/` is rendered anew and compared; `HCUBE_BLESS=1 cargo test -p hcube-core --test golden`
//! writes them. Slots, partitions and homes must never change once released.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

use std::fmt::Write as _;
use std::path::Path;

use hcube_core::cube::Cube;
use hcube_core::ids::{NodeId, Vertex};
use hcube_core::placement::{Assignment, Candidate, Standing, diff, metadata_voters, plan};
use hcube_core::topic::{Name, partition_of, slot_of};

/// Compares with the file of that name, or writes it when blessed.
fn golden(name: &str, rendered: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("HCUBE_BLESS").is_some() {
        std::fs::write(&path, rendered).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = (1..).zip(rendered.lines().zip(expected.lines())).find(|(_, (is, was))| is != was);
    let first = differing.map(|(line, (is, was))| format!("line {line}: {was:?} became {is:?}"));
    assert!(
        rendered == expected,
        "{} differs; {}\nIt should be, if this is meant (HCUBE_BLESS=1 writes it):\n{rendered}",
        path.display(),
        first.unwrap_or_else(|| "one is longer".to_owned()),
    );
}

fn labels(cube: Cube, vertices: impl IntoIterator<Item = Vertex>, between: &str) -> String {
    vertices.into_iter().map(|v| cube.label(v)).collect::<Vec<_>>().join(between)
}

#[test]
fn labels_and_edges_are_as_recorded() {
    let mut text =
        "# N, D, plain edges; then each vertex: its plain neighbours | those that folding adds\n".to_owned();
    for n in [1, 2, 3, 4, 5, 6, 8, 9, 12] {
        let cube = Cube::new(n).unwrap();
        writeln!(text, "\nN={n} D={} edges={}", cube.dimension(), cube.edge_count()).unwrap();
        for v in cube.vertices() {
            let plain: Vec<Vertex> = cube.neighbours(v).collect();
            let folded = cube.folded_neighbours(v).into_iter().filter(|w| !plain.contains(w));
            let line = format!(
                "{}: {} | {}",
                cube.label(v),
                labels(cube, plain.clone(), " "),
                labels(cube, folded, " ")
            );
            writeln!(text, "{}", line.trim_end()).unwrap();
        }
    }
    golden("edges.txt", &text);
}

#[test]
fn routes_are_as_recorded() {
    let mut text =
        "# The route between two vertices; and the walk when the vertices after 'round' are dead\n"
            .to_owned();
    let routes =
        [(8, 0, 7), (8, 7, 0), (8, 5, 2), (8, 3, 6), (6, 5, 3), (6, 3, 4), (5, 4, 3), (12, 11, 4), (1, 0, 0)];
    for (n, s, t) in routes {
        let cube = Cube::new(n).unwrap();
        writeln!(text, "N={n} {}", labels(cube, cube.route(Vertex(s), Vertex(t)), ">")).unwrap();
    }
    let walks: [(u16, u16, u16, &[u16]); 5] = [
        (8, 0, 7, &[1]),
        (8, 0, 7, &[1, 2]),
        (8, 0, 7, &[3, 5]),
        (9, 8, 7, &[0, 1]),
        (16, 0, 15, &[7, 11, 13]),
    ];
    for (n, s, t, dead) in walks {
        let cube = Cube::new(n).unwrap();
        let mut walk = vec![Vertex(s)];
        while walk[walk.len() - 1] != Vertex(t) {
            let at = walk[walk.len() - 1];
            walk.push(cube.detour(at, Vertex(t), &walk, |v| !dead.contains(&v.0)).unwrap());
        }
        let dead = labels(cube, dead.iter().map(|v| Vertex(*v)), " ");
        writeln!(text, "N={n} {} round {dead}", labels(cube, walk, ">")).unwrap();
    }
    golden("routes.txt", &text);
}

#[test]
fn broadcast_trees_are_as_recorded() {
    let mut text = "# Who tells whom, by the root that began\n".to_owned();
    for (n, root) in [(8, 0), (8, 5), (6, 0), (6, 3), (5, 4), (12, 11)] {
        let (cube, root) = (Cube::new(n).unwrap(), Vertex(root));
        writeln!(text, "\nN={n} root {}", cube.label(root)).unwrap();
        for at in cube.vertices() {
            let children = cube.broadcast_children(at, root);
            if !children.is_empty() {
                writeln!(text, "{} -> {}", cube.label(at), labels(cube, children, " ")).unwrap();
            }
        }
    }
    golden("broadcast.txt", &text);
}

#[test]
fn homes_are_as_recorded() {
    let mut text =
        "# N: the homes of the hashes 0 to 15, then of 0xfedcba9876543210 and 0xffffffffffffffff\n"
            .to_owned();
    for n in [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 1000, 1024] {
        let cube = Cube::new(n).unwrap();
        let hashes = (0..16).chain([0xfedc_ba98_7654_3210, u64::MAX]);
        let homes: Vec<String> = hashes.map(|hash| cube.home(hash).to_string()).collect();
        writeln!(text, "{n}: {}", homes.join(" ")).unwrap();
    }
    golden("homes.txt", &text);
}

#[test]
fn slots_and_partitions_are_as_recorded() {
    let mut text =
        "# topic: slots of its partitions 0, 1 and 63 among 64 slots; of 0 among 1, 8, 4096\n".to_owned();
    let longest = "n".repeat(255);
    for topic in ["a", "earthquakes", "orders.eu-west_1", "A", "0", "...", &longest] {
        let name: Name = topic.parse().unwrap();
        let in_64 = [0, 1, 63].map(|partition| slot_of(&name, partition, 64).to_string()).join(" ");
        let of_first = [1, 8, 4096].map(|slots| slot_of(&name, 0, slots).to_string()).join(" ");
        writeln!(text, "{topic}: {in_64}; {of_first}").unwrap();
    }
    writeln!(text, "\n# key in hexadecimal: partitions among 1, 2, 12, 1024").unwrap();
    let keys: [&[u8]; 6] = [b"", b"a", b"Alaska", "東京".as_bytes(), &[0, 255, 10, 13], &[b'k'; 300]];
    for key in keys {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let partitions =
            [1, 2, 12, 1024].map(|partitions| partition_of(key, partitions).to_string()).join(" ");
        writeln!(text, "{hex:?}: {partitions}").unwrap();
    }
    golden("slots.txt", &text);
}

/// Peers at the vertices 0..N, numbered from 1, in zones named by one letter each.
fn peers(zones: &str) -> Vec<Candidate> {
    let candidate = |(v, zone): (u16, char)| Candidate {
        node: NodeId(u64::from(v) + 1),
        vertex: Vertex(v),
        zone: zone.to_string(),
        standing: Standing::Active,
    };
    (0..).zip(zones.chars()).map(candidate).collect()
}

/// Renders a plan, and returns it.
fn render(text: &mut String, title: &str, peers: &[Candidate], now: &[Assignment]) -> Vec<Assignment> {
    let next = plan(peers, 16, 3, now).unwrap();
    writeln!(text, "\n{title}").unwrap();
    let peer = |c: &Candidate| format!("{}@{}/{} {:?}", c.node, c.vertex, c.zone, c.standing).to_lowercase();
    writeln!(text, "peers: {}", peers.iter().map(peer).collect::<Vec<_>>().join(", ")).unwrap();
    let voters = metadata_voters(peers, &[]);
    let join = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
    writeln!(text, "metadata voters: {}", join(&voters)).unwrap();
    if now.is_empty() {
        for (slot, assignment) in next.iter().enumerate() {
            writeln!(text, "{slot}: {} led by {}", join(&assignment.replicas), assignment.leader).unwrap();
        }
    }
    for step in diff(now, &next).iter().filter(|_| !now.is_empty()) {
        let change =
            [("add", step.add.as_slice()), ("remove", &step.remove), ("lead", step.leader.as_slice())];
        let change = change.into_iter().filter(|(_, nodes)| !nodes.is_empty());
        let change: Vec<String> = change.map(|(verb, nodes)| format!("{verb} {}", join(nodes))).collect();
        writeln!(text, "{}: {}", step.slot, change.join(", ")).unwrap();
    }
    next
}

#[test]
fn placements_are_as_recorded() {
    let mut text =
        "# 16 slots, 3 replicas. Peers are node@vertex/zone; a birth lists the slots, the rest the moves\n"
            .to_owned();
    let four = peers("aaaa");
    let born = render(&mut text, "birth of four peers", &four, &[]);
    let five = peers("aaaaa");
    let grown = render(&mut text, "a fifth joins", &five, &born);
    let mut left = five.clone();
    left[4].standing = Standing::Draining;
    render(&mut text, "the fifth drains", &left, &grown);
    let mut replaced = five.clone();
    replaced[1].standing = Standing::Dead;
    replaced.push(Candidate { node: NodeId(6), standing: Standing::Active, ..replaced[1].clone() });
    render(&mut text, "the peer at vertex 1 is lost and replaced", &replaced, &grown);
    render(&mut text, "birth of six peers in three zones", &peers("abcabc"), &[]);
    render(&mut text, "birth of five peers in two zones, one of them small", &peers("aaaab"), &[]);
    golden("placement.txt", &text);
}
