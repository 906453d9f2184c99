//! There is one leader for each group and term.

use std::collections::BTreeMap;

use hcube_broker::Peer;
use hcube_core::ids::{GroupId, Incarnation};

use super::hold;
use crate::machine::Machine;

/// Who led what.
#[derive(Default)]
pub(crate) struct Leaders {
    seen: BTreeMap<(GroupId, u64), Incarnation>,
    pub elections: u64,
}

impl Leaders {
    pub fn look(&mut self, machine: &Machine, peer: &Peer) {
        let groups = peer.meta().groups().map(|(group, _)| group);
        let roles: Vec<_> = groups.filter_map(|group| peer.role(group)).filter(|role| role.leads).collect();
        for role in roles {
            let elections = &mut self.elections;
            let leader = *self.seen.entry((role.group, role.term)).or_insert_with(|| {
                *elections += 1;
                machine.incarnation
            });
            hold!(
                "one leader a term",
                leader == machine.incarnation,
                "incarnations {leader} and {} lead group {} in term {}",
                machine.incarnation,
                role.group,
                role.term
            );
        }
    }
}
