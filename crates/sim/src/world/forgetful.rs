//! The planted mistake of a disk that lost everything and begins again under its old identity.

use super::World;

impl World {
    /// Empties a founder's disk and founds it again, as if it were the same.
    pub(super) fn forget_everything(&mut self, at: usize) {
        let Some(node) = self.machines[at].node else { return };
        if !self.genesis.members.contains_key(&node) {
            return;
        }
        self.machines[at].disk.wipe();
        let (genesis, config) = (self.genesis.clone(), self.log_config.clone());
        self.machines[at].found(node, &genesis, &config);
    }
}
