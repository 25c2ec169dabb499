//! *Split*: a canary or an A/B test. A share of the requests goes to another version; who asks
//! again gets the same one.

use crate::codes;
use rand::Rng;
use sprat_infer::{Answer, Asking, Generator, Input, Load, Pending, Request, Role, Route, Variant};
use sprat_task::settings::Sticky;
use sprat_task::{Error, Result, random};
use std::sync::Arc;

/// A version with its share of the requests.
#[derive(Clone)]
pub struct Part {
    /// The version, such as `task@v4`.
    pub name: String,
    /// Its share, from 0 to 1.
    pub share: f64,
    /// What answers.
    pub model: Arc<dyn Generator>,
}

/// Several versions behind one name. The first is the one that was asked for; the others get
/// their shares, and it gets what is left.
pub struct Split {
    parts: Vec<Part>,
    sticky: Sticky,
}

impl Split {
    /// Puts `others` beside a version.
    ///
    /// # Errors
    /// [`codes::SETTINGS`] for shares that are none, for one version twice, and for versions that
    /// do not answer alike: other labels, or a classifier beside a model that writes.
    pub fn new(
        name: impl Into<String>,
        model: Arc<dyn Generator>,
        others: Vec<Part>,
        sticky: Sticky,
    ) -> Result<Self> {
        let wrong = |what: String| Error::new(&codes::SETTINGS, what).field("route.split");
        let name = name.into();
        let sum: f64 = others.iter().map(|part| part.share).sum();
        if others.iter().any(|part| !(0.0..=1.0).contains(&part.share)) || sum > 1.0 + 1e-9 {
            return Err(wrong(
                "the shares of a split lie between 0 and 1, and so does their sum".into(),
            ));
        }
        let mut parts = vec![Part { name, share: (1.0 - sum).max(0.0), model }];
        for part in others {
            if parts.iter().any(|other| other.name == part.name) {
                return Err(wrong(format!("`{}` stands in a split twice", part.name)));
            }
            let first = &parts[0].model;
            if first.labels() != part.model.labels() || first.converses() != part.model.converses()
            {
                let what = format!("`{}` and `{}` do not answer alike", parts[0].name, part.name);
                return Err(wrong(what).why("their labels differ, or only one of them writes"));
            }
            parts.push(part);
        }
        Ok(Split { parts, sticky })
    }

    /// The part that a request belongs to: whoever has the same key gets the same part, as long as
    /// the shares stay.
    fn part(&self, request: &Request) -> &Part {
        // The name in the key lets two splits divide the same users independently.
        let name = format!("route split {} {}", self.parts[0].name, key(self.sticky, request));
        let mut at = random::stream(0, &name).random::<f64>();
        // The others lie first on the line, so that a growing share only takes from the first part.
        for part in self.parts.iter().skip(1) {
            if at < part.share {
                return part;
            }
            at -= part.share;
        }
        &self.parts[0]
    }
}

/// What requests of one part have in common.
fn key(sticky: Sticky, request: &Request) -> String {
    let caller = &request.caller;
    let client = caller.client.as_deref().unwrap_or_default();
    match (sticky, &caller.user) {
        (Sticky::Client, _) if caller.client.is_some() => format!("client {client}"),
        (Sticky::User, Some(user)) => format!("user {client}\n{user}"),
        _ => format!("talk {client}\n{}", beginning(&request.input)),
    }
}

/// How a conversation begins: all of its turns begin alike.
fn beginning(input: &Input) -> String {
    match input {
        Input::Text(text) | Input::Prompt(text) => text.clone(),
        Input::Messages(messages) => {
            let first = messages.iter().find(|message| message.role == Role::User);
            first.map(|message| message.content.clone()).unwrap_or_default()
        }
        Input::Tokens(ids) => format!("{:?}", ids.iter().take(64).collect::<Vec<_>>()),
    }
}

impl Generator for Split {
    fn name(&self) -> &str {
        self.parts[0].model.name()
    }

    fn labels(&self) -> &[String] {
        self.parts[0].model.labels()
    }

    fn converses(&self) -> bool {
        self.parts[0].model.converses()
    }

    fn load(&self) -> Load {
        self.parts.iter().map(|part| part.model.load()).fold(Load::default(), |sum, load| Load {
            waiting: sum.waiting + load.waiting,
            capacity: sum.capacity + load.capacity,
        })
    }

