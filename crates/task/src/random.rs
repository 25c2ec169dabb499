//! Randomness as an argument: every random choice comes from a named, seeded stream.

use rand::SeedableRng;
pub use rand_chacha::ChaCha8Rng;

/// A random stream for one purpose: the same seed and the same name give the same numbers,
/// and two names give independent streams.
pub fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(name.as_bytes());
    ChaCha8Rng::from_seed(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn a_stream_depends_on_seed_and_name_alone() {
        let draw = |seed, name| stream(seed, name).random::<u64>();
        assert_eq!(draw(1, "dropout"), draw(1, "dropout"));
        assert_ne!(draw(1, "dropout"), draw(1, "shuffle"));
        assert_ne!(draw(1, "dropout"), draw(2, "dropout"));
    }
}
