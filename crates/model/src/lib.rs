//! Text encoders and decoders: architectures as data, tokenizers, and the formats of model files.
//!
//! [`Encoder`] opens a model folder and embeds texts, [`Learner`] trains one with forward and
//! backward, [`Classifier`] opens what training wrote and predicts.

mod adapter;
mod artefact;
mod batch;
mod classifier;
pub mod codes;
mod config;
pub mod decoder;
mod encoder;
mod family;
mod fields;
pub mod files;
mod gradients;
mod head;
mod layer;
mod learner;
mod named;
mod sentence;
mod shrunk;
pub mod tiny;
mod tokenizer;
mod training;
mod tuning;
mod weights;

pub use adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, Adapter, LoraPair};
pub use artefact::{BaseModel, HEAD, Head, MANIFEST, Manifest, SCHEMA, Stored, copy_encoder_files};
pub use batch::{Batch, by_length};
pub use classifier::{Classifier, Prediction, merged_weights};
pub use config::EncoderConfig;
pub use encoder::Encoder;
pub use family::{EmbeddingNames, Family, FirstPosition, Part, PartNames, SettingNames};
pub use gradients::Gradients;
pub use learner::{Learner, Tape};
pub use named::Named;
pub use sentence::SentenceConfig;
pub use shrunk::write_encoder;
pub use sprat_nn::{BlockFormat, Format, Pooling};
pub use tokenizer::{Tokenizer, Tokens};
pub use training::Noise;
pub use tuning::{LoraSettings, Tuning};
pub use weights::{
    EmbeddingWeights, EncoderWeights, LayerWeights, LinearWeights, NormWeights, Slot,
};
