//! What files call the tensors of a decoder.

use super::family::DecoderFamily;

/// A tensor's part in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Embedding,
    OutputNorm,
    Output,
    AttentionNorm,
    Query,
    Key,
    Value,
    /// Queries, keys and values in one.
    Qkv,
    QueryNorm,
    KeyNorm,
    AttentionOutput,
    AttentionPostNorm,
    FeedForwardNorm,
    Gate,
    Up,
    /// Gate and up in one.
    GateUp,
    Down,
    FeedForwardPostNorm,
}

/// The name in Hugging Face files, without prefix and without `.weight`.
pub(crate) fn hugging_face(family: &DecoderFamily, role: Role, layer: usize) -> String {
    let inner = match role {
        Role::Embedding => return "embed_tokens".into(),
        Role::OutputNorm => return "norm".into(),
        Role::Output => return "lm_head".into(),
        Role::AttentionNorm => "input_layernorm",
        Role::Query => "self_attn.q_proj",
        Role::Key => "self_attn.k_proj",
        Role::Value => "self_attn.v_proj",
        Role::Qkv => "self_attn.qkv_proj",
        Role::QueryNorm => "self_attn.q_norm",
        Role::KeyNorm => "self_attn.k_norm",
        Role::AttentionOutput => "self_attn.o_proj",
        Role::AttentionPostNorm => "post_attention_layernorm",
        // With a norm on either side of attention, the one before the feed-forward part is apart.
        Role::FeedForwardNorm if family.sandwich => "pre_feedforward_layernorm",
        Role::FeedForwardNorm => "post_attention_layernorm",
        Role::Gate => "mlp.gate_proj",
        Role::Up => "mlp.up_proj",
        Role::GateUp => "mlp.gate_up_proj",
        Role::Down => "mlp.down_proj",
        Role::FeedForwardPostNorm => "post_feedforward_layernorm",
    };
    format!("layers.{layer}.{inner}")
}

/// The name in GGUF files, without `.weight`.
pub(crate) fn gguf(role: Role, layer: usize) -> String {
    let inner = match role {
        Role::Embedding => return "token_embd".into(),
        Role::OutputNorm => return "output_norm".into(),
        Role::Output => return "output".into(),
        Role::AttentionNorm => "attn_norm",
        Role::Query => "attn_q",
        Role::Key => "attn_k",
        Role::Value => "attn_v",
        Role::Qkv => "attn_qkv",
        Role::QueryNorm => "attn_q_norm",
        Role::KeyNorm => "attn_k_norm",
        Role::AttentionOutput => "attn_output",
        Role::AttentionPostNorm => "post_attention_norm",
        Role::FeedForwardNorm => "ffn_norm",
        Role::Gate => "ffn_gate",
        // Where gate and up are one, the file calls both so.
        Role::Up | Role::GateUp => "ffn_up",
        Role::Down => "ffn_down",
        Role::FeedForwardPostNorm => "post_ffw_norm",
    };
    format!("blk.{layer}.{inner}")
}
