//! `hcube cluster members`: the members as administration sees them.

use hcube_api::admin::{MemberStatus, Members};

use super::status::state;
use crate::output::Table;

/// All of them, and below them the nodes that were replaced and still count somewhere.
pub fn table(members: &Members) -> Table {
    let mut table = Table::new([
        "peer",
        "node",
        "state",
        "holds",
        "leads",
        "arriving",
        "left",
        "peers at",
        "clients at",
        "zone",
        "obstacle",
    ]);
    for member in &members.members {
        table.row(row(member));
    }
    for lost in &members.lost {
        let (holds, none) = (lost.replicas.to_string(), String::new);
        let (label, node) = (lost.label.to_string(), lost.node_id.to_string());
        let state = "lost".to_owned();
        table.row([label, node, state, holds, none(), none(), none(), none(), none(), none(), none()]);
    }
    table
}

/// One member by itself.
pub fn one(member: &MemberStatus) -> Table {
    table(&Members {
        cluster_id: hcube_core::ids::ClusterId(0),
        epoch: 0,
        paused: false,
        members: vec![member.clone()],
        lost: Vec::new(),
    })
}

fn row(member: &MemberStatus) -> [String; 11] {
    [
        member.label.to_string(),
        member.node_id.to_string(),
        state(member.state).to_owned(),
        member.replicas.to_string(),
        member.leads.to_string(),
        member.arriving.to_string(),
        member.held.to_string(),
        member.peer_address.clone(),
        member.client_address.clone(),
        member.zone.clone(),
        member.obstacle.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use hcube_api::admin::LostMember;
    use hcube_api::cluster::MemberState;
    use hcube_api::label::Label;
    use hcube_core::ids::{Incarnation, NodeId, Vertex};

    use super::*;

    #[test]
    fn an_obstacle_and_a_lost_node_are_shown() {
        let label = Label::new(Vertex(1), 1);
        let member = MemberStatus {
            vertex: Vertex(1),
            label: label.clone(),
            node_id: NodeId(5),
            incarnation: Incarnation(1),
            zone: "a".into(),
            peer_address: "h:1".into(),
            client_address: "h:2".into(),
            state: MemberState::Leaving,
            replicas: 3,
            leads: 0,
            arriving: 1,
            held: 4,
            obstacle: Some("moves are paused".into()),
        };
        let mut members = Members {
            cluster_id: hcube_core::ids::ClusterId(1),
            epoch: 1,
            paused: true,
            members: vec![member.clone()],
            lost: Vec::new(),
        };
        let vertex = Vertex(1);
        members.lost.push(LostMember {
            vertex,
            label,
            node_id: NodeId(2),
            incarnation: Incarnation(2),
            replicas: 6,
        });
        let text = table(&members).render(false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("leaving") && lines[1].ends_with("moves are paused"), "{text}");
        assert!(lines[2].contains("lost") && lines[2].contains('6'), "{text}");
        assert_eq!(one(&member).render(false).lines().count(), 2);
    }
}
