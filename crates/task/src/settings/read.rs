//! Reading `sprat.toml`: syntax, unknown keys with the nearest known one, and ranges.

use super::{SECTIONS, Section, Settings, TaskKind};
use crate::error::{Code, Error, Kind, Result};
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The file can't be read.
pub static UNREADABLE: Code = Code {
    id: "SPRAT-SETTINGS-UNREADABLE",
    kind: Kind::Failed,
    summary: "The settings file is missing, too large, not UTF-8 or can't be opened.",
    remedy: "Name it with --config, run the command in its folder, or make one with `sprat init`.",
};

/// A value is of the wrong type or out of range.
pub static INVALID: Code = Code {
    id: "SPRAT-SETTINGS-INVALID",
    kind: Kind::Failed,
    summary: "A setting has a wrong type or a value out of range, or the file is not TOML.",
    remedy: "Correct the line; the settings reference lists types, ranges and defaults.",
};

/// A key that Sprat does not know.
pub static UNKNOWN_KEY: Code = Code {
    id: "SPRAT-SETTINGS-UNKNOWN-KEY",
    kind: Kind::Failed,
    summary: "The settings file has a key that Sprat does not know.",
    remedy: "Correct its spelling or remove it; the settings reference lists all keys.",
};

/// What may follow an alarm.
const WATCH_ACTIONS: [&str; 6] = ["log", "webhook", "command", "escalate", "rollback", "retrain"];

/// Larger files are not settings.
const MAX_BYTES: u64 = 1 << 20;

