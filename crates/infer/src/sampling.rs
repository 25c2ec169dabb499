//! How the next token is drawn from a model's logits.

use crate::codes;
use rand::Rng;
use sprat_task::random::{ChaCha8Rng, stream};
use sprat_task::{Error, Result};
use std::collections::HashMap;

/// How tokens are drawn. By default from all of them, at the generator's own temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token. None: the generator's own.
    pub temperature: Option<f32>,
    /// Only so many of the most likely tokens are drawn from; 0: all of them.
    pub top_k: usize,
    /// Only the most likely tokens are drawn from whose probabilities first reach this sum
    /// (Holtzman et al. 2020, arXiv:1904.09751).
    pub top_p: f32,
    /// Only tokens are drawn from that are at least this share as likely as the most likely
    /// one (Nguyen et al. 2024, arXiv:2407.01082).
    pub min_p: f32,
    /// Divides positive logits, and multiplies negative ones, of tokens that stand in the prompt
    /// or the answer already (Keskar et al. 2019, arXiv:1909.05858).
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens that stand in the answer already.
    pub presence_penalty: f32,
    /// The same, times how often they stand there.
    pub frequency_penalty: f32,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Of the random numbers; none: another one for each request.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: None,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

/// The most biases in a request, as OpenAI has it.
const MOST_BIASES: usize = 300;

impl Sampling {
    /// The most likely token at each place.
    pub fn greedy() -> Self {
        Sampling { temperature: Some(0.0), ..Sampling::default() }
    }

    /// # Errors
    /// [`codes::SAMPLING`] with the field that is out of its range.
    pub fn check(&self, vocabulary: usize) -> Result<()> {
        let ranges = [
            ("temperature", self.temperature.unwrap_or(0.0), 0.0, 2.0),
            ("top_p", self.top_p, f32::MIN_POSITIVE, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0),
        ];
        for (field, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                let what = format!("`{field}` is {value}, but must be from {low} to {high}");
                return Err(Error::new(&codes::SAMPLING, what).field(field));
            }
        }
        if self.logit_bias.len() > MOST_BIASES {
            let what = format!("`logit_bias` has more than {MOST_BIASES} entries");
            return Err(Error::new(&codes::SAMPLING, what).field("logit_bias"));
        }
        for (id, bias) in &self.logit_bias {
            if *id as usize >= vocabulary || !(-100.0..=100.0).contains(bias) {
                let what = format!("the bias {bias} of token {id} is not one");
                return Err(Error::new(&codes::SAMPLING, what).field("logit_bias").help(format!(
                    "Tokens go up to {}, biases from -100 to 100.",
                    vocabulary - 1
                )));
            }
        }
        Ok(())
    }
}

/// The logarithm of a token's probability, as the model gives it before any change.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenScore {
    /// The token.
    pub id: u32,
    /// Its bytes as text; bytes that are no whole character become U+FFFD.
    pub text: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The most likely tokens at its place with theirs, the most likely first.
    pub top: Vec<TokenScore>,
}

/// Draws the tokens of one answer.
pub(crate) struct Sampler {
    settings: Sampling,
    temperature: f32,
    random: ChaCha8Rng,
    in_prompt: Vec<u32>,
    counts: HashMap<u32, u32>,
    /// Reused from draw to draw.
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler for an answer to `prompt`; `own` are the temperature and the seed for settings
    /// that have none.
    pub(crate) fn new(settings: Sampling, prompt: &[u32], own: (f32, u64)) -> Self {
        let temperature = settings.temperature.unwrap_or(own.0);
        let mut in_prompt = Vec::new();
        if settings.repetition_penalty != 1.0 {
            in_prompt.extend_from_slice(prompt);
            in_prompt.sort_unstable();
            in_prompt.dedup();
        }
        let random = stream(settings.seed.unwrap_or(own.1), "sampling");
        let (counts, candidates) = (HashMap::new(), Vec::new());
        Sampler { settings, temperature, random, in_prompt, counts, candidates }
    }

    /// Notes that a token stands in the answer, whoever chose it.
    pub(crate) fn accept(&mut self, id: u32) {
        *self.counts.entry(id).or_default() += 1;
    }

