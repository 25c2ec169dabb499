//! A small base model from random weights, trained on public text: `make base-model`.
//!
//! Reads `plain_text` of the shared data (documentation, textbooks, fiction, dialogues), trains a
//! byte-level BPE vocabulary of 8,192 tokens and a Llama of 6.5 million parameters on it, with the
//! trainer of this crate. Dialogues are laid out as conversations, so that the model knows the
//! turns of its chat template. A run that was stopped goes on.
//!
//! `base_model FOLDER [--epochs N] [--megabytes N]`; `--write yes` only writes the file of a model that was
//! trained, and measures both.

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sprat_model::decoder::{Decoder, Formats, Memory, TokenExample, TokenSum, write_gguf};
use sprat_model::files::{Gguf, TensorData, TensorWriter};
use sprat_model::{BaseModel, BlockFormat, Control, Format, TextTokenizer};
use sprat_task::settings::{ClassWeights, Decay, Method, Span};
use sprat_task::{Digest, Interrupt, Progress, random};
use sprat_train::{DecoderJob, MODEL_FOLDER, Recipe, tune_decoder};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerBuilder,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const VOCABULARY: usize = 8192;
const HIDDEN: usize = 256;
const LAYERS: usize = 6;
const HEADS: usize = 4;
const WIDE: usize = 704;
/// Tokens of a training example, and of the model's context.
const EXAMPLE: usize = 512;
const CONTEXT: usize = 1024;
/// The file that it becomes, its matrices in Q8_0.
const FILE: &str = "sprat-base-q8_0.gguf";
/// Each so-many-th document is for validation.
const HELD_OUT: usize = 100;
/// Examples of a register that are validated on during the training.
const VALIDATED: usize = 40;
/// The tokens of the chat template, and the one that ends documents.
const CONTROL: [&str; 6] =
    ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"];
