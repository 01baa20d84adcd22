//! Finds the secrets of a call in texts, in time that grows with the text alone.
//!
//! ```text
//!   text ──once──► which forms begin somewhere in it? ──one pass for each──► their places
//! ```
//!
//! Most texts have no beginning of a form in them and are looked at once. A guest can write text full of beginnings; where
//! more begin than are worth a pass each, the whole text counts as secret. What is kept of the secrets here is wiped.

use std::collections::BTreeSet;

use memchr::memmem;
use trellis_model::credential::{SECRET_BYTES_MIN, Secret};
use zeroize::Zeroizing;

use super::forms::{self, Form};

/// Bytes of the beginning of a form. No form is shorter, since no secret is.
const BEGINNING_BYTES: usize = size_of::<u64>();
const _: () = assert!(SECRET_BYTES_MIN >= BEGINNING_BYTES);
/// Forms that one text is looked through for: a secret in all its spellings has fewer than 30, and hardly any text has
/// those of several.
const PASSES_MAX: usize = 256;
/// Bits of the filter before the table: few beginnings share one.
const FILTER_BITS: usize = 1 << 16;
/// Places that are kept before those that touch each other are joined.
const PLACES_MAX: usize = 4_096;

pub(super) struct Search {
    /// Sorted, so that those with the same beginning lie side by side.
    forms: Vec<Form>,
    /// Each once, sorted.
    beginnings: Zeroizing<Vec<u64>>,
    /// Where the forms of each beginning begin; and where the last ones end.
    firsts: Vec<usize>,
    /// A bit for each beginning: says of most other bytes at once that nothing begins there.
    filter: Zeroizing<Vec<u64>>,
    /// Of the longest form, in bytes.
    longest: usize,
}

impl Search {
    pub fn new<'s>(secrets: impl Iterator<Item = &'s Secret>) -> Self {
        let mut forms: Vec<Form> = secrets.flat_map(forms::of).filter(|form| form.len() >= BEGINNING_BYTES).collect();
        forms.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
        forms.dedup_by(|one, other| one.as_slice() == other.as_slice());
        let mut search = Self {
            longest: forms.iter().map(|form| form.len()).max().unwrap_or_default(),
            beginnings: Zeroizing::new(Vec::with_capacity(forms.len())),
            firsts: Vec::new(),
            filter: Zeroizing::new(vec![0; FILTER_BITS / 64]),
            forms,
        };
        for (place, form) in search.forms.iter().enumerate() {
            let beginning = form.iter().take(BEGINNING_BYTES).fold(0, |before, byte| before << 8 | u64::from(*byte));
            if search.beginnings.last() != Some(&beginning) {
                search.beginnings.push(beginning);
                search.firsts.push(place);
                let (word, bit) = filter_place(beginning);
                search.filter[word] |= bit;
            }
        }
        search.firsts.push(search.forms.len());
        search
    }

    /// Bytes of the longest form.
    pub fn longest(&self) -> usize {
        self.longest
    }

    pub fn is_in(&self, text: &[u8]) -> bool {
        let forms = self.forms_in(text);
        forms.len() > PASSES_MAX || forms.iter().any(|form| memmem::find(text, form).is_some())
    }

    /// Where secrets lie, in order; those that overlap as one.
    pub fn places(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let forms = self.forms_in(text);
        if forms.len() > PASSES_MAX {
            return vec![(0, text.len())];
        }
        let mut places: Vec<(usize, usize)> = Vec::new();
        for form in forms {
            for begin in memmem::find_iter(text, form.as_slice()) {
                // Those of one form come in order.
                match places.last_mut() {
                    Some(last) if (last.0..=last.1).contains(&begin) => last.1 = last.1.max(begin + form.len()),
                    _ => places.push((begin, begin + form.len())),
                }
            }
            if places.len() > PLACES_MAX {
                join(&mut places);
            }
        }
        join(&mut places);
        places
    }

    /// The forms that may be in a text, because their beginnings are: at most one more than are looked for.
    fn forms_in(&self, text: &[u8]) -> Vec<&Form> {
        let (mut found, mut window) = (BTreeSet::new(), 0_u64);
        for (place, byte) in text.iter().enumerate() {
            window = window << 8 | u64::from(*byte);
            let (word, bit) = filter_place(window);
            if self.filter[word] & bit != 0
                && place + 1 >= BEGINNING_BYTES
                && let Ok(beginning) = self.beginnings.binary_search(&window)
                && found.insert(beginning)
                && found.len() > PASSES_MAX
            {
                break;
            }
        }
        let forms = found.into_iter().flat_map(|beginning| {
            self.forms.get(self.firsts[beginning]..self.firsts[beginning + 1]).unwrap_or_default()
        });
        forms.filter(|form| form.len() <= text.len()).take(PASSES_MAX + 1).collect()
    }
}

/// The word and the bit of the filter that stand for a beginning.
fn filter_place(beginning: u64) -> (usize, u64) {
    /// Spreads what differs in any byte over the upper bits.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let hash = beginning.wrapping_mul(SPREAD) >> (u64::BITS - FILTER_BITS.trailing_zeros());
    ((hash / 64) as usize, 1 << (hash % 64))
}

fn join(places: &mut Vec<(usize, usize)>) {
    places.sort_unstable();
    places.dedup_by(|next, kept| {
        let is_joined = next.0 <= kept.1;
        if is_joined {
            kept.1 = kept.1.max(next.1);
        }
        is_joined
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(secrets: &[&str]) -> Search {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::from((*secret).to_owned())).collect();
        Search::new(secrets.iter())
    }

    #[test]
    fn forms_with_the_same_beginning_are_told_apart() {
        let search = search(&["password-one", "password-two", "password-one-and-more"]);
        for (text, expected) in [
            ("a password-two b", vec![(2, 14)]),
            ("password-one-and-more", vec![(0, 21)]),
            ("password-one-and-mor", vec![(0, 12)]),
            ("password-three", vec![]),
            ("passwor", vec![]),
            ("password-one password-two", vec![(0, 12), (13, 25)]),
        ] {
            assert_eq!(search.places(text.as_bytes()), expected, "{text}");
            assert_eq!(search.is_in(text.as_bytes()), !expected.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_text_with_the_beginnings_of_very_many_secrets_is_secret_as_a_whole() {
        let lines: Vec<String> = (0..1_000).map(|number| format!("same-beginning-{number:04}")).collect();
        let search = search(&[&lines.join("\n")]);
        let text = format!("before {} behind", lines[7]);
        assert_eq!(search.forms_in(text.as_bytes()).len(), PASSES_MAX + 1, "no more are gathered either");
        assert_eq!(search.places(text.as_bytes()), [(0, text.len())]);
        assert!(search.is_in(text.as_bytes()));
        assert!(!search.is_in(b"nothing of it"));
    }

    #[test]
    fn very_many_places_are_joined() {
        let text = "aaaaaaaa-".repeat(3 * PLACES_MAX);
        assert_eq!(search(&["aaaaaaaa"]).places(text.as_bytes()).len(), 3 * PLACES_MAX);
        assert_eq!(search(&["aaaaaaaa", "a-aaaaaa"]).places(text.as_bytes()), [(0, text.len() - 1)]);
    }
}
