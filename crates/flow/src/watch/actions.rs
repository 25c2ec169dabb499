//! What follows an alarm. Each action is planned in the state first, then taken, then settled: a
//! process that dies in between leaves it to the next look, so that it is taken at least once.

use super::canary;
use crate::{Project, codes};
use serde_json::{Value, json};
use sprat_monitor::{Act, Alarm, Outcome, WatchState};
use sprat_registry::{Expect, Version};
use sprat_task::{Error, Result, Timestamp};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Who moves the alias.
const WHO: &str = "sprat watch";
/// The longest pause between two attempts at the webhook.
const PAUSE: Duration = Duration::from_secs(5);
/// How much of a command's last words is kept.
const WORDS: usize = 500;

impl Project {
    /// Plans what follows new alarms, and takes what is planned; writes the state.
    ///
    /// # Errors
    /// Those of writing the state; an action that fails is settled as failed.
    pub(super) fn follow_up(
        &self,
        state: &mut WatchState,
        raised: &[Alarm],
        dry_run: bool,
    ) -> Result<()> {
        let file = self.watch_state_file();
        for alarm in raised {
            state.plan(alarm.id, &self.actions_for(alarm)?, self.clock.now());
        }
        state.save(&file)?;
        for (id, action) in state.pending() {
            let Some(alarm) = state.alarms().iter().find(|alarm| alarm.id == id).cloned() else {
                continue;
            };
            let now = self.clock.now();
            let (outcome, detail) = if action == "log" {
                (Outcome::Done, self.write_down(&alarm)?)
            } else if dry_run || self.settings.watch.dry_run {
                (Outcome::DryRun, self.intention(&action))
            } else if action != "withdraw" && self.cooling(state.last_done(&action), now) {
                let detail = format!("taken within the last {}", self.settings.watch.cooldown);
                (Outcome::Cooling, detail)
            } else {
                match self.act(&action, &alarm) {
                    Ok(detail) => (Outcome::Done, detail),
                    Err(error) => {
                        tracing::error!(code = error.code().id, %error, action, "an action failed");
                        (Outcome::Failed, error.to_string())
                    }
                }
            };
            if action != "log" {
                let body = json!({ "alarm": id, "action": action, "outcome": outcome,
                    "detail": detail });
                self.registry.record_event(self.task(), "watch-action", &body)?;
            }
            state.settle(id, Act { action, outcome, at: now, detail });
            state.save(&file)?;
        }
        Ok(())
    }

    /// The actions that follow an alarm. The record comes first, whatever the settings say.
    /// A version that was promoted without asking is taken back by any alarm of its first time, and
    /// one on trial by any alarm about it.
    fn actions_for(&self, alarm: &Alarm) -> Result<Vec<String>> {
        let watch = &self.settings.watch;
        let mut actions = vec!["log".to_owned()];
        let on_trial = self
            .probation()?
            .is_some_and(|trial| trial.version == alarm.version && alarm.request <= trial.requests);
        if on_trial {
            actions.push("rollback".to_owned());
        }
        let canary = alarm.test == canary::TEST;
        if canary {
            actions.push("withdraw".to_owned());
        }
        for action in &watch.actions {
            let only = &watch.rollback_on;
            let other = canary || (!only.is_empty() && !only.contains(&alarm.test));
            let spared = action == "rollback" && other;
            if !spared && !actions.contains(action) {
                actions.push(action.clone());
            }
        }
        Ok(actions)
    }

    /// Whether an action was taken so short ago that it is not taken again. A clock that was put
    /// back does not silence it.
    fn cooling(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        let cooldown = self.settings.watch.cooldown.0.as_millis();
        last.is_some_and(|last| now >= last && u128::from(now.0 - last.0) < cooldown)
    }

