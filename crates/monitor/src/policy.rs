//! What happens to the texts of requests.

use crate::HashKey;

/// What a trace keeps of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPolicy {
    /// The text itself.
    Keep,
    /// A keyed digest: equal texts are recognized, nothing else.
    Hash(HashKey),
    /// Nothing.
    Drop,
}

impl TextPolicy {
    /// Text and digest as the policy wants them.
    pub(crate) fn apply(&self, text: String) -> (Option<String>, Option<String>) {
        match self {
            TextPolicy::Keep => (Some(text), None),
            TextPolicy::Hash(key) => (None, Some(key.hash(&text))),
            TextPolicy::Drop => (None, None),
        }
    }
}
