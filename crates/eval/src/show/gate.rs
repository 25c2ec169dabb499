//! The gate's page.

use crate::gate::{GateRecord, Verdict};
use sprat_report::{Cell, Page, Table, Tone};

impl GateRecord {
    /// The report: every rule with its figure, its threshold and its verdict.
    pub fn page(&self) -> Page {
        let page = Page::new("Release gate").subtitle(format!(
            "artefact {}, test part {}",
            self.subject.short(),
            self.test_data.short()
        ));
        let page = if self.passed {
            page.verdict(Tone::Good, "Every rule is satisfied or waived by name.")
        } else {
            page.verdict(Tone::Bad, "The evidence is not enough.")
        };
        page.table(self.table())
    }

    /// The rules as a table.
    pub fn table(&self) -> Table {
        let mut table = Table::new("Rules", &["rule", "verdict", "measured", "required"]);
        for finding in &self.findings {
            let verdict = match finding.verdict {
                Verdict::Passed => Cell::toned(Tone::Good, "✓ passed"),
                Verdict::Refused => Cell::toned(Tone::Bad, "✗ refused"),
                Verdict::Waived => Cell::toned(Tone::Warn, "! waived"),
                Verdict::NotApplicable => Cell::toned(Tone::Dim, "not applicable"),
            };
            table.push([
                finding.rule.clone().into(),
                verdict,
                finding.figure.clone().into(),
                finding.threshold.clone().into(),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use crate::gate::tests::{against, evidence};
    use crate::gate::{Evidence, Gate, Rules};
    use sprat_report::Terminal;

    #[test]
    fn every_rule_is_shown_with_figure_and_threshold() {
        let evidence = Evidence { against_current: Some(against(5, 30)), ..evidence() };
        let gate = Gate { rules: Rules { min_quality: Some(0.9), ..Rules::default() } };
        let page = gate.judge(&evidence).unwrap_err().record().page();
        let text = page.text(&Terminal::plain(100));
        assert!(text.contains("✗ refused") && text.contains("not-worse-than-current"), "{text}");
        assert!(text.contains("lower bound at least 90.0%"));
        crate::show::tests::keep("gate", &page.render().unwrap(), &text);
    }
}
