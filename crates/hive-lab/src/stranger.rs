//! A stranger on the network: real handshakes under keys that no hive knows, and forged mDNS records, half of them
//! with tags that real members have said. Runs on a computer of a world only.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::crypto::rustls::QuicClientConfig;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::stats::Dice;

/// The multicast DNS group (RFC 6762).
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5_353);

/// Protocols of members and of pairing.
const ALPN: [&[u8]; 2] = [b"hive/1", b"hive-pair/1"];

/// First bytes of the connection id that routes a handshake to pairing.
const PAIR_MARK: [u8; 4] = *b"pair";

/// One handshake in so many knocks at the pairing door.
const PAIR_SHARE: u64 = 4;

/// How long one handshake may take, and how long a stranger then waits to be spoken to.
const HANDSHAKE_FOR: Duration = Duration::from_secs(5);

/// Forged answers to each question that is heard, from where only the asker listens.
const ANSWERS: usize = 64;

/// DER in front of an Ed25519 public key (RFC 8410).
const PUBLIC_DER: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Shout {
    /// Whom the handshakes go to.
    pub target: SocketAddr,
    /// How many handshakes.
    pub handshakes: u64,
    /// How many forged records by multicast; answers to questions come on top.
    pub records: u64,
    /// Spread over so many seconds.
    pub seconds: u64,
}

/// What was done, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Handshakes begun.
    pub handshakes: u64,
    /// Handshakes that went as far as the stranger's own end: in TLS 1.3 that is before the other side has checked.
    pub half: u64,
    /// Connections on which a member said hello: must be none.
    pub hellos: u64,
    /// Forged records sent, answers included.
    pub forged: u64,
    /// Of these, unicast answers to a member's own questions.
    pub answers: u64,
    /// Of these, with a tag that a real member has said.
    pub replayed: u64,
}

/// Shouts, then tells.
pub async fn run(shout: Shout) -> Result<Told> {
    let (knocks, records) = tokio::join!(knock(shout), forge(shout));
    let (knocks, records) = (knocks?, records?);
    Ok(Told {
        forged: records.forged,
        answers: records.answers,
        replayed: records.replayed,
        ..knocks
    })
}

async fn knock(shout: Shout) -> Result<Told> {
    let mut endpoint = quinn::Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
    let [member, pair] = [config(ALPN[0], None)?, config(ALPN[1], Some(PAIR_MARK))?];
    endpoint.set_default_client_config(member);
    let mut told = Told::default();
    let mut knocking = JoinSet::new();
    let gap = Duration::from_secs(shout.seconds) / u32::try_from(shout.handshakes.max(1))?;
    let began = Instant::now();
    for number in 0..shout.handshakes {
        let connecting = if number % PAIR_SHARE == 0 {
            endpoint.connect_with(pair.clone(), shout.target, "hive.invalid")?
        } else {
            endpoint.connect(shout.target, "hive.invalid")?
        };
        told.handshakes += 1;
        knocking.spawn(enter(connecting));
        while let Some(one) = knocking.try_join_next() {
            told.count(one?);
        }
        tokio::time::sleep_until(began + gap * u32::try_from(number + 1)?).await;
    }
    while let Some(one) = knocking.join_next().await {
        told.count(one?);
    }
    Ok(told)
}

/// How far a stranger came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Nowhere,
    Half,
    SpokenTo,
}

async fn enter(connecting: quinn::Connecting) -> Came {
    let Ok(Ok(connection)) = tokio::time::timeout(HANDSHAKE_FOR, connecting).await else {
        return Came::Nowhere;
    };
    let hello = tokio::time::timeout(HANDSHAKE_FOR, async {
        let mut stream = connection.accept_uni().await.ok()?;
        stream.read_chunk(64, true).await.ok()?
    });
    match hello.await {
        Ok(Some(_)) => Came::SpokenTo,
        _ => Came::Half,
    }
}

impl Told {
    fn count(&mut self, came: Came) {
        self.half += u64::from(came != Came::Nowhere);
        self.hellos += u64::from(came == Came::SpokenTo);
    }
}

/// Forged records by multicast at a steady pace, and a burst of them to whoever asks.
async fn forge(shout: Shout) -> Result<Told> {
    let ear = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, GROUP.1))?;
    ear.join_multicast_v4(&GROUP.0, &Ipv4Addr::UNSPECIFIED)?;
    ear.set_multicast_loop_v4(false)?;
    ear.set_nonblocking(true)?;
    let ear = UdpSocket::from_std(ear)?;
    let mut dice = Dice::new(shout.records);
    let mut tags: Vec<[u8; 16]> = Vec::new();
    let mut told = Told::default();
    let gap = Duration::from_secs(shout.seconds) / u32::try_from(shout.records.max(1))?;
    let began = Instant::now();
    let mut packet = [0; 9_000];
    // A question of its own, as anyone may ask: the answers tell real tags.
    ear.send_to(&question(), GROUP).await?;
    let mut sent = 0;
    while sent < shout.records {
        let next = began + gap * u32::try_from(sent + 1)?;
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                let (record, replayed) = forged(&tags, &mut dice);
                told.replayed += u64::from(replayed);
                told.forged += 1;
                sent += 1;
                ear.send_to(&record, GROUP).await?;
            }
            heard = ear.recv_from(&mut packet) => {
                let (length, from) = heard?;
                tags.extend(tag_in(&packet[..length]));
                tags.truncate(64);
                let asks = packet.get(2).is_some_and(|flags| flags & 0x80 == 0);
                if asks && from.port() != GROUP.1 {
                    for _ in 0..ANSWERS {
                        let (record, replayed) = forged(&tags, &mut dice);
                        told.replayed += u64::from(replayed);
                        told.forged += 1;
                        told.answers += 1;
                        ear.send_to(&record, from).await?;
                    }
                }
            }
        }
    }
    Ok(told)
}