    /// The record of the evidence: in the journal, which nothing is ever removed from.
    fn write_down(&self, alarm: &Alarm) -> Result<String> {
        tracing::warn!(test = alarm.test, version = alarm.version, what = alarm.what, "ALARM");
        let mut body = serde_json::to_value(alarm).unwrap_or(Value::Null);
        if let Some(fields) = body.as_object_mut() {
            for passing in ["actions", "standing", "repeats"] {
                fields.remove(passing);
            }
        }
        let event = self.registry.record_event(self.task(), "watch-alarm", &body)?;
        Ok(format!("entry {} of the journal", event.id))
    }

    /// What an action would do.
    fn intention(&self, action: &str) -> String {
        let alias = &self.settings.release.alias;
        match action {
            "webhook" => "would post the alarm to the webhook".into(),
            "command" => format!(
                "would start `{}`",
                self.settings.watch.command.first().map_or("", String::as_str)
            ),
            "rollback" => format!("would point `{alias}` back at its previous version"),
            "withdraw" => "would take the canary away".into(),
            "escalate" => format!(
                "would send {} of the requests to the large models",
                sprat_report::number::percent(self.settings.watch.escalate_share)
            ),
            _ => "would write a proposal to retrain".into(),
        }
    }

    fn act(&self, action: &str, alarm: &Alarm) -> Result<String> {
        match action {
            "webhook" => self.post(alarm),
            "command" => self.start(alarm),
            "rollback" => self.roll_back(alarm),
            "withdraw" => self.withdraw(alarm),
            "escalate" => self.escalate(alarm),
            "retrain" => self.propose(alarm),
            other => Err(Error::new(&codes::WATCH_ACTION, format!("`{other}` is no action"))),
        }
    }

    /// What webhook and command are told.
    fn message(&self, alarm: &Alarm) -> Value {
        json!({ "schema": "sprat.alarm/1", "task": self.task(), "alarm": alarm })
    }

