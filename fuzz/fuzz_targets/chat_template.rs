//! Chat templates: any template on any message gives a text or an error, in bounded time, and
//! where the text reads like a control token of the template's, no message wrote it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprat_model::{ChatTemplate, Conversation, SpecialTexts};
use sprat_task::Timestamp;

fuzz_target!(|input: (&str, &str)| {
    let (source, content) = input;
    let control = vec!["<|im_end|>".to_owned()];
    let texts = SpecialTexts { control, ..SpecialTexts::default() };
    let conversation = Conversation::of(&[("user", content), ("assistant", content)]);
    if let Ok(template) = ChatTemplate::new(source, texts)
        && let Ok(rendered) = template.render_for_training(&conversation, Timestamp(0))
    {
        for answer in rendered.answers() {
            assert!(rendered.text().get(answer.clone()).is_some(), "an answer splits a character");
        }
    }
    // A template that only copies its messages writes no control token.
    let copy = "{% for message in messages %}{{ message.content }}{% endfor %}";
    let texts = SpecialTexts { control: vec!["<|im_end|>".to_owned()], ..SpecialTexts::default() };
    if let Ok(template) = ChatTemplate::new(copy, texts)
        && let Ok(rendered) = template.render(&conversation, Timestamp(0))
    {
        for (at, token) in rendered.text().match_indices("<|im_end|>") {
            assert!(!rendered.is_template(at..at + token.len()), "a message wrote {token}");
        }
    }
});
