//! The release gate: the only place that makes a [`PassedGate`].
//!
//! The registry takes a [`PassedGate`] and nothing else, so that "verified" is a type. What is
//! stored and read back for display is a [`GateRecord`], which cannot be turned into one.

use crate::codes::GATE;
use crate::equivalence::Equivalence;
use crate::interval::Interval;
use crate::paired::Comparison;
use crate::retention::Retention;
use serde::{Deserialize, Serialize};
use sprat_report::number::{count, p_value, percent, points_unsigned};
use sprat_task::{Digest, Error};

/// The measured quality on the sealed test part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The metric: "accuracy", "macro-F1".
    pub metric: String,
    /// Its value.
    pub value: Interval,
    /// Rows it was measured on.
    pub rows: u64,
}

/// How the weights to be released came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "weights", rename_all = "kebab-case")]
pub enum Weights {
    /// As training left them.
    AsTrained,
    /// Shrunk, with the evidence that the skill was retained.
    Shrunk {
        /// The evidence.
        retention: Box<Retention>,
    },
}

/// What the data gate found about rows that stand in both training and test part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leakage {
    /// Leaked rows that are still there.
    pub rows: u64,
    /// The reason given by who waived the rule, if anybody did.
    pub waived: Option<String>,
}

/// The state of the test part's seal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSeal {
    /// Whether the test part was sealed before training.
    pub sealed: bool,
    /// How often release gates opened it, this time included.
    pub openings: u64,
    /// The reason given by who waived the rule, if anybody did.
    pub waived: Option<String>,
}

/// Everything a release is judged on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The artefact that is to be released.
    pub subject: Digest,
    /// The test part it was measured on.
    pub test_data: Digest,
    /// Its quality.
    pub quality: Quality,
    /// The paired comparison with the current release (reference); `None` for the first one.
    pub against_current: Option<Comparison>,
    /// Replayed examples: what was measured against what will be served.
    pub equivalence: Equivalence,
    /// How the weights came about.
    pub weights: Weights,
    /// Leakage between the parts.
    pub leakage: Leakage,
    /// The test part's seal.
    pub seal: TestSeal,
}

/// What "not worse than the current release" means.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum NotWorse {
    /// Refuse when McNemar's mid-p test shows the candidate to be worse. Also says how large a
    /// loss the data cannot exclude.
    NotShownWorse {
        /// Level of the test.
        alpha: f64,
    },
    /// Refuse unless a loss of `margin` or more is excluded (lower bound of the paired interval).
    NonInferior {
        /// The loss that must be excluded, as a share.
        margin: f64,
    },
}

/// The rules of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// What the lower bound of the quality must reach, as a share.
    pub min_quality: Option<f64>,
    /// The comparison with the current release.
    pub not_worse: NotWorse,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { min_quality: None, not_worse: NotWorse::NotShownWorse { alpha: 0.05 } }
    }
}

/// How one rule turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Satisfied.
    Passed,
    /// Not satisfied.
    Refused,
    /// Not satisfied, and waived by name with a reason.
    Waived,
    /// Does not apply here.
    NotApplicable,
}

/// One rule with its figure, its threshold and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's stable name.
    pub rule: String,
    /// What was measured.
    pub figure: String,
    /// What was asked for.
    pub threshold: String,
    /// How it turned out.
    pub verdict: Verdict,
}

/// A judgement as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateRecord {
    /// Version of this layout.
    pub schema: String,
    /// Whether the release was allowed.
    pub passed: bool,
    /// The artefact.
    pub subject: Digest,
    /// The test part.
    pub test_data: Digest,
    /// The rules.
    pub findings: Vec<Finding>,
    /// What was judged.
    pub evidence: Evidence,
}

/// Proof that a gate passed. Only [`Gate::judge`] makes one; it is written as a [`GateRecord`]
/// and cannot be read back.
///
/// ```compile_fail,E0451
/// fn forge(record: sprat_eval::GateRecord) -> sprat_eval::PassedGate {
///     sprat_eval::PassedGate { record }
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn forge(text: &str) -> Option<sprat_eval::PassedGate> {
///     serde_json::from_str(text).ok()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PassedGate {
    record: GateRecord,
}

impl PassedGate {
    /// The artefact that may be released, and no other.
    pub fn subject(&self) -> Digest {
        self.record.subject
    }

    /// The judgement, to be stored and shown.
    pub fn record(&self) -> &GateRecord {
        &self.record
    }
}

/// Why a release was refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Refusal {
    record: Box<GateRecord>,
}

impl Refusal {
    /// The judgement, to be stored and shown.
    pub fn record(&self) -> &GateRecord {
        &self.record
    }

    /// The rules that were not satisfied.
    pub fn refused(&self) -> impl Iterator<Item = &Finding> {
        self.record.findings.iter().filter(|finding| finding.verdict == Verdict::Refused)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let why: Vec<String> = refusal
            .refused()
            .map(|f| format!("{}: {}, required: {}", f.rule, f.figure, f.threshold))
            .collect();
        Error::new(&GATE, "the release gate refused").why(why.join("; "))
    }
}

