//! Peers that run in network namespaces of their own, joined by a switch in another, so that the way from one peer to
//! another can be cut for real.
//!
//! The switch is apart from this machine's own network, whose packet filters then do not matter. Needs the right to
//! make namespaces, which root has.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::program;
use crate::wait::{eventually, seconds};

/// Where a peer serves clients, other peers and administrators, at an address of its own.
const PORTS: [u16; 3] = [8000, 8100, 8200];
const TOKEN: &str = "a-token-for-one-story";

/// A hypercube whose peers are apart.
#[derive(Debug)]
pub struct Apart {
    /// Names this one's namespaces: unlike those of any other story that runs.
    tag: String,
    /// The second and third byte of its addresses.
    net: [u8; 2],
    peers: Vec<Child>,
    /// Speaks to the peers, from this machine's own network.
    pub client: Client,
    _dir: tempfile::TempDir,
}

impl Apart {
    /// Raises so many peers with 16 slots and three replicas; none where namespaces cannot be made.
    ///
    /// # Panics
    /// When they can be made, but the peers cannot be raised.
    #[must_use]
    pub fn up(count: u16) -> Option<Self> {
        static TURN: AtomicU16 = AtomicU16::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let tag = format!("{process:x}-{turn}");
        let byte = |number: u32| u8::try_from(number % 250).unwrap_or_default();
        let net = [byte(process), byte(process / 250 + u32::from(turn))];
        let dir = tempfile::Builder::new().prefix("hcube-apart-").tempdir();
        let dir = dir.unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let mut apart = Self { tag, net, peers: Vec::new(), client: answer::client(), _dir: dir };
        if !apart.make_switch() {
            return None;
        }
        for name in ["secret", "token"] {
            write_secret(&apart.path(name), TOKEN);
        }
        for vertex in 0..count {
            apart.join_switch(vertex);
            let peer = apart.start(vertex);
            apart.peers.push(peer);
        }
        apart.found(count);
        Some(apart)
    }

    /// The vertices.
    #[must_use]
    pub fn vertices(&self) -> std::ops::Range<u16> {
        0..u16::try_from(self.peers.len()).unwrap_or_default()
    }

    /// Where clients reach a vertex.
    #[must_use]
    pub fn endpoint(&self, vertex: u16) -> String {
        format!("http://{}:{}", self.address(vertex), PORTS[0])
    }

