//! The models of `sprat-model` as the engines see them.

use crate::embedder::{Embedding, TextEmbedder};
use crate::engine::{Scored, TextClassifier};
use sprat_model::{Classifier, Encoder};
use sprat_task::Result;
use std::sync::Arc;

impl TextClassifier for Classifier {
    fn labels(&self) -> &[String] {
        Classifier::labels(self)
    }

    fn max_tokens(&self) -> usize {
        self.encoder().tokenizer().max_tokens()
    }

    fn classify(&self, texts: &[&str]) -> Result<Vec<Scored>> {
        let predictions = self.predict(texts)?.into_iter();
        Ok(predictions
            .map(|prediction| Scored {
                probabilities: prediction.probabilities,
                tokens: prediction.tokens,
                cut: prediction.cut,
                embedding: None,
            })
            .collect())
    }
}

/// A classifier that hands out the embedding of each text with its answer. It is the one that the
/// answer was computed from: nothing is computed twice.
pub struct WithEmbeddings(pub Arc<Classifier>);

impl TextClassifier for WithEmbeddings {
    fn labels(&self) -> &[String] {
        self.0.labels()
    }

    fn max_tokens(&self) -> usize {
        TextClassifier::max_tokens(self.0.as_ref())
    }

    fn classify(&self, texts: &[&str]) -> Result<Vec<Scored>> {
        let tokens = self.0.encoder().tokenizer().encode_all(texts)?;
        let embeddings = self.0.encoder().embed_tokens(&tokens);
        let predictions = self.0.predict_embedded(&embeddings, &tokens).into_iter();
        Ok(predictions
            .enumerate()
            .map(|(row, prediction)| Scored {
                probabilities: prediction.probabilities,
                tokens: prediction.tokens,
                cut: prediction.cut,
                embedding: Some(embeddings.row(row).to_vec()),
            })
            .collect())
    }
}

impl TextEmbedder for Encoder {
    fn dimensions(&self) -> usize {
        self.config().hidden
    }

    fn max_tokens(&self) -> usize {
        self.tokenizer().max_tokens()
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        let tokens = self.tokenizer().encode_all(texts)?;
        let vectors = self.embed_tokens(&tokens);
        Ok(tokens
            .iter()
            .enumerate()
            .map(|(row, text)| Embedding {
                vector: vectors.row(row).to_vec(),
                tokens: text.ids.len(),
            })
            .collect())
    }
}

/// The vectors of the tuned encoder, before the classifier's head.
impl TextEmbedder for Classifier {
    fn dimensions(&self) -> usize {
        TextEmbedder::dimensions(self.encoder())
    }

    fn max_tokens(&self) -> usize {
        TextEmbedder::max_tokens(self.encoder())
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        TextEmbedder::embed(self.encoder(), texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Embedder, EncoderEmbedder, Limits};
    use sprat_model::Format;

    #[test]
    fn a_batch_of_vectors_has_the_same_bits_as_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        sprat_model::tiny::write(folder.path(), 7).unwrap();
        let encoder = Arc::new(Encoder::open(folder.path(), Format::F32).unwrap());
        let engine = EncoderEmbedder::start("tiny", encoder.clone(), Limits::default()).unwrap();
        let texts = ["red cat", "one", "two three dog bird", "red cat", ""];
        let pending: Vec<_> =
            texts.iter().map(|text| engine.submit((*text).into(), None).unwrap()).collect();
        for (text, pending) in texts.iter().zip(pending) {
            let vector = pending.wait_until(None).unwrap().vector;
            assert_eq!(vector, encoder.embed(&[text]).unwrap().data, "{text}");
            assert_eq!(vector.len(), engine.dimensions());
        }
    }
}
