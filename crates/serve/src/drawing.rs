//! How an answer is to be drawn: from the parameters of a request to those of the engine.

use crate::codes;
use crate::error::{ApiError, ApiResult};
use crate::wire::Drawing;
use sprat_infer::{Request, Sampling};

/// The most answers to one request.
const MOST_ANSWERS: u32 = 16;
/// The most of the likely tokens that come with each token.
pub(crate) const MOST_LOGPROBS: u32 = 20;

/// Fills a request's sampling; gives how many answers are wanted. `converses` says whether the
/// model writes: one that only classifies refuses what it would have to ignore.
pub(crate) fn apply(drawing: Drawing, request: &mut Request, converses: bool) -> ApiResult<u32> {
    let plain = Sampling::default();
    let refuse = |field: &str, what: String| Err(ApiError::field(&codes::PARAMETER, field, what));
    if !converses {
        let asked = [
            ("n", drawing.n.is_some_and(|n| n != 1)),
            ("top_p", drawing.top_p.is_some_and(|p| p != 1.0)),
            ("top_k", drawing.top_k.is_some_and(|k| k != 0)),
            ("min_p", drawing.min_p.is_some_and(|p| p != 0.0)),
            ("presence_penalty", drawing.presence_penalty.is_some_and(|p| p != 0.0)),
            ("frequency_penalty", drawing.frequency_penalty.is_some_and(|p| p != 0.0)),
            ("repetition_penalty", drawing.repetition_penalty.is_some_and(|p| p != 1.0)),
            ("logit_bias", drawing.logit_bias.as_ref().is_some_and(|biases| !biases.is_empty())),
            ("stop", drawing.stop.is_some()),
        ];
        if let Some((field, _)) = asked.into_iter().find(|(_, asked)| *asked) {
            return refuse(field, format!("`{field}` has no meaning for a model that classifies"));
        }
    }
    let n = drawing.n.unwrap_or(1);
    if n == 0 || n > MOST_ANSWERS {
        return refuse("n", format!("`n` must be from 1 to {MOST_ANSWERS}"));
    }
    let mut logit_bias = Vec::new();
    for (token, bias) in drawing.logit_bias.unwrap_or_default() {
        let Ok(id) = token.parse() else {
            let field = format!("logit_bias.{token}");
            return refuse(&field, "`logit_bias` names tokens by their numbers".to_owned());
        };
        logit_bias.push((id, bias));
    }
    request.stop = drawing.stop.map_or_else(Vec::new, crate::wire::OneOrMany::into_vec);
    request.sampling = Sampling {
        temperature: drawing.temperature,
        top_k: drawing.top_k.map_or(plain.top_k, |k| k as usize),
        top_p: drawing.top_p.unwrap_or(plain.top_p),
        min_p: drawing.min_p.unwrap_or(plain.min_p),
        repetition_penalty: drawing.repetition_penalty.unwrap_or(plain.repetition_penalty),
        presence_penalty: drawing.presence_penalty.unwrap_or(plain.presence_penalty),
        frequency_penalty: drawing.frequency_penalty.unwrap_or(plain.frequency_penalty),
        logit_bias,
        seed: drawing.seed,
    };
    // Classifiers do not look at it; everybody else checks it again.
    request.sampling.check(usize::MAX)?;
    Ok(n)
}

/// A request for each of `n` answers: with a seed of its own where there is one.
pub(crate) fn each(request: &Request, n: u32) -> impl Iterator<Item = Request> + '_ {
    (0..u64::from(n)).map(move |number| {
        let mut one = request.clone();
        one.sampling.seed = one.sampling.seed.map(|seed| seed.wrapping_add(number));
        one
    })
}
