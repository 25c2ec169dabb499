//! Secrets: keys in the layouts that their issuers document, and values that are named as secret
//! or look random enough to be one.

use super::{PersonalKind, PersonalSpan, pattern};

pub(super) fn find(text: &str, spans: &mut Vec<PersonalSpan>) {
    let known = pattern!(concat!(
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"|\bgh[pousr]_[A-Za-z0-9]{36,255}|\bgithub_pat_[A-Za-z0-9_]{22,255}",
        r"|\bglpat-[A-Za-z0-9_-]{20,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"|\bsk-[A-Za-z0-9_-]{20,}|\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
        r"|\bAIza[0-9A-Za-z_-]{35}|\bhf_[A-Za-z0-9]{30,}|\bnpm_[A-Za-z0-9]{36}",
        r"|\bpypi-[A-Za-z0-9_-]{50,}",
        r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+",
        r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[^-]*(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----)?",
    ));
    for found in known.find_iter(text) {
        spans.push(PersonalSpan { kind: PersonalKind::Secret, range: found.range() });
    }
    let named = pattern!(
        r#"(?i)\b(?:password|passwd|pwd|secret|token|api[ _-]?key|access[ _-]?key)["']?\s*(?:[:=]|\bis\b)\s*["']?([^\s"',;]{8,})"#
    );
    for found in named.captures_iter(text).filter_map(|found| found.get(1)) {
        if mixed(found.as_str()) && entropy(found.as_str()) >= 2.8 {
            spans.push(PersonalSpan { kind: PersonalKind::Secret, range: found.range() });
        }
    }
    for found in pattern!(r"[A-Za-z0-9+_=-]{32,128}").find_iter(text) {
        // Part of a path or an address: names of files look random, too.
        let around = text.as_bytes();
        let before = found.start().checked_sub(1).map(|at| around[at]);
        let in_path = before.is_some_and(|byte| matches!(byte, b'/' | b'.' | b'?' | b'&' | b'#'));
        if !in_path && cased(found.as_str()) && entropy(found.as_str()) >= 4.3 {
            spans.push(PersonalSpan { kind: PersonalKind::Secret, range: found.range() });
        }
    }
}

fn mixed(text: &str) -> bool {
    let any = |test: fn(&u8) -> bool| text.bytes().any(|byte| test(&byte));
    any(u8::is_ascii_digit) && any(u8::is_ascii_alphabetic)
}

fn cased(text: &str) -> bool {
    mixed(text)
        && text.bytes().any(|byte| byte.is_ascii_uppercase())
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Shannon entropy of the bytes, in bits a byte.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let total = text.len() as f64;
    let term = |count: &u32| {
        let p = f64::from(*count) / total;
        -p * p.log2()
    };
    counts.iter().filter(|count| **count > 0).map(term).sum()
}
