//! Personal data and secrets: a model may repeat what it was trained on.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use crate::parallel::map_chunks;
use crate::personal::{PersonalKind, find_personal};
use sprat_task::Result;
use std::collections::BTreeMap;

/// E-mail addresses, phone, card and account numbers, addresses of machines.
pub(super) struct PersonalData;
/// Keys, tokens, passwords.
pub(super) struct Secrets;

impl Check for PersonalData {
    fn id(&self) -> &'static str {
        "personal-data"
    }
    fn title(&self) -> &'static str {
        "Personal data"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "E-mail addresses; phone numbers with a prefix or in a national layout; card numbers with \
         issuer, length and check digit (Luhn); IBANs with check digits (modulo 97); IPv4, IPv6 \
         and MAC addresses. Excerpts are redacted."
    }
    fn advice(&self) -> &'static str {
        "`sprat data clean` replaces them by their kind when `redact` is set."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        run(look, |kind| kind != PersonalKind::Secret)
    }
}

impl Check for Secrets {
    fn id(&self) -> &'static str {
        "secrets"
    }
    fn title(&self) -> &'static str {
        "Secrets and keys"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "Keys in their issuers' layouts, private keys, values named as password, token or key \
         with at least 2.8 bits of entropy a character, and words of 32 or more mixed characters \
         with at least 4.3. Excerpts are redacted."
    }
    fn advice(&self) -> &'static str {
        "Revoke the secret; `sprat data clean` hides it when `redact` is set."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        run(look, |kind| kind == PersonalKind::Secret)
    }
}

fn run(look: &Look<'_>, wanted: impl Fn(PersonalKind) -> bool + Sync) -> Result<Outcome> {
    let evidence = look.0;
    let blocks = map_chunks(evidence.rows.len(), 2048, evidence.interrupt, |rows| {
        let one = |row: usize| {
            let spans = find_personal(&evidence.rows[row].1.text);
            let kinds = spans.into_iter().map(|span| span.kind).filter(|kind| wanted(*kind));
            let mut kinds: Vec<_> = kinds.collect();
            kinds.sort_unstable();
            kinds.dedup();
            (!kinds.is_empty()).then_some((row as u32, kinds))
        };
        rows.filter_map(one).collect::<Vec<_>>()
    })?;
    let mut findings = Findings::new(evidence);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (row, kinds) in blocks.into_iter().flatten() {
        kinds.iter().for_each(|kind| *counts.entry(kind.name()).or_default() += 1);
        findings.push(1, || {
            let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
            Finding::new(names.join(", ")).rows(evidence, [row])
        });
    }
    let counts: Vec<_> = counts.iter().map(|(kind, rows)| format!("{kind} {rows}")).collect();
    findings.summary = (!counts.is_empty()).then(|| counts.join(", "));
    Ok(Outcome::Looked(findings))
}
