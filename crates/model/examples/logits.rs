//! Prints the logits of a classifier, for comparison with other tools (`dev/check_peft.py`).
//!
//!     cargo run -p sprat-model --example logits -- ARTEFACT BASE < texts
//!
//! Standard input has one JSON string a line; standard output one JSON array of logits a line.
//! With `--random` the artefact is first made: random LoRA adapters on every linear layer of
//! BASE and a random head for seven classes.

use sprat_model::{
    BaseModel, Classifier, Encoder, Format, Learner, LoraSettings, Manifest, Part, SCHEMA, Stored,
    Tuning,
};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let random = arguments.first().is_some_and(|first| first == "--random");
    if random {
        arguments.remove(0);
    }
    let [artefact, base] = &arguments[..] else {
        return Err("usage: logits [--random] ARTEFACT BASE < texts".into());
    };
    let (artefact, base) = (Path::new(artefact), Path::new(base));
    if random {
        make(artefact, base)?;
    }
    let texts: Vec<String> = std::io::stdin()
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let logits = Classifier::open(artefact, Some(base))?.logits(&texts)?;
    for row in 0..logits.rows {
        println!("{}", serde_json::to_string(logits.row(row))?);
    }
    Ok(())
}

fn make(artefact: &Path, base: &Path) -> Result<(), Box<dyn Error>> {
    let encoder = Encoder::open(base, Format::F32)?;
    let sentence = encoder.sentence().clone();
    let max_tokens = encoder.tokenizer().max_tokens();
    let targets = Part::ALL.to_vec();
    let lora = LoraSettings { rank: 8, alpha: 16.0, dropout: 0.05, targets, first_layer: 0 };
    let mut learner = Learner::new(encoder, 7, Tuning::Lora(lora), 1)?;
    for (at, values) in learner.parameters_mut().into_iter().enumerate() {
        for (i, value) in values.iter_mut().enumerate() {
            // A strong head and adapters that matter, so that a difference would show.
            let size = if at < 2 { 2.0 } else { 0.05 };
            *value += size * ((i * 7 + at * 3) as f32).sin();
        }
    }
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        base: BaseModel { reference: base.display().to_string(), digest: String::new() },
        labels: (0..7).map(|label| format!("label {label}")).collect(),
        temperature: 1.0,
        pooling: sentence.pooling,
        normalize: sentence.normalize,
        prefix: sentence.prefix,
        lowercase: sentence.lowercase,
        max_tokens,
        weights: Stored::Adapter,
    };
    Ok(learner.save(artefact, base, &manifest)?)
}
