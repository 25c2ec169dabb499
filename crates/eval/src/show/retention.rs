//! The retention report's page.

use crate::retention::Retention;
use sprat_report::chart::{Axis, Bar, Bars, Unit};
use sprat_report::number::{count, p_value, percent, points, points_unsigned};
use sprat_report::{Cell, Page, Table, Tone};

/// Classes in the table: those that changed most.
const SHOWN: usize = 20;

impl Retention {
    /// The report on several shrunk variants, in the order they were tried.
    pub fn page_of(variants: &[Retention]) -> Page {
        let mut page = Page::new("Did shrinking keep the tuned skill?");
        if let Some(first) = variants.first() {
            page = page.subtitle(format!(
                "{} on {} rows of the task; {} on {} rows for general ability",
                first.task_measure,
                count(first.task_rows),
                first.general_measure,
                count(first.general_rows)
            ));
        }
        page = page.table(overview(variants));
        for one in variants {
            page = page.section(format!("Variant: {}", one.variant));
            let objections = one.objections();
            page = if objections.is_empty() {
                page.verdict(Tone::Good, "The tuned skill was retained.")
            } else {
                page.verdict(Tone::Bad, "Refused.").list(objections)
            };
            page = page.chart(losses(one));
            let changed = classes(one);
            if !changed.rows.is_empty() {
                page = page.table(changed);
            }
        }
        page
    }

    /// The report on this variant alone.
    pub fn page(&self) -> Page {
        Retention::page_of(std::slice::from_ref(self))
    }
}

fn overview(variants: &[Retention]) -> Table {
    let headers = [
        "variant",
        "task before",
        "task after",
        "loss on the task",
        "loss of general ability",
        "task lost more by",
        "verdict",
    ];
    let mut table = Table::new("Variants", &headers).numeric(&[1, 2, 3, 4, 5]);
    for one in variants {
        let verdict = if one.passed() {
            Cell::toned(Tone::Good, "retained")
        } else {
            Cell::toned(Tone::Bad, "refused")
        };
        table.push([
            one.variant.clone().into(),
            percent(one.task_before).into(),
            percent(one.task_after).into(),
            one.task_loss.points().into(),
            one.general_loss.points().into(),
            one.excess_loss.points().into(),
            verdict,
        ]);
    }
    let Some(first) = variants.first() else { return table };
    table.note(format!(
        "Positive numbers are losses. Loss on the task: {:.0}% interval, whose upper bound must \
         stay below {}; the others 95%. The last difference is the loss on the task minus the \
         loss of general ability; it must not lie above {} as a whole.",
        first.task_loss.level * 100.0,
        points_unsigned(first.margins.task),
        points_unsigned(first.margins.excess)
    ))
}

/// Scores before and after, as bars: losses may be negative, scores are not.
fn losses(one: &Retention) -> Bars {
    let bar = |label: String, value: f64, tone: Tone| Bar { label, value, tone, ..Bar::default() };
    Bars {
        title: format!("Scores before and after: {}", one.variant),
        x: Axis::new("mean score", Unit::Percent),
        bars: vec![
            bar("task, full".into(), one.task_before, Tone::Plain),
            bar(format!("task, {}", one.variant), one.task_after, Tone::Plain),
            bar("general, full".into(), one.general_before, Tone::Dim),
            bar(format!("general, {}", one.variant), one.general_after, Tone::Dim),
        ],
    }
}

fn classes(one: &Retention) -> Table {
    let mut changed: Vec<_> = one.classes.iter().filter(|c| c.lost + c.gained > 0).collect();
    changed.sort_by(|a, b| a.adjusted_p.total_cmp(&b.adjusted_p).then(b.loss.total_cmp(&a.loss)));
    let more = changed.len().saturating_sub(SHOWN);
    changed.truncate(SHOWN);
    let headers = ["class", "rows", "lost", "gained", "mean loss", "p adjusted"];
    let mut table = Table::new("Classes that changed", &headers).numeric(&[1, 2, 3, 4, 5]);
    for class in changed {
        let tone = if class.adjusted_p < one.margins.alpha { Tone::Bad } else { Tone::Plain };
        table.push([
            class.label.clone().into(),
            count(class.rows).into(),
            count(class.lost).into(),
            count(class.gained).into(),
            points(class.loss).into(),
            Cell::toned(tone, p_value(class.adjusted_p)),
        ]);
    }
    let rest = if more > 0 { format!(" {more} more changed less.") } else { String::new() };
    table.note(format!(
        "p: one-sided exact sign test, adjusted over all classes by Holm's method.{rest}"
    ))
}

#[cfg(test)]
mod tests {
    use crate::retention::{Margins, PairedScores, Retention, retention};
    use sprat_report::Terminal;

    #[test]
    fn the_page_shows_every_variant_with_its_verdict() {
        let labels: Vec<String> = ["refund", "login", "invoice"].map(str::to_owned).to_vec();
        let classes: Vec<usize> = (0..900).map(|at| at % 3).collect();
        let before: Vec<f64> = (0..900).map(|at| f64::from(u8::from(at % 17 != 0))).collect();
        let after = |every: usize| -> Vec<f64> {
            before
                .iter()
                .enumerate()
                .map(|(at, &s)| if at % every == 1 { 0.0 } else { s })
                .collect()
        };
        let variants: Vec<Retention> = [("int8", 450), ("int4", 12)]
            .into_iter()
            .map(|(name, every)| {
                let after = after(every);
                let general = vec![0.9; 500];
                let scores =
                    PairedScores { measure: "right answers", before: &before, after: &after };
                let same =
                    PairedScores { measure: "kept neighbours", before: &general, after: &general };
                retention(name, (&labels, &classes), scores, same, Margins::default(), 1).unwrap()
            })
            .collect();
        assert!(variants[0].passed() && !variants[1].passed());
        let page = Retention::page_of(&variants);
        let text = page.text(&Terminal::plain(100));
        assert!(text.contains("retained") && text.contains("✗ Refused."), "{text}");
        crate::show::tests::keep("retention", &page.render().unwrap(), &text);
    }
}
