//! What is asked about one trace, as keys change it: which labels are shown, and what was chosen.
//! It draws lines and knows no terminal.

use super::{Answer, LISTED, answered, choices};
use console::{Key, measure_text_width, truncate_str};
use sprat_flow::watch::Asked;
use sprat_report::{Tone, number, visible};

/// What a key led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet: draw again.
    Ask,
    /// To the question before.
    Back,
    /// To an answer.
    Answered(Answer),
}

/// A question to which the answer is open.
pub(super) struct Choice<'a> {
    labels: &'a [String],
    /// What is listed without a filter.
    best: Vec<(String, Option<f64>)>,
    /// Whether there is an answer that could be right.
    answered: bool,
    /// Whether there is a question before.
    back: bool,
    /// What the labels shown contain, where somebody is typing it.
    filter: Option<String>,
    /// The line that Enter chooses.
    marked: Option<usize>,
    help: bool,
    note: String,
}

impl<'a> Choice<'a> {
    /// A question about a trace; `back`: there is one before it.
    pub(super) fn new(asked: &Asked, labels: &'a [String], back: bool) -> Self {
        let (best, answered) = (choices(asked, labels), answered(asked).is_some());
        let (filter, marked, help, note) = (None, None, false, String::new());
        Choice { labels, best, answered, back, filter, marked, help, note }
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: &Key) -> Step {
        self.note.clear();
        match (key, self.filter.is_some()) {
            (Key::ArrowDown, _) => self.mark(1),
            (Key::ArrowUp, _) => self.mark(-1),
            (Key::Enter, _) => match self.marked.and_then(|at| self.label(at)) {
                Some(label) => return Step::Answered(Answer::Label(label)),
                None => self.note = "nothing is marked: arrows mark, ? helps".into(),
            },
            (Key::Escape, _) => (self.filter, self.marked) = (None, None),
            (Key::Backspace, true) => self.shorten(),
            (Key::Char(key), true) => return self.narrow(*key),
            (Key::Char(key), false) => return self.command(*key),
            _ => {}
        }
        Step::Ask
    }

    /// A key where nothing is being typed.
    fn command(&mut self, key: char) -> Step {
        match key {
            'q' => return Step::Answered(Answer::Quit),
            's' => return Step::Answered(Answer::Skip),
            'w' => return Step::Answered(Answer::Wrong),
            'r' if self.answered => return Step::Answered(Answer::Right),
            'r' => self.note = "the model gave no answer that could be right".into(),
            'u' if self.back => return Step::Back,
            'u' => self.note = "there is nothing to take back".into(),
            '?' => self.help = !self.help,
            '/' if self.labels.is_empty() => self.note = "the task has no labels".into(),
            '/' => (self.filter, self.marked) = (Some(String::new()), Some(0)),
            _ => match numbered(key).and_then(|at| self.label(at)) {
                Some(label) => return Step::Answered(Answer::Label(label)),
                None => self.note = format!("`{}` means nothing here: ? helps", visible_key(key)),
            },
        }
        Step::Ask
    }

    /// A key where a part of a label is being typed: a number chooses, unless a label has it.
    fn narrow(&mut self, key: char) -> Step {
        let Some(filter) = &self.filter else { return Step::Ask };
        let longer = format!("{filter}{key}");
        if !self.matching(&longer).is_empty() {
            (self.filter, self.marked) = (Some(longer), Some(0));
        } else if let Some(label) = numbered(key).and_then(|at| self.label(at)) {
            return Step::Answered(Answer::Label(label));
        } else {
            self.note = format!("no label contains `{}`", visible(&longer));
        }
        Step::Ask
    }

    fn shorten(&mut self) {
        let emptied = self.filter.as_mut().is_none_or(|filter| filter.pop().is_none());
        (self.filter, self.marked) =
            if emptied { (None, None) } else { (self.filter.take(), Some(0)) };
    }

    fn mark(&mut self, by: isize) {
        let count = self.shown().len();
        if count > 0 {
            let first = if by > 0 { 0 } else { count - 1 };
            let moved = |at: usize| at.saturating_add_signed(by).min(count - 1);
            self.marked = Some(self.marked.map_or(first, moved));
        }
    }

    fn label(&self, at: usize) -> Option<String> {
        self.shown().into_iter().nth(at).map(|(label, _)| label)
    }

