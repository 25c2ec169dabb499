//! The logits of a decoder in a GGUF file after each token of a sequence, for comparison with
//! other programs (`dev/check_llama_cpp.py`).
//!
//!     decoder_logits MODEL < ids
//!
//! Standard input is a JSON array of tokens; standard output one JSON array of logits a token.

use sprat_model::decoder::{Decoder, Step};
use sprat_model::files::Gguf;
use sprat_nn::{PAGE, Span};
use std::error::Error;
use std::io::Read;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let model = std::env::args().nth(1).ok_or("usage: decoder_logits MODEL < ids")?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let ids: Vec<u32> = serde_json::from_str(&text)?;
    let decoder = Decoder::open_gguf(&Gguf::open(Path::new(&model))?, None)?;
    let pages: Vec<u32> = (0..ids.len().div_ceil(PAGE) as u32).collect();
    let mut cache = decoder.cache(pages.len());
    let wanted: Vec<usize> = (0..ids.len()).collect();
    let spans = [Span { rows: 0..ids.len(), position: 0, pages: &pages }];
    let logits = decoder.forward(
        &Step { ids: &ids, spans: &spans, wanted: &wanted, ..Step::default() },
        &mut cache,
    );
    for row in 0..logits.rows {
        println!("{}", serde_json::to_string(logits.row(row))?);
    }
    Ok(())
}
