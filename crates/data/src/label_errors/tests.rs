use super::*;
use rand::Rng;
use sprat_task::{Quiet, random::stream};

#[test]
fn the_confident_joint_of_a_small_case_is_the_one_worked_out_by_hand() {
    // Two classes; mean probability of the own label: class 0: (0.9+0.8+0.1)/3 = 0.6,
    // class 1: (0.7+0.9)/2 = 0.8. Row 2 gives class 1 a probability of 0.9 >= 0.8: off-diagonal.
    // Row 3 (label 1, p1 = 0.7) reaches no threshold and is counted nowhere.
    let p = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.1, 0.9]];
    let labels = [0, 0, 0, 1, 1];
    let opinions: Vec<_> = p.iter().zip(labels).map(|(p, label)| Opinion::of(p, label)).collect();
    let found = suspects(&opinions, &labels, 2);
    assert_eq!(found, [Suspect { row: 2, suggested: 1, own: 0.1, other: 0.9 }]);
}

#[test]
fn an_opinion_keeps_the_best_classes_in_order() {
    let p = [0.05, 0.3, 0.02, 0.2, 0.1, 0.25, 0.03, 0.05];
    let opinion = Opinion::of(&p, 4);
    let classes: Vec<u32> = opinion.top.iter().map(|(class, _)| *class).collect();
    assert_eq!((classes, opinion.own), (vec![1, 5, 3, 4, 0, 7], 0.1));
}

/// Rows of 8 classes, each with its own vocabulary beside a common one; `wrong` of 1,000 bear
/// another class's label.
fn planted(rows: usize, wrong: f64) -> (Vec<String>, Vec<u32>, Vec<bool>) {
    let mut random = stream(11, "planted");
    let (mut texts, mut labels, mut planted) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..rows {
        let class = (row % 8) as u32;
        let words: Vec<String> = (0..9)
            .map(|_| match random.random_range(0..10) {
                0..4 => format!("own{class}x{}", random.random_range(0..30)),
                _ => format!("common{}", random.random_range(0..200)),
            })
            .collect();
        texts.push(words.join(" "));
        let flip = random.random_bool(wrong);
        let other = (class + random.random_range(1..8)) % 8;
        labels.push(if flip { other } else { class });
        planted.push(flip);
    }
    (texts, labels, planted)
}

#[test]
fn planted_label_errors_are_found_and_few_others_are_accused() {
    let (texts, labels, planted) = planted(4000, 0.08);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let text_of: Vec<u32> = (0..4000).collect();
    let options = LabelErrorOptions::default();
    let interrupt = Interrupt::default();
    let run = || {
        cross_validate(&texts, &text_of, &labels, 8, &options, &Quiet, &interrupt)
            .map(|opinions| suspects(&opinions, &labels, 8))
            .unwrap()
    };
    let found = run();
    let hits = found.iter().filter(|suspect| planted[suspect.row as usize]).count() as f64;
    let precision = hits / found.len() as f64;
    let recall = hits / planted.iter().filter(|flip| **flip).count() as f64;
    eprintln!("planted label errors: precision {precision:.3}, recall {recall:.3}");
    assert!(precision >= 0.85 && recall >= 0.85, "precision {precision}, recall {recall}");
    assert_eq!(found, run(), "the same rows in the same order every time");
}
