//! A file system in memory that is as small as a story needs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mounted tmpfs, unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one of so many MiB at a directory, which is made; none where this user may not mount.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap_or_else(|error| panic!("{}: {error}", at.display()));
        let options = format!("size={mebibytes}m,mode=700");
        mount(&["-t", "tmpfs", "-o", &options, "hcube-tests"], at).then(|| Self(at.to_owned()))
    }

    /// Makes it so many MiB large.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn resize(&self, mebibytes: u32) {
        assert!(
            mount(&["-o", &format!("remount,size={mebibytes}m")], &self.0),
            "the tmpfs cannot be resized"
        );
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily, because a process that ends in this moment may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg(at).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
