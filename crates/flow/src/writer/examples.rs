//! Rows as conversations, in the model's tokens.

use super::form::AnswerSchema;
use crate::codes;
use sprat_data::Dataset;
use sprat_infer::Constraint;
use sprat_infer::constraint::Grammars;
use sprat_model::{Conversation, LanguageModel};
use sprat_task::{Error, Result, Timestamp};
use sprat_train::TokenExample;

/// What a template takes for the date in training: the same run gives the same bits on any day.
const NOW: Timestamp = Timestamp(0);

/// What turns rows into examples.
pub(crate) struct Teller<'a> {
    pub(crate) model: &'a LanguageModel,
    pub(crate) instruction: Option<&'a str>,
}

impl Teller<'_> {
    /// The examples of a part, in its order; rows without a target are left out.
    ///
    /// # Errors
    /// `SPRAT-FLOW-OTHER-TEMPLATE` when the template writes the prompt of an example differently
    /// from a request's, or does not say where an answer stands; those of the template.
    pub(crate) fn examples(&self, data: &Dataset) -> Result<Vec<TokenExample>> {
        pairs(data).map(|(text, answer)| self.example(text, answer)).collect()
    }

    /// One example.
    ///
    /// # Errors
    /// As [`Self::examples`].
    pub(crate) fn example(&self, text: &str, answer: &str) -> Result<TokenExample> {
        let mut messages = Vec::new();
        messages.extend(self.instruction.map(|instruction| ("system", instruction)));
        messages.push(("user", text));
        let asked = Conversation { add_generation_prompt: true, ..Conversation::of(&messages) };
        let prompt = self.model.encode_prompt(&self.model.render(&asked, NOW)?)?;
        messages.push(("assistant", answer));
        let told = self.model.render_for_training(&Conversation::of(&messages), NOW)?;
        let encoded = self.model.tokenizer().encode_answers(&told)?;
        let mut ids = encoded.ids;
        let own = |found: &bool| *found;
        let (Some(start), Some(last)) =
            (encoded.answer.iter().position(own), encoded.answer.iter().rposition(own))
        else {
            let what = "the chat template does not say where an answer stands";
            return Err(Error::new(&codes::OTHER_TEMPLATE, what)
                .help("Use a template that writes the assistant's turns."));
        };
        let mut answer = start..last + 1;
        // A model without a template begins every text with a token of its own.
        if prompt.len() == start + 1 && prompt.first() != ids.first() {
            ids.insert(0, prompt[0]);
            answer = start + 1..last + 2;
        }
        if ids[..answer.start] != prompt[..] {
            let what = "the chat template writes the prompt of an example differently from a \
                        request's";
            return Err(Error::new(&codes::OTHER_TEMPLATE, what).why(format!(
                "an example's has {} tokens, a request's {}",
                answer.start,
                prompt.len()
            )));
        }
        ids.truncate(answer.end);
        Ok(TokenExample { ids, answer })
    }
}

/// Texts and targets of the rows that have both.
pub(crate) fn pairs(data: &Dataset) -> impl Iterator<Item = (&str, &str)> {
    data.examples.iter().filter_map(|row| Some((row.text.as_str(), row.label.as_deref()?)))
}

/// Checks that answers can be written under the schema as they stand: what the grammar of the
/// schema forbids, training would teach in vain.
///
/// # Errors
/// `SPRAT-FLOW-ANSWER-SCHEMA`, with the row; those of the constraint.
pub(crate) fn writable(
    model: &LanguageModel,
    schema: &AnswerSchema,
    data: &Dataset,
    examples: &[TokenExample],
) -> Result<()> {
    /// More rows are not tried: they share the schema's few shapes.
    const TRIED: usize = 256;
    let grammars = Grammars::new(model.tokenizer())?;
    let constraint = Constraint::JsonSchema(schema.document.clone());
    let rows = data.examples.iter().filter(|row| row.label.is_some());
    for (row, example) in rows.zip(examples).take(TRIED) {
        let mut matcher = grammars.compile(&constraint)?;
        let tokens = &example.ids[example.answer.clone()];
        let ends = model.tokenizer().ends();
        for id in tokens.iter().filter(|id| !ends.contains(id)) {
            matcher.accept(*id).map_err(|why| {
                let answer = row.label.as_deref().unwrap_or_default();
                let short: String = answer.chars().take(200).collect();
                Error::new(&codes::ANSWER_SCHEMA, "an answer can't be written under the schema")
                    .file(&data.source)
                    .line(row.line)
                    .why(format!("`{short}`: {why}"))
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_data::Example;
    use sprat_model::{Format, tiny};

    #[test]
    fn the_answer_and_its_end_carry_loss_and_the_prompt_is_a_requests() {
        let folder = tempfile::tempdir().unwrap();
        tiny::write_decoder(folder.path(), 1).unwrap();
        let model = LanguageModel::open(folder.path(), Format::F32, None).unwrap();
        let teller = Teller { model: &model, instruction: Some("fields") };
        let example = teller.example("a table", "{\"a\":1}").unwrap();
        let text = |ids: &[u32]| model.tokenizer().decode(ids, false);
        assert_eq!(text(&example.ids[example.answer.clone()]), "{\"a\":1}<|end|>");
        let prompt = "<|user|>fields<|end|><|user|>a table<|end|><|assistant|>";
        assert_eq!(text(&example.ids[..example.answer.start]), prompt);
    }

    #[test]
    fn answers_that_the_schema_can_not_write_are_named() {
        let folder = tempfile::tempdir().unwrap();
        tiny::write_decoder(folder.path(), 1).unwrap();
        let model = LanguageModel::open(folder.path(), Format::F32, None).unwrap();
        let schema = AnswerSchema::new(serde_json::json!({
            "type": "object", "properties": {"a": {"type": "integer"}},
            "required": ["a"], "additionalProperties": false,
        }))
        .unwrap();
        let row = |answer: &str| Example {
            text: "x".into(),
            label: Some(answer.into()),
            line: 7,
            ..Example::default()
        };
        let check = |answer: &str| {
            let data = Dataset::new(vec![row(answer)], "made.csv");
            let examples = Teller { model: &model, instruction: None }.examples(&data).unwrap();
            writable(&model, &schema, &data, &examples)
        };
        check("{\"a\":12}").unwrap();
        let error = check("{ \"a\": 12}").unwrap_err();
        assert_eq!(error.code().id, "SPRAT-FLOW-ANSWER-SCHEMA");
        assert_eq!(error.place().line, Some(7));
    }
}
