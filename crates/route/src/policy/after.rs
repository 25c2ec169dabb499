//! *After*: the cascade. The small model answers, its confidence decides.
//!
//! Calibration is the small model's matter (a tuned classifier's probabilities are calibrated) or
//! the fit's (isotonic regression); here a confidence is only compared with a threshold.

use crate::RouteFit;
use sprat_infer::{Answer, Generator, Request, TokenScore};
use sprat_task::settings::RouteScore;
use std::sync::Arc;

/// Which answers of the small model are kept, by its confidence from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// Those with at least this confidence.
    Above(f32),
    /// Those that a fitted route keeps; its scores are confidences.
    Fitted(Arc<RouteFit>),
    /// All of them, for this reason.
    All(String),
}

impl Keep {
    /// Whether an answer of this confidence is kept.
    pub fn keeps(&self, confidence: f32) -> bool {
        match self {
            Keep::Above(least) => confidence >= *least,
            Keep::Fitted(fit) => fit.decide(f64::from(confidence)).keep,
            Keep::All(_) => true,
        }
    }

    /// The least confidence that is kept, where there is one.
    pub fn threshold(&self) -> Option<f32> {
        match self {
            Keep::Above(least) => Some(*least),
            Keep::Fitted(fit) => fit.threshold.map(|least| least as f32),
            Keep::All(_) => None,
        }
    }

    /// Why an answer is kept.
    pub(crate) fn why(&self) -> String {
        match self {
            Keep::Above(_) | Keep::Fitted(_) => "sure enough".into(),
            Keep::All(why) => why.clone(),
        }
    }
}

/// How sure a model is of its answer, from 0 to 1; `None` where it does not say.
///
/// A tuned classifier is as sure as the calibrated probability of its label, or by the margin
/// between its two most likely labels (Scheffer, Decomain and Wrobel 2001). Of a written answer
/// with the tokens t₁ … tₙ it is
///
/// - `mean_probability`: (∏ p(tᵢ))^(1/n), the geometric mean of their probabilities;
/// - `margin`: 1/n · Σ mᵢ, with mᵢ = max(0, p(tᵢ) − p(uᵢ)) and uᵢ the most likely token at that
///   place besides tᵢ: nothing where the model itself would rather have written another one;
/// - `least_margin`: the least mᵢ.
///
/// Ramírez, Birch and Titov (2024, arXiv:2405.02134) decide cascades by such a margin, that of the
/// first token. All probabilities are the model's own, before temperature and constraints.
pub fn confidence(answer: &Answer, score: RouteScore) -> Option<f32> {
    if answer.confidence.is_some() || answer.tokens.is_empty() {
        return match score {
            RouteScore::MeanProbability => answer.confidence,
            RouteScore::Margin | RouteScore::LeastMargin => label_margin(answer),
        };
    }
    let n = answer.tokens.len() as f64;
    let margins = || answer.tokens.iter().map(token_margin);
    Some(match score {
        RouteScore::MeanProbability => {
            let sum: f64 = answer.tokens.iter().map(|token| f64::from(token.logprob)).sum();
            (sum / n).exp() as f32
        }
        RouteScore::Margin => (margins().sum::<Option<f64>>()? / n) as f32,
        RouteScore::LeastMargin => {
            margins().try_fold(1.0, |least: f64, margin| Some(least.min(margin?)))? as f32
        }
    })
}

fn label_margin(answer: &Answer) -> Option<f32> {
    let mut likely: Vec<f32> = answer.scores.iter().map(|(_, score)| *score).collect();
    likely.sort_unstable_by(|a, b| b.total_cmp(a));
    let best = likely.first()?;
    Some(best - likely.get(1).unwrap_or(&0.0))
}

/// `None` where the other tokens of its place are not known.
fn token_margin(token: &TokenScore) -> Option<f64> {
    let other = token.top.iter().find(|other| other.id != token.id)?;
    Some((f64::from(token.logprob).exp() - f64::from(other.logprob).exp()).max(0.0))
}

/// A request as a small model is asked for its confidence.
pub fn scored(small: &dyn Generator, request: &Request, score: RouteScore) -> Request {
    let mut asked = request.clone();
    if small.labels().is_empty() {
        let wanted = match score {
            RouteScore::MeanProbability => 0,
            RouteScore::Margin | RouteScore::LeastMargin => 2,
        };
        asked.logprobs = asked.logprobs.max(Some(wanted));
    }
    asked
}

