//! The directory of a local hypercube: what lies where, who may work on it, what it remembers.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hcube_core::cube::Cube;
use hcube_core::ids::{ClusterId, Vertex};
use serde::{Deserialize, Serialize};

use super::process::Process;
use crate::exit::Coded;
use crate::output;

/// The format of the state file; a higher one is refused. 1 knew neither `founders` nor `change`.
const FORMAT: u32 = 2;
/// How long a command waits for the directory before it says so.
const LOCK_SILENCE: Duration = Duration::from_secs(2);
/// How long a command waits for another one that works on the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a secret, before they are written in hexadecimal.
const SECRET_BYTES: usize = 32;

/// What a local hypercube remembers between two commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u32,
    /// Minted before the founding, so that a founding that was cut short is repeated, not doubled.
    pub cluster_id: ClusterId,
    /// Whether the founding has succeeded.
    pub founded: bool,
    /// S.
    pub slots: u16,
    /// R as wished for.
    pub replication: u8,
    /// The first client port.
    pub base_port: u16,
    /// The process of each vertex, none where it was stopped.
    pub peers: Vec<Option<Process>>,
    /// Peers at the founding; what they have on disk keeps the labels that they had then.
    #[serde(default)]
    pub founders: u16,
    /// What is under way; noted before anything of it is done.
    #[serde(default)]
    pub change: Option<Change>,
}

/// A change of the number of peers, one peer at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Peers join.
    Grow {
        /// Until there are so many.
        to: u16,
        /// Whether the last one that is counted has not settled yet.
        joining: bool,
    },
    /// The highest vertices leave.
    Shrink {
        /// Until there are so many.
        to: u16,
    },
}

impl State {
    /// A hypercube that is not founded yet.
    pub fn new(peers: u16, slots: u16, replication: u8, base_port: u16) -> Self {
        Self {
            format: FORMAT,
            cluster_id: ClusterId(rand::random()),
            founded: false,
            slots,
            replication,
            base_port,
            peers: vec![None; peers.into()],
            founders: peers,
            change: None,
        }
    }

    /// What files of the vertex are called: by the label that it had when it came, for labels grow longer and shorter
    /// with the hypercube. Founders have labels of one length, later ones have no digit to spare, so no two are equal.
    pub fn file_name(&self, vertex: Vertex) -> String {
        let founding = Cube::new(self.founders).ok().filter(|cube| cube.contains(vertex));
        let label = founding.map_or_else(|| format!("{:b}", vertex.0), |cube| cube.label(vertex));
        format!("peer-{label}")
    }

    /// The arithmetic of its labels.
    pub fn cube(&self) -> Cube {
        let peers = u16::try_from(self.peers.len()).expect("a local hypercube has at most 64 peers");
        Cube::new(peers).expect("a local hypercube has at least one peer")
    }

    /// The vertex that a person means: a label of full length, else a number.
    pub fn vertex(&self, text: &str) -> anyhow::Result<Vertex> {
        let cube = self.cube();
        let number = || text.parse().ok().map(Vertex).filter(|vertex| cube.contains(*vertex));
        match cube.parse_label(text).ok().or_else(number) {
            Some(vertex) => Ok(vertex),
            None => {
                let last = Vertex(cube.peers() - 1);
                let labels = format!("{} to {}", cube.label(Vertex(0)), cube.label(last));
                Err(Coded::not_found(format!("there is no peer {text}; peers are {labels}, or 0 to {last}"))
                    .into())
            }
        }
    }
}

/// The directory, held by one command at a time.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    /// Dropping the file gives the lock back; none while it is given back.
    lock: Option<File>,
}