/// A release gate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gate {
    /// Its rules.
    pub rules: Rules,
}

impl Gate {
    /// Judges the evidence by every rule; none is skipped because another one failed.
    ///
    /// # Errors
    /// The [`Refusal`] with every rule's figure, when one is neither satisfied nor waived.
    pub fn judge(&self, evidence: &Evidence) -> Result<PassedGate, Refusal> {
        let findings = vec![
            self.quality(&evidence.quality),
            self.not_worse(evidence.against_current.as_ref()),
            equivalent(&evidence.equivalence),
            retained(&evidence.weights),
            leakage(&evidence.leakage),
            seal(&evidence.seal),
        ];
        let passed = findings.iter().all(|finding| finding.verdict != Verdict::Refused);
        let record = GateRecord {
            schema: "sprat.gate/1".to_owned(),
            passed,
            subject: evidence.subject,
            test_data: evidence.test_data,
            findings,
            evidence: evidence.clone(),
        };
        if passed { Ok(PassedGate { record }) } else { Err(Refusal { record: Box::new(record) }) }
    }

    fn quality(&self, quality: &Quality) -> Finding {
        let figure = format!(
            "{} {} on {} test rows",
            quality.metric,
            quality.value.percent(),
            count(quality.rows)
        );
        match self.rules.min_quality {
            None => finding("min-quality", figure, "no minimum is set", Verdict::NotApplicable),
            Some(least) => {
                let threshold = format!("lower bound at least {}", percent(least));
                // Not `>=` alone: what is not a number satisfies nothing.
                let verdict = pass_if(quality.value.low >= least && quality.rows > 0);
                finding("min-quality", figure, threshold, verdict)
            }
        }
    }

    fn not_worse(&self, comparison: Option<&Comparison>) -> Finding {
        const RULE: &str = "not-worse-than-current";
        let Some(found) = comparison else {
            let none = "there is no current release";
            return finding(RULE, none, "not worse", Verdict::NotApplicable);
        };
        let figure = format!(
            "accuracy {} against `{}` (McNemar mid-p {}); a loss of {} cannot be excluded",
            found.accuracy.points(),
            found.reference,
            p_value(found.mcnemar.mid_p),
            points_unsigned((-found.accuracy.low).max(0.0))
        );
        match self.rules.not_worse {
            NotWorse::NotShownWorse { alpha } => {
                let worse = found.accuracy.estimate < 0.0 && found.mcnemar.mid_p < alpha;
                let threshold = format!("no significant loss at level {alpha}");
                finding(RULE, figure, threshold, pass_if(!worse))
            }
            NotWorse::NonInferior { margin } => {
                let threshold = format!("a loss of {} must be excluded", points_unsigned(margin));
                finding(RULE, figure, threshold, pass_if(found.accuracy.low > -margin))
            }
        }
    }
}

fn equivalent(check: &Equivalence) -> Finding {
    let figure = format!(
        "`{}`: {} of {} answers changed, greatest difference {:.1e}",
        check.step,
        count(check.changed),
        count(check.rows),
        check.greatest
    );
    let threshold = format!("none changed, difference at most {:.0e}", check.tolerance);
    finding("equivalent", figure, threshold, pass_if(check.passed() && check.rows > 0))
}

fn retained(weights: &Weights) -> Finding {
    const RULE: &str = "skill-retained";
    let Weights::Shrunk { retention } = weights else {
        let figure = "the weights are as trained";
        return finding(RULE, figure, "retained", Verdict::NotApplicable);
    };
    let figure = format!(
        "`{}`: loss on the task {}, {} more than general ability",
        retention.variant,
        retention.task_loss.points(),
        retention.excess_loss.points()
    );
    let margins = retention.margins;
    let threshold = format!(
        "loss below {}, not evidently {} more than general ability, no class ruined",
        points_unsigned(margins.task),
        points_unsigned(margins.excess)
    );
    finding(RULE, figure, threshold, pass_if(retention.passed()))
}

fn leakage(leakage: &Leakage) -> Finding {
    let figure = format!("{} rows in both training and test part", count(leakage.rows));
    waivable("no-leakage", figure, "none", leakage.rows == 0, leakage.waived.as_deref())
}

fn seal(seal: &TestSeal) -> Finding {
    let sealed = if seal.sealed { "sealed before training" } else { "not sealed" };
    let figure = format!("{sealed}; opened {} times by release gates", count(seal.openings));
    waivable("test-sealed", figure, "sealed before training", seal.sealed, seal.waived.as_deref())
}

fn waivable(
    rule: &str,
    figure: String,
    threshold: &str,
    satisfied: bool,
    waived: Option<&str>,
) -> Finding {
    match waived.filter(|reason| !satisfied && !reason.trim().is_empty()) {
        Some(reason) => {
            finding(rule, format!("{figure}; waived: {reason}"), threshold, Verdict::Waived)
        }
        None => finding(rule, figure, threshold, pass_if(satisfied)),
    }
}