    /// The labels that contain a text, those that begin with it first.
    fn matching(&self, text: &str) -> Vec<&'a String> {
        let text = text.to_lowercase();
        let found = |label: &str| label.to_lowercase().find(&text);
        let (first, rest): (Vec<_>, Vec<_>) = self
            .labels
            .iter()
            .filter(|label| found(label).is_some())
            .partition(|label| found(label) == Some(0));
        [first, rest].concat()
    }

    /// What is listed, at most [`LISTED`].
    fn shown(&self) -> Vec<(String, Option<f64>)> {
        let Some(filter) = self.filter.as_deref().filter(|text| !text.is_empty()) else {
            return self.best.clone();
        };
        let score = |label: &String| self.best.iter().find(|(best, _)| best == label)?.1;
        let found = self.matching(filter).into_iter().take(LISTED);
        found.map(|label| (label.clone(), score(label))).collect()
    }

    /// The labels, what is being typed, a word about the last key, and the keys, in lines of so
    /// many columns.
    pub(super) fn lines(&self, width: usize) -> Vec<(Tone, String)> {
        let mut lines = Vec::new();
        let shown = self.shown();
        for (at, (label, score)) in shown.iter().enumerate() {
            let marked = self.marked == Some(at);
            let begin = format!("{} {} ", if marked { '>' } else { ' ' }, at + 1);
            let end = score.map_or(String::new(), |score| format!("  {}", number::percent(score)));
            let room = width.saturating_sub(begin.len() + measure_text_width(&end));
            let label = visible(label).replace('\n', " ");
            let tone = if marked { Tone::Strong } else { Tone::Plain };
            lines.push((tone, format!("{begin}{}{end}", truncate_str(&label, room, "…"))));
        }
        let matching = self.filter.as_ref().map_or(self.labels.len(), |f| self.matching(f).len());
        if matching > shown.len() {
            lines.push((Tone::Dim, format!("    … and {} more", matching - shown.len())));
        }
        if let Some(filter) = &self.filter {
            lines.push((Tone::Strong, format!("/{}_", visible(filter))));
        }
        if !self.note.is_empty() {
            lines.push((Tone::Warn, self.note.clone()));
        }
        let keys = self.keys();
        let keys = if self.help { keys.iter().map(help).collect() } else { row(&keys, width) };
        lines.extend(keys.into_iter().map(|line| (Tone::Dim, line)));
        lines.iter().map(|(tone, line)| (*tone, truncate_str(line, width, "…").into())).collect()
    }

    /// The keys that mean something now: the key, what it does in a word, and in a sentence.
    fn keys(&self) -> Vec<[&'static str; 3]> {
        let all = [
            (true, ["r", "right", "the answer is right"], self.answered),
            (true, ["w", "wrong", "wrong, and no label is better"], true),
            (false, ["1-9", "label", "this label is right"], !self.best.is_empty()),
            (false, ["↑ ↓ Enter", "choose", "mark a label and take it"], self.filter.is_some()),
            (true, ["/", "find", "type a part of a label"], !self.labels.is_empty()),
            (true, ["s", "skip", "nobody can tell"], true),
            (true, ["u", "undo", "back to the question before"], self.back),
            (true, ["q", "quit", "keep the answers and end"], true),
            (true, ["?", "help", "these lines, or fewer"], true),
            (false, ["Esc", "all", "show the best labels again"], self.filter.is_some()),
        ];
        let typing = self.filter.is_some();
        let means = all.into_iter().filter(|(letter, _, now)| *now && !(*letter && typing));
        means.map(|(_, key, _)| key).collect()
    }
}

/// The place that a digit stands for.
fn numbered(key: char) -> Option<usize> {
    key.to_digit(10).and_then(|digit| (digit as usize).checked_sub(1))
}

fn visible_key(key: char) -> String {
    visible(&key.to_string()).into_owned()
}