impl Home {
    /// Takes the directory, which it makes where there is none.
    pub async fn create(dir: &Path) -> anyhow::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Self::take(dir).await
    }

    /// Takes a directory that holds a hypercube.
    pub async fn open(dir: &Path) -> anyhow::Result<Self> {
        if !dir.join("state.json").exists() {
            let text =
                format!("there is no local hypercube in {}; `hcube local up` makes one", dir.display());
            return Err(Coded::not_found(text).into());
        }
        Self::take(dir).await
    }

    async fn take(dir: &Path) -> anyhow::Result<Self> {
        let dir = fs::canonicalize(dir).with_context(|| format!("cannot use {}", dir.display()))?;
        let lock = Some(lock(&dir, "lock", "works on").await?);
        Ok(Self { dir, lock })
    }

    /// Lets other commands work on the directory, while this one waits for something.
    pub fn release(&mut self) {
        self.lock = None;
    }

    /// Takes the directory again.
    pub async fn retake(&mut self) -> anyhow::Result<()> {
        if self.lock.is_none() {
            self.lock = Some(lock(&self.dir, "lock", "works on").await?);
        }
        Ok(())
    }

    /// Keeps other commands from changing the number of peers, as long as the file is held.
    pub async fn lock_members(dir: &Path) -> anyhow::Result<File> {
        lock(dir, "members.lock", "changes the peers of").await
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What all peers know and nobody else.
    pub fn secret_file(&self) -> PathBuf {
        self.dir.join("cluster.secret")
    }

    /// What administrators show.
    pub fn token_file(&self) -> PathBuf {
        self.dir.join("admin.token")
    }

    /// The data of the peer whose files have this name.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What the peer whose files have this name has to say.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// Removes the data of the peer whose files have this name.
    pub fn remove_data(&self, name: &str) -> anyhow::Result<()> {
        gone(fs::remove_dir_all(self.data_dir(name)), &self.data_dir(name))
    }

    /// Removes data and log of the peer whose files have this name.
    pub fn remove_files(&self, name: &str) -> anyhow::Result<()> {
        self.remove_data(name)?;
        gone(fs::remove_file(self.log_file(name)), &self.log_file(name))
    }

    /// The state, none where the directory holds no hypercube yet.
    pub fn load(&self) -> anyhow::Result<Option<State>> {
        let path = self.dir.join("state.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let format =
            serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|json| json["format"].as_u64());
        if let Some(format) = format.filter(|format| !(1..=u64::from(FORMAT)).contains(format)) {
            bail!("{} has format {format}; this hcube knows {FORMAT}", path.display());
        }
        let mut state: State =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        if !(1..=64).contains(&state.peers.len()) {
            bail!("{} is damaged: it names {} peers", path.display(), state.peers.len());
        }
        if state.format < FORMAT {
            // Until now a hypercube had the peers that it was founded with.
            state.founders = u16::try_from(state.peers.len()).expect("checked above");
            state.format = FORMAT;
        }
        Ok(Some(state))
    }

    /// Whether any peer has begun to write.
    pub fn has_data(&self, state: &State) -> bool {
        state.cube().vertices().any(|vertex| self.data_dir(&state.file_name(vertex)).exists())
    }

    /// Puts the state in place of the one before, whole or not at all.
    pub fn store(&self, state: &State) -> anyhow::Result<()> {
        let path = self.dir.join("state.json");
        let text = serde_json::to_vec_pretty(state)?;
        let new = self.dir.join("state.json.new");
        let written = write_private(&new, &text).and_then(|()| fs::rename(&new, &path));
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Makes the secrets where there are none.
    pub fn make_secrets(&self) -> anyhow::Result<()> {
        for path in [self.secret_file(), self.token_file()] {
            if !path.exists() {
                let text: String =
                    rand::random::<[u8; SECRET_BYTES]>().iter().map(|byte| format!("{byte:02x}")).collect();
                // Under another name first: half a secret would be kept for ever.
                let new = path.with_extension("new");
                let written = write_private(&new, text.as_bytes()).and_then(|()| fs::rename(&new, &path));
                written.with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Removes everything that `hcube` put here, and the directory when nothing else is left in it.
    pub fn clean(self, state: &State) -> anyhow::Result<()> {
        for vertex in state.cube().vertices() {
            self.remove_files(&state.file_name(vertex))?;
        }
        // The state last: while it is there, a clean that was cut short can be repeated.
        for name in ["cluster.secret", "admin.token", "state.json", "members.lock", "lock"] {
            let path = self.dir.join(name);
            gone(fs::remove_file(&path), &path)?;
        }
        // Somebody else's files may be left, which are not ours to remove.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }
}

/// Takes the lock of this name, and says when that takes a while.
async fn lock(dir: &Path, name: &str, does: &str) -> anyhow::Result<File> {
    let path = dir.join(name);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let begun = Instant::now();
    let mut is_said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => {
                if begun.elapsed() >= LOCK_SILENCE && !is_said {
                    is_said = true;
                    output::complain(format_args!(
                        "another hcube command {does} {}; waiting for it",
                        dir.display()
                    ));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(TryLockError::WouldBlock) => bail!("another hcube command {does} {}", dir.display()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
}

/// A removal is fine where there was nothing.
fn gone(result: std::io::Result<()>, path: &Path) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The directory where none is named: `$XDG_STATE_HOME/hcube/local`, or `~/.local/state/hcube/local`.
pub fn default_dir(variable: impl Fn(&str) -> Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    state.map(|state| state.join("hcube/local")).context("neither XDG_STATE_HOME nor HOME is set; give --dir")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn temporary() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[tokio::test]
    async fn a_state_round_trips() {
        let dir = temporary();
        let home = Home::create(dir.path()).await.unwrap();
        assert_eq!(home.load().unwrap(), None);
        let mut state = State::new(8, 64, 3, 8000);
        state.peers[5] = Process::of(std::process::id());
        home.store(&state).unwrap();
        assert_eq!(home.load().unwrap(), Some(state));
    }

    #[tokio::test]
    async fn damaged_and_newer_states_are_refused() {
        let dir = temporary();
        let home = Home::create(dir.path()).await.unwrap();
        let mut state = State::new(2, 64, 3, 8000);
        state.format = FORMAT + 1;
        home.store(&state).unwrap();
        assert!(home.load().unwrap_err().to_string().contains("format 3"));
        fs::write(home.dir().join("state.json"), "{").unwrap();
        assert!(home.load().unwrap_err().to_string().contains("damaged"));
        home.store(&State { format: FORMAT, peers: vec![], ..state }).unwrap();
        assert!(home.load().unwrap_err().to_string().contains("names 0 peers"));
    }

    #[tokio::test]
    async fn secrets_are_private_random_and_stay() {
        let (dir, other) = (temporary(), temporary());
        let home = Home::create(dir.path()).await.unwrap();
        home.make_secrets().unwrap();
        let secret = fs::read_to_string(home.secret_file()).unwrap();
        assert_eq!(secret.len(), 2 * SECRET_BYTES);
        for path in [home.secret_file(), home.token_file()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        home.make_secrets().unwrap();
        assert_eq!(fs::read_to_string(home.secret_file()).unwrap(), secret);
        let second = Home::create(other.path()).await.unwrap();
        second.make_secrets().unwrap();
        assert_ne!(fs::read_to_string(second.secret_file()).unwrap(), secret);
        assert_ne!(fs::read_to_string(home.token_file()).unwrap(), secret);
    }

    #[tokio::test]
    async fn cleaning_leaves_what_others_put_there() {
        let dir = temporary();
        let home = Home::create(&dir.path().join("a")).await.unwrap();
        let state = State::new(2, 64, 3, 8000);
        home.store(&state).unwrap();
        home.make_secrets().unwrap();
        fs::create_dir(home.data_dir("peer-1")).unwrap();
        let foreign = home.dir().join("notes");
        fs::write(&foreign, "mine").unwrap();
        home.clean(&state).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path().join("a")).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(foreign.exists());
    }

    #[tokio::test]
    async fn a_state_of_before_peers_could_join_is_understood() {
        let dir = temporary();
        let home = Home::create(dir.path()).await.unwrap();
        let old = r#"{"format":1,"cluster_id":"00000000000000000000000000000001","founded":true,"slots":64,
            "replication":3,"base_port":8000,"peers":[null,null,null]}"#;
        fs::write(home.dir().join("state.json"), old).unwrap();
        let state = home.load().unwrap().unwrap();
        assert_eq!((state.founders, state.change), (3, None));
        assert_eq!(state.file_name(Vertex(1)), "peer-01");
    }

    #[test]
    fn files_keep_their_names_while_labels_change() {
        for founders in 1..9u16 {
            let mut state = State::new(founders, 64, 3, 8000);
            let before: Vec<String> = state.cube().vertices().map(|vertex| state.file_name(vertex)).collect();
            state.peers.resize(40, None);
            let names: Vec<String> = state.cube().vertices().map(|vertex| state.file_name(vertex)).collect();
            assert_eq!(names[..before.len()], before);
            let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
            assert_eq!(distinct.len(), 40, "{names:?}");
        }
        assert_eq!(State::new(8, 64, 3, 8000).file_name(Vertex(2)), "peer-010");
    }

    #[tokio::test]
    async fn a_directory_can_be_given_back_for_a_while() {
        let dir = temporary();
        let mut first = Home::create(dir.path()).await.unwrap();
        first.release();
        let second = Home::create(dir.path()).await.unwrap();
        drop(second);
        first.retake().await.unwrap();
        let third = tokio::time::timeout(Duration::from_millis(150), Home::create(dir.path())).await;
        assert!(third.is_err(), "it is held again");
    }

    #[tokio::test]
    async fn a_directory_without_hypercube_is_not_found() {
        let dir = temporary();
        let error = Home::open(dir.path()).await.unwrap_err();
        assert_eq!(crate::exit::code_of(&error), crate::exit::NOT_FOUND);
    }

    #[test]
    fn peers_are_named_by_label_or_number() {
        let state = State::new(8, 64, 3, 8000);
        let vertex = |text: &str| state.vertex(text).ok().map(|vertex| vertex.0);
        assert_eq!(vertex("101"), Some(5));
        assert_eq!(vertex("5"), Some(5));
        assert_eq!(vertex("010"), Some(2));
        assert_eq!(vertex("8"), None);
        assert_eq!(vertex("x"), None);
    }

    #[test]
    fn the_default_directory_follows_xdg() {
        let at = |state: Option<&str>, home: Option<&str>| {
            let dir = default_dir(|name| if name == "HOME" { home } else { state }.map(PathBuf::from));
            dir.ok().map(|dir| dir.display().to_string())
        };
        assert_eq!(at(Some("/s"), Some("/h")).as_deref(), Some("/s/hcube/local"));
        assert_eq!(at(None, Some("/h")).as_deref(), Some("/h/.local/state/hcube/local"));
        assert_eq!(at(Some("relative"), None), None);
    }
}
