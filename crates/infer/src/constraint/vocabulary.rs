//! The tokens of a model as bytes, for matching grammars against them.

use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use sprat_model::TextTokenizer;
use std::sync::Arc;

/// A tokenizer as the matcher sees it: a trie over the bytes of all tokens that are text.
///
/// Control tokens have no bytes, so no grammar can produce them. The matcher's own end is a
/// token behind the last one, so that a tokenizer may have several ends or none.
struct Vocabulary {
    tokenizer: Arc<TextTokenizer>,
    trie: TokTrie,
}

/// Builds the trie of a tokenizer.
pub(super) fn environment(tokenizer: &Arc<TextTokenizer>) -> TokEnv {
    let size = u32::try_from(tokenizer.vocabulary()).unwrap_or(u32::MAX - 1);
    let mut words: Vec<Vec<u8>> = (0..size).map(|id| word(tokenizer, id)).collect();
    words.push(b"\xff<end>".to_vec());
    let info = TokRxInfo {
        vocab_size: size + 1,
        tok_eos: size,
        tok_bos: None,
        tok_pad: None,
        tok_unk: None,
        tok_end_of_turn: None,
    };
    let trie = TokTrie::from(&info, &words);
    Arc::new(Vocabulary { tokenizer: Arc::clone(tokenizer), trie })
}

/// What a token adds to a text; empty for those that must not be written.
fn word(tokenizer: &TextTokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id);
    // No UTF-8 text holds the byte 0xff; the trie marks special tokens with it.
    let unusable = tokenizer.is_control(id) || bytes.first() == Some(&0xff);
    if unusable { Vec::new() } else { bytes.to_vec() }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.trie.tokenize_with_greedy_fallback(text, |text| {
            let ids = self.tokenizer.encode_continuing(text).unwrap_or_default();
            let mut bytes = Vec::with_capacity(text.len());
            for &id in &ids {
                bytes.extend_from_slice(self.trie.token(id));
            }
            // A tokenizer that rewrites texts (another normal form, say) must not do it here.
            if bytes == text.as_bytes() { ids } else { self.trie.greedy_tokenize(text.as_bytes()) }
        })
    }
}
