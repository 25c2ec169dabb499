//! Server-sent events, as they come in pieces.
//!
//! The format is that of the HTML standard, section "Server-sent events": lines end with CR LF,
//! LF or CR; `data` lines up to an empty one are one event; everything else is left out.

use super::fault::Fault;
use super::transport::Response;
use crate::codes;

/// The events of a response. Its limits hold for all of them together.
pub(super) struct Events<'a> {
    response: Response<'a>,
    parser: Parser,
}

impl<'a> Events<'a> {
    pub(super) fn new(response: Response<'a>) -> Self {
        Events { response, parser: Parser::default() }
    }

    /// The data of the next event; none at the end of the stream. An event that the stream's end
    /// cuts off is none.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Fault> {
        loop {
            match self.parser.take() {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(NotText) => {
                    let (what, why) = ("its answer is not of the protocol", "it is not UTF-8");
                    return Err(self.response.faults().lasting(&codes::REMOTE_GARBAGE, what, why));
                }
            }
            match self.response.piece().await? {
                Some(piece) => self.parser.push(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// A line that is not UTF-8.
#[derive(Debug, PartialEq)]
struct NotText;

#[derive(Default)]
struct Parser {
    /// What has come and is not read yet, from `at` on.
    buffer: Vec<u8>,
    at: usize,
    /// How much of it is known to hold no end of a line.
    searched: usize,
    /// The data lines of the event that is coming.
    data: Option<String>,
    begun: bool,
}

impl Parser {
    fn push(&mut self, piece: &[u8]) {
        self.buffer.drain(..self.at);
        self.searched = self.searched.saturating_sub(self.at);
        self.at = 0;
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole event.
    fn take(&mut self) -> Result<Option<String>, NotText> {
        while let Some((start, end)) = self.line() {
            let line = std::str::from_utf8(&self.buffer[start..end]).map_err(|_| NotText)?;
            // A byte order mark may stand before the first line.
            let line = if self.begun { line } else { line.trim_start_matches('\u{feff}') };
            self.begun = true;
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    return Ok(Some(data));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            if field == "data" {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match &mut self.data {
                    None => self.data = Some(value.to_owned()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Where the next whole line begins and ends.
    fn line(&mut self) -> Option<(usize, usize)> {
        let from = self.searched.max(self.at);
        let offset = self.buffer[from..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = offset.map(|offset| from + offset) else {
            self.searched = self.buffer.len();
            return None;
        };
        let width = match (self.buffer[end], self.buffer.get(end + 1)) {
            (b'\r', Some(b'\n')) => 2,
            // Whether a line feed belongs to it, only the next piece says.
            (b'\r', None) => {
                self.searched = end;
                return None;
            }
            _ => 1,
        };
        let start = self.at;
        self.at = end + width;
        self.searched = self.at;
        Some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]]) -> Result<Vec<String>, NotText> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for piece in pieces {
            parser.push(piece);
            while let Some(event) = parser.take()? {
                found.push(event);
            }
        }
        Ok(found)
    }

    #[test]
    fn events_are_read_whatever_the_ends_of_their_lines() {
        for text in [
            "data: one\n\ndata: two\ndata: lines\n\n",
            "data: one\r\n\r\ndata: two\r\ndata: lines\r\n\r\n",
            "\u{feff}: a comment\ndata:one\n\nid: 7\nevent: x\ndata: two\ndata: lines\n\n",
        ] {
            assert_eq!(all(&[text.as_bytes()]).unwrap(), ["one", "two\nlines"], "{text:?}");
        }
        assert_eq!(all(&[b"data: one\r\rdata: two\r\r."]).unwrap(), ["one", "two"]);
        assert_eq!(all(&[b"data: half"]).unwrap(), Vec::<String>::new());
        assert_eq!(all(&[b"data: \xff\n\n"]), Err(NotText));
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_changes_nothing(
            cuts in prop::collection::vec(0usize..60, 0..6)
        ) {
            let text = "data: é1\r\n\r\n: ping\n\ndata: {\"a\":1}\ndata: ü\n\ndata: [DONE]\n\n";
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(all(&pieces).unwrap(), ["é1", "{\"a\":1}\nü", "[DONE]"]);
        }
    }
}