const TEMPLATE: &str = "{% for message in messages %}<|{{ message['role'] }}|>\
{{ message['content'] }}<|end|>{% endfor %}\
{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// A document: its register, and its turns where it is a dialogue.
struct Document {
    register: String,
    text: String,
    turns: Vec<(&'static str, String)>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let out = PathBuf::from(arguments.next().ok_or("base_model FOLDER [--epochs N]")?);
    let (mut epochs, mut megabytes, mut trained) = (1.0, usize::MAX, false);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("an option has no value")?;
        match name.as_str() {
            "--epochs" => epochs = value.parse()?,
            "--megabytes" => megabytes = value.parse()?,
            "--write" => trained = value == "yes",
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    let documents = documents(megabytes.saturating_mul(1 << 20))?;
    let start = out.join("start");
    std::fs::create_dir_all(&start)?;
    if !start.join("tokenizer.json").exists() {
        train_tokenizer(&documents, &start)?;
    }
    write_start(&start)?;
    let tokenizer = TextTokenizer::open(&start)?;
    let (train, valid) = examples(&documents, &tokenizer)?;
    let tokens: usize = train.iter().map(|example| example.ids.len()).sum();
    let registers: Vec<&String> = valid.keys().collect();
    println!("{} documents, {tokens} tokens to train on, registers {registers:?}", documents.len());
    if !trained {
        train_model(&out, epochs, (&train, &valid))?;
    }
    write_model(&out, &valid)
}

/// Examples of held-out documents, by register.
type Registers = BTreeMap<String, Vec<TokenExample>>;

fn train_model(
    out: &Path,
    epochs: f64,
    (train, valid): (&[TokenExample], &Registers),
) -> Result<()> {
    let start = out.join("start");
    let watched: Vec<TokenExample> =
        valid.values().flat_map(|examples| examples.iter().take(VALIDATED).cloned()).collect();
    let recipe = Recipe {
        method: Method::Full,
        learning_rate: Some(2e-3),
        batch: 16,
        epochs,
        warmup: 0.03,
        decay: Decay::Cosine,
        weight_decay: 0.05,
        class_weights: ClassWeights::None,
        eval_every: Some(100),
        patience: 1000,
        checkpoint_every: Span::seconds(120),
        ..Recipe::default()
    };
    let digest = Digest::of(&std::fs::read(start.join("model.safetensors"))?).to_string();
    let outcome = tune_decoder(&DecoderJob {
        base: &start,
        base_model: &BaseModel { reference: "random".into(), digest },
        train,
        valid: &watched,
        ends: &[],
        context: Some(CONTEXT),
        memory: Memory::Normal,
        recipe: &recipe,
        folder: out,
        progress: &Lines::default(),
        interrupt: &Interrupt::default(),
    })?;
    println!("{} steps in {:.0} s", outcome.steps, outcome.seconds);
    Ok(())
}

/// Writes what was trained as a GGUF file, and measures both.
fn write_model(out: &Path, valid: &Registers) -> Result<()> {
    let model = out.join(MODEL_FOLDER);
    let file = out.join(FILE);
    let bytes = write_gguf(&model, None, Formats::One(BlockFormat::Q8_0), None, &file)?.bytes;
    println!("{}: {bytes} bytes", file.display());
    let trained = Decoder::open(&model, Format::F32, None)?;
    let written = Decoder::open_gguf(&Gguf::open(&file)?, None)?;
    println!("| register | tokens held out | nats a token | as written |");
    for (register, examples) in valid {
        let (before, after) =
            (trained.measure(examples, None, 2048), written.measure(examples, None, 2048));
        let loss = |sum: &TokenSum| sum.loss / sum.tokens as f64;
        println!("| {register} | {} | {:.3} | {:.3} |", before.tokens, loss(&before), loss(&after));
    }
    Ok(())
}

/// The documents of the shared data, in an order that mixes the registers.
fn documents(limit: usize) -> Result<Vec<Document>> {
    let shared = std::env::var_os("SPRAT_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("data/plain_text");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(|why| format!("{}: {why}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().contains(".jsonl"))
        .collect();
    files.sort();
    let mut documents = Vec::new();
    for path in files {
        let file = File::open(&path)?;
        let reader: Box<dyn Read> = match path.extension().is_some_and(|end| end == "gz") {
            true => Box::new(GzDecoder::new(file)),
            false => Box::new(file),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let register = name.split('.').next().unwrap_or_default().to_owned();
        for line in BufReader::new(reader).lines() {
            let row: Value = serde_json::from_str(&line?)?;
            let text = row["text"].as_str().unwrap_or_default().to_owned();
            let turns = turns(&text);
            documents.push(Document { register: register.clone(), text, turns });
        }
    }
    use rand::seq::SliceRandom;
    documents.shuffle(&mut random::stream(0, "base model documents"));
    let mut bytes = 0;
    documents.retain(|document| {
        bytes += document.text.len();
        bytes <= limit
    });
    Ok(documents)
}

/// The turns of a dialogue; none where the text is no dialogue.
fn turns(text: &str) -> Vec<(&'static str, String)> {
    let turn = |line: &str| {
        let (who, said) = line.split_once(": ")?;
        let role = match who {
            "User" => "<|user|>",
            "System" | "Assistant" => "<|assistant|>",
            _ => return None,
        };
        Some((role, said.to_owned()))
    };
    text.lines().map(turn).collect::<Option<Vec<_>>>().unwrap_or_default()
}

fn train_tokenizer(documents: &[Document], folder: &Path) -> Result<()> {
    println!("training the vocabulary");
    let control = CONTROL.iter().map(|text| AddedToken::from(*text, true)).collect();
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(VOCABULARY)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(control)
        .build();
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(BPE::default())
    .with_normalizer(None)
    .with_pre_tokenizer(Some(ByteLevel::new(false, true, true).into()))
    .with_post_processor(None)
    .with_decoder(Some(ByteLevel::new(false, true, true).into()))
    .build()
    .map_err(|why| why.to_string())?;
    let texts = documents.iter().map(|document| document.text.as_str());
    tokenizer.train(&mut trainer, texts).map_err(|why| why.to_string())?;
    tokenizer.save(folder.join("tokenizer.json"), false).map_err(|why| why.to_string())?;
    let config = json!({ "bos_token": null, "eos_token": CONTROL[0], "chat_template": TEMPLATE });
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string())?;
    Ok(())
}

/// The configuration and random weights, the same ones every time.
fn write_start(folder: &Path) -> Result<()> {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN, "intermediate_size": WIDE, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS / 2, "hidden_act": "silu",
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": true, "eos_token_id": [0, 5], "torch_dtype": "float32",
    });
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let mut writer = TensorWriter::new();
    let mut random = random::stream(0, "base model weights");
    let mut add = |name: String, shape: &[usize], deviation: f32| -> Result<()> {
        use rand::Rng;
        let count = shape.iter().product();
        let values: Vec<f32> = match deviation {
            0.0 => vec![1.0; count],
            // Uniform with this standard deviation.
            _ => (0..count)
                .map(|_| (random.random::<f32>() - 0.5) * 12f32.sqrt() * deviation)
                .collect(),
        };
        Ok(writer.add(&name, shape, TensorData::F32(values.into()))?)
    };
    // Those that add to the residual stream begin smaller, by its depth.
    let (usual, last) = (0.02, 0.02 / ((2 * LAYERS) as f32).sqrt());
    add("model.embed_tokens.weight".into(), &[VOCABULARY, HIDDEN], usual)?;
    add("model.norm.weight".into(), &[HIDDEN], 0.0)?;
    for layer in 0..LAYERS {
        for (name, shape, deviation) in [
            ("input_layernorm", &[HIDDEN][..], 0.0),
            ("post_attention_layernorm", &[HIDDEN], 0.0),
            ("self_attn.q_proj", &[HIDDEN, HIDDEN], usual),
            ("self_attn.k_proj", &[HIDDEN / 2, HIDDEN], usual),
            ("self_attn.v_proj", &[HIDDEN / 2, HIDDEN], usual),
            ("self_attn.o_proj", &[HIDDEN, HIDDEN], last),
            ("mlp.gate_proj", &[WIDE, HIDDEN], usual),
            ("mlp.up_proj", &[WIDE, HIDDEN], usual),
            ("mlp.down_proj", &[HIDDEN, WIDE], last),
        ] {
            add(format!("model.layers.{layer}.{name}.weight"), shape, deviation)?;
        }
    }
    writer.write(&folder.join("model.safetensors"))?;
    Ok(())
}