    /// Draws a token from `logits`, which it changes, among those of `mask` (a bit per token).
    /// None where the mask allows none. Of equally likely tokens the first wins.
    pub(crate) fn draw(&mut self, logits: &mut [f32], mask: Option<&[u32]>) -> Option<u32> {
        self.penalize(logits);
        let allowed = |id: usize| {
            mask.is_none_or(|mask| mask.get(id / 32).is_some_and(|word| word >> (id % 32) & 1 == 1))
        };
        if self.temperature == 0.0 {
            let mut best: Option<(usize, f32)> = None;
            for (id, &logit) in logits.iter().enumerate() {
                if best.is_none_or(|(_, most)| logit > most) && allowed(id) && !logit.is_nan() {
                    best = Some((id, logit));
                }
            }
            return best.map(|(id, _)| id as u32);
        }
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend(
            logits
                .iter()
                .enumerate()
                .filter(|(id, logit)| allowed(*id) && !logit.is_nan())
                .map(|(id, &logit)| (id as u32, logit)),
        );
        truncate(candidates, &self.settings, self.temperature);
        // One random number for each draw, whatever the draw is from.
        let point: f32 = self.random.random();
        let total: f32 = candidates.iter().map(|(_, p)| p).sum();
        let mut left = point * total;
        for (id, p) in candidates.iter() {
            left -= p;
            if left < 0.0 {
                return Some(*id);
            }
        }
        candidates.iter().rev().find(|(_, p)| *p > 0.0).map(|(id, _)| *id)
    }

    fn penalize(&self, logits: &mut [f32]) {
        let settings = &self.settings;
        if settings.repetition_penalty != 1.0 {
            let answered =
                self.counts.keys().filter(|id| self.in_prompt.binary_search(id).is_err());
            for &id in self.in_prompt.iter().chain(answered) {
                if let Some(logit) = logits.get_mut(id as usize) {
                    match *logit > 0.0 {
                        true => *logit /= settings.repetition_penalty,
                        false => *logit *= settings.repetition_penalty,
                    }
                }
            }
        }
        if settings.presence_penalty != 0.0 || settings.frequency_penalty != 0.0 {
            for (&id, &count) in &self.counts {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit -= settings.presence_penalty + settings.frequency_penalty * count as f32;
                }
            }
        }
        for &(id, bias) in &settings.logit_bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
    }
}

/// Leaves the tokens that are drawn from, the most likely first unless all are left, and turns
/// their logits into weights.
fn truncate(candidates: &mut Vec<(u32, f32)>, settings: &Sampling, temperature: f32) {
    let falling = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let (k, count) = (settings.top_k, candidates.len());
    if k > 0 && k < count {
        candidates.select_nth_unstable_by(k - 1, falling);
        candidates.truncate(k);
    }
    let most = candidates.iter().map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max);
    for (_, weight) in candidates.iter_mut() {
        *weight = ((*weight - most) / temperature).exp();
    }
    if settings.min_p > 0.0 {
        candidates.retain(|(_, weight)| *weight >= settings.min_p);
    }
    if settings.top_p < 1.0 {
        candidates.sort_unstable_by(falling);
        let total: f32 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let reached = candidates.iter().position(|(_, weight)| {
            sum += weight;
            sum >= settings.top_p * total
        });
        candidates.truncate(reached.map_or(candidates.len(), |at| at + 1));
    } else if k > 0 {
        // The order must not depend on how the selection left them.
        candidates.sort_unstable_by(falling);
    }
}

/// The logarithm of the sum of the exponentials of `logits`.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    most + sum.ln() as f32
}

