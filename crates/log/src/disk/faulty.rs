//! A disk in memory that behaves as badly as real ones may: for tests and the simulator.
//!
//! Writes are visible at once and durable after `sync_data`; creations, renames and removals are durable after
//! `sync_dir`. At a [`FaultyDisk::crash`], what is not durable survives, is lost or is torn, by a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, File};

mod inode;
mod lies;
#[cfg(test)]
mod tests;

use inode::Inode;
pub use lies::Lies;

/// A handle on a disk in memory; clones are handles on the same disk.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk {
    world: Arc<Mutex<World>>,
}

/// An open file of a [`FaultyDisk`]. Dead after a crash.
#[derive(Debug)]
pub struct FaultyFile {
    world: Arc<Mutex<World>>,
    inode: Arc<Mutex<Inode>>,
    /// Under which name it was opened.
    path: String,
    /// Crashes before the file was opened.
    crashes: u64,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Calls of `write_at`.
    pub writes: u64,
    /// Bytes of these.
    pub written_bytes: u64,
    /// Calls of `sync_data`.
    pub syncs: u64,
    /// Calls of `sync_dir`.
    pub dir_syncs: u64,
    /// All operations that change anything: the above, creations, renames, removals.
    pub operations: u64,
}

#[derive(Debug, Default)]
struct World {
    files: BTreeMap<String, Arc<Mutex<Inode>>>,
    dirs: BTreeSet<String>,
    durable_files: BTreeMap<String, Arc<Mutex<Inode>>>,
    durable_dirs: BTreeSet<String>,
    /// Changes of directories that are not durable yet, in order.
    pending: Vec<Change>,
    capacity: Option<u64>,
    fail_next_sync: bool,
    lies: Lies,
    fuse: Option<u64>,
    crashes: u64,
    counters: Counters,
}

#[derive(Debug)]
enum Change {
    Create(String, Arc<Mutex<Inode>>),
    Rename(String, String, Arc<Mutex<Inode>>),
    Remove(String),
    MakeDir(String),
}

/// A small generator (splitmix64) for choices that a seed must repeat.
#[derive(Debug, Clone)]
pub struct Choices(u64);

impl Choices {
    /// The stream of choices of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl World {
    /// A disk of its own with copies of these files.
    fn of(
        files: &BTreeMap<String, Arc<Mutex<Inode>>>,
        dirs: &BTreeSet<String>,
        copy: impl Fn(&Inode) -> Inode,
    ) -> FaultyDisk {
        let mut copies = BTreeMap::new();
        let files: BTreeMap<_, _> = files
            .iter()
            .map(|(path, inode)| {
                let copy = || Arc::new(Mutex::new(copy(&lock(inode))));
                (path.clone(), Arc::clone(copies.entry(Arc::as_ptr(inode)).or_insert_with(copy)))
            })
            .collect();
        let durable_files = files.clone();
        let world =
            Self { durable_files, files, durable_dirs: dirs.clone(), dirs: dirs.clone(), ..Self::default() };
        FaultyDisk { world: Arc::new(Mutex::new(world)) }
    }
}

impl FaultyDisk {
    /// An empty disk without faults so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine loses power and comes back. What is not synced survives, is lost or is torn per sector of
    /// 512 bytes; of directory changes that are not synced, the first few survive. Open files are dead.
    pub fn crash(&self, seed: u64) {
        let mut world = self.lock();
        let mut choices = Choices::new(seed);
        let survive = choices.below(world.pending.len() as u64 + 1);
        let pending = std::mem::take(&mut world.pending);
        for change in pending.into_iter().take(usize::try_from(survive).unwrap_or(usize::MAX)) {
            world.make_durable(change);
        }
        world.dirs = world.durable_dirs.clone();
        let dirs = &world.dirs;
        let reachable = |path: &String| parent(path).is_empty() || dirs.contains(parent(path));
        world.files =
            world.durable_files.iter().filter(|(path, _)| reachable(path)).map(clone_pair).collect();
        world.durable_files = world.files.clone();
        for inode in world.files.values() {
            lock(inode).crash(&mut choices);
        }
        world.crashes += 1;
        world.fuse = None;
        world.fail_next_sync = false;
    }

