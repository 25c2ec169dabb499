//! `sprat data check | clean | split`.

use crate::judge::Judge;
use crate::prepare::{DataRecord, refusal};
use crate::{Done, Project};
use serde_json::json;
use sprat_data::AnswerRule;
use sprat_report::{Page, Table, Tone};
use sprat_task::Result;
use std::path::Path;

/// Findings listed per check on the terminal and on the HTML page.
const LISTED: usize = 5;
pub(crate) const LISTED_ON_PAGE: usize = 200;

impl Project {
    /// `sprat data check`: looks at the files as they are.
    ///
    /// # Errors
    /// Those of reading and checking; a gate's refusal is in the result.
    pub fn data_check(&self, html: Option<&Path>) -> Result<Done> {
        let source = self.source()?;
        // Without a model the lengths are not looked at, and the report says so.
        let reader = self.measuring_reader().ok().flatten();
        let judge = Judge::new(self, reader.as_ref(), &source.parts())?;
        let length = judge.length();
        let schema = self.answer_schema()?;
        let rule = schema.as_ref().map(|schema| |answer: &str| schema.fault(answer));
        let mut model = judge.contribution(&length);
        model.answers = rule.as_ref().map(|rule| rule as AnswerRule<'_>);
        let report = sprat_data::check(
            &source.parts(),
            &self.check_options(),
            &model,
            self.progress.as_ref(),
            &self.interrupt,
        )?;
        let page = report.page(LISTED);
        let whole = report.page(LISTED_ON_PAGE);
        let file = html.map_or_else(|| self.reports().join("data-check.html"), Path::to_path_buf);
        whole.write(&file)?;
        let mut body = report.to_json();
        body["html"] = json!(file);
        let refused = report.gate().err();
        let page = page.paragraph(format!("The same as a page: {}", file.display()));
        Ok(Done::new("sprat.data-check/1", body, page).refused_by(refused))
    }

    /// `sprat data clean`: writes a clean version of the parts beside the old ones.
    ///
    /// # Errors
    /// Those of reading, splitting and checking.
    pub fn data_clean(&mut self) -> Result<Done> {
        self.settings.data.clean = true;
        let prepared = self.prepared_unjudged()?;
        let record = &prepared.step.value;
        let folder = prepared.step.folder.join("clean");
        let mut table = Table::new("Removed or changed", &["check", "rows"]).numeric(&[1]);
        for (check, rows) in &record.cleaned {
            table.push([check.clone(), rows.to_string()]);
        }
        let page = Page::new("Clean data")
            .table(table)
            .facts([
                ("training rows", format!("{} → {}", record.rows[0], record.train_rows)),
                ("picked", record.picked.map_or("all".into(), |n| n.to_string())),
                ("new version", folder.join("data.jsonl").display().to_string()),
                ("log", folder.join("clean-log.jsonl").display().to_string()),
            ])
            .paragraph("Nothing was changed in place; the log names every row and the reason.");
        let body = json!({
            "folder": folder,
            "rows_before": record.rows[0],
            "rows": record.train_rows,
            "picked": record.picked,
            "removed": record.cleaned.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        });
        let refused = (!record.blocking.is_empty()).then(|| refusal(record));
        Ok(Done::new("sprat.data-clean/1", body, page).refused_by(refused))
    }

    /// `sprat data split`: training, validation, and the test part behind its seal.
    ///
    /// # Errors
    /// Those of reading, splitting and checking.
    pub fn data_split(&self) -> Result<Done> {
        let prepared = self.prepared_unjudged()?;
        let record = &prepared.step.value;
        let page = split_page(record)
            .facts([("folder", prepared.step.folder.join("parts").display().to_string())])
            .verdict(
                Tone::Good,
                format!("the test part is sealed ({})", prepared.seal.digest().short()),
            );
        let openings = prepared.seal.openings()?;
        let body = json!({
            "folder": prepared.step.folder.join("parts"),
            "data": record.data,
            "split": record.split,
            "train": record.rows[0],
            "validation": record.rows[1],
            "test": record.rows[2],
            "labels": record.labels,
            "notes": record.notes,
            "test_openings": openings,
        });
        Ok(Done::new("sprat.data-split/1", body, page))
    }
}

fn split_page(record: &DataRecord) -> Page {
    let mut table = Table::new("Parts", &["part", "rows"]).numeric(&[1]);
    for (part, rows) in ["training", "validation", "test (sealed)"].iter().zip(record.rows) {
        table.push([(*part).to_string(), rows.to_string()]);
    }
    Page::new("Split").table(table).list(record.notes.clone())
}
