//! TLS 1.3 with raw Ed25519 keys both ways (RFC 7250): who may connect is decided inside the handshake.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hive_core::id::NodeId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, ServerConfig, TransportConfig, VarInt};
use quinn_proto::{ConnectionId, HashedConnectionIdGenerator};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::key::Secret;
use crate::net::reach::STREAMS_MAX;

/// Protocol of members. The number is the version.
const MEMBER_ALPN: &[u8] = b"hive/1";

/// Protocol of pairing.
const PAIR_ALPN: &[u8] = b"hive-pair/1";

/// First bytes of the connection id that a pairing dialler chooses. It only routes: a listener answers it with
/// the pairing configuration, which knows no other protocol, and all others with the members' configuration,
/// whose verifier never lets a stranger in. So pairing being open does not widen the members' door.
const PAIR_MARK: [u8; 4] = *b"pair";

/// DER in front of an Ed25519 public key (RFC 8410); the key follows, so it is bytes 12 to 44.
const PUBLIC_DER: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// DER in front of an Ed25519 secret key (RFC 8410, PKCS#8 version 1); the 32 secret bytes follow.
const SECRET_DER: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// An unused connection lives this long. Source: DESIGN 14. Tested for seconds only.
const IDLE: VarInt = VarInt::from_u32(48 * 3_600 * 1_000);

/// Source: `research/security.md` 4.5 (receive window 4 MiB).
const RECEIVE_WINDOW: VarInt = VarInt::from_u32(4 * 1024 * 1024);

/// Source: `research/security.md` 4.5 (stream receive window 256 KiB).
const STREAM_WINDOW: VarInt = VarInt::from_u32(256 * 1024);

/// Source: `research/security.md` 4.5 (64 waiting handshakes, 64 KiB each, 2 MiB in all).
pub(crate) const INCOMING_MAX: usize = 64;
const INCOMING_BYTES: u64 = 64 * 1024;
const INCOMING_BYTES_ALL: u64 = 2 * 1024 * 1024;

/// First guess of the round trip, so that a lost first packet costs 150 ms and not a second.
/// Source: `research/transport.md` appendix A (50 ms).
const FIRST_RTT: Duration = Duration::from_millis(50);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Member,
    Pair,
}

/// This machine's key as TLS wants it.
pub(crate) struct Identity {
    key: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

/// TLS did not like its own settings: a bug, told instead of hidden.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {0}")]
pub(crate) struct TlsError(String);

impl Identity {
    /// Makes TLS' form of the key.
    pub(crate) fn new(secret: &Secret, me: NodeId) -> Result<Self, TlsError> {
        let mut der = Zeroizing::new(Vec::with_capacity(48));
        der.extend_from_slice(&SECRET_DER);
        der.extend_from_slice(&secret[..]);
        let signing =
            rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&der[..]))
                .map_err(wrong)?;
        let public = [&PUBLIC_DER[..], &me.0].concat();
        Ok(Self {
            key: Arc::new(CertifiedKey::new(
                vec![CertificateDer::from(public)],
                signing,
            )),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        })
    }

    /// How to accept.
    pub(crate) fn server(&self, who: Who) -> Result<ServerConfig, TlsError> {
        let purpose = who.purpose();
        let mut tls = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .with_client_cert_verifier(Arc::new(self.verifier(who)))
            .with_cert_resolver(Arc::new(
                rustls::server::AlwaysResolvesServerRawPublicKeys::new(self.key.clone()),
            ));
        tls.alpn_protocols = vec![alpn(purpose).to_vec()];
        // A resumed session is not shown to the verifier again, so a removed member could resume.
        tls.send_tls13_tickets = 0;
        tls.max_early_data_size = 0;
        let crypto = QuicServerConfig::try_from(tls).map_err(wrong)?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config
            .transport_config(transport(purpose))
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(INCOMING_BYTES_ALL);
        config.validation_token.sent(0);
        Ok(config)
    }

    /// How to dial.
    pub(crate) fn client(&self, who: Who) -> Result<ClientConfig, TlsError> {
        let purpose = who.purpose();
        let mut tls = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(wrong)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.verifier(who)))
            .with_client_cert_resolver(Arc::new(
                rustls::client::AlwaysResolvesClientRawPublicKeys::new(self.key.clone()),
            ));
        tls.alpn_protocols = vec![alpn(purpose).to_vec()];
        tls.enable_sni = false;
        tls.enable_early_data = false;
        tls.resumption = rustls::client::Resumption::disabled();
        let crypto = QuicClientConfig::try_from(tls).map_err(wrong)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport(purpose));
        if purpose == Purpose::Pair {
            config.initial_dst_cid_provider(Arc::new(marked_id));
        }
        Ok(config)
    }

    fn verifier(&self, who: Who) -> Verifier {
        Verifier {
            who,
            provider: self.provider.clone(),
        }
    }
}