/// A line of the help.
fn help([key, _, sentence]: &[&'static str; 3]) -> String {
    format!("{key:<9} {sentence}")
}

/// The keys in as few lines as they fit into.
fn row(keys: &[[&'static str; 3]], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for [key, word, _] in keys {
        let piece = format!("{key} {word}");
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 3 + measure_text_width(&piece) <= width => {
                *line += &format!(" · {piece}");
            }
            _ => lines.push(piece),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_task::{Clock, SystemClock};

    fn asked(label: Option<&str>, scores: &[(&str, f64)]) -> Asked {
        let row = serde_json::json!({
            "id": "req-1", "at": SystemClock.now(), "task": "t", "version": "v1", "text": "where?",
            "text_hash": null, "label": label, "confidence": 0.6, "scores": scores,
            "latency_ms": 1.0, "prompt_tokens": 1, "completion_tokens": 0, "status": 200,
            "route": null,
        });
        let row = serde_json::from_value(row).unwrap();
        Asked { id: "req-1".into(), row, why: "the model is not sure".into() }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// Presses the letters one after the other; the last step.
    fn typed(choice: &mut Choice<'_>, letters: &str) -> Step {
        letters.chars().map(|letter| choice.press(&Key::Char(letter))).last().unwrap()
    }

    fn drawn(choice: &Choice<'_>, width: usize) -> String {
        let lines: Vec<String> = choice.lines(width).into_iter().map(|(_, line)| line).collect();
        assert!(lines.iter().all(|line| measure_text_width(line) <= width), "{lines:#?}");
        lines.join("\n")
    }

    fn label(name: &str) -> Step {
        Step::Answered(Answer::Label(name.into()))
    }

    #[test]
    fn a_key_answers() {
        let labels = names(&["refund", "delivery", "other"]);
        let asked = asked(Some("refund"), &[("refund", 0.6), ("delivery", 0.3), ("other", 0.1)]);
        let fresh = || Choice::new(&asked, &labels, true);
        assert_eq!(typed(&mut fresh(), "r"), Step::Answered(Answer::Right));
        assert_eq!(typed(&mut fresh(), "w"), Step::Answered(Answer::Wrong));
        assert_eq!(typed(&mut fresh(), "s"), Step::Answered(Answer::Skip));
        assert_eq!(typed(&mut fresh(), "q"), Step::Answered(Answer::Quit));
        assert_eq!(typed(&mut fresh(), "u"), Step::Back);
        assert_eq!(typed(&mut fresh(), "2"), label("delivery"));
        let mut choice = fresh();
        assert_eq!(typed(&mut choice, "4"), Step::Ask);
        assert!(drawn(&choice, 80).contains("`4` means nothing here"));
        assert_eq!(choice.press(&Key::Enter), Step::Ask);
        choice.press(&Key::ArrowDown);
        choice.press(&Key::ArrowDown);
        assert_eq!(choice.press(&Key::Enter), label("delivery"));
    }

    #[test]
    fn what_is_typed_narrows_many_labels() {
        let labels: Vec<String> =
            (0..70).map(|at| format!("{}_{at}", ["card", "cash", "top_up"][at % 3])).collect();
        let asked = asked(Some("card_0"), &[("card_0", 0.5), ("cash_1", 0.25)]);
        let mut choice = Choice::new(&asked, &labels, false);
        assert_eq!(
            drawn(&choice, 80),
            "  1 card_0  50.0%\n  2 cash_1  25.0%\n    … and 68 more\n\
             r right · w wrong · 1-9 label · / find · s skip · q quit · ? help"
        );
        assert_eq!(typed(&mut choice, "/UP"), Step::Ask);
        assert!(drawn(&choice, 80).contains("    … and 14 more\n/UP_\n"), "{}", drawn(&choice, 80));
        // A number chooses, unless a label goes on with it.
        assert_eq!(typed(&mut choice, "_6"), Step::Ask);
        assert_eq!(
            drawn(&choice, 80),
            "> 1 top_up_62\n  2 top_up_65\n  3 top_up_68\n/UP_6_\n1-9 label · ↑ ↓ Enter choose · Esc all"
        );
        assert_eq!(typed(&mut choice, "x"), Step::Ask);
        assert!(drawn(&choice, 80).contains("no label contains `UP_6x`"));
        assert_eq!(typed(&mut choice, "3"), label("top_up_68"));
        choice.press(&Key::ArrowDown);
        assert_eq!(choice.press(&Key::Enter), label("top_up_65"));
        for _ in 0.."UP_6".len() + 1 {
            choice.press(&Key::Backspace);
        }
        assert_eq!(typed(&mut choice, "r"), Step::Answered(Answer::Right));
    }

    #[test]
    fn narrow_terminals_get_more_lines_and_no_longer_ones() {
        let labels = names(&["a label that is much too long for forty columns", "short\nname"]);
        let asked = asked(None, &[(labels[0].as_str(), 0.75)]);
        let mut choice = Choice::new(&asked, &labels, false);
        assert_eq!(
            drawn(&choice, 40),
            "  1 a label that is much too lon…  75.0%\n  2 short name\n\
             w wrong · 1-9 label · / find · s skip\nq quit · ? help"
        );
        typed(&mut choice, "?");
        let help = drawn(&choice, 40);
        assert!(help.contains(&format!("\n/{}type a part of a label\n", " ".repeat(9))), "{help}");
        assert_eq!(help.matches('…').count(), 1, "only the label is cut: {help}");
        assert_eq!(typed(&mut choice, "r"), Step::Ask);
        assert!(drawn(&choice, 80).contains("the model gave no answer that could be right"));
        assert_eq!(typed(&mut choice, "u"), Step::Ask);
    }

    #[test]
    fn a_model_that_writes_is_right_or_wrong() {
        let mut asked = asked(None, &[]);
        asked.row.output = Some("{\"city\": \"Rome\"}".into());
        let mut choice = Choice::new(&asked, &[], false);
        assert_eq!(drawn(&choice, 80), "r right · w wrong · s skip · q quit · ? help");
        assert_eq!(typed(&mut choice, "/"), Step::Ask);
        assert_eq!(typed(&mut choice, "r"), Step::Answered(Answer::Right));
    }
}