    /// Posts the alarm. The address is a secret: it is in no error.
    fn post(&self, alarm: &Alarm) -> Result<String> {
        let watch = &self.settings.watch;
        let failed = |why: String| {
            Error::new(&codes::WATCH_ACTION, "the webhook did not take the alarm").why(why)
        };
        let address = watch.webhook.as_deref().ok_or_else(|| failed("it is not set".into()))?;
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(watch.action_timeout.0))
            .max_redirects(0)
            .http_status_as_error(false)
            .build()
            .into();
        let body = self.message(alarm).to_string();
        let mut pause = Duration::from_millis(200);
        let mut why = String::new();
        for attempt in 0..=watch.webhook_retries {
            if attempt > 0 {
                if self.interrupt.requested() {
                    break;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE);
            }
            let request = agent.post(address).header("content-type", "application/json");
            match request.send(body.as_str()) {
                Ok(response) if response.status().is_success() => {
                    return Ok(format!("answered {}", response.status().as_u16()));
                }
                Ok(response) => why = format!("it answered {}", response.status().as_u16()),
                Err(error) => why = plain(&error),
            }
        }
        Err(failed(format!("{why}, after {} attempt(s)", watch.webhook_retries + 1)))
    }

    /// Starts the command without a shell and writes the alarm to its standard input.
    fn start(&self, alarm: &Alarm) -> Result<String> {
        let watch = &self.settings.watch;
        let failed = |why: String| {
            Error::new(&codes::WATCH_ACTION, "the command did not do its work").why(why)
        };
        let Some((program, arguments)) = watch.command.split_first() else {
            return Err(failed("it is not set".into()));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(self.settings.resolve(Path::new(".")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|why| failed(format!("`{program}` could not be started: {why}")))?;
        // Neither a command that does not read nor one that floods its output can hold us up:
        // both pipes have threads of their own, and the time is limited.
        let words = self.message(alarm).to_string();
        if let Some(mut input) = child.stdin.take() {
            std::thread::spawn(move || input.write_all(words.as_bytes()));
        }
        let (said, says) = std::sync::mpsc::channel();
        if let Some(errors) = child.stderr.take() {
            std::thread::spawn(move || {
                let _ = said.send(last_words(errors));
            });
        }
        let begun = Instant::now();
        let status = loop {
            let ended = child.try_wait().map_err(|why| failed(why.to_string()))?;
            if let Some(status) = ended {
                break status;
            }
            if begun.elapsed() > watch.action_timeout.0 {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("it took longer than {}", watch.action_timeout)));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        if status.success() {
            return Ok(format!("`{program}` ended well"));
        }
        let words = says.recv_timeout(Duration::from_millis(200)).unwrap_or_default();
        Err(failed(format!("`{program}` ended with {status}: {}", words.trim())))
    }

    /// That the alias does not point at what an alarm is about, in words.
    fn moved_on(&self, alarm: &Alarm, current: Option<&Version>) -> Option<String> {
        let current = current.map(Version::to_string);
        (current.as_deref() != Some(&alarm.version)).then(|| {
            let (alias, now) = (&self.settings.release.alias, current.as_deref());
            let now = now.unwrap_or("nothing");
            format!("`{alias}` points at {now}, not at {}", alarm.version)
        })
    }

    /// Raises the threshold of the route of the version that the alarm is about.
    fn escalate(&self, alarm: &Alarm) -> Result<String> {
        let current = self.current()?;
        if current.is_some()
            && let Some(moved) = self.moved_on(alarm, current.as_ref())
        {
            return Ok(moved);
        }
        // Without a promoted version the alarm is about one that is served by its name.
        let version = current.map_or_else(|| self.version(&alarm.version), Ok)?;
        self.raise_route(&version, (alarm.id, &alarm.test))
    }

    /// Points the alias back, if it still points at what the alarm is about.
    fn roll_back(&self, alarm: &Alarm) -> Result<String> {
        let alias = &self.settings.release.alias;
        if let Some(moved) = self.moved_on(alarm, self.current()?.as_ref()) {
            return Ok(moved);
        }
        let why = format!("alarm {}: {}", alarm.id, alarm.test);
        let moved = self.registry.rollback(self.task(), alias, WHO, &why)?;
        Ok(format!("`{alias}` moved from {} back to v{}", alarm.version, moved.to))
    }

    /// Writes down that the model should be made again, and from what.
    fn propose(&self, alarm: &Alarm) -> Result<String> {
        let mut corrected = 0u64;
        self.feedback()?.each(|feedback, trace| {
            let useful = sprat_monitor::gold_label(&feedback, &trace).is_some();
            corrected += u64::from(useful && trace.text.is_some());
            Ok(())
        })?;
        let file = self.watch_folder().join("retrain.json");
        let body = json!({ "schema": "sprat.retrain/1", "task": self.task(), "alarm": alarm,
            "labelled_traces": corrected, "next": "sprat improve" });
        crate::project::write_json(&file, &body)?;
        Ok(format!("proposed in {}; {corrected} labelled traces are there", file.display()))
    }

    /// Points the alias at a version if it still points where it is expected to; for promotion
    /// after an improvement.
    pub(crate) fn promote_from(&self, version: &Version, expected: u32, why: &str) -> Result<()> {
        let alias = &self.settings.release.alias;
        let expect = Expect::Version(expected);
        self.registry.promote(version, alias, expect, WHO, why).map(drop)
    }
}

/// What went wrong on the way to an address, without the address.
fn plain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "it did not answer in time".into(),
        ureq::Error::HostNotFound => "its host is not known".into(),
        ureq::Error::ConnectionFailed => "no connection".into(),
        ureq::Error::Io(why) => format!("no connection: {}", why.kind()),
        _ => "the request could not be sent".into(),
    }
}

/// The last words of a stream, which is read to its end.
fn last_words(mut stream: impl std::io::Read) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        let surplus = kept.len().saturating_sub(WORDS);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
