//! Encoder families as data: one table of what differs between them.
//!
//! All of them are post-norm transformers with learned absolute positions (Devlin et al. 2019,
//! "BERT", arXiv 1810.04805; Liu et al. 2019, "RoBERTa", arXiv 1907.11692; Conneau et al. 2020,
//! "XLM-R", arXiv 1911.02116; Sanh et al. 2019, "DistilBERT", arXiv 1910.01108). They differ in
//! the names of tensors and settings and in where positions start to count. To add a family,
//! add a row.

/// What one family calls its parts.
#[derive(Debug)]
pub struct Family {
    /// The values of `model_type` in `config.json` that belong to this family.
    pub model_types: &'static [&'static str],
    /// Prefixes under which checkpoints keep the encoder's tensors, tried in order.
    pub prefixes: &'static [&'static str],
    /// Where positions start to count.
    pub first_position: FirstPosition,
    /// Names of settings in `config.json`.
    pub settings: SettingNames,
    /// The names of the embedding tables and their normalization.
    pub embeddings: EmbeddingNames,
    /// The prefix of a layer's tensors; `{}` stands for its number, from 0.
    pub layer: &'static str,
    /// The names of a layer's parts below that prefix.
    pub parts: PartNames,
}

/// Where positions start to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPosition {
    /// The first token has position 0.
    Zero,
    /// The first token has position `pad_token_id + 1`, and a padding token has position
    /// `pad_token_id` (fairseq's convention, which RoBERTa inherited).
    AfterPadding,
}

/// Names of settings in `config.json`.
#[derive(Debug)]
pub struct SettingNames {
    /// Width of the hidden states.
    pub hidden: &'static str,
    /// Number of layers.
    pub layers: &'static str,
    /// Number of attention heads.
    pub heads: &'static str,
    /// Width of the feed-forward part.
    pub intermediate: &'static str,
    /// Activation of the feed-forward part.
    pub activation: &'static str,
    /// Dropout probability of hidden states.
    pub dropout: &'static str,
}

/// Names of the embedding tables and their normalization, without `.weight`.
#[derive(Debug)]
pub struct EmbeddingNames {
    /// One row a token of the vocabulary.
    pub word: &'static str,
    /// One row a position.
    pub position: &'static str,
    /// One row a token type; `None` where the family has none.
    pub token_type: Option<&'static str>,
    /// The layer normalization of the sum.
    pub norm: &'static str,
}

/// Names of a layer's parts, without `.weight` and `.bias`.
#[derive(Debug)]
pub struct PartNames {
    /// The six linear layers, in the order of [`Part::ALL`].
    pub linear: [&'static str; 6],
    /// The normalization after attention.
    pub attention_norm: &'static str,
    /// The normalization after the feed-forward part.
    pub output_norm: &'static str,
}

/// The linear layers of an encoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Hidden state to queries.
    Query,
    /// Hidden state to keys.
    Key,
    /// Hidden state to values.
    Value,
    /// Attention's context back to the hidden state.
    AttentionOutput,
    /// Hidden state to the wide feed-forward state.
    Intermediate,
    /// The wide feed-forward state back to the hidden state.
    Output,
}

impl Part {
    /// All of them, in the order of computation.
    pub const ALL: [Part; 6] = [
        Part::Query,
        Part::Key,
        Part::Value,
        Part::AttentionOutput,
        Part::Intermediate,
        Part::Output,
    ];

    /// The part's place in tables of six.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name by which `sprat.toml` and the reports call it.
    pub fn name(self) -> &'static str {
        ["query", "key", "value", "attention.output", "intermediate", "output"][self.index()]
    }

    /// The part that people call by `name`; BERT's own module names work too.
    pub fn by_name(name: &str) -> Option<Part> {
        let plain = name.trim_end_matches(".dense");
        Part::ALL.into_iter().find(|part| part.name() == plain)
    }
}

