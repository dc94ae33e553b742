//! Being found: an mDNS responder that says nothing by itself, and the task that asks once when told to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hive_core::hive::outside::{Beacon, Sighting};
use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::net::interfaces::{Interface, Interfaces};
use crate::net::query;

const TYPE: &str = "_hive-mind._udp.local.";

/// Where mDNS is spoken (RFC 6762 section 3).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const MDNS_PORT: u16 = 5_353;

/// The question goes out at these moments: once, and twice more because multicast on Wi-Fi is often lost; but not
/// when somebody has answered. Each question is answered by everybody, so that three cost a hive of 100 some 150 kB;
/// and who misses somebody still asks anew a second later. Source: DESIGN 5 and `research/transport.md` 3.2 (answers
/// came in 1.8 to 3.3 ms).
const ASK_AT: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_secs(1),
];

/// How long answers are listened for after the last question. A guess, a hundred times what was measured.
const LISTEN_FOR: Duration = Duration::from_millis(500);

/// The longest packet mDNS allows (RFC 6762 section 17).
const PACKET_BYTES_MAX: usize = 9_000;

/// Machines heard that wait for the loop. A guess: more of a flood are dropped.
const HEARD_MAX: usize = 64;

/// How often mdns-sd compares addresses by itself; it costs no traffic. Same as the driver's own look.
const LOOK_AROUND_S: u32 = 30;

/// How long the goodbye may take.
const GOODBYE_FOR: Duration = Duration::from_millis(200);

/// Being found and finding.
pub(crate) struct Mdns {
    responder: Option<ServiceDaemon>,
    on: bool,
    instance: String,
    port: u16,
    beacon: Option<Beacon>,
    asking: Option<JoinHandle<()>>,
    hear: mpsc::Sender<Sighting>,
    heard: mpsc::Receiver<Sighting>,
}

impl Mdns {
    /// Neither is found nor finds.
    pub(crate) fn off() -> Self {
        let (hear, heard) = mpsc::channel(HEARD_MAX);
        Self {
            responder: None,
            on: false,
            instance: String::new(),
            port: 0,
            beacon: None,
            asking: None,
            hear,
            heard,
        }
    }

    /// Starts the responder; it says nothing until [`Mdns::announce`]. `chance` makes the opaque name.
    pub(crate) fn open(port: u16, around: &Interfaces, chance: [u8; 16]) -> Self {
        let responder = ServiceDaemon::new()
            .inspect_err(|error| tracing::warn!(%error, "no mDNS: others cannot find this machine"))
            .ok();
        let this = Self {
            responder,
            on: true,
            instance: query::hex(&chance),
            port,
            ..Self::off()
        };
        if let Some(responder) = &this.responder {
            told(responder.disable_interface(IfKind::All));
            told(responder.set_ip_check_interval(LOOK_AROUND_S));
        }
        this.enable(around);
        this
    }

    /// Whether this machine is found, and finds, by mDNS.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// From now on, says this of this machine.
    pub(crate) fn announce(&mut self, beacon: Beacon, around: &Interfaces) {
        self.beacon = Some(beacon);
        self.register(around);
    }

    /// An interface came, went or changed its address.
    pub(crate) fn interfaces_changed(&mut self, around: &Interfaces) {
        self.enable(around);
        self.register(around);
    }

    /// Asks the network once who is there. Whoever was still being listened for is listened for anew.
    pub(crate) fn seek(&mut self, around: &Interfaces) {
        if !self.on {
            return;
        }
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
        let interfaces = around.ask_at();
        let own = self.instance.clone().into_bytes();
        let hear = self.hear.clone();
        self.asking = Some(tokio::spawn(async move {
            let mut asking = JoinSet::new();
            for interface in interfaces {
                asking.spawn(ask(interface, own.clone(), hear.clone(), Until::Somebody));
            }
            asking.join_all().await;
        }));
    }

