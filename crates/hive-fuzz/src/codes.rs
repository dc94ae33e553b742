//! Invite codes, tickets and labels: what reads is what was written, and one changed symbol is found.

use core::net::{IpAddr, SocketAddr};

use hive_core::hive::invite::InviteCode;
use hive_core::hive::ticket::{BYTES_MAX, PLACES_MAX, Pass, Ticket};
use hive_core::id::{HiveId, NodeId};
use hive_core::limits;
use hive_core::statement::Label;

use crate::{Outcome, Target};

/// Codes that people type.
pub const TARGET: Target = Target {
    name: "codes",
    life: || Box::new(check),
    seeds,
};

fn check(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    if let Ok(label) = Label::new(&text) {
        assert!((1..=limits::LABEL_BYTES_MAX).contains(&label.as_str().len()));
        assert_eq!(Label::new(label.as_str()).as_ref(), Ok(&label));
        assert!(!label.as_str().chars().any(char::is_control));
    }
    let made: Option<&[u8; 10]> = data.first_chunk();
    if let Some(secret) = made {
        let code = InviteCode::new(*secret);
        assert_eq!(code.to_string().parse().as_ref(), Ok(&code));
    }
    check_ticket(data, &text);
    if let Ok(ticket) = text.parse::<Ticket>() {
        let written = ticket.to_string();
        let folded: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        assert_eq!(folded.to_ascii_lowercase(), written, "one way to write it");
        assert!(ticket.places().len() <= PLACES_MAX);
        assert!(written.len() <= 5 + (BYTES_MAX * 8).div_ceil(5) + 6);
        assert_eq!(text.parse(), Ok(Pass::Ticket(ticket)));
        return Outcome::Taken;
    }
    let Ok(code) = text.parse::<InviteCode>() else {
        return Outcome::Refused;
    };
    assert_eq!(text.parse(), Ok(Pass::Code(code.clone())));
    let canonical = code.to_string();
    assert_eq!(canonical.len(), 28);
    assert_eq!(canonical.parse().as_ref(), Ok(&code));
    assert_eq!(canonical.to_lowercase().parse().as_ref(), Ok(&code));
    // What was typed says the same symbols, whatever stands between them.
    let symbols = |text: &str| {
        let folded = text.trim().to_uppercase();
        let body = folded.strip_prefix("HIVE").unwrap_or(&folded).to_owned();
        let kept = body.chars().filter(|c| *c != '-' && !c.is_whitespace());
        kept.map(|c| match c {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect::<String>()
    };
    assert_eq!(symbols(&text), symbols(&canonical));
    Outcome::Taken
}

/// A ticket made of any bytes reads back, and with one symbol changed it does not.
fn check_ticket(data: &[u8], text: &str) {
    let Some((head, rest)) = data.split_first_chunk::<16>() else {
        return;
    };
    let places: Vec<SocketAddr> = rest
        .chunks_exact(18)
        .take(8)
        .map(|chunk| {
            let mut six = [0; 16];
            six.copy_from_slice(&chunk[..16]);
            let ip = if chunk[16] % 2 == 0 {
                IpAddr::from(six)
            } else {
                IpAddr::from([six[0], six[1], six[2], six[3]])
            };
            SocketAddr::new(ip, u16::from_be_bytes([chunk[16], chunk[17]]))
        })
        .collect();
    let mut secret = [0; 10];
    secret.copy_from_slice(&head[..10]);
    let code = InviteCode::new(secret);
    let ticket = Ticket::new(
        code,
        NodeId([head[10]; 32]),
        HiveId([head[11]; 32]),
        &places,
    );
    let written = ticket.to_string();
    assert_eq!(written.parse().as_ref(), Ok(&ticket));
    let at = 5 + usize::from(head[12]) % (written.len() - 5);
    let other = if head[13] % 2 == 0 { "q" } else { "p" };
    if written[at..=at] != *other {
        let typed = [&written[..at], other, &written[at + 1..]].concat();
        assert!(typed.parse::<Ticket>().is_err(), "{text}");
        let cut = written[..at].parse::<Ticket>();
        assert!(cut.is_err());
    }
}

/// Tickets as they are printed, folded by mail, mistyped and cut.
fn tickets() -> Vec<Vec<u8>> {
    let places = ["192.0.2.7:4483", "[2001:db8::7]:4483", "203.0.113.5:9000"];
    let places: Vec<SocketAddr> = places.iter().filter_map(|it| it.parse().ok()).collect();
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for count in 0..=places.len() {
        let code = InviteCode::new([7; 10]);
        let ticket = Ticket::new(code, NodeId([9; 32]), HiveId([3; 32]), &places[..count]);
        let text = ticket.to_string();
        seeds.push(text.clone().into_bytes());
        seeds.push(text.to_uppercase().into_bytes());
        seeds.push(
            [&text[..50], "\r\n  ", &text[50..], "\n"]
                .concat()
                .into_bytes(),
        );
        seeds.push(text[..text.len() - 7].into());
        seeds.push([&text[..40], "q", &text[41..]].concat().into_bytes());
        seeds.push([&text, "q"].concat().into_bytes());
    }
    seeds
}

fn seeds() -> Vec<Vec<u8>> {
    let codes = [[0; 10], [255; 10], [0, 1, 2, 250, 4, 5, 99, 7, 8, 255]];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for secret in codes {
        let text = InviteCode::new(secret).to_string();
        let other = if text.ends_with('7') { "8" } else { "7" };
        seeds.push(text.clone().into_bytes());
        seeds.push(text.to_lowercase().replace('-', " ").into_bytes());
        seeds.push(text.replace('0', "O").replace('1', "l")[5..].into());
        seeds.push([&text[..27], other].concat().into_bytes());
        seeds.push(format!("  {text}\n").into_bytes());
        seeds.push(text[..20].into());
    }
    seeds.extend(tickets());
    seeds.push(b"amber otter".to_vec());
    seeds.push("\u{202e}evil".into());
    seeds.push("HIVE\u{fc}\u{fc}\u{fc}".into());
    seeds.push("hiv\u{e9}-".into());
    seeds
}
