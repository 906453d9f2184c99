//! How an unbound machine becomes a member, as `node/src/founding.rs` does: the log first, then the identity. Until
//! the identity is bound it has not voted or acknowledged anything, so an attempt that was interrupted begins anew.

use std::io;

use hcube_broker::start::Invitation;
use hcube_log::Log;
use hcube_log::disk::Disk;
use hcube_log::disk::faulty::FaultyDisk;
use hcube_log::identity::{Identity, Membership};

use super::Machine;

const LOG_DIR: &str = "log";

impl Machine {
    /// Writes what the invitation says to the disk. The caller starts the machine again, whatever came of it.
    pub fn accept(&mut self, invitation: &Invitation, log: &hcube_log::Config) -> Result<(), String> {
        let (cluster, node) = (invitation.cluster, invitation.node);
        clear_log(&self.disk).map_err(|error| error.to_string())?;
        let opened = Log::open(self.disk.clone(), log.clone());
        let (mut log, _) = opened.map_err(|error| error.to_string())?;
        log.write(&invitation.ops()).map_err(|error| error.to_string())?;
        log.mark_idle().map_err(|error| error.to_string())?;
        let member = Some(Membership { cluster, node });
        let identity = Identity { incarnation: self.incarnation, member };
        identity.store(&self.disk).map_err(|error| error.to_string())
    }
}

fn clear_log(disk: &FaultyDisk) -> io::Result<()> {
    if !disk.exists(LOG_DIR)? {
        return Ok(());
    }
    for name in disk.list(LOG_DIR)? {
        disk.remove(&format!("{LOG_DIR}/{name}"))?;
    }
    disk.sync_dir(LOG_DIR)
}