/// Examples to train on, and those of held-out documents by register.
fn examples(
    documents: &[Document],
    tokenizer: &TextTokenizer,
) -> Result<(Vec<TokenExample>, Registers)> {
    let end = tokenizer.token_id(CONTROL[0]).ok_or("the vocabulary has no end")?;
    let (mut train, mut valid) = (Vec::new(), Registers::new());
    // Short documents share an example, one after the other.
    let mut open: Vec<u32> = Vec::new();
    for (at, document) in documents.iter().enumerate() {
        let mut ids = if document.turns.is_empty() {
            tokenizer.encode(&document.text, Control::AsText, false)?
        } else {
            let mut ids = Vec::new();
            for (role, said) in &document.turns {
                ids.extend(tokenizer.token_id(role));
                ids.extend(tokenizer.encode(said, Control::AsText, false)?);
                ids.extend(tokenizer.token_id("<|end|>"));
            }
            ids
        };
        ids.push(end);
        if at % HELD_OUT == 0 {
            let own = valid.entry(document.register.clone()).or_default();
            own.extend(ids.chunks(EXAMPLE).filter(|ids| ids.len() > 1).map(example));
        } else {
            open.extend(ids);
            while open.len() >= EXAMPLE {
                let rest = open.split_off(EXAMPLE);
                train.push(example(&open));
                open = rest;
            }
        }
    }
    Ok((train, valid))
}

fn example(ids: &[u32]) -> TokenExample {
    TokenExample { ids: ids.to_vec(), answer: 1..ids.len() }
}

/// Progress as lines, for a log.
#[derive(Default)]
struct Lines {
    done: AtomicU64,
}

impl Progress for Lines {
    fn start(&self, what: &str, total: Option<u64>, unit: &'static str) {
        println!("{what}: {} {unit}", total.map_or("some".into(), |total| total.to_string()));
        self.done.store(0, Ordering::Relaxed);
    }

    fn advance(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
    }

    fn note(&self, text: &str) {
        let done = self.done.load(Ordering::Relaxed);
        if done.is_multiple_of(10) {
            println!("{done}: {text}");
        }
    }

    fn finish(&self) {}
}
