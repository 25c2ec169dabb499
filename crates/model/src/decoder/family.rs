//! Decoder families as data: one table of what differs between them.
//!
//! All of them are pre-norm transformers with rotary positions, RMS norms and gated feed-forward
//! units (Touvron et al. 2023, "Llama", arXiv 2302.13971). To add a family, add a row.

/// What distinguishes a family from Llama.
#[derive(Debug)]
pub struct DecoderFamily {
    /// The values of `model_type` in `config.json`.
    pub model_types: &'static [&'static str],
    /// The value of `general.architecture` in GGUF files.
    pub architecture: &'static str,
    /// Which projections have biases, unless the configuration says otherwise.
    pub biases: Biases,
    /// Whether queries and keys are normalized head by head.
    pub head_norms: bool,
    /// Whether there is a norm behind attention and feed-forward too, before the residual sum.
    pub sandwich: bool,
    /// Whether norms multiply by `1 + weight` (in safetensors; GGUF files have the 1 added).
    pub norm_plus_one: bool,
    /// Whether embeddings are multiplied by `√hidden`.
    pub scaled_embeddings: bool,
    /// Whether queries, keys and values are one tensor, and gate and up another.
    pub fused: bool,
    /// Whether GGUF files have the rows of queries and keys reordered for interleaved pairs.
    pub interleaved_in_gguf: bool,
    /// Whether the output shares the embedding table, unless the configuration says otherwise.
    pub tied: bool,
    /// How windows are spread over the layers.
    pub windows: Windows,
}

/// Which projections have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Biases {
    /// As `attention_bias` (queries, keys, values and output) and `mlp_bias` say; none by default.
    Configured,
    /// Queries, keys and values.
    Qkv,
    /// None.
    None,
}

/// How sliding windows are spread over the layers where `layer_types` does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// `sliding_window`, where set, holds in all layers.
    All,
    /// Only where `use_sliding_window` is set, from layer `max_window_layers` on.
    Switched,
    /// All but each `n`th layer.
    AllBut(usize),
}

impl DecoderFamily {
    /// Every family, in the order in which errors list them.
    pub const ALL: &'static [DecoderFamily] =
        &[LLAMA, MISTRAL, SMOLLM3, QWEN2, QWEN3, GEMMA2, GEMMA3, PHI3];

    /// The family a `model_type` belongs to.
    pub fn of(model_type: &str) -> Option<&'static DecoderFamily> {
        DecoderFamily::ALL.iter().find(|family| family.model_types.contains(&model_type))
    }

    /// The family of a GGUF file's `general.architecture`.
    pub fn of_architecture(name: &str) -> Option<&'static DecoderFamily> {
        DecoderFamily::ALL.iter().find(|family| family.architecture == name)
    }

    /// Every supported `model_type`, for messages.
    pub fn supported() -> String {
        let types = DecoderFamily::ALL.iter().flat_map(|family| family.model_types);
        types.copied().collect::<Vec<_>>().join(", ")
    }
}

/// Llama 1 to 3 and everything in its shape: SmolLM 1 and 2, TinyLlama, Yi and others.
const LLAMA: DecoderFamily = DecoderFamily {
    model_types: &["llama"],
    architecture: "llama",
    biases: Biases::Configured,
    head_norms: false,
    sandwich: false,
    norm_plus_one: false,
    scaled_embeddings: false,
    fused: false,
    interleaved_in_gguf: true,
    tied: false,
    windows: Windows::All,
};

/// Its GGUF files say `llama`.
const MISTRAL: DecoderFamily =
    DecoderFamily { model_types: &["mistral"], biases: Biases::None, ..LLAMA };

/// Some of its layers have no rotary positions (`no_rope_layers`).
const SMOLLM3: DecoderFamily = DecoderFamily {
    model_types: &["smollm3"],
    architecture: "smollm3",
    tied: true,
    windows: Windows::Switched,
    ..LLAMA
};

const QWEN2: DecoderFamily = DecoderFamily {
    model_types: &["qwen2"],
    architecture: "qwen2",
    biases: Biases::Qkv,
    interleaved_in_gguf: false,
    windows: Windows::Switched,
    ..LLAMA
};

const QWEN3: DecoderFamily = DecoderFamily {
    model_types: &["qwen3"],
    architecture: "qwen3",
    biases: Biases::Configured,
    head_norms: true,
    ..QWEN2
};

const GEMMA2: DecoderFamily = DecoderFamily {
    model_types: &["gemma2"],
    architecture: "gemma2",
    sandwich: true,
    norm_plus_one: true,
    scaled_embeddings: true,
    interleaved_in_gguf: false,
    tied: true,
    windows: Windows::AllBut(2),
    ..LLAMA
};

const GEMMA3: DecoderFamily = DecoderFamily {
    model_types: &["gemma3_text", "gemma3"],
    architecture: "gemma3",
    head_norms: true,
    windows: Windows::AllBut(6),
    ..GEMMA2
};

/// Phi-3 and Phi-4-mini.
const PHI3: DecoderFamily = DecoderFamily {
    model_types: &["phi3"],
    architecture: "phi3",
    biases: Biases::None,
    fused: true,
    interleaved_in_gguf: false,
    ..LLAMA
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_found_by_either_name() {
        assert!(DecoderFamily::of("qwen3").is_some_and(|family| family.head_norms));
        assert!(DecoderFamily::of("bert").is_none());
        let llama = DecoderFamily::of_architecture("llama").unwrap();
        assert_eq!(llama.model_types, ["llama"]);
        assert!(DecoderFamily::supported().contains("gemma3_text"));
    }
}
