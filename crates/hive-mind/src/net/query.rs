//! Finding: the one-shot mDNS query (RFC 6762 section 6.7) and a bounded reader of its answers.

use std::collections::BTreeMap;

use hive_core::hive::outside::{Beacon, Locators};
use hive_core::limits::INVITES_MAX;

/// The service, without its dots.
pub(crate) const SERVICE: [&str; 3] = ["_hive-mind", "_udp", "local"];

/// Records read of one packet. A guess: one machine's answer has four.
const RECORDS_MAX: usize = 64;

/// Labels of one name, pointers followed included; a loop of pointers ends here. RFC 1035 allows 127 labels.
const LABELS_MAX: usize = 32;

const PTR: u16 = 12;
const TXT: u16 = 16;
const SRV: u16 = 33;
const IN: u16 = 1;

/// The bit that asks for an answer by unicast (questions) or says "flush" (records).
const TOP_BIT: u16 = 0x8000;

/// One instance that a packet tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its opaque name, in lower case.
    pub instance: Vec<u8>,
    /// Its UDP port.
    pub port: u16,
    /// What it says of itself.
    pub beacon: Beacon,
}

/// The question: 39 bytes.
pub(crate) fn question(id: u16) -> Vec<u8> {
    let mut packet = Vec::with_capacity(39);
    for field in [id, 0, 1, 0, 0, 0] {
        packet.extend_from_slice(&field.to_be_bytes());
    }
    for label in SERVICE {
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&PTR.to_be_bytes());
    packet.extend_from_slice(&(IN | TOP_BIT).to_be_bytes());
    packet
}

/// The instances of our service that an answer tells of in full; nothing from a packet that does not read.
pub fn answers(packet: &[u8]) -> Vec<Heard> {
    read(packet).unwrap_or_default()
}

fn read(packet: &[u8]) -> Option<Vec<Heard>> {
    let mut at = Cursor { packet, place: 0 };
    let _id = at.u16()?;
    let flags = at.u16()?;
    let questions = at.u16()?;
    let records = usize::from(at.u16()?) + usize::from(at.u16()?) + usize::from(at.u16()?);
    if flags & TOP_BIT == 0 || questions > 4 || records > RECORDS_MAX {
        return None;
    }
    for _ in 0..questions {
        at.name()?;
        at.take(4)?;
    }
    let mut ports = BTreeMap::new();
    let mut beacons = BTreeMap::new();
    for _ in 0..records {
        let name = at.name()?;
        let kind = at.u16()?;
        let class = at.u16()?;
        let seconds = at.u32()?;
        let length = usize::from(at.u16()?);
        let data = at.place;
        let body = at.take(length)?;
        // Zero seconds to live is a goodbye (RFC 6762 section 10.1).
        if class & !TOP_BIT != IN || seconds == 0 {
            continue;
        }
        let Some(instance) = instance_of(&name) else {
            continue;
        };
        match kind {
            SRV => {
                let port = Cursor {
                    packet,
                    place: data + 4,
                }
                .u16()?;
                ports.insert(instance, port);
            }
            TXT => {
                if let Some(beacon) = beacon_of(body) {
                    beacons.insert(instance, beacon);
                }
            }
            _ => {}
        }
    }
    let whole = beacons.into_iter().filter_map(|(instance, beacon)| {
        let port = ports.get(&instance).copied().filter(|port| *port != 0)?;
        Some(Heard {
            instance,
            port,
            beacon,
        })
    });
    Some(whole.collect())
}

/// The first label, if the rest is our service.
fn instance_of(name: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (instance, service) = name.split_first()?;
    let ours = service.len() == SERVICE.len()
        && service
            .iter()
            .zip(SERVICE)
            .all(|(label, ours)| label.eq_ignore_ascii_case(ours.as_bytes()));
    ours.then(|| instance.to_ascii_lowercase())
}

/// The names of an open code's locators, that of the newest first.
pub(crate) const LOCATORS: [&str; INVITES_MAX] = ["l", "l2", "l3"];

/// Reads `v=1`, `t=<16 hex>`, `l=<8 hex>`, `l2=<8 hex>`, `l3=<8 hex>`.
fn beacon_of(text: &[u8]) -> Option<Beacon> {
    let mut beacon = Beacon::default();
    let (mut version, mut tagged) = (false, false);
    let mut locators = [None; INVITES_MAX];
    let mut rest = text;
    while let Some((length, after)) = rest.split_first() {
        let (entry, next) = after.split_at_checked(usize::from(*length))?;
        rest = next;
        let Some(equals) = entry.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (name, value) = (&entry[..equals], &entry[equals + 1..]);
        match name {
            b"v" => version = value == b"1",
            b"t" => {
                beacon.tag = unhex(value)?;
                tagged = true;
            }
            _ => {
                let place = LOCATORS.iter().position(|it| it.as_bytes() == name);
                if let Some(place) = place {
                    locators[place] = Some(unhex(value)?);
                }
            }
        }
    }
    beacon.locators = Locators::of(locators.into_iter().flatten());
    (version && tagged).then_some(beacon)
}

