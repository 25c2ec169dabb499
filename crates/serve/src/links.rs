//! Links that are good for an hour: a frame or a new tab cannot send a key along.

use sha2::{Digest, Sha256};
use sprat_task::Timestamp;
use subtle::ConstantTimeEq;

const GOOD_FOR_MS: u64 = 3_600_000;

/// Signs links with a secret of this process: a restart ends them all.
pub(crate) struct Links([u8; 32]);

impl Links {
    /// A new secret from the operating system's random source.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Links(secret))
    }

    /// What has to stand behind a link to `name`.
    pub(crate) fn ticket(&self, name: &str, now: Timestamp) -> String {
        let until = now.0.saturating_add(GOOD_FOR_MS);
        format!("{until}-{}", hex::encode(self.sign(name, until)))
    }

    /// Whether a ticket is ours, for this name, and still good.
    pub(crate) fn admits(&self, ticket: &str, name: &str, now: Timestamp) -> bool {
        let Some((until, signature)) = ticket.split_once('-') else { return false };
        let (Ok(until), Ok(signature)) = (until.parse::<u64>(), hex::decode(signature)) else {
            return false;
        };
        let same = self.sign(name, until).as_slice().ct_eq(&signature);
        let fresh = now.0 <= until && until - now.0 <= GOOD_FOR_MS;
        bool::from(same) && fresh
    }

    /// A hash under the secret. What is hashed has one length whatever the name, so that nothing
    /// can be appended to it (length extension).
    fn sign(&self, name: &str, until: u64) -> [u8; 32] {
        let content = Sha256::new().chain_update(until.to_le_bytes()).chain_update(name).finalize();
        Sha256::new().chain_update(self.0).chain_update(content).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_one_name_and_one_hour() {
        let (links, now) = (Links::new().unwrap(), Timestamp(1_700_000_000_000));
        let ticket = links.ticket("bench", now);
        assert!(links.admits(&ticket, "bench", now));
        assert!(links.admits(&ticket, "bench", Timestamp(now.0 + GOOD_FOR_MS)));
        assert!(!links.admits(&ticket, "bench", Timestamp(now.0 + GOOD_FOR_MS + 1)));
        assert!(!links.admits(&ticket, "tune", now));
        assert!(!Links::new().unwrap().admits(&ticket, "bench", now), "another process");
        let later = ticket.replacen('1', "2", 1);
        for forged in ["", "-", "x-y", later.as_str(), &ticket[..ticket.len() - 2], "1-é"] {
            assert!(!links.admits(forged, "bench", now), "{forged}");
        }
    }
}