    fn submit(&self, request: Request) -> Result<Pending> {
        let part = self.part(&request);
        let variant = Variant { name: part.name.clone(), share: part.share };
        Ok(part.model.submit(request)?.then(move |answer| stamp(answer, variant)))
    }

    fn ask(&self, request: Request) -> Result<Asking> {
        let part = self.part(&request);
        let variant = Variant { name: part.name.clone(), share: part.share };
        let asking = part.model.ask(request)?;
        Ok(Box::pin(async move {
            let mut answer = asking.await?;
            stamp(&mut answer, variant);
            Ok(answer)
        }))
    }
}

/// Says which part an answer belongs to.
fn stamp(answer: &mut Answer, variant: Variant) {
    let confidence = answer.confidence;
    let route = answer.route.get_or_insert_with(|| Route {
        model: variant.name.clone(),
        why: "its share of the requests".into(),
        confidence,
        ..Route::default()
    });
    route.variant = Some(variant);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_infer::{Message, reply};

    struct Named(&'static str, Vec<String>);

    impl Generator for Named {
        fn name(&self) -> &str {
            self.0
        }

        fn labels(&self) -> &[String] {
            &self.1
        }

        fn submit(&self, _: Request) -> Result<Pending> {
            let (reply, pending) = reply();
            reply.end(Ok(Answer { output: self.0.into(), ..Answer::default() }));
            Ok(pending)
        }
    }

    fn model(name: &'static str, labels: &[&str]) -> Arc<dyn Generator> {
        Arc::new(Named(name, labels.iter().map(|label| (*label).to_owned()).collect()))
    }

    fn split(share: f64, sticky: Sticky) -> Split {
        let canary = Part { name: "t@v2".into(), share, model: model("t@v2", &["a", "b"]) };
        Split::new("t@v1", model("t@v1", &["a", "b"]), vec![canary], sticky).unwrap()
    }

    fn by(split: &Split, user: Option<&str>, text: &str) -> String {
        let mut request = Request::text(text);
        request.caller.user = user.map(str::to_owned);
        request.caller.client = Some("app".into());
        let answer = split.answer(request).unwrap();
        let variant = answer.route.unwrap().variant.unwrap();
        assert_eq!(variant.name, answer.output);
        variant.name
    }

    #[test]
    fn a_share_of_the_users_gets_the_canary_and_keeps_it() {
        let few = split(0.1, Sticky::User);
        let more = split(0.3, Sticky::User);
        let mut canaries = 0;
        for user in 0..1000 {
            let user = format!("user-{user}");
            let first = by(&few, Some(&user), "one");
            assert_eq!(first, by(&few, Some(&user), "quite another text"));
            canaries += usize::from(first == "t@v2");
            // A growing canary takes nobody back.
            assert!(first == "t@v1" || by(&more, Some(&user), "one") == "t@v2");
        }
        assert!((70..130).contains(&canaries), "{canaries}");
    }

    #[test]
    fn a_conversation_keeps_its_part_and_a_client_can_be_one_user() {
        let split_by = |sticky| split(0.5, sticky);
        let talk = split_by(Sticky::Conversation);
        let client = split_by(Sticky::Client);
        for at in 0..50 {
            let mut turns = vec![Message::new(Role::User, format!("hello {at}"))];
            let first = Request::new(Input::Messages(turns.clone()));
            turns.push(Message::new(Role::Assistant, "yes?"));
            turns.push(Message::new(Role::User, "go on"));
            let second = Request::new(Input::Messages(turns));
            assert_eq!(talk.part(&first).name, talk.part(&second).name);
            assert_eq!(by(&client, None, &at.to_string()), by(&client, None, "0"));
        }
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        let main = || model("t@v1", &["a", "b"]);
        let refused = |name: &str, share, labels: &[&str]| {
            let part = Part { name: name.into(), share, model: model("t@v2", labels) };
            Split::new("t@v1", main(), vec![part], Sticky::User).err().unwrap()
        };
        for error in [
            refused("t@v2", 1.5, &["a", "b"]),
            refused("t@v2", f64::NAN, &["a", "b"]),
            refused("t@v1", 0.5, &["a", "b"]),
            refused("t@v2", 0.5, &["a", "c"]),
        ] {
            assert_eq!(error.code(), &codes::SETTINGS);
        }
    }
}