/// Reset and connection-id keys that a restarted node still has, so that it answers packets of connections it
/// has forgotten with a reset, and the other side notices at once (`research/transport.md` 6.1).
pub(crate) fn endpoint(secret: &Secret) -> EndpointConfig {
    let reset = Zeroizing::new(blake3::derive_key("hive-mind/v1/quic-reset", &secret[..]));
    let ids = Zeroizing::new(blake3::derive_key("hive-mind/v1/quic-ids", &secret[..]));
    let mut first = [0; 8];
    first.copy_from_slice(&ids[..8]);
    let ids = u64::from_le_bytes(first);
    let mut config = EndpointConfig::new(Arc::new(ring::hmac::Key::new(
        ring::hmac::HMAC_SHA256,
        &reset[..],
    )));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

/// What the dialler of this first packet says it is for.
pub(crate) fn purpose_of(first_id: &[u8]) -> Purpose {
    if first_id.starts_with(&PAIR_MARK) {
        Purpose::Pair
    } else {
        Purpose::Member
    }
}

/// The key that the handshake has proven.
pub(crate) fn proven(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    match &chain[..] {
        [key] => node_of(key),
        _ => None,
    }
}

/// Whom a verifier lets through.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// Any member, as of this moment. The set is shared with the loop because rustls asks from whichever
    /// task drives the handshake; a watch channel has one writer and cannot be left locked.
    Members(watch::Receiver<BTreeSet<NodeId>>),
    /// Exactly this member.
    Member(NodeId),
    /// Any Ed25519 key, to pair with.
    Anyone,
    /// Exactly this key, to pair with.
    PairWith(NodeId),
}

impl Who {
    fn purpose(&self) -> Purpose {
        match self {
            Self::Members(_) | Self::Member(_) => Purpose::Member,
            Self::Anyone | Self::PairWith(_) => Purpose::Pair,
        }
    }

    fn includes(&self, node: NodeId) -> bool {
        match self {
            Self::Members(members) => members.borrow().contains(&node),
            Self::Member(expected) | Self::PairWith(expected) => *expected == node,
            Self::Anyone => true,
        }
    }
}

#[derive(Debug)]
struct Verifier {
    who: Who,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn check(
        &self,
        key: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<(), rustls::Error> {
        let fine = rest.is_empty() && node_of(key).is_some_and(|node| self.who.includes(node));
        if fine {
            return Ok(());
        }
        Err(rustls::Error::InvalidCertificate(
            rustls::CertificateError::ApplicationVerificationFailure,
        ))
    }

    fn signed(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_ref()),
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }
}

fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(key, rest)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(key, rest)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn alpn(purpose: Purpose) -> &'static [u8] {
    match purpose {
        Purpose::Member => MEMBER_ALPN,
        Purpose::Pair => PAIR_ALPN,
    }
}

fn transport(purpose: Purpose) -> Arc<TransportConfig> {
    // Members use two one-way streams in each direction; the spare ones let a third be seen and refused. The two-way
    // ones are for the questions of `reach`.
    let (one_way, two_way) = match purpose {
        Purpose::Member => (4_u32, STREAMS_MAX),
        Purpose::Pair => (0, 1),
    };
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IDLE.into()))
        .keep_alive_interval(None)
        .mtu_discovery_config(None)
        .initial_rtt(FIRST_RTT)
        .receive_window(RECEIVE_WINDOW)
        .stream_receive_window(STREAM_WINDOW)
        .max_concurrent_uni_streams(VarInt::from_u32(one_way))
        .max_concurrent_bidi_streams(VarInt::from_u32(two_way))
        .datagram_receive_buffer_size(None);
    Arc::new(config)
}

/// A first connection id that says "pairing" and cannot be guessed otherwise (RFC 9000 7.2 wants 8 bytes).
fn marked_id() -> ConnectionId {
    let mut id = [0; 20];
    id[..4].copy_from_slice(&PAIR_MARK);
    // Without random bytes the id is guessable, which lets somebody on the path disturb this one handshake.
    if let Ok(chance) = crate::key::chance::<16>() {
        id[4..].copy_from_slice(&chance);
    }
    ConnectionId::new(&id)
}

fn node_of(key: &CertificateDer<'_>) -> Option<NodeId> {
    let bytes = key.as_ref().strip_prefix(&PUBLIC_DER)?;
    <[u8; 32]>::try_from(bytes).ok().map(NodeId)
}

fn wrong(error: impl std::fmt::Display) -> TlsError {
    TlsError(error.to_string())
}
