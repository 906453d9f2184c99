//! Draws the path of a request over the cube.

use hcube_api::cluster::Route;
use hcube_api::label::Label;

/// The cube of eight peers; the middle digit flips to the top, the last to the back, the first to the right.
const CUBE: [&str; 7] = [
    "       <011>-----------<111>",
    "        / |             / |",
    "    <010>-----------<110> |",
    "      |   |           |   |",
    "      | <001>---------|-<101>",
    "      | /             | /",
    "    <000>-----------<100>",
];

/// The route in words, and over the cube where it has eight peers.
pub fn draw(route: &Route, peers: u16) -> String {
    let mut text = format!(
        "{}, partition {}: slot {}, home {}, replicas {}\n",
        route.topic,
        route.partition,
        route.slot,
        route.home,
        joined(&route.replicas, " ")
    );
    match (&route.leader, route.path.as_slice()) {
        (Some(leader), [_, ..]) => {
            text.push_str(&format!("{}  (leader {leader})\n", hops(&route.path)));
        }
        _ => text.push_str("no leader is known at the moment\n"),
    }
    if peers == 8 {
        text.push('\n');
        text.push_str(&cube(route));
        text.push_str("\n\n[101] on the path   (101) another replica   *101* the leader\n");
    }
    text
}

/// `000 -1..-> 100 -..1-> 101`: each arrow shows the digits that it flips.
fn hops(path: &[Label]) -> String {
    let mut text = path.first().map(Label::to_string).unwrap_or_default();
    for pair in path.windows(2) {
        let [from, to] = pair else { continue };
        let digits = from.as_str().chars().zip(to.as_str().chars());
        let flipped: String = digits.map(|(from, to)| if from == to { '.' } else { to }).collect();
        text.push_str(&format!(" -{flipped}-> {to}"));
    }
    text
}

fn cube(route: &Route) -> String {
    let drawn = (0..8u16).fold(CUBE.join("\n"), |drawn, vertex| {
        let label = Label::new(hcube_core::ids::Vertex(vertex), 3);
        let marked = if route.leader.as_ref() == Some(&label) {
            format!("*{label}*")
        } else if route.path.contains(&label) {
            format!("[{label}]")
        } else if route.replicas.contains(&label) {
            format!("({label})")
        } else {
            format!(" {label} ")
        };
        drawn.replace(&format!("<{label}>"), &marked)
    });
    drawn.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Labels in a row.
pub fn joined(labels: &[Label], between: &str) -> String {
    labels.iter().map(Label::as_str).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::Slot;

    use super::*;

    fn route(path: &[&str], leader: Option<&str>) -> Route {
        let label = |text: &&str| text.parse::<Label>().unwrap();
        Route {
            topic: "quakes".parse().unwrap(),
            partition: 0,
            slot: Slot(37),
            home: label(&"101"),
            leader: leader.as_ref().map(label),
            replicas: ["101", "011", "110"].iter().map(label).collect(),
            path: path.iter().map(label).collect(),
        }
    }

    #[test]
    fn the_path_shows_the_digits_that_flip() {
        let text = draw(&route(&["000", "100", "101"], Some("101")), 8);
        assert!(text.contains("000 -1..-> 100 -..1-> 101  (leader 101)"), "{text}");
        for marked in ["[000]", "[100]", "*101*", "(011)", "(110)", "- 111"] {
            assert!(text.contains(marked), "{marked} in\n{text}");
        }
        assert!(!text.contains('<'));
    }

    #[test]
    fn a_slot_without_leader_has_no_path() {
        let text = draw(&route(&[], None), 5);
        assert!(text.contains("no leader"));
        assert!(!text.contains("[101]"), "only the cube of eight is drawn");
    }

    #[test]
    fn every_vertex_of_the_cube_is_drawn_once() {
        let drawn = CUBE.join("\n");
        for vertex in 0..8 {
            assert_eq!(drawn.matches(&format!("<{vertex:03b}>")).count(), 1);
        }
    }
}