    /// From now on nothing gets from one peer to the other. What TCP needs goes both ways, so neither has a
    /// connection to the other any more.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn cut(&self, from: u16, to: u16) {
        self.route("add", from, to);
    }

    /// Mends what [`Self::cut`] cut.
    ///
    /// # Panics
    /// When it was not cut.
    pub fn mend(&self, from: u16, to: u16) {
        self.route("del", from, to);
    }

    fn route(&self, what: &str, from: u16, to: u16) {
        let target = format!("{}/32", self.address(to));
        let arguments = ["-n", &self.namespace(from), "route", what, "blackhole", &target];
        assert!(ip(&arguments), "ip {arguments:?}");
    }

    /// What a peer answers to a request.
    ///
    /// # Errors
    /// What went wrong where there was no answer.
    pub fn get(&self, vertex: u16, path: &str) -> Result<Answer, String> {
        Answer::of(&self.client, self.client.get(format!("{}{path}", self.endpoint(vertex))))
    }

    /// Publishes one message, once.
    ///
    /// # Errors
    /// What went wrong where there was no answer.
    pub fn publish(&self, vertex: u16, topic: &str, value: &str) -> Result<Answer, String> {
        let url = format!("{}/v1/topics/{topic}/messages", self.endpoint(vertex));
        let request = self.client.post(url).header("content-type", "text/plain").body(value.to_owned());
        Answer::of(&self.client, request)
    }

    /// Creates a topic with one partition, and waits for its leader.
    ///
    /// # Panics
    /// When it is not created.
    pub fn create_topic(&self, topic: &str) {
        let request = self.client.put(format!("{}/v1/topics/{topic}", self.endpoint(0)));
        let request = request.header("content-type", "application/json").body("{}");
        let created = Answer::of(&self.client, request).unwrap_or_else(|error| panic!("{error}"));
        let _ = created.expect(201);
        let _ = self.leader(0, topic);
    }

    /// The vertex that leads a topic, as a peer sees it, and those with its replicas.
    ///
    /// # Panics
    /// When nobody leads it for long.
    #[must_use]
    pub fn leader(&self, seen_by: u16, topic: &str) -> (u16, Vec<u16>) {
        let vertex = |label: &Value| u16::from_str_radix(label.as_str()?, 2).ok();
        eventually(&format!("a leader of {topic}"), seconds(30), || {
            let answer = self.get(seen_by, &format!("/v1/topics/{topic}")).ok()?;
            let partition = &answer.json()["partitions"][0];
            let replicas = partition["replicas"].as_array()?;
            let replicas = replicas.iter().filter_map(|replica| vertex(&replica["label"])).collect();
            Some((vertex(&partition["leader"])?, replicas))
        })
    }

    fn address(&self, vertex: u16) -> Ipv4Addr {
        let host = u8::try_from(vertex + 1).expect("a story has few peers");
        Ipv4Addr::new(10, self.net[0], self.net[1], host)
    }

    fn namespace(&self, vertex: u16) -> String {
        format!("hcube-{}-{vertex}", self.tag)
    }

    fn switch(&self) -> String {
        format!("hcube-{}-switch", self.tag)
    }

    /// The end in this machine's own network of the cable to the switch; interfaces have at most 15 characters.
    fn cable(&self) -> String {
        format!("hc{}", self.tag)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self._dir.path().join(name)
    }

    fn make_switch(&self) -> bool {
        let (switch, cable) = (self.switch(), self.cable());
        let own = format!("10.{}.{}.254/24", self.net[0], self.net[1]);
        ip(&["netns", "add", &switch])
            && ip(&["-n", &switch, "link", "add", "bridge", "type", "bridge"])
            && ip(&["-n", &switch, "link", "set", "bridge", "up"])
            && ip(&["link", "add", &cable, "type", "veth", "peer", "name", "root", "netns", &switch])
            && ip(&["-n", &switch, "link", "set", "root", "master", "bridge", "up"])
            && ip(&["addr", "add", &own, "dev", &cable])
            && ip(&["link", "set", &cable, "up"])
    }

    fn join_switch(&self, vertex: u16) {
        let (namespace, switch, port) = (self.namespace(vertex), self.switch(), format!("port{vertex}"));
        let address = format!("{}/24", self.address(vertex));
        let steps: [&[&str]; 6] = [
            &["netns", "add", &namespace],
            &[
                "-n", &namespace, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns",
                &switch,
            ],
            &["-n", &switch, "link", "set", &port, "master", "bridge", "up"],
            &["-n", &namespace, "addr", "add", &address, "dev", "eth0"],
            &["-n", &namespace, "link", "set", "lo", "up"],
            &["-n", &namespace, "link", "set", "eth0", "up"],
        ];
        for step in steps {
            assert!(ip(step), "ip {step:?}");
        }
    }

    fn start(&self, vertex: u16) -> Child {
        let address = self.address(vertex);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(vertex)]).arg(program::hcube()).args(["node", "run"]);
        for (option, port) in ["--client-listen", "--peer-listen", "--admin-listen"].into_iter().zip(PORTS) {
            command.arg(option).arg(format!("{address}:{port}"));
        }
        for (option, name) in [("--secret-file", "secret"), ("--token-file", "token")] {
            command.arg(option).arg(self.path(name));
        }
        command.arg("--data-dir").arg(self.path(&format!("data-{vertex}")));
        let log = std::fs::File::create(self.path(&format!("log-{vertex}")));
        let log = log.unwrap_or_else(|error| panic!("no log file: {error}"));
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        spawned.unwrap_or_else(|error| panic!("cannot start a peer: {error}"))
    }

    fn found(&self, count: u16) {
        let admin = |vertex: u16, path: &str| format!("http://{}:{}{path}", self.address(vertex), PORTS[2]);
        let founders: Vec<Value> = (0..count)
            .map(|vertex| {
                let identity = eventually("a peer's identity", seconds(30), || {
                    let request = self.client.get(admin(vertex, "/v1/identity")).bearer_auth(TOKEN);
                    Answer::of(&self.client, request).ok().filter(|answer| answer.status == 200)
                });
                json!({
                    "incarnation": identity.json()["incarnation"],
                    "vertex": vertex,
                    "peer_address": format!("{}:{}", self.address(vertex), PORTS[1]),
                    "client_address": format!("{}:{}", self.address(vertex), PORTS[0]),
                })
            })
            .collect();
        let body = json!({ "cluster_id": format!("{:032x}", std::process::id()), "slots": 16, "founders": founders });
        let request = self.client.post(admin(0, "/v1/bootstrap")).bearer_auth(TOKEN);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let founded = Answer::of(&self.client, request).unwrap_or_else(|error| panic!("{error}"));
        let _ = founded.expect(201);
        for vertex in 0..count {
            eventually("a peer that is ready", seconds(60), || {
                self.get(vertex, "/readyz").ok().filter(|answer| answer.status == 200)
            });
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        for vertex in self.vertices() {
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.path(&format!("log-{vertex}"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(30).collect();
                let text: Vec<&str> = lines.into_iter().rev().collect();
                use std::io::Write as _;
                // Nobody can be told that stderr is gone.
                let _ = writeln!(std::io::stderr(), "=== peer {vertex}\n{}", text.join("\n"));
            }
        }
        for peer in &mut self.peers {
            // `ip netns exec` became the peer. That it has gone already is as good.
            let _ = peer.kill();
            let _ = peer.wait();
        }
        for vertex in self.vertices() {
            ip(&["netns", "del", &self.namespace(vertex)]);
        }
        ip(&["link", "del", &self.cable()]);
        ip(&["netns", "del", &self.switch()]);
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Runs `ip`; whether it did what it was told.
fn ip(arguments: &[&str]) -> bool {
    let status = Command::new("ip").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
