//! Free texts of a tiny decoder, compared by a judge that a scripted endpoint plays.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::Value;
use sprat_infer::remote::mock::{Act, Mock, Seen};
use std::path::Path;
use support::{Run, command, run};

/// Forty greetings and the answers to them.
fn lay(folder: &Path) {
    sprat_model::tiny::write_decoder(&folder.join("base"), 1).unwrap();
    let mut csv = String::from("text,answer\n");
    for at in 0..40 {
        csv += &format!("greet guest number {at} please,welcome to table {}\n", at % 9);
    }
    std::fs::write(folder.join("greetings.csv"), csv).unwrap();
}

fn settings(folder: &Path, privacy: &str, judge: &str) {
    let text = format!(
        "[task]\nname = \"greetings\"\nkind = \"generate\"\ntarget = \"answer\"\n\
         max_answer_tokens = 12\n[data]\ntrain = \"greetings.csv\"\n\
         [needs]\nprivacy = \"{privacy}\"\n\
         [tune]\nepochs = 1\nbatch = 8\nprecision = \"f32\"\nrank = 4\nlearning_rate = 1e-2\n\
         [[candidates]]\nmodel = \"file:base\"\n{judge}"
    );
    std::fs::write(folder.join("sprat.toml"), text).unwrap();
}

fn judge(mock: &Mock, more: &str) -> String {
    format!(
        "[judge]\nmodel = \"openai:judge\"\nbase_url = \"{}\"\nrows = 4\n\
         usd_per_million_input_tokens = 1.0\n{more}",
        mock.base_url()
    )
}

fn bench(folder: &Path, args: &[&str]) -> Run {
    run(command(folder).args(["bench", "--quiet"]).args(args)).exits(0)
}

/// Prefers the longer of the two answers.
fn longer(seen: &Seen) -> Act {
    let user = seen.body["messages"][1]["content"].as_str().unwrap();
    let length = |name: &str| {
        let (_, rest) = user.split_once(&format!("<<<answer {name} ")).unwrap();
        rest.split_once(&format!("<<<end of answer {name} ")).unwrap().0.len()
    };
    let verdict = match length("A").cmp(&length("B")) {
        std::cmp::Ordering::Greater => "A",
        std::cmp::Ordering::Less => "B",
        std::cmp::Ordering::Equal => "tie",
    };
    Act::Say(format!("{{\"verdict\": \"{verdict}\"}}"))
}

#[test]
fn a_judge_compares_the_base_with_what_was_tuned_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    lay(path);
    settings(path, "any", "");
    let done = bench(path, &["--json"]).json();
    assert!(done["judged"].is_null(), "without a judge nothing is asked");

    let mock = Mock::start(longer).unwrap();
    settings(path, "any", &judge(&mock, ""));
    let done = bench(path, &["--json"]).json();
    assert_eq!(done["skipped"], true, "a judge does not repeat the benchmark");
    let pair = &done["judged"]["pairs"][0];
    let names = (pair["candidate"].as_str().unwrap(), pair["reference"].as_str().unwrap());
    assert_eq!(names, ("base base", "base tuned"));
    let judged = &pair["judged"];
    let count = |name: &str| judged[name].as_u64().unwrap();
    assert_eq!((count("rows"), count("wins") + count("ties") + count("losses")), (4, 4), "{pair}");
    assert_eq!((count("failed"), &judged["consistency"]["estimate"]), (0, &Value::from(1.0)));
    assert_eq!(pair["believable"], true);
    let questions = pair["questions"].as_u64().unwrap();
    assert_eq!(questions, 4 * (4 - count("same")), "{pair}");
    assert_eq!(pair["input_tokens"].as_u64().unwrap(), 10 * questions);
    assert!(pair["usd"].as_f64().unwrap() > 0.0);
    assert_eq!(mock.seen().len() as u64, questions);

    // The same questions are not paid for again; the page says what the document does.
    let text = bench(path, &[]).out;
    assert!(
        text.contains("Judged by openai:judge") && text.contains("both orders agree"),
        "{text}"
    );
    assert!(text.contains("$"), "{text}");
    assert_eq!(mock.seen().len() as u64, questions);
    let html = std::fs::read_to_string(path.join(".sprat/reports/bench.html")).unwrap();
    assert!(html.contains("Judged by openai:judge"));

    // One that favours a place.
    let biased = Mock::play([Act::Say("A".into())]).unwrap();
    settings(path, "any", &judge(&biased, "repeats = 1\n"));
    let done = bench(path, &["--json"]).json();
    let judged = &done["judged"]["pairs"][0]["judged"];
    assert_eq!((&judged["ties"], &judged["consistency"]["estimate"]), (&4.into(), &0.0.into()));
    let text = bench(path, &[]).out;
    assert!(text.contains("can't be believed"), "{text}");

    // One that fails, and one that may not be asked: the benchmark stands.
    let broken = Mock::play([Act::status(403, "no")]).unwrap();
    settings(path, "any", &judge(&broken, ""));
    let text = bench(path, &[]).out;
    assert!(text.contains("base base was not judged") && text.contains("403"), "{text}");
    settings(path, "on-premise", &judge(&mock, "criterion = \"brevity\"\n"));
    let done = bench(path, &["--json"]).json();
    assert_eq!(done["judged"]["pairs"], Value::Array(Vec::new()));
    assert!(done["judged"]["unjudged"][0][1].as_str().unwrap().contains("on-premise"), "{done}");
    assert_eq!(mock.seen().len() as u64, questions, "nothing was sent");
}
