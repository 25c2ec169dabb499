//! Shifts that are planted to see how soon the tests find them: how texts change.

use rand::Rng;
use rand::seq::IndexedRandom;
use sprat_task::random::ChaCha8Rng;

/// Frequent words of German, French, Spanish and Polish: what a text of another language is full
/// of.
const FOREIGN: &str = "und nicht eine wir haben können bitte warum heute immer je ne pas avec pour \
     votre pourquoi merci toujours cette pero porque cuando dónde quiero tengo gracias siempre muy \
     esta jest nie dlaczego proszę kiedy gdzie mogę dziękuję zawsze bardzo";
/// Changed words of a text, at most.
const TYPOS: usize = 2;

/// A letter swapped with its neighbour, left out or doubled in up to two words.
pub fn typos(text: &str, rng: &mut ChaCha8Rng) -> String {
    let mut words: Vec<Vec<char>> = text.split(' ').map(|word| word.chars().collect()).collect();
    for _ in 0..TYPOS {
        let at = rng.random_range(0..words.len());
        let word = &mut words[at];
        if word.len() < 3 {
            continue;
        }
        let letter = rng.random_range(1..word.len());
        match rng.random_range(0..3) {
            0 => word.swap(letter - 1, letter),
            1 => {
                word.remove(letter);
            }
            _ => word.insert(letter, word[letter]),
        }
    }
    words.into_iter().map(String::from_iter).collect::<Vec<_>>().join(" ")
}

/// Every second word, on average, replaced by one of another language.
pub fn foreign(text: &str, rng: &mut ChaCha8Rng) -> String {
    let words: Vec<&str> = FOREIGN.split_whitespace().collect();
    let swapped = |word: &str, rng: &mut ChaCha8Rng| match words.choose(rng) {
        Some(other) if rng.random::<bool>() => (*other).to_owned(),
        _ => word.to_owned(),
    };
    text.split(' ').map(|word| swapped(word, rng)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_task::random::stream;

    #[test]
    fn texts_change_and_strange_ones_do_not_panic() {
        let mut rng = stream(1, "shifts");
        let text = "please cancel the order that arrived broken";
        let changed = (0..20).filter(|_| typos(text, &mut rng) != text).count();
        assert!(changed >= 15, "{changed}");
        assert!((0..20).all(|_| foreign(text, &mut rng).split(' ').count() == 7));
        for strange in ["", " ", "ab", "ÿü ñç日本"] {
            typos(strange, &mut rng);
            foreign(strange, &mut rng);
        }
    }
}