impl Settings {
    /// Reads the file; relative paths in it are meant from its folder.
    ///
    /// # Errors
    /// [`UNREADABLE`], [`INVALID`] or [`UNKNOWN_KEY`], with file and line.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = |why: String| {
            Error::new(&UNREADABLE, "could not read the settings").file(path).why(why)
        };
        let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
        if size > MAX_BYTES {
            return Err(fail(format!("it has {size} bytes; at most {MAX_BYTES} are allowed")));
        }
        let bytes = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            fail("it is not UTF-8".into()).byte(error.utf8_error().valid_up_to() as u64)
        })?;
        let mut settings = Self::parse(&text).map_err(|error| error.file(path))?;
        settings.folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(settings)
    }

    /// Reads settings from text.
    ///
    /// # Errors
    /// [`INVALID`] or [`UNKNOWN_KEY`], with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        let table = DeTable::parse(text).map_err(|error| invalid(text, &error))?;
        known_keys(text, table.get_ref())?;
        let settings: Settings = toml::from_str(text).map_err(|error| invalid(text, &error))?;
        settings.check_ranges()?;
        Ok(settings)
    }

    /// Checks every value against its range; also for settings changed by flags.
    ///
    /// # Errors
    /// [`INVALID`], with the setting.
    pub fn check_ranges(&self) -> Result<()> {
        let out = |field: &str, what: String| Err(Error::new(&INVALID, what).field(field));
        let name = &self.task.name;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            return out(
                "task.name",
                format!("`{name}` is not a task name: 1 to 64 lower-case letters, digits, hyphens"),
            );
        }
        let shares = [
            ("task.abstain_below", self.task.abstain_below, 0.0, 1.0),
            ("data.validation_share", self.data.validation_share, 0.01, 0.9),
            ("data.test_share", self.data.test_share, 0.01, 0.9),
            ("needs.min_quality", self.needs.min_quality.unwrap_or(0.0), 0.0, 1.0),
            ("needs.p95_latency_ms", self.needs.p95_latency_ms.unwrap_or(1.0), 0.001, 1e9),
            ("route.keep_above", self.route.keep_above.unwrap_or(0.0), 0.0, 1.0),
            ("route.alpha", self.route.alpha, 1e-6, 0.999),
            ("route.delta", self.route.delta, 1e-6, 0.999),
            ("route.right_from", self.route.right_from, 0.0, 1.0),
            ("route.shadow", self.route.shadow, 0.0, 1.0),
            ("route.usd_per_hour", self.route.usd_per_hour.unwrap_or(0.0), 0.0, 1e9),
            ("route.usd_per_day", self.route.usd_per_day.unwrap_or(0.0), 0.0, 1e9),
            ("tune.alpha", self.tune.alpha, 1e-6, 1e6),
            ("tune.dropout", self.tune.dropout, 0.0, 0.95),
            ("tune.learning_rate", self.tune.learning_rate.unwrap_or(1e-3), 1e-9, 10.0),
            ("tune.head_rate", self.tune.head_rate, 1e-6, 1e6),
            ("tune.epochs", self.tune.epochs, 0.001, 10_000.0),
            ("tune.warmup", self.tune.warmup, 0.0, 1.0),
            ("tune.weight_decay", self.tune.weight_decay, 0.0, 10.0),
            ("tune.clip", self.tune.clip, 1e-6, 1e9),
            ("tune.label_smoothing", self.tune.label_smoothing, 0.0, 0.9),
            ("shrink.margin", self.shrink.margin, 0.0, 1.0),
            ("shrink.bits", self.shrink.bits, 4.5, 16.0),
            ("shrink.confidence", self.shrink.confidence, 0.5, 0.9999),
            ("release.max_drop", self.release.max_drop, 0.0, 1.0),
            ("release.confidence", self.release.confidence, 0.5, 0.9999),
            ("cost.usd_per_machine_hour", self.cost.usd_per_machine_hour, 0.0, 1e6),
            ("cost.utilization", self.cost.utilization, 0.001, 1.0),
            (
                "judge.usd_per_million_input_tokens",
                self.judge.usd_per_million_input_tokens,
                0.0,
                1e9,
            ),
            (
                "judge.usd_per_million_output_tokens",
                self.judge.usd_per_million_output_tokens,
                0.0,
                1e9,
            ),
        ];
        for (field, value, least, most) in shares {
            // Written so that NaN fails too.
            if !(least..=most).contains(&value) {
                return out(field, format!("{value} is out of range: {least} to {most}"));
            }
        }
        if self.task.kind == TaskKind::Extract && self.task.schema.is_none() {
            return out("task.schema", "extraction needs the JSON Schema of its answers".into());
        }
        if self.data.validation_share + self.data.test_share > 0.95 {
            return out("data.test_share", "validation and test leave nothing to train on".into());
        }
        let counts = [
            ("tune.rank", self.tune.rank, 1, 1024),
            ("tune.batch", self.tune.batch, 1, 65_536),
            ("tune.patience", self.tune.patience, 1, 1_000_000),
            ("tune.eval_every", self.tune.eval_every.unwrap_or(1), 1, 1_000_000_000),
            ("task.max_answer_tokens", self.task.max_answer_tokens, 1, 1_000_000),
            ("tune.max_tokens", self.tune.max_tokens.unwrap_or(8), 4, 1_000_000),
            ("data.pick", self.data.pick.unwrap_or(1), 1, 1_000_000_000),
            ("data.max_cell_bytes", self.data.max_cell_bytes, 1, 1 << 30),
            ("serve.max_body_bytes", self.serve.max_body_bytes, 1024, 1 << 30),
            ("serve.max_inputs", self.serve.max_inputs, 1, 65_536),
            ("serve.queue", self.serve.queue, 1, 1 << 20),
            ("serve.max_batch", self.serve.max_batch, 1, 4096),
            ("serve.cache_tokens", self.serve.cache_tokens, 32, 1 << 30),
            ("route.retries", self.route.retries, 0, 10),
            ("route.concurrency", self.route.concurrency, 1, 1024),
            ("route.breaker_failures", self.route.breaker_failures, 1, 1_000_000),
            ("judge.rows", self.judge.rows, 1, 1_000_000),
            ("judge.repeats", self.judge.repeats, 1, 20),
            ("watch.window", self.watch.window, 50, 100_000),
            ("watch.webhook_retries", self.watch.webhook_retries, 0, 20),
            ("watch.label_budget", self.watch.label_budget, 1, 100_000),
        ];
        let candidates = self.candidates.iter().flat_map(|one| {
            [
                ("candidates.order", one.order.unwrap_or(0), 0, 1_000_000),
                ("candidates.weight", one.weight, 1, 1_000_000),
            ]
        });
        for (field, value, least, most) in counts.into_iter().chain(candidates) {
            if !(least..=most).contains(&value) {
                return out(field, format!("{value} is out of range: {least} to {most}"));
            }
        }
        self.check_watch()?;
        self.check_split()?;
        self.check_judge()
    }

    /// Rates and sizes that tests can work with, and actions that have what they need.
    fn check_watch(&self) -> Result<()> {
        let watch = &self.watch;
        let out = |field: &str, what: String| Err(Error::new(&INVALID, what).field(field));
        let wide = [
            ("watch.false_alarm_every", watch.false_alarm_every, 100, 1_000_000_000_000),
            ("watch.history", watch.history, 100, 1_000_000),
            ("watch.canary_requests", watch.canary_requests, 1, 1_000_000),
            ("serve.trace_rows", self.serve.trace_rows.unwrap_or(1), 1, u64::MAX),
        ];
        for (field, value, least, most) in wide {
            if !(least..=most).contains(&value) {
                return out(field, format!("{value} is out of range: {least} to {most}"));
            }
        }
        if !(1.0..=1e9).contains(&watch.caution) {
            return out("watch.caution", format!("{} is out of range: 1 to 1e9", watch.caution));
        }
        if watch.interval.0.is_zero() || watch.action_timeout.0.is_zero() {
            return out("watch.interval", "an interval or a time limit of nothing".into());
        }
        for action in &watch.actions {
            let missing = match action.as_str() {
                "webhook" => watch.webhook.is_none().then_some("watch.webhook"),
                "command" => watch.command.is_empty().then_some("watch.command"),
                "escalate" => self.route.large.is_empty().then_some("route.large"),
                other if WATCH_ACTIONS.contains(&other) => None,
                other => {
                    let known = WATCH_ACTIONS.iter().copied();
                    let nearest = known.min_by_key(|name| strsim::damerau_levenshtein(name, other));
                    let error = Error::new(&INVALID, format!("`{other}` is no action"));
                    let hint = format!("Did you mean `{}`?", nearest.unwrap_or("log"));
                    return Err(error.field("watch.actions").help(hint));
                }
            };
            if let Some(field) = missing {
                return out(field, format!("the action `{action}` needs `{field}`"));
            }
        }
        let share = watch.escalate_share;
        if !(share > 0.0 && share <= 1.0) {
            return out("watch.escalate_share", format!("{share} is out of range: above 0, to 1"));
        }
        let by_hand = self.route.keep_above.is_some() && share < 1.0;
        if by_hand && watch.actions.iter().any(|action| action == "escalate") {
            let what = "with `route.keep_above` nothing says which threshold sends such a share";
            return Err(Error::new(&INVALID, what)
                .field("watch.escalate_share")
                .help("Set it to 1, or fit the route: `sprat route fit`."));
        }
        let secure = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        if watch.webhook.as_ref().is_some_and(|url| !secure(url)) {
            return out(
                "watch.webhook",
                "a webhook's address begins with http:// or https://".into(),
            );
        }
        Ok(())
    }

    /// The shares of other versions are shares.
    fn check_split(&self) -> Result<()> {
        let out = |field: &str, what: String| Err(Error::new(&INVALID, what).field(field));
        for part in &self.route.split {
            if part.version.is_empty() {
                return out("route.split.version", "a part of a split names no version".into());
            }
            if !(0.0..=1.0).contains(&part.share) {
                let what = format!("{} is out of range: 0 to 1", part.share);
                return out("route.split.share", what);
            }
        }
        let sum: f64 = self.route.split.iter().map(|part| part.share).sum();
        if sum > 1.0 + 1e-9 {
            return out("route.split.share", format!("the shares sum to {sum}, more than 1"));
        }
        let canary = self.watch.canary_share;
        if !(0.0..=1.0).contains(&canary) {
            return out("watch.canary_share", format!("{canary} is out of range: 0 to 1"));
        }
        if sum > 0.0 && sum + canary > 1.0 + 1e-9 {
            let what = format!("with those of `route.split` the shares sum to {}", sum + canary);
            return out("watch.canary_share", what);
        }
        Ok(())
    }

    /// A judge that is named can be asked, and has something to judge.
    fn check_judge(&self) -> Result<()> {
        let Some(model) = &self.judge.model else { return Ok(()) };
        let out = |field: &str, what: &str| Err(Error::new(&INVALID, what).field(field));
        if model.strip_prefix("openai:").is_none_or(str::is_empty) {
            return out("judge.model", "a judge is a hosted model: openai:…");
        }
        if self.judge.base_url.is_none() {
            return out(
                "judge.base_url",
                "the judge has no address: where its API begins, with /v1",
            );
        }
        if self.judge.criterion.trim().is_empty() {
            return out("judge.criterion", "the judge is told nothing to judge by");
        }
        if self.task.kind != TaskKind::Generate {
            let what = "only the free texts of `kind = \"generate\"` are judged; other answers are \
                        right or wrong";
            return out("judge.model", what);
        }
        Ok(())
    }
}

