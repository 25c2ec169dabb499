//! Labelling through a pipe, or on a terminal that knows no keys: an answer is a line.

use super::{Answer, Desk, answered, choices, question};
use sprat_flow::watch::Asked;
use sprat_report::{Terminal, number, visible};
use sprat_task::Result;
use std::io::{BufRead, Write};

/// Asks about each trace of the queue until the input ends.
pub(super) fn work(queue: &[Asked], labels: &[String], desk: &mut Desk<'_>) -> Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let mut out = std::io::stdout();
    for (at, asked) in queue.iter().enumerate() {
        let choices = choices(asked, labels);
        let mut text = format!("\n{} of {}  {}\n", at + 1, queue.len(), visible(&asked.id));
        let listed = choices.iter().enumerate().map(|(at, (label, score))| {
            let score =
                score.map_or(String::new(), |score| format!("  {}", number::percent(score)));
            format!("{} {label}{score}", at + 1)
        });
        text += &question(asked).list(listed).text(&Terminal::detect());
        let answer = loop {
            text += "right: r · another: its number or name · wrong: w · skip: s · quit: q > ";
            if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                return Ok(());
            }
            text.clear();
            // The end of the input is a way to quit.
            let Some(Ok(line)) = lines.next() else { return Ok(()) };
            match parse(line.trim(), asked, &choices, labels) {
                Ok(Answer::Quit) => return Ok(()),
                Ok(answer) => break answer,
                Err(why) => text = format!("{why}\n"),
            }
        };
        desk.keep(asked, answer)?;
    }
    Ok(())
}

/// A key, a number of the list, a label's name, or the only label that begins so.
fn parse(
    line: &str,
    asked: &Asked,
    choices: &[(String, Option<f64>)],
    labels: &[String],
) -> std::result::Result<Answer, String> {
    match line {
        "q" => return Ok(Answer::Quit),
        "s" => return Ok(Answer::Skip),
        "w" => return Ok(Answer::Wrong),
        "r" if answered(asked).is_some() => return Ok(Answer::Right),
        "r" => return Err("the model gave no answer that could be right".into()),
        "" => return Err("nothing was chosen".into()),
        _ => {}
    }
    if let Some((label, _)) = line.parse().ok().and_then(|n: usize| choices.get(n.wrapping_sub(1)))
    {
        return Ok(Answer::Label(label.clone()));
    }
    if labels.iter().any(|label| label == line) {
        return Ok(Answer::Label(line.to_owned()));
    }
    let begins: Vec<&String> = labels.iter().filter(|label| label.starts_with(line)).collect();
    match begins[..] {
        [only] => Ok(Answer::Label(only.clone())),
        [] => Err(format!("`{line}` is no key, no number of the list and no label")),
        _ => Err(format!("{} labels begin with `{line}`", begins.len())),
    }
}