/// The `count` most likely tokens with the logarithms of their probabilities.
pub(crate) fn top(logits: &[f32], count: usize, log_sum: f32) -> Vec<(u32, f32)> {
    if count == 0 {
        return Vec::new();
    }
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let falling =
        |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if count < ids.len() {
        ids.select_nth_unstable_by(count - 1, falling);
        ids.truncate(count);
    }
    ids.sort_unstable_by(falling);
    ids.into_iter().map(|id| (id, logits[id as usize] - log_sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(settings: Sampling, logits: &[f32], mask: Option<&[u32]>, n: usize) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        let mut sampler = Sampler::new(settings, &[], (1.0, 7));
        for _ in 0..n {
            let id = sampler.draw(&mut logits.to_vec(), mask).unwrap();
            counts[id as usize] += 1;
        }
        counts
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let shares = [0.5f32, 0.3, 0.2];
        let logits = shares.map(f32::ln);
        let counts = draws(Sampling::default(), &logits, None, 20_000);
        for (count, share) in counts.iter().zip(shares) {
            // Five standard deviations.
            let sigma = (20_000.0 * share * (1.0 - share)).sqrt();
            assert!((*count as f32 - 20_000.0 * share).abs() < 5.0 * sigma, "{counts:?}");
        }
    }

    #[test]
    fn what_is_cut_off_is_never_drawn() {
        let logits = [0.4f32, 0.3, 0.2, 0.1].map(f32::ln);
        let base = Sampling::default;
        for (settings, left) in [
            (Sampling { top_k: 2, ..base() }, 2),
            (Sampling { top_p: 0.69, ..base() }, 2),
            (Sampling { top_p: 0.71, ..base() }, 3),
            (Sampling { min_p: 0.6, ..base() }, 2),
            (Sampling { top_p: 1e-6, ..base() }, 1),
            (Sampling { top_k: 3, top_p: 0.5, ..base() }, 2),
        ] {
            let counts = draws(settings.clone(), &logits, None, 500);
            assert!(counts[..left].iter().all(|n| *n > 0), "{settings:?} {counts:?}");
            assert!(counts[left..].iter().all(|n| *n == 0), "{settings:?} {counts:?}");
        }
        let counts = draws(base(), &logits, Some(&[0b1010]), 200);
        assert!(counts[0] == 0 && counts[2] == 0 && counts[1] > counts[3], "{counts:?}");
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_most_likely() {
        let mut sampler = Sampler::new(Sampling::greedy(), &[], (1.0, 0));
        assert_eq!(sampler.draw(&mut [1.0, 3.0, 3.0, f32::NAN], None), Some(1));
        assert_eq!(sampler.draw(&mut [1.0, 3.0, 3.0, 0.0], Some(&[0b1001])), Some(0));
        assert_eq!(sampler.draw(&mut [1.0], Some(&[0])), None);
    }

    #[test]
    fn penalties_and_biases_change_what_is_drawn() {
        let greedy = Sampling::greedy;
        let draw = |settings: Sampling, prompt: &[u32]| {
            let mut sampler = Sampler::new(settings, prompt, (1.0, 0));
            sampler.accept(0);
            sampler.accept(0);
            sampler.draw(&mut [2.0, 1.5, -1.0], None)
        };
        assert_eq!(draw(greedy(), &[]), Some(0));
        assert_eq!(draw(Sampling { presence_penalty: 0.6, ..greedy() }, &[]), Some(1));
        assert_eq!(draw(Sampling { frequency_penalty: 0.3, ..greedy() }, &[]), Some(1));
        assert_eq!(draw(Sampling { repetition_penalty: 1.5, ..greedy() }, &[]), Some(1));
        assert_eq!(draw(Sampling { repetition_penalty: 1.5, ..greedy() }, &[1]), Some(0));
        assert_eq!(draw(Sampling { logit_bias: vec![(2, 100.0)], ..greedy() }, &[]), Some(2));
    }

    #[test]
    fn a_seed_repeats_its_draws() {
        let settings = Sampling { seed: Some(3), ..Sampling::default() };
        let logits = [0.0f32; 50];
        let first = draws(settings.clone(), &logits, None, 5);
        assert_eq!(first, draws(settings, &logits, None, 5));
        assert_ne!(first, draws(Sampling::default(), &logits, None, 5));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (settings, field) in [
            (Sampling { temperature: Some(-1.0), ..Sampling::default() }, "temperature"),
            (Sampling { top_p: 0.0, ..Sampling::default() }, "top_p"),
            (Sampling { min_p: f32::NAN, ..Sampling::default() }, "min_p"),
            (Sampling { logit_bias: vec![(9, 1.0)], ..Sampling::default() }, "logit_bias"),
        ] {
            let error = settings.check(5).unwrap_err();
            assert_eq!(error.place().field.as_deref(), Some(field));
        }
        assert!(Sampling::default().check(5).is_ok());
    }

    #[test]
    fn logarithms_of_probabilities_sum_to_one() {
        let logits = [1.0f32, -2.0, 0.5, 88.0];
        let log_sum = log_sum_exp(&logits);
        let sum: f32 = top(&logits, 4, log_sum).iter().map(|(_, l)| l.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
        assert_eq!(top(&logits, 2, log_sum).iter().map(|t| t.0).collect::<Vec<_>>(), [3, 0]);
    }
}
