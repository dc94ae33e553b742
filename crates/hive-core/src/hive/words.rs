//! Words that two people can compare at a glance, and names for machines that nobody named yet.

use alloc::string::String;

use crate::chance::Chance;
use crate::statement::Label;

/// The words that both screens of a pairing show. 4 of 1,296 are 41 bits (DESIGN section 14).
#[must_use]
pub fn pick(hash: &[u8; 32]) -> [u16; 4] {
    let mut picked = [0; 4];
    for (place, bytes) in picked.iter_mut().zip(hash.chunks_exact(8)) {
        let mut wide = [0; 8];
        wide.copy_from_slice(bytes);
        let index = u64::from_le_bytes(wide) % 1_296;
        *place = u16::try_from(index).unwrap_or(0);
    }
    picked
}

/// Picked words as a line.
#[must_use]
pub fn line(picked: &[u16]) -> String {
    let mut line = String::new();
    for index in picked {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(at(*index).unwrap_or("?"));
    }
    line
}

/// The word at a place of the list.
#[must_use]
pub fn at(index: u16) -> Option<&'static str> {
    WORDS.split_whitespace().nth(usize::from(index))
}

/// Where a word stands in the list, in whichever case it was typed.
#[must_use]
pub fn find(word: &str) -> Option<u16> {
    let place = WORDS
        .split_whitespace()
        .position(|listed| listed.eq_ignore_ascii_case(word))?;
    u16::try_from(place).ok()
}

/// Two words for a machine that nobody named.
#[must_use]
pub fn label(chance: &mut Chance) -> Label {
    let mut word = || u16::try_from(chance.below(1_296)).unwrap_or(0);
    let text = line(&[word(), word()]);
    Label::new(&text).unwrap_or_else(|_| Label::new("machine").expect("a word is a label"))
}

/// 1,296 (6^4) simple words, chosen for this list.
const WORDS: &str = include_str!("words.txt");

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn there_are_1296_distinct_simple_words() {
        let words: BTreeSet<&str> = WORDS.split_whitespace().collect();
        assert_eq!(words.len(), 1_296);
        assert_eq!(WORDS.split_whitespace().count(), 1_296);
        for word in words {
            assert!((3..=8).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
    }

    #[test]
    fn every_hash_has_words_and_a_new_machine_a_label() {
        let last = pick(&[255; 32]);
        assert_eq!(line(&last).split(' ').count(), 4);
        assert!(!line(&[1_295]).contains('?'));
        let label = label(&mut Chance::from_seed([3; 32]));
        assert_eq!(label.as_str().split(' ').count(), 2);
    }
}