    /// Another disk with the same files, all durable, and no faults.
    #[must_use]
    pub fn fork(&self) -> Self {
        let world = self.lock();
        World::of(&world.files, &world.dirs, Inode::fork)
    }

    /// Another disk with what is sure to survive a crash of this one now, and no more.
    #[must_use]
    pub fn durable_fork(&self) -> Self {
        let world = self.lock();
        World::of(&world.durable_files, &world.durable_dirs, Inode::durable_fork)
    }

    /// The disk is replaced by an empty one. Open files are dead.
    pub fn wipe(&self) {
        let mut world = self.lock();
        let World { capacity, lies, crashes, .. } = *world;
        *world = World { capacity, lies, crashes: crashes + 1, ..World::default() };
    }

    /// Flips bit `bit` (0 to 7) of byte `byte`, durably and unnoticed.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip_bit(&self, path: &str, byte: u64, bit: u8) {
        let inode = Arc::clone(self.lock().files.get(path).expect("the file to damage exists"));
        lock(&inode).flip(usize::try_from(byte).expect("a file fits memory"), bit);
    }

    /// Limits the bytes of all files together; writes beyond fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// The next `sync_data` or `sync_dir` fails, once. What it should have made durable is taken for clean from then
    /// on, as kernels do: it can be read, a later sync does not write it, and a crash loses it.
    pub fn fail_next_sync(&self) {
        self.lock().fail_next_sync = true;
    }

    /// After this many more operations that change anything, all further ones fail until the next crash.
    pub fn set_fuse(&self, operations: Option<u64>) {
        self.lock().fuse = operations;
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// Paths of all files, sorted, with their bytes.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        let world = self.lock();
        world.files.iter().map(|(path, inode)| (path.clone(), lock(inode).len())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    fn file(&self, world: &World, path: &str, inode: Arc<Mutex<Inode>>) -> FaultyFile {
        let path = path.to_owned();
        FaultyFile { world: Arc::clone(&self.world), inode, path, crashes: world.crashes }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory part of a path: `""` for a file in the data directory itself.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn clone_pair((path, inode): (&String, &Arc<Mutex<Inode>>)) -> (String, Arc<Mutex<Inode>>) {
    (path.clone(), Arc::clone(inode))
}

impl World {
    /// Counts an operation, and blows the fuse when it is time.
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.counters.operations += 1;
        Ok(())
    }

    /// Counts a sync. Returns whether it works; one that does not is an error, unless the disk lies about it.
    fn sync(&mut self) -> io::Result<bool> {
        self.operate()?;
        let fails = std::mem::take(&mut self.fail_next_sync);
        if fails && !self.lies.about_sync_errors {
            return Err(io::Error::other("the disk failed to sync"));
        }
        Ok(!fails)
    }

    fn need_dir(&self, dir: &str) -> io::Result<()> {
        if dir.is_empty() || self.dirs.contains(dir) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn used(&self) -> u64 {
        // A file with two names takes its room once.
        let inodes: BTreeMap<_, _> = self.files.values().map(|inode| (Arc::as_ptr(inode), inode)).collect();
        inodes.values().map(|inode| lock(inode).len()).sum()
    }

    fn make_durable(&mut self, change: Change) {
        match change {
            Change::Create(path, inode) => _ = self.durable_files.insert(path, inode),
            Change::Rename(from, to, inode) => {
                self.durable_files.remove(&from);
                self.durable_files.insert(to, inode);
            }
            Change::Remove(path) => _ = self.durable_files.remove(&path),
            Change::MakeDir(path) => _ = self.durable_dirs.insert(path),
        }
    }
}

impl Change {
    fn concerns(&self, dir: &str) -> bool {
        match self {
            Self::Create(path, _) | Self::Remove(path) | Self::MakeDir(path) => parent(path) == dir,
            Self::Rename(from, to, _) => parent(from) == dir || parent(to) == dir,
        }
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn create_new(&self, path: &str) -> io::Result<FaultyFile> {
        let mut world = self.lock();
        world.operate()?;
        world.need_dir(parent(path))?;
        if world.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::default();
        world.files.insert(path.to_owned(), Arc::clone(&inode));
        world.pending.push(Change::Create(path.to_owned(), Arc::clone(&inode)));
        Ok(self.file(&world, path, inode))
    }

    fn open(&self, path: &str) -> io::Result<FaultyFile> {
        let world = self.lock();
        let inode = Arc::clone(world.files.get(path).ok_or(io::ErrorKind::NotFound)?);
        Ok(self.file(&world, path, inode))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let world = self.lock();
        Ok(path.is_empty() || world.files.contains_key(path) || world.dirs.contains(path))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let world = self.lock();
        world.need_dir(dir)?;
        let inside = |path: &&String| parent(path) == dir;
        let mut names: Vec<String> = (world.files.keys().filter(inside))
            .chain(world.dirs.iter().filter(inside))
            .map(|path| path.rsplit('/').next().unwrap_or(path).to_owned())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.lock();
        world.operate()?;
        world.need_dir(parent(to))?;
        let inode = world.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.files.insert(to.to_owned(), Arc::clone(&inode));
        world.pending.push(Change::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.lock();
        world.operate()?;
        world.need_dir(parent(to))?;
        if world.files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::clone(world.files.get(from).ok_or(io::ErrorKind::NotFound)?);
        world.files.insert(to.to_owned(), Arc::clone(&inode));
        world.pending.push(Change::Create(to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut world = self.lock();
        world.operate()?;
        world.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.pending.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        let mut world = self.lock();
        world.operate()?;
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        for path in ends.map(|end| &dir[..end]) {
            if world.dirs.insert(path.to_owned()) {
                world.pending.push(Change::MakeDir(path.to_owned()));
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut world = self.lock();
        world.need_dir(dir)?;
        let works = world.sync()?;
        world.counters.dir_syncs += 1;
        if !works || world.lies.about_dir_syncs {
            return Ok(());
        }
        let pending = std::mem::take(&mut world.pending);
        for change in pending {
            if change.concerns(dir) {
                world.make_durable(change);
            } else {
                world.pending.push(change);
            }
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let world = self.lock();
        Ok(world.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(world.used())))
    }
}

impl FaultyFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = lock(&self.world);
        if world.crashes == self.crashes {
            Ok(world)
        } else {
            Err(io::Error::other("the file died in a crash"))
        }
    }
}

impl File for FaultyFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let _world = self.world()?;
        Ok(lock(&self.inode).read(buf, at))
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let mut world = self.world()?;
        world.operate()?;
        let grows = (at + buf.len() as u64).saturating_sub(lock(&self.inode).len());
        if let Some(capacity) = world.capacity
            && grows > 0
            && world.used() + grows > capacity
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        world.counters.writes += 1;
        world.counters.written_bytes += buf.len() as u64;
        lock(&self.inode).write(buf, at);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.world()?;
        let mut inode = lock(&self.inode);
        let works = world.sync().inspect_err(|_| inode.forget_unsynced())?;
        world.counters.syncs += 1;
        match works {
            true if world.lies.skip(&self.path) => {}
            true => inode.sync(),
            false => inode.forget_unsynced(),
        }
        Ok(())
    }

    fn links(&self) -> io::Result<u64> {
        let world = self.world()?;
        if world.lies.about_links {
            return Ok(1);
        }
        Ok(world.files.values().filter(|inode| Arc::ptr_eq(inode, &self.inode)).count() as u64)
    }

    fn len(&self) -> io::Result<u64> {
        let _world = self.world()?;
        Ok(lock(&self.inode).len())
    }
}
