//! Labelling on a terminal: an answer is a key.
//!
//! The terminal is taken out of its ordinary mode for the time of one key alone
//! ([`Term::read_key_raw`]): whatever ends the command, an error or a signal, finds it as it was.

use super::choice::{Choice, Step};
use super::{Answer, Desk, question};
use console::{Key, Term};
use sprat_flow::watch::Asked;
use sprat_report::{Terminal, Tone, visible};
use sprat_task::{Error, INTERRUPTED, Result};
use std::collections::VecDeque;
use std::io;

/// Answers that can be taken back. They are kept when others follow, or at the end.
const UNDO: usize = 10;

/// Asks about each trace of the queue.
pub(super) fn work(queue: &[Asked], labels: &[String], desk: &mut Desk<'_>) -> Result<()> {
    let term = Term::stdout();
    let mut open: VecDeque<Answer> = VecDeque::new();
    let (mut at, mut interrupted) = (0, false);
    while let Some(asked) = queue.get(at) {
        let back = !open.is_empty();
        match ask(&term, (at, queue.len()), asked, Choice::new(asked, labels, back)) {
            Ok(Step::Ask) => {}
            Ok(Step::Back) => {
                open.pop_back();
                at -= 1;
            }
            Ok(Step::Answered(Answer::Quit)) => break,
            Ok(Step::Answered(answer)) => {
                open.push_back(answer);
                at += 1;
                if open.len() > UNDO {
                    keep(queue, at, &mut open, 1, desk)?;
                }
            }
            // The terminal is gone: what was answered is kept.
            Err(why) => {
                interrupted = why.kind() == io::ErrorKind::Interrupted;
                break;
            }
        }
    }
    let all = open.len();
    keep(queue, at, &mut open, all, desk)?;
    if interrupted { Err(Error::new(&INTERRUPTED, "interrupted")) } else { Ok(()) }
}

/// Keeps the first `count` of the open answers, the last of which is to the question before `at`.
fn keep(
    queue: &[Asked],
    at: usize,
    open: &mut VecDeque<Answer>,
    count: usize,
    desk: &mut Desk<'_>,
) -> Result<()> {
    let first = at - open.len();
    for (asked, answer) in queue[first..].iter().zip(open.drain(..count)) {
        desk.keep(asked, answer)?;
    }
    Ok(())
}

/// Shows a question and takes keys until one answers it. The question stays on the screen, with
/// the answer where the labels were.
fn ask(
    term: &Term,
    (at, of): (usize, usize),
    asked: &Asked,
    mut choice: Choice<'_>,
) -> io::Result<Step> {
    let look = Terminal::detect();
    let text = question(asked).text(&look);
    let id = visible(&asked.id);
    term.write_str(&format!("\n{} of {of}  {id}\n\n{}\n\n", at + 1, text.trim_matches('\n')))?;
    loop {
        let look = Terminal::detect();
        let lines = choice.lines(look.width - 1);
        let painted = lines.iter().map(|(tone, line)| look.paint(*tone, line) + "\n");
        term.write_str(&painted.collect::<String>())?;
        let key = term.read_key_raw();
        term.clear_last_lines(lines.len())?;
        let step = match key? {
            Key::CtrlC => return Err(io::ErrorKind::Interrupted.into()),
            key => choice.press(&key),
        };
        let said = match &step {
            Step::Ask => continue,
            Step::Back => "back".into(),
            Step::Answered(Answer::Right) => "right".into(),
            Step::Answered(Answer::Wrong) => "wrong".into(),
            Step::Answered(Answer::Label(label)) => visible(label).replace('\n', " "),
            Step::Answered(Answer::Skip) => "skipped".into(),
            Step::Answered(Answer::Quit) => return Ok(step),
        };
        let said = console::truncate_str(&said, look.width - 3, "…").into_owned();
        term.write_line(&look.paint(Tone::Strong, &format!("→ {said}")))?;
        return Ok(step);
    }
}
