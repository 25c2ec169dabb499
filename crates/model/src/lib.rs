//! Models: architectures as data, tokenizers, chat templates, and the formats of model files.
//!
//! [`Encoder`] opens a model folder and embeds texts, [`Learner`] trains one with forward and
//! backward, [`Classifier`] opens what training wrote and predicts. For models that generate,
//! [`TextTokenizer`] turns texts into tokens and back, and [`ChatTemplate`] conversations into
//! texts.

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
mod language_model;
mod layer;
mod learner;
mod named;
mod sentence;
mod shrunk;
mod template;
mod text;
pub mod tiny;
mod tokenizer;
mod training;
mod tuning;
mod vocabulary;
mod weights;

pub use adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, Adaptable, Adapter, LoraPair};
pub use artefact::{BaseModel, HEAD, Head, MANIFEST, Manifest, SCHEMA, Stored, copy_encoder_files};
pub use batch::{Batch, by_length};
pub use classifier::{Classifier, Prediction, merged_weights};
pub use config::EncoderConfig;
pub use encoder::Encoder;
pub use family::{EmbeddingNames, Family, FirstPosition, Part, PartNames, SettingNames};
pub use gradients::Gradients;
pub use language_model::{LanguageModel, gguf_file};
pub use learner::{Learner, Tape};
pub use named::Named;
pub use sentence::SentenceConfig;
pub use shrunk::write_encoder;
pub use sprat_nn::{BlockFormat, Format, Pooling};
pub use template::{ChatTemplate, ChatTemplates, Conversation, Rendered};
pub use text::{Control, Encoded, SpecialTexts, TextStream, TextTokenizer};
pub use tokenizer::{Tokenizer, Tokens};
pub use training::Noise;
pub use tuning::{LoraSettings, Tuning};
pub use vocabulary::GgufVocabulary;
pub use weights::{
    EmbeddingWeights, EncoderWeights, LayerWeights, LinearWeights, NormWeights, Slot,
};
