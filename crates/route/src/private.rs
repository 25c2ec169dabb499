//! Which requests never leave the user's machines.

use sprat_data::find_personal;
use sprat_infer::{Input, Request};
use std::fmt;

/// Why a request must not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Private {
    /// Whoever asked said so.
    Asked,
    /// It holds personal data of this kind.
    Personal(&'static str),
    /// It is a text to go on with: a conversation is all that a hosted model can be asked.
    Continuation,
}

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Private::Asked => f.write_str("private: asked for"),
            Private::Personal(kind) => write!(f, "private: {kind} found"),
            Private::Continuation => f.write_str("a text to go on with stays here"),
        }
    }
}

/// The rules by which requests stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateRules {
    /// Requests in which personal data is found stay.
    pub personal: bool,
}

impl PrivateRules {
    /// Why a request must stay, if it must. All that would be sent is looked at: every message,
    /// what belongs to it, and the tools.
    pub fn judge(&self, request: &Request) -> Option<Private> {
        if request.private {
            return Some(Private::Asked);
        }
        if matches!(request.input, Input::Prompt(_) | Input::Tokens(_)) {
            return Some(Private::Continuation);
        }
        if !self.personal {
            return None;
        }
        let found = |text: &str| {
            find_personal(text).first().map(|span| Private::Personal(span.kind.name()))
        };
        match &request.input {
            Input::Text(text) => found(text),
            Input::Messages(messages) => messages.iter().find_map(|message| {
                let more = || message.more.values().find_map(|value| found(&value.to_string()));
                found(&message.content).or_else(more)
            }),
            Input::Prompt(_) | Input::Tokens(_) => None,
        }
        .or_else(|| request.tools.iter().find_map(|tool| found(&tool.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_infer::{Message, Role};

    const RULES: PrivateRules = PrivateRules { personal: true };

    #[test]
    fn personal_data_anywhere_keeps_a_request_here() {
        assert_eq!(RULES.judge(&Request::text("where is my parcel")), None);
        let mail = RULES.judge(&Request::text("write to ann@example.org"));
        assert!(matches!(mail, Some(Private::Personal(_))), "{mail:?}");
        let mut first = Message::new(Role::User, "hello");
        first.more.insert("name".into(), "ann@example.org".into());
        let talk = vec![first, Message::new(Role::User, "and now?")];
        assert!(RULES.judge(&Request::new(Input::Messages(talk))).is_some());
        let mut tool = Request::text("hi");
        tool.tools = vec![serde_json::json!({ "description": "mails ann@example.org" })];
        assert!(RULES.judge(&tool).is_some());
        assert_eq!(PrivateRules { personal: false }.judge(&tool), None);
        let prompt = Request::new(Input::Prompt("once upon".into()));
        assert_eq!(PrivateRules { personal: false }.judge(&prompt), Some(Private::Continuation));
    }

    #[test]
    fn who_asks_for_privacy_gets_it_whatever_the_rules() {
        let mut request = Request::text("hi");
        request.private = true;
        assert_eq!(PrivateRules { personal: false }.judge(&request), Some(Private::Asked));
    }
}