/// PTR, class IN with the unicast-response bit, as any one-shot question.
fn question() -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    name(&mut packet, &[b"_hive-mind", b"_udp", b"local"]);
    packet.extend([0, 12, 0x80, 1]);
    packet
}

/// A whole answer for a machine that is not there; whether its tag is a real one.
fn forged(tags: &[[u8; 16]], dice: &mut Dice) -> (Vec<u8>, bool) {
    let replay = !tags.is_empty() && dice.coin();
    let made = hex(dice.next_u64());
    let tag = if replay {
        tags[dice.below(tags.len())]
    } else {
        made
    };
    let instance = [hex(dice.next_u64()), hex(dice.next_u64())].concat();
    let own: [&[u8]; 4] = [&instance, b"_hive-mind", b"_udp", b"local"];
    let host: [&[u8]; 2] = [&instance, b"local"];
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let record = |packet: &mut Vec<u8>, owner: &[&[u8]], kind: u8, class: u8, data: &[u8]| {
        name(packet, owner);
        packet.extend([0, kind, class, 1, 0, 0, 0, 120]);
        packet.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        packet.extend(data);
    };
    let mut data = Vec::new();
    name(&mut data, &own);
    record(&mut packet, &own[1..], 12, 0, &data);
    let mut data = vec![0, 0, 0, 0];
    data.extend(
        u16::try_from(dice.below(60_000) + 1_024)
            .unwrap_or(1_024)
            .to_be_bytes(),
    );
    name(&mut data, &host);
    record(&mut packet, &own, 33, 0x80, &data);
    let text = [&b"\x03v=1\x12t="[..], &tag].concat();
    record(&mut packet, &own, 16, 0x80, &text);
    let [low, high, ..] = dice.next_u64().to_le_bytes();
    record(&mut packet, &host, 1, 0x80, &[10, 77, low, high]);
    (packet, replay)
}

fn name(packet: &mut Vec<u8>, labels: &[&[u8]]) {
    for label in labels {
        packet.push(u8::try_from(label.len()).unwrap_or(63));
        packet.extend(*label);
    }
    packet.push(0);
}

/// The tag in a real answer: `t=` and 16 hexadecimal digits.
fn tag_in(packet: &[u8]) -> Option<[u8; 16]> {
    packet.windows(18).find_map(|window| {
        let digits = window.strip_prefix(b"t=")?;
        let all = digits.iter().all(u8::is_ascii_hexdigit);
        digits.try_into().ok().filter(|_| all)
    })
}

fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[usize::try_from((number >> (60 - 4 * at)) & 15).unwrap_or(0)];
    }
    digits
}

/// A client under a new key that takes any key for the other side's.
fn config(alpn: &[u8], mark: Option<[u8; 4]>) -> Result<quinn::ClientConfig> {
    let secret = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new())
        .ok()
        .context("no key")?;
    let pair = Ed25519KeyPair::from_pkcs8(secret.as_ref())
        .ok()
        .context("no key")?;
    let public = [&PUBLIC_DER[..], pair.public_key().as_ref()].concat();
    let signing =
        rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(secret.as_ref()))?;
    let key = CertifiedKey::new(vec![CertificateDer::from(public)], signing);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_client_cert_resolver(Arc::new(
            rustls::client::AlwaysResolvesClientRawPublicKeys::new(Arc::new(key)),
        ));
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.enable_sni = false;
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    if let Some(mark) = mark {
        config.initial_dst_cid_provider(Arc::new(move || {
            let mut id = [0; 12];
            id[..4].copy_from_slice(&mark);
            let chance = Dice::new(crate::clock::monotonic_ns()).next_u64();
            id[4..].copy_from_slice(&chance.to_le_bytes());
            quinn::ConnectionId::new(&id)
        }));
    }
    Ok(config)
}

/// Any key is fine, as long as the other side holds it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _key: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_ref()),
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_record_has_a_tag_and_may_carry_a_real_one() {
        let mut dice = Dice::new(3);
        let real = *b"0123456789abcdef";
        let packets: Vec<_> = (0..100).map(|_| forged(&[real], &mut dice)).collect();
        for (packet, replayed) in &packets {
            assert_eq!(tag_in(packet) == Some(real), *replayed);
        }
        let replays = packets.iter().filter(|(_, replayed)| *replayed).count();
        assert!((20..80).contains(&replays), "{replays}");
        assert_eq!(tag_in(&question()), None);
    }
}