/// The parser's complaint, with line and column.
fn invalid(text: &str, error: &toml::de::Error) -> Error {
    place(
        Error::new(&INVALID, "the settings are not valid").why(error.message().to_string()),
        text,
        error.span(),
    )
}

fn place(error: Error, text: &str, span: Option<Range<usize>>) -> Error {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else { return error };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    error.line(line as u64).column(column as u64)
}

fn known_keys(text: &str, table: &DeTable<'_>) -> Result<()> {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let Some(section) = SECTIONS.iter().find(|section| section.name == name) else {
            let known = SECTIONS.iter().map(|section| section.name);
            return Err(place(unknown(name, name, known), text, Some(key.span())));
        };
        match value.get_ref() {
            DeValue::Table(table) => known_fields(text, section, table)?,
            DeValue::Array(items) => {
                for item in items {
                    if let DeValue::Table(table) = item.get_ref() {
                        known_fields(text, section, table)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn known_fields(text: &str, section: &Section, table: &DeTable<'_>) -> Result<()> {
    let names = || {
        let prefix = section.name.len() + 1;
        section.fields.iter().map(move |field| &field.path[prefix..])
    };
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let path = format!("{}.{name}", section.name);
        // Tables below a section's own are sections too.
        if let (Some(section), DeValue::Array(items)) =
            (SECTIONS.iter().find(|section| section.name == path), value.get_ref())
        {
            for item in items {
                if let DeValue::Table(table) = item.get_ref() {
                    known_fields(text, section, table)?;
                }
            }
        }
        if !names().any(|known| known == name) {
            return Err(place(unknown(&path, name, names()), text, Some(key.span())));
        }
    }
    Ok(())
}

fn unknown<'a>(path: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let error = Error::new(&UNKNOWN_KEY, format!("unknown setting `{path}`")).field(path);
    match nearest {
        Some(nearest) => error.help(format!("Did you mean `{nearest}`?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Method, Privacy, Span};

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
    }

    #[test]
    fn a_whole_file_is_read() {
        let settings = Settings::parse(
            r#"
            [task]
            name = "support-intent"
            [needs]
            privacy = "on-premise"
            [[candidates]]
            model = "hf:a/b"
            [tune]
            method = "full"
            budget = "10m"
            "#,
        )
        .unwrap();
        assert_eq!(settings.task.name, "support-intent");
        assert_eq!(settings.needs.privacy, Privacy::OnPremise);
        assert_eq!(settings.candidates[0].model, "hf:a/b");
        assert_eq!(settings.tune.method, Method::Full);
        assert_eq!(settings.tune.budget, Some(Span::seconds(600)));
    }

    #[test]
    fn a_misspelled_key_names_the_nearest_and_its_line() {
        let error = Settings::parse("[tune]\nrank = 8\nlerning_rate = 1\n").unwrap_err();
        assert_eq!(error.code(), &UNKNOWN_KEY);
        assert_eq!(error.place().line, Some(3));
        assert_eq!(error.remedy(), "Did you mean `learning_rate`?");
        let error = Settings::parse("[ned]\n").unwrap_err();
        assert_eq!(error.remedy(), "Did you mean `needs`?");
    }

    #[test]
    fn tables_below_a_section_are_read_and_their_keys_known() {
        let text = "[route]\npolicy = \"before\"\n[[route.rules]]\nto = \"large\"\ntag = \"vip\"\n\
                    [[route.rules]]\nmax_chars = 9\n[[route.split]]\nversion = \"v4\"\nshare = 0.1\n";
        let route = Settings::parse(text).unwrap().route;
        assert_eq!((route.rules.len(), route.rules[0].tag.as_deref()), (2, Some("vip")));
        assert_eq!((route.split[0].share, route.keep_above), (0.1, None));
        let error = Settings::parse("[[route.rules]]\nmax_char = 3\n").unwrap_err();
        assert_eq!((error.code(), error.place().line), (&UNKNOWN_KEY, Some(2)));
        assert_eq!(error.remedy(), "Did you mean `max_chars`?");
    }

    #[test]
    fn wrong_types_and_ranges_are_refused_with_their_place() {
        let error = Settings::parse("[tune]\nrank = \"many\"\n").unwrap_err();
        assert_eq!((error.code(), error.place().line), (&INVALID, Some(2)));
        for text in [
            "[tune]\nrank = 0",
            "[tune]\ndropout = nan",
            "[task]\nname = \"No Way\"",
            "[data]\ntest_share = 0.6\nvalidation_share = 0.5",
            "[tune]\nbudget = \"soon\"",
            "[task]\nkind = \"extract\"",
            "[task]\nmax_answer_tokens = 0",
            "[judge]\nmodel = \"hf:a/b\"",
            "[task]\nkind = \"generate\"\n[judge]\nmodel = \"openai:a\"",
            "[judge]\nmodel = \"openai:a\"\nbase_url = \"https://a/v1\"",
            "[judge]\nrepeats = 0",
            "[watch]\nhistory = 10",
            "[watch]\ncaution = 0.5",
            "[watch]\nactions = [\"webhook\"]",
            "[watch]\nactions = [\"rolback\"]",
            "[watch]\nwebhook = \"ftp://a\"",
            "[watch]\nactions = [\"escalate\"]",
            "[watch]\nescalate_share = 0.0",
            "[route]\nlarge = [\"a\"]\nkeep_above = 0.5\n[watch]\nactions = [\"escalate\"]\nescalate_share = 0.5",
            "[watch]\ninterval = \"0s\"",
            "[watch]\ncanary_share = 1.5",
            "[watch]\ncanary_requests = 0",
            "[watch]\ncanary_share = 0.6\n[[route.split]]\nversion = \"v1\"\nshare = 0.5",
            "[route]\nalpha = 0.0",
            "[route]\nshadow = 1.5",
            "[[route.split]]\nversion = \"v1\"\nshare = 2.0",
            "[[route.split]]\nshare = 0.1",
            "[[route.rules]]\nto = \"nobody\"",
            "task = 3",
            "[task",
        ] {
            let error = Settings::parse(text).unwrap_err();
            assert_eq!(error.code(), &INVALID, "{text}");
        }
    }

    #[test]
    fn the_reference_lists_every_field_and_no_other() {
        // A default with every optional value set, as TOML, has just the fields of FIELDS.
        for section in SECTIONS {
            for field in section.fields {
                let key = &field.path[section.name.len() + 1..];
                let open = if section.repeated { "[[" } else { "[" };
                let close = if section.repeated { "]]" } else { "]" };
                let text = format!("{open}{}{close}\n{key} = {{}}\n", section.name);
                let error = Settings::parse(&text).unwrap_err();
                assert_eq!(error.code(), &INVALID, "{}", field.path);
                assert!(!format!("{error}").contains("unknown field"), "{}", field.path);
            }
        }
    }
}