impl Family {
    /// Every family, in the order in which errors list them.
    pub const ALL: &'static [Family] = &[BERT, ROBERTA, DISTILBERT];

    /// The family a `model_type` belongs to.
    pub fn of(model_type: &str) -> Option<&'static Family> {
        Family::ALL.iter().find(|family| family.model_types.contains(&model_type))
    }

    /// Every supported `model_type`, for messages.
    pub fn supported() -> String {
        let types = Family::ALL.iter().flat_map(|family| family.model_types);
        types.copied().collect::<Vec<_>>().join(", ")
    }

    /// The name of a linear layer without `.weight`: `encoder.layer.3.output.dense`.
    pub fn linear_name(&self, layer: usize, part: Part) -> String {
        self.in_layer(layer, self.parts.linear[part.index()])
    }

    /// The name of something in a layer: `encoder.layer.3.` and the name.
    pub fn in_layer(&self, layer: usize, name: &str) -> String {
        format!("{}.{name}", self.layer.replace("{}", &layer.to_string()))
    }
}

const BERT: Family = Family {
    model_types: &["bert"],
    prefixes: &["", "bert."],
    first_position: FirstPosition::Zero,
    settings: SettingNames {
        hidden: "hidden_size",
        layers: "num_hidden_layers",
        heads: "num_attention_heads",
        intermediate: "intermediate_size",
        activation: "hidden_act",
        dropout: "hidden_dropout_prob",
    },
    embeddings: EmbeddingNames {
        word: "embeddings.word_embeddings",
        position: "embeddings.position_embeddings",
        token_type: Some("embeddings.token_type_embeddings"),
        norm: "embeddings.LayerNorm",
    },
    layer: "encoder.layer.{}",
    parts: PartNames {
        linear: [
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ],
        attention_norm: "attention.output.LayerNorm",
        output_norm: "output.LayerNorm",
    },
};

const ROBERTA: Family = Family {
    model_types: &["roberta", "xlm-roberta", "camembert"],
    prefixes: &["", "roberta."],
    first_position: FirstPosition::AfterPadding,
    ..BERT
};

const DISTILBERT: Family = Family {
    model_types: &["distilbert"],
    prefixes: &["", "distilbert."],
    settings: SettingNames {
        hidden: "dim",
        layers: "n_layers",
        heads: "n_heads",
        intermediate: "hidden_dim",
        activation: "activation",
        dropout: "dropout",
    },
    embeddings: EmbeddingNames { token_type: None, ..BERT.embeddings },
    layer: "transformer.layer.{}",
    parts: PartNames {
        linear: [
            "attention.q_lin",
            "attention.k_lin",
            "attention.v_lin",
            "attention.out_lin",
            "ffn.lin1",
            "ffn.lin2",
        ],
        attention_norm: "sa_layer_norm",
        output_norm: "output_layer_norm",
    },
    ..BERT
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_differ_only_where_families_do() {
        let bert = Family::of("bert").unwrap();
        let roberta = Family::of("xlm-roberta").unwrap();
        let distilbert = Family::of("distilbert").unwrap();
        assert_eq!(bert.linear_name(3, Part::Output), "encoder.layer.3.output.dense");
        assert_eq!(roberta.linear_name(0, Part::Query), "encoder.layer.0.attention.self.query");
        assert_eq!(distilbert.linear_name(1, Part::Key), "transformer.layer.1.attention.k_lin");
        assert!(Family::of("gpt2").is_none());
        assert_eq!(Family::supported(), "bert, roberta, xlm-roberta, camembert, distilbert");
    }

    #[test]
    fn parts_are_found_by_their_names() {
        for part in Part::ALL {
            assert_eq!(Part::by_name(part.name()), Some(part));
        }
        assert_eq!(Part::by_name("attention.output.dense"), Some(Part::AttentionOutput));
        assert_eq!(Part::by_name("output.dense"), Some(Part::Output));
        assert_eq!(Part::by_name("gate"), None);
    }
}
