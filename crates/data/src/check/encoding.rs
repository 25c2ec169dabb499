//! Texts that went through the wrong decoder, or carry invisible characters.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use crate::parallel::map_chunks;
use sprat_task::Result;

/// Replacement characters, control characters, text decoded with the wrong table.
pub(super) struct Encoding;

impl Check for Encoding {
    fn id(&self) -> &'static str {
        "encoding"
    }
    fn title(&self) -> &'static str {
        "Damaged or invisible characters"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "U+FFFD; control characters but tab and line ends; bidirectional controls and zero-width \
         spaces; UTF-8 that was read as Latin-1 or Windows-1252 (such as Ã© for é)."
    }
    fn advice(&self) -> &'static str {
        "Export the data again as UTF-8, or correct the rows."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        let blocks = map_chunks(evidence.rows.len(), 4096, evidence.interrupt, |rows| {
            let one = |row: usize| Some((row as u32, damage(&evidence.rows[row].1.text)?));
            rows.filter_map(one).collect::<Vec<_>>()
        })?;
        let mut findings = Findings::new(evidence);
        for (row, what) in blocks.into_iter().flatten() {
            findings.push(1, || Finding::new(what).rows(evidence, [row]));
        }
        Ok(Outcome::Looked(findings))
    }
}

/// The first kind of damage in a text.
fn damage(text: &str) -> Option<&'static str> {
    // Most texts are plain ASCII.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')) {
        return None;
    }
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '\u{FFFD}' => return Some("a replacement character: bytes were lost"),
            '\t' | '\n' | '\r' => {}
            c if c.is_control() => return Some("a control character"),
            '\u{200B}' | '\u{2060}' | '\u{FEFF}' => return Some("an invisible character"),
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
                return Some("a control character of text direction");
            }
            _ => {}
        }
        // UTF-8 lead bytes C3, C2 and E2 read as Latin-1 are Ã, Â and â; what follows them then
        // is a continuation byte, 80 to BF, in Latin-1 or Windows-1252.
        let continued = matches!(
            c,
            '\u{80}'
                ..='\u{BF}'
                    | '€'
                    | '‚'
                    | 'ƒ'
                    | '„'
                    | '…'
                    | '†'
                    | '‡'
                    | 'ˆ'
                    | '‰'
                    | 'Š'
                    | '‹'
                    | 'Œ'
                    | 'Ž'
                    | '‘'
                    | '’'
                    | '“'
                    | '”'
                    | '•'
                    | '–'
                    | '—'
                    | '˜'
                    | '™'
                    | 'š'
                    | '›'
                    | 'œ'
                    | 'ž'
                    | 'Ÿ'
        );
        if matches!(before, 'Ã' | 'Â') && continued || before == 'â' && c == '€' {
            return Some("text decoded with the wrong table");
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_from_foreign_letters() {
        for text in ["cafÃ© crÃ¨me", "itâ€™s", "a\u{FFFD}b", "bell \u{7}", "zero\u{200B}width"]
        {
            assert!(damage(text).is_some(), "{text}");
        }
        for text in
            ["café", "São João", "Ângela", "naïve – “quoted”", "日本語", "👩‍🚀", "tab\tline\n"]
        {
            assert_eq!(damage(text), None, "{text}");
        }
    }
}