/// Hexadecimal digits, two a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// A place in a packet. Every step is checked against its end.
struct Cursor<'a> {
    packet: &'a [u8],
    place: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.place.checked_add(length)?;
        let bytes = self.packet.get(self.place..end)?;
        self.place = end;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A name (RFC 1035 4.1.4): labels, then zero or a pointer to more of them.
    fn name(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut labels = Vec::new();
        let mut after = None;
        for _ in 0..LABELS_MAX {
            let length = self.take(1)?[0];
            match length {
                0 => {
                    self.place = after.unwrap_or(self.place);
                    return Some(labels);
                }
                1..=63 => labels.push(self.take(usize::from(length))?.to_vec()),
                192.. => {
                    let low = self.take(1)?[0];
                    after.get_or_insert(self.place);
                    self.place = usize::from(length & 0x3f) << 8 | usize::from(low);
                }
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hive_core::chance::Chance;

    /// An answer as mdns-sd lays it out: PTR, then SRV and TXT under a compressed name.
    fn sample() -> Vec<u8> {
        let mut packet = vec![0x12, 0x34, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        for label in SERVICE {
            packet.push(u8::try_from(label.len()).expect("short"));
            packet.extend_from_slice(label.as_bytes());
        }
        packet.push(0);
        let rest = [
            0, 12, 0, 1, 0, 0, 0, 120, 0, 6, 3, b'A', b'b', b'c', 0xc0, 12,
        ];
        packet.extend_from_slice(&rest);
        let instance = u8::try_from(packet.len() - 6).expect("short");
        packet.extend_from_slice(&[0xc0, instance, 0, 33, 0x80, 1, 0, 0, 0, 120, 0, 9]);
        packet.extend_from_slice(&[0, 0, 0, 0, 0x11, 0x83, 1, b'h', 0]);
        let text = b"\x03v=1\x12t=0123456789abcdef\x0al=00ff10aa";
        packet.extend_from_slice(&[0xc0, instance, 0, 16, 0x80, 1, 0, 0, 0, 120, 0]);
        packet.push(u8::try_from(text.len()).expect("short"));
        packet.extend_from_slice(text);
        packet
    }

    #[test]
    fn the_question_is_the_one_that_was_measured() {
        assert_eq!(question(0x1234).len(), 39);
    }

    #[test]
    fn a_whole_answer_reads() {
        assert_eq!(
            answers(&sample()),
            [Heard {
                instance: b"abc".to_vec(),
                port: 0x1183,
                beacon: Beacon {
                    tag: [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef],
                    locators: Locators::of([[0, 0xff, 0x10, 0xaa]]),
                },
            }]
        );
    }

    #[test]
    fn a_cut_answer_is_nothing_and_a_pointer_loop_ends() {
        let whole = sample();
        for end in 0..whole.len() {
            assert_eq!(answers(&whole[..end]), [], "cut at {end}");
        }
        let mut looped = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 12];
        looped.extend_from_slice(&[0; 10]);
        assert_eq!(answers(&looped), []);
    }

    /// 40,000 packets: half random bytes, half the sample with a few bytes changed. Reading must neither panic
    /// nor tell of more instances than a packet can hold records.
    #[test]
    fn whatever_arrives_is_read_without_harm() {
        let mut chance = Chance::from_seed([5; 32]);
        let whole = sample();
        let mut survivors = 0;
        for round in 0..40_000 {
            let packet = if round % 2 == 0 {
                let length = usize::try_from(chance.below(400)).expect("small");
                let noise = chance.bytes::<400>();
                noise[..length].to_vec()
            } else {
                let mut packet = whole.clone();
                for _ in 0..=chance.below(4) {
                    let place = chance.below(u64::try_from(packet.len()).expect("small"));
                    let [byte] = chance.bytes();
                    packet[usize::try_from(place).expect("small")] = byte;
                }
                packet
            };
            let heard = answers(&packet);
            assert!(heard.len() <= RECORDS_MAX);
            survivors += heard.len();
        }
        // The test would say nothing if every changed packet were thrown away at its first byte.
        assert!(survivors > 1_000, "{survivors}");
    }
}