/// Takes away what only the route wanted of an answer to a request that [`scored`] changed.
pub(crate) fn strip(request: &Request, answer: &mut Answer) {
    let Some(wanted) = request.logprobs else {
        answer.tokens.clear();
        return;
    };
    let scores = answer.tokens.iter_mut().chain(&mut answer.prompt_scores);
    scores.for_each(|token| token.top.truncate(wanted));
}

#[cfg(test)]
mod tests {
    use super::*;
    use RouteScore::{LeastMargin, Margin, MeanProbability};

    fn token(id: u32, p: f32, top: &[(u32, f32)]) -> TokenScore {
        let score = |id, p: f32| TokenScore {
            id,
            text: String::new(),
            bytes: Vec::new(),
            logprob: p.ln(),
            top: Vec::new(),
        };
        TokenScore { top: top.iter().map(|(id, p)| score(*id, *p)).collect(), ..score(id, p) }
    }

    fn close(found: Option<f32>, wanted: f32) {
        assert!((found.unwrap() - wanted).abs() < 1e-6, "{found:?}, not {wanted}");
    }

    #[test]
    fn written_answers_are_scored_by_the_formulas() {
        let tokens = vec![
            token(1, 0.8, &[(1, 0.8), (2, 0.1)]),
            token(7, 0.5, &[(7, 0.5), (2, 0.3)]),
            // The model would rather have written another token here.
            token(3, 0.1, &[(4, 0.6), (3, 0.1)]),
        ];
        let answer = Answer { tokens, ..Answer::default() };
        close(confidence(&answer, MeanProbability), (0.8f32 * 0.5 * 0.1).powf(1.0 / 3.0));
        close(confidence(&answer, Margin), (0.7 + 0.2 + 0.0) / 3.0);
        close(confidence(&answer, LeastMargin), 0.0);
        let sure = Answer { tokens: answer.tokens[..2].to_vec(), ..Answer::default() };
        close(confidence(&sure, LeastMargin), 0.2);
        let unknown = Answer { tokens: vec![token(1, 0.8, &[])], ..Answer::default() };
        assert_eq!(confidence(&unknown, Margin), None, "nothing is made up");
        assert_eq!(confidence(&unknown, LeastMargin), None);
        assert_eq!(confidence(&Answer::default(), Margin), None);
    }

    #[test]
    fn labels_have_margins_too() {
        let scores = [("a", 0.2), ("b", 0.7), ("c", 0.1)];
        let scores = scores.map(|(label, p): (&str, f32)| (label.to_owned(), p)).to_vec();
        let answer = Answer { confidence: Some(0.7), scores, ..Answer::default() };
        assert_eq!(confidence(&answer, MeanProbability), Some(0.7));
        close(confidence(&answer, Margin), 0.5);
        close(confidence(&answer, LeastMargin), 0.5);
    }

    struct Writer;

    impl Generator for Writer {
        fn name(&self) -> &str {
            "writer"
        }

        fn submit(&self, _: Request) -> sprat_task::Result<sprat_infer::Pending> {
            Ok(sprat_infer::reply().1)
        }
    }

    #[test]
    fn a_client_gets_the_scores_that_it_asked_for_and_no_more() {
        let asked = |logprobs| Request { logprobs, ..Request::text("a") };
        let wants = |logprobs, score| scored(&Writer, &asked(logprobs), score).logprobs;
        assert_eq!(wants(None, MeanProbability), Some(0));
        assert_eq!((wants(None, Margin), wants(Some(0), Margin)), (Some(2), Some(2)));
        assert_eq!(wants(Some(5), LeastMargin), Some(5));
        let given = || {
            let tokens = vec![token(1, 0.8, &[(1, 0.8), (2, 0.1)])];
            Answer { prompt_scores: tokens.clone(), tokens, ..Answer::default() }
        };
        for (wanted, tokens, top) in [(None, 0, 0), (Some(0), 1, 0), (Some(1), 1, 1)] {
            let mut answer = given();
            strip(&asked(wanted), &mut answer);
            assert_eq!(answer.tokens.len(), tokens);
            assert!(answer.tokens.iter().all(|token| token.top.len() == top), "{wanted:?}");
        }
    }
}
