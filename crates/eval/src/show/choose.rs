//! The choice's page.

use super::{or_dash, place_name};
use crate::bench::Place;
use crate::choose::{Choice, Privacy};
use sprat_report::chart::{Axis, Guide, Point, Scatter, Unit};
use sprat_report::number::{bytes, count, millis, percent, usd};
use sprat_report::{Cell, Figure, Page, Table, Tone};

impl Choice {
    /// The report: the verdict with its reasons, the four factors, the candidates, and the
    /// quality–latency–cost picture.
    pub fn page(&self) -> Page {
        let mut page = Page::new("Which model fits").subtitle(self.needs_in_words());
        page = match self.winner() {
            Some(one) => page
                .verdict(Tone::Good, format!("{} is recommended.", one.measured.name))
                .list(self.reasons.clone())
                .figures(self.figures()),
            None => page.verdict(Tone::Bad, "No candidate satisfies every need."),
        };
        page = page.section("The four factors").table(self.factor_table());
        page = page.section("Candidates").table(self.candidate_table());
        let picture = self.picture();
        if picture.points.is_empty() { page } else { page.chart(picture) }
    }

    fn needs_in_words(&self) -> String {
        let needs = &self.needs;
        let mut parts = Vec::new();
        parts.extend(needs.min_quality.map(|q| format!("{} at least {}", self.metric, percent(q))));
        parts.extend(needs.p95_latency_ms.map(|ms| format!("p95 within {}", millis(ms))));
        parts.extend(needs.requests_per_day.map(|n| format!("{} requests a day", count(n))));
        if needs.privacy == Privacy::OnPremise {
            parts.push("data stays on premise".to_owned());
        }
        if parts.is_empty() { "No needs are set.".to_owned() } else { parts.join(", ") }
    }

    fn figures(&self) -> Vec<Figure> {
        let Some(one) = self.winner() else { return Vec::new() };
        let quality = one.measured.quality;
        let range = format!("{} to {}", percent(quality.low), percent(quality.high));
        let mut figures = vec![Figure::new(percent(quality.estimate), &self.metric, range)];
        if let Some(latency) = &one.measured.latency {
            let detail = format!("median {}", millis(latency.p50.ms));
            figures.push(Figure::new(millis(latency.p95.ms), "p95 latency", detail));
        }
        if let Some(cost) = one.usd_per_1000 {
            let detail = or_dash(one.usd_per_day, |day| format!("{} a day", usd(day)));
            figures.push(Figure::new(usd(cost), "per 1,000 requests", detail));
        }
        if let Some(machines) = one.machines {
            let volume = or_dash(self.needs.requests_per_day, count);
            let detail = format!("for {volume} requests a day");
            figures.push(Figure::new(count(machines), "machines", detail));
        }
        if let Some((_, hosted, even)) = &self.break_even {
            let value = count(even.first.ceil() as u64);
            let detail = format!("requests a day, against {hosted}");
            figures.push(Figure::new(value, "break-even", detail));
        }
        figures
    }

    fn factor_table(&self) -> Table {
        let mut table = Table::new(
            "What decides between a small local and a large hosted model",
            &["factor", "answer", "speaks for"],
        );
        for factor in &self.factors {
            let favours = factor.favours.map_or("either", place_name);
            let answer = format!("{} {}", factor.question, factor.answer);
            table.push([factor.factor.clone(), answer, favours.to_owned()]);
        }
        table
    }

    fn candidate_table(&self) -> Table {
        let headers = [
            "candidate",
            "where",
            self.metric.as_str(),
            "p95",
            "USD per 1,000",
            "machines",
            "memory",
            "verdict",
        ];
        let mut table = Table::new("Every candidate against the needs", &headers)
            .numeric(&[2, 3, 4, 5, 6])
            .note(
                "Quality with its 95% interval; its lower bound is what counts. A candidate on \
                   the front is beaten by no other eligible one in quality, latency and cost at \
                   once.",
            );
        for (at, one) in self.candidates.iter().enumerate() {
            let chosen = self.recommended == Some(at);
            let verdict = if chosen {
                Cell::toned(Tone::Good, "recommended")
            } else if !one.objections.is_empty() {
                Cell::toned(Tone::Bad, format!("ruled out: {}", one.objections.join("; ")))
            } else if one.on_front {
                Cell::from("eligible, on the front")
            } else {
                Cell::toned(Tone::Dim, "eligible, beaten by another")
            };
            let name = &one.measured.name;
            table.push([
                Cell::toned(if chosen { Tone::Strong } else { Tone::Plain }, name),
                place_name(one.measured.place).into(),
                one.measured.quality.percent().into(),
                or_dash(one.measured.latency, |latency| millis(latency.p95.ms)).into(),
                or_dash(one.usd_per_1000, usd).into(),
                or_dash(one.machines, count).into(),
                or_dash(one.measured.memory_bytes, bytes).into(),
                verdict,
            ]);
        }
        table
    }

    fn picture(&self) -> Scatter {
        let mut front = Vec::new();
        let mut points = Vec::new();
        for (at, one) in self.candidates.iter().enumerate() {
            let Some(latency) = &one.measured.latency else { continue };
            if one.on_front {
                front.push(points.len());
            }
            let quality = one.measured.quality;
            points.push(Point {
                label: one.measured.name.clone(),
                group: usize::from(one.measured.place == Place::Hosted),
                x: latency.p95.ms,
                x_interval: latency.p95.low.zip(latency.p95.high),
                y: quality.estimate,
                y_interval: Some((quality.low, quality.high)),
                size: one.usd_per_1000,
                chosen: self.recommended == Some(at),
            });
        }
        let mut guides = Vec::new();
        guides.extend(self.needs.p95_latency_ms.map(|value| Guide {
            on_x: true,
            value,
            label: format!("allowed: {}", millis(value)),
        }));
        guides.extend(self.needs.min_quality.map(|value| Guide {
            on_x: false,
            value,
            label: format!("required: {}", percent(value)),
        }));
        let hosted = points.iter().any(|point| point.group == 1);
        let priced = points.iter().any(|point| point.size.is_some());
        Scatter {
            title: "Quality, latency and cost per 1,000 requests".to_owned(),
            x: Axis::new("latency, 95th percentile", Unit::Millis).logarithmic(),
            y: Axis::new(&self.metric, Unit::Percent),
            size: priced.then(|| Axis::new("USD per 1,000 requests", Unit::Usd)),
            groups: if hosted { vec!["local".into(), "hosted".into()] } else { Vec::new() },
            points,
            front,
            guides,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::choose::Needs;
    use crate::choose::tests::{STRICT, example};
    use sprat_report::Terminal;

    #[test]
    fn the_page_gives_verdict_reasons_and_picture() {
        let page = example(STRICT).page();
        let text = page.text(&Terminal::plain(100));
        for part in ["is recommended", "ruled out", "break-even", "on premise", "← recommended"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        crate::show::tests::keep("choose", &page.render().unwrap(), &text);
    }

    #[test]
    fn a_refusal_is_shown_as_one() {
        let page = example(Needs { min_quality: Some(0.99), ..STRICT }).page();
        assert!(page.text(&Terminal::plain(80)).contains("✗ No candidate satisfies every need."));
    }
}
