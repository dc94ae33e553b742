//! Invite codes and labels: what reads is what was written, and one changed symbol is found.

use hive_core::hive::invite::InviteCode;
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
    let Ok(code) = text.parse::<InviteCode>() else {
        return Outcome::Refused;
    };
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
    seeds.push(b"amber otter".to_vec());
    seeds.push("\u{202e}evil".into());
    seeds.push("HIVE\u{fc}\u{fc}\u{fc}".into());
    seeds.push("hiv\u{e9}-".into());
    seeds
}