    /// The next machine heard. May be dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> Sighting {
        match self.heard.recv().await {
            Some(sighting) => sighting,
            None => std::future::pending().await,
        }
    }

    /// Says goodbye. Blocks shortly.
    pub(crate) fn finish(self) {
        if let Some(asking) = self.asking {
            asking.abort();
        }
        let Some(responder) = self.responder else {
            return;
        };
        if self.beacon.is_some()
            && let Ok(answer) = responder.unregister(&format!("{}.{TYPE}", self.instance))
            && answer.recv_timeout(GOODBYE_FOR).is_err()
        {
            tracing::debug!("mDNS goodbye not confirmed");
        }
        told(responder.shutdown().map(drop));
    }

    fn enable(&self, around: &Interfaces) {
        if let Some(responder) = &self.responder {
            for interface in around.all() {
                told(responder.enable_interface(match interface.address {
                    IpAddr::V4(_) => IfKind::IndexV4(interface.index),
                    IpAddr::V6(_) => IfKind::IndexV6(interface.index),
                }));
            }
        }
    }

    /// Registering again replaces what was said and announces it.
    fn register(&self, around: &Interfaces) {
        let (Some(responder), Some(beacon)) = (&self.responder, self.beacon) else {
            return;
        };
        let addresses: Vec<IpAddr> = around.all().iter().map(|one| one.address).collect();
        if addresses.is_empty() {
            return;
        }
        let tag = query::hex(&beacon.tag);
        let locators: Vec<String> = beacon.locators.iter().map(|it| query::hex(&it)).collect();
        let mut text = vec![("v", "1"), ("t", tag.as_str())];
        text.extend(
            query::LOCATORS
                .into_iter()
                .zip(locators.iter().map(String::as_str)),
        );
        let host = format!("{}.local.", self.instance);
        match ServiceInfo::new(
            TYPE,
            &self.instance,
            &host,
            &addresses[..],
            self.port,
            &text[..],
        ) {
            Ok(mut service) => {
                // Nobody else has 128 random bits for a name, so nobody need be asked for it.
                service.set_requires_probe(false);
                told(responder.register(service));
            }
            Err(error) => tracing::warn!(%error, "mDNS record not made"),
        }
    }
}

/// Asks once on every interface in use and tells where the answers came from; this machine's own are among them.
pub(crate) async fn who_answers(places: Vec<Interface>) -> Vec<(String, SocketAddr)> {
    let mut heard = Vec::new();
    let mut asking = JoinSet::new();
    for place in places {
        let (hear, mut answers) = mpsc::channel(HEARD_MAX);
        asking.spawn(async move {
            let name = place.name.clone();
            // No name of an instance is empty.
            ask(place, Vec::new(), hear, Until::TheEnd).await;
            let mut from = Vec::new();
            while let Some(sighting) = answers.recv().await {
                from.push((name.clone(), sighting.address));
            }
            from
        });
    }
    for answers in asking.join_all().await {
        heard.extend(answers);
    }
    heard.sort();
    heard.dedup();
    heard
}

/// A socket to ask on one interface with, and where the question goes.
async fn asking_socket(interface: &Interface) -> std::io::Result<(UdpSocket, SocketAddr)> {
    match interface.address {
        // Bound to the interface's own address, Linux sends multicast out of that interface, loopback included.
        IpAddr::V4(address) => {
            let socket = UdpSocket::bind((address, 0)).await?;
            // RFC 6762 section 11: mDNS is sent with 255.
            socket.set_multicast_ttl_v4(255)?;
            Ok((socket, (GROUP, MDNS_PORT).into()))
        }
        // The scope says which interface, and the kernel chooses an address of it.
        IpAddr::V6(_) => {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await?;
            rustix::net::sockopt::set_ipv6_multicast_hops(&socket, 255)?;
            let group = SocketAddrV6::new(GROUP_V6, MDNS_PORT, 0, interface.index);
            Ok((socket, group.into()))
        }
    }
}

/// How long to go on asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Until anybody else has answered.
    Somebody,
    /// At all moments.
    TheEnd,
}

/// Asks on one interface and listens. An answer's sender, not its records, says where the machine is.
async fn ask(interface: Interface, own: Vec<u8>, hear: mpsc::Sender<Sighting>, until: Until) {
    let (socket, group) = match asking_socket(&interface).await {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "cannot ask on an interface");
            return;
        }
    };
    let id = socket.local_addr().map_or(0, |address| address.port());
    let question = query::question(id);
    let somebody = AtomicBool::new(false);
    let asking = async {
        let mut before = Duration::ZERO;
        for moment in ASK_AT {
            tokio::time::sleep(moment.saturating_sub(before)).await;
            before = moment;
            if until == Until::Somebody && somebody.load(Ordering::Relaxed) {
                break;
            }
            if let Err(error) = socket.send_to(&question, group).await {
                tracing::debug!(%error, "cannot ask on an interface");
            }
        }
        tokio::time::sleep(LISTEN_FOR).await;
    };
    let listening = async {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        loop {
            let Ok((length, mut from)) = socket.recv_from(&mut packet).await else {
                return;
            };
            for heard in query::answers(&packet[..length]) {
                if heard.instance == own {
                    continue;
                }
                somebody.store(true, Ordering::Relaxed);
                // With its scope, without which a link-local address leads nowhere.
                from.set_port(heard.port);
                let sighting = Sighting {
                    beacon: heard.beacon,
                    address: from,
                };
                if hear.try_send(sighting).is_err() {
                    tracing::debug!("more machines answer than can be looked at");
                }
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = listening => {}
    }
}

fn told(result: Result<(), mdns_sd::Error>) {
    if let Err(error) = result {
        tracing::warn!(%error, "mDNS");
    }
}
