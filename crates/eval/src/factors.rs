//! The four factors that decide between a small local and a large hosted model, answered with
//! the measured figures.

use crate::bench::Place;
use crate::choose::{Assessment, Factor, Needs, Privacy, Scope};
use crate::cost::BreakEven;
use sprat_report::number::{count, millis, percent, usd};

fn best_of(candidates: &[Assessment], place: Place) -> Option<&Assessment> {
    candidates
        .iter()
        .filter(|c| c.measured.place == place)
        .max_by(|a, b| a.measured.quality.estimate.total_cmp(&b.measured.quality.estimate))
}

pub(crate) fn scope_factor(
    needs: &Needs,
    metric: &str,
    scope: Scope,
    all: &[Assessment],
) -> Factor {
    let answers = match scope.labels {
        0 => "The task's answers are written; it has".to_owned(),
        labels => format!("The task has {} answers and", count(labels)),
    };
    let task = format!(
        "{answers} {} training rows, measured on {} rows.",
        count(scope.training_rows),
        count(scope.test_rows)
    );
    let mut favours = None;
    let measured = match (best_of(all, Place::Local), best_of(all, Place::Hosted)) {
        (Some(local), hosted) => {
            let own = local.measured.quality;
            let enough = needs.min_quality.map(|least| own.low >= least);
            let mut text = format!(
                "The best local candidate, {}, reaches {metric} {}",
                local.measured.name,
                own.percent()
            );
            match (enough, needs.min_quality) {
                (Some(true), Some(least)) => {
                    favours = Some(Place::Local);
                    text += &format!(
                        ", enough for the required {}: the task is narrow enough for it.",
                        percent(least)
                    );
                }
                (Some(false), Some(least)) => {
                    text += &format!(", not enough for the required {}.", percent(least));
                }
                _ => text += ".",
            }
            if let Some(hosted) = hosted {
                let other = hosted.measured.quality;
                text += &format!(
                    " The best hosted one, {}, reaches {}.",
                    hosted.measured.name,
                    other.percent()
                );
                if enough.is_none() && own.estimate >= other.low {
                    favours = Some(Place::Local);
                } else if own.high < other.low && enough != Some(true) {
                    favours = Some(Place::Hosted);
                }
            }
            text
        }
        (None, _) => "No local candidate was measured.".to_owned(),
    };
    factor(
        "task scope",
        "Is the task narrow enough for a small model?",
        format!("{task} {measured}"),
        favours,
    )
}

pub(crate) fn latency_factor(needs: &Needs, all: &[Assessment]) -> Factor {
    let fastest = |place: Place| {
        all.iter()
            .filter(|c| c.measured.place == place)
            .filter_map(|c| Some((&c.measured.name, c.measured.latency?.p95)))
            .min_by(|a, b| a.1.ms.total_cmp(&b.1.ms))
    };
    let describe = |place: Place, word: &str| match fastest(place) {
        Some((name, p95)) => {
            format!("The fastest {word} candidate, {name}, answers in {} at p95.", p95.text())
        }
        None => format!("No latency of a {word} candidate was measured."),
    };
    let mut answer =
        format!("{} {}", describe(Place::Local, "local"), describe(Place::Hosted, "hosted"));
    let mut favours = None;
    match needs.p95_latency_ms {
        Some(most) => {
            let within = |place| fastest(place).map(|(_, p95)| p95.ms <= most);
            answer = format!("{} is allowed at p95. {answer}", millis(most));
            if within(Place::Local) == Some(true) && within(Place::Hosted) != Some(true) {
                favours = Some(Place::Local);
            } else if within(Place::Hosted) == Some(true) && within(Place::Local) != Some(true) {
                favours = Some(Place::Hosted);
            }
            if most < 100.0 && favours.is_none() {
                answer += " Below 100 ms the way to a hosted model alone can use up the time.";
            }
        }
        None => answer = format!("No limit is set. {answer}"),
    }
    factor("latency", "How fast must an answer be?", answer, favours)
}

pub(crate) fn volume_factor(
    needs: &Needs,
    all: &[Assessment],
    chosen: Option<usize>,
    even: Option<&(String, String, BreakEven)>,
) -> Factor {
    let mut parts = Vec::new();
    let mut favours = None;
    match needs.requests_per_day {
        Some(volume) => parts.push(format!("{} requests a day are expected.", count(volume))),
        None => parts.push("No volume is given.".to_owned()),
    }
    if let Some(one) = chosen.map(|at| &all[at]) {
        if let (Some(machines), Some(day)) = (one.machines, one.usd_per_day) {
            let noun = if machines == 1 { "machine" } else { "machines" };
            parts.push(format!(
                "{} needs {} {noun}, {} a day.",
                one.measured.name,
                count(machines),
                usd(day)
            ));
        } else if let Some(day) = one.usd_per_day {
            parts.push(format!("{} costs {} a day.", one.measured.name, usd(day)));
        }
    }
    let hosted = all.iter().filter(|c| c.measured.place == Place::Hosted);
    let cheapest = hosted
        .filter_map(|c| Some((&c.measured.name, c.usd_per_day?)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((name, day)) =
        cheapest.filter(|(name, _)| chosen.is_none_or(|at| all[at].measured.name != **name))
    {
        parts.push(format!("{name} would cost {} a day.", usd(day)));
    }
    match even {
        Some((local, hosted, even)) => {
            parts.push(format!(
                "{local} costs less than {hosted} from {} requests a day on.",
                count(even.first.ceil() as u64)
            ));
            if even.always > even.first * 1.01 {
                parts.push(format!(
                    "Because machines come whole, that holds without exception only from {} on.",
                    count(even.always.ceil() as u64)
                ));
            }
            if let Some(volume) = needs.requests_per_day {
                let cheaper = volume as f64 >= even.first;
                favours = Some(if cheaper { Place::Local } else { Place::Hosted });
            }
        }
        None => parts.push(
            "A break-even volume needs a local and a hosted candidate, both with prices, and a \
             machine that is cheaper when it is busy."
                .to_owned(),
        ),
    }
    factor("volume", "How many requests are there?", parts.join(" "), favours)
}

pub(crate) fn privacy_factor(needs: &Needs, all: &[Assessment]) -> Factor {
    const QUESTION: &str = "May the data leave your machines?";
    let hosted = all.iter().filter(|c| c.measured.place == Place::Hosted).count();
    match needs.privacy {
        Privacy::OnPremise => {
            let noun = if hosted == 1 { "candidate is" } else { "candidates are" };
            let shown = if hosted == 0 {
                "No hosted candidate was measured.".to_owned()
            } else {
                format!("{hosted} hosted {noun} shown for comparison and cannot be chosen.")
            };
            let answer = format!("No: `privacy = \"on-premise\"`. {shown}");
            factor("privacy", QUESTION, answer, Some(Place::Local))
        }
        Privacy::Any => {
            let answer = "Yes: the needs do not ask for on-premise. Every hosted request sends \
                          its text to the provider."
                .to_owned();
            factor("privacy", QUESTION, answer, None)
        }
    }
}

fn factor(name: &str, question: &str, answer: String, favours: Option<Place>) -> Factor {
    Factor { factor: name.to_owned(), question: question.to_owned(), answer, favours }
}