fn pass_if(satisfied: bool) -> Verdict {
    if satisfied { Verdict::Passed } else { Verdict::Refused }
}

fn finding(
    rule: &str,
    figure: impl Into<String>,
    threshold: impl Into<String>,
    verdict: Verdict,
) -> Finding {
    let (figure, threshold) = (figure.into(), threshold.into());
    Finding { rule: rule.to_owned(), figure, threshold, verdict }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::interval::wilson;
    use crate::paired::{mcnemar, paired_difference};

    pub(crate) fn evidence() -> Evidence {
        Evidence {
            subject: Digest::of(b"artefact"),
            test_data: Digest::of(b"test"),
            quality: Quality {
                metric: "accuracy".into(),
                value: wilson(930, 1000, 0.95),
                rows: 1000,
            },
            against_current: None,
            equivalence: Equivalence {
                step: "write and read back".into(),
                rows: 64,
                changed: 0,
                greatest: 1e-6,
                worst_row: 1,
                tolerance: 1e-4,
            },
            weights: Weights::AsTrained,
            leakage: Leakage::default(),
            seal: TestSeal { sealed: true, openings: 1, waived: None },
        }
    }

    pub(crate) fn against(candidate_only: u64, reference_only: u64) -> Comparison {
        let test = mcnemar(candidate_only, reference_only);
        let accuracy = paired_difference(candidate_only, reference_only, 1000, 0.95);
        Comparison {
            candidate: "new".into(),
            reference: "support-intent@3".into(),
            rows: 1000,
            both: 900,
            candidate_only,
            reference_only,
            neither: 100 - candidate_only - reference_only,
            accuracy,
            macro_f1: accuracy,
            mcnemar: test,
            adjusted_p: test.mid_p,
        }
    }

    fn gate(min_quality: f64) -> Gate {
        Gate { rules: Rules { min_quality: Some(min_quality), ..Rules::default() } }
    }

    fn refused_rules(gate: Gate, evidence: &Evidence) -> Vec<String> {
        let refusal = gate.judge(evidence).unwrap_err();
        refusal.refused().map(|finding| finding.rule.clone()).collect()
    }

    #[test]
    fn good_evidence_passes_and_is_bound_to_its_artefact() {
        let passed = gate(0.9).judge(&evidence()).unwrap();
        assert_eq!(passed.subject(), Digest::of(b"artefact"));
        let text = serde_json::to_string(&passed).unwrap();
        let record: GateRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(&record, passed.record());
        assert_eq!(record.findings.len(), 6);
    }

    #[test]
    fn every_rule_can_refuse() {
        assert_eq!(refused_rules(gate(0.92), &evidence()), ["min-quality"]);
        let worse = Evidence { against_current: Some(against(5, 30)), ..evidence() };
        assert_eq!(refused_rules(gate(0.9), &worse), ["not-worse-than-current"]);
        let mut changed = evidence();
        changed.equivalence.changed = 1;
        changed.leakage.rows = 3;
        changed.seal.sealed = false;
        assert_eq!(refused_rules(gate(0.9), &changed), ["equivalent", "no-leakage", "test-sealed"]);
        let mut broken = evidence();
        broken.quality.value.low = f64::NAN;
        assert_eq!(refused_rules(gate(0.1), &broken), ["min-quality"]);
    }

    #[test]
    fn leakage_may_be_waived_by_name_but_not_silently() {
        let mut leaked = evidence();
        leaked.leakage = Leakage { rows: 2, waived: Some("  ".into()) };
        assert_eq!(refused_rules(gate(0.9), &leaked), ["no-leakage"]);
        leaked.leakage.waived = Some("public boilerplate".into());
        let passed = gate(0.9).judge(&leaked).unwrap();
        let finding = &passed.record().findings[4];
        assert_eq!(finding.verdict, Verdict::Waived);
        assert!(finding.figure.contains("public boilerplate"));
    }

    #[test]
    fn an_equal_candidate_passes_one_rule_and_must_prove_itself_by_the_other() {
        let equal = Evidence { against_current: Some(against(15, 15)), ..evidence() };
        assert!(gate(0.9).judge(&equal).is_ok());
        let strict = |margin| Gate {
            rules: Rules { min_quality: None, not_worse: NotWorse::NonInferior { margin } },
        };
        assert!(strict(0.02).judge(&equal).is_ok());
        assert_eq!(refused_rules(strict(0.005), &equal), ["not-worse-than-current"]);
    }

    #[test]
    fn a_refusal_becomes_an_error_with_exit_code_three() {
        let error: Error = gate(0.99).judge(&evidence()).unwrap_err().into();
        assert_eq!(error.code().kind.exit_code(), 3);
        assert!(error.to_string().contains("min-quality"));
    }
}
