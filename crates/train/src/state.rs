//! Everything that decides how a run goes on, and how it is kept on disk.

use crate::codes::{CHECKPOINT, OTHER_RUN, STORAGE};
use crate::container::{self, Array, Unreadable};
use crate::history::{Best, Point};
use crate::learner::{Learner, Measure};
use serde::{Deserialize, Serialize};
use sprat_nn::AdamWState;
use sprat_task::{Digest, Error, Result};
use std::path::{Path, PathBuf};

/// The state of a run between two steps, but for the parameters' values, which live in the model.
/// Batches and dropout masks are functions of the seed and the step, so the step is the position
/// of every random stream.
#[derive(Debug)]
pub(crate) struct State<M> {
    pub(crate) counters: Counters<M>,
    /// AdamW's state, one per parameter.
    pub(crate) adam: Vec<AdamWState>,
    /// The parameters' values at the best validation.
    pub(crate) best: Vec<Vec<f32>>,
}

/// The state's scalars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counters<M> {
    /// Steps done.
    pub(crate) step: u64,
    /// Sum and count of the training losses since the last record.
    pub(crate) loss: (f64, u64),
    /// Validations since the best one.
    pub(crate) worse: usize,
    pub(crate) best: Option<Best<M>>,
    pub(crate) history: Vec<Point<M>>,
    /// Seconds of training, interruptions not counted.
    pub(crate) seconds: f64,
    /// No step follows: the steps are done or patience ran out.
    pub(crate) over: bool,
    /// A limit of time ended the run.
    pub(crate) cut: bool,
}

#[derive(Serialize, Deserialize)]
struct Header<M> {
    /// What is trained, on what, how: a checkpoint continues this run and no other.
    run: Digest,
    counters: Counters<M>,
}

/// The part of a header that tells whose checkpoint it is.
#[derive(Deserialize)]
struct Owner {
    run: Digest,
}

impl<M> Counters<M> {
    fn new() -> Self {
        Counters {
            step: 0,
            loss: (0.0, 0),
            worse: 0,
            best: None,
            history: Vec::new(),
            seconds: 0.0,
            over: false,
            cut: false,
        }
    }
}

impl<M: Measure> State<M> {
    /// The state before the first step of a model.
    pub(crate) fn new(learner: &mut dyn Learner<Measure = M>) -> Self {
        let (mut adam, mut best) = (Vec::new(), Vec::new());
        learner.parameters(&mut |parameter| {
            adam.push(AdamWState::new(&[parameter.value.len()]));
            best.push(parameter.value.to_vec());
        });
        State { counters: Counters::new(), adam, best }
    }
}

/// The two checkpoint files of a run folder: the newest, and the one before it in case the newest
/// turns out damaged.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    newest: PathBuf,
    previous: PathBuf,
    run: Digest,
}

impl Checkpoints {
    /// The checkpoints of the run named `run` in `folder`.
    pub(crate) fn new(folder: &Path, run: Digest) -> Self {
        Checkpoints {
            newest: folder.join("checkpoint"),
            previous: folder.join("checkpoint.previous"),
            run,
        }
    }

    /// Makes sure that the folder holds no unfinished run of something else.
    ///
    /// # Errors
    /// `OTHER_RUN`. Damaged files are no matter here: loading deals with them.
    pub(crate) fn claim(&self) -> Result<()> {
        for path in [&self.newest, &self.previous] {
            let header = container::read_header(path).ok();
            let header = header.and_then(|header| serde_json::from_value::<Owner>(header).ok());
            if header.is_some_and(|header| header.run != self.run) {
                return Err(other_run(path));
            }
        }
        Ok(())
    }

    /// Writes state and values; at every moment at least one whole checkpoint is on disk.
    ///
    /// # Errors
    /// `STORAGE`.
    pub(crate) fn save<M: Measure>(
        &self,
        state: &State<M>,
        learner: &mut dyn Learner<Measure = M>,
    ) -> Result<()> {
        let fail = |path: &Path| {
            let path = path.to_path_buf();
            move |error: std::io::Error| Error::io(&STORAGE, "write the checkpoint", &path, &error)
        };
        let header = Header { run: self.run, counters: state.counters.clone() };
        let header = serde_json::to_value(header).map_err(|error| {
            Error::new(&STORAGE, "could not write the checkpoint").why(error.to_string())
        })?;
        let (mut names, mut values) = (Vec::new(), Vec::new());
        learner.parameters(&mut |parameter| {
            names.push(parameter.name.to_owned());
            values.push(parameter.value.to_vec());
        });
        let mut arrays = Vec::with_capacity(names.len() * 4);
        for (at, name) in names.iter().enumerate() {
            let adam = &state.adam[at];
            let parts: [(&str, &[f32]); 4] = [
                ("value", &values[at]),
                ("first", &adam.first[0]),
                ("second", &adam.second[0]),
                ("best", &state.best[at]),
            ];
            for (part, values) in parts {
                arrays.push(Array { name: format!("{part}/{name}"), values });
            }
        }
        // A kill between the two leaves the previous checkpoint alone, which is whole.
        if self.newest.exists() {
            std::fs::rename(&self.newest, &self.previous).map_err(fail(&self.newest))?;
        }
        container::write(&self.newest, &header, &arrays).map_err(fail(&self.newest))
    }

    /// Reads the newest whole checkpoint into the model, or `None` if there is none. `notes`
    /// tells when the newest was damaged and the one before it is used.
    ///
    /// # Errors
    /// `OTHER_RUN` for a checkpoint of another run, `CHECKPOINT` when all that exist are damaged
    /// or of a newer version.
    pub(crate) fn load<M: Measure>(
        &self,
        learner: &mut dyn Learner<Measure = M>,
        notes: &mut Vec<String>,
    ) -> Result<Option<State<M>>> {
        let mut trouble = None;
        for path in [&self.newest, &self.previous] {
            let why = match container::read(path) {
                Ok(content) => match self.accept(content, learner) {
                    Ok(state) => {
                        if let Some(why) = trouble {
                            notes.push(format!(
                                "the newest checkpoint is damaged ({why}); the run went on from \
                                 the one before it"
                            ));
                        }
                        return Ok(Some(state));
                    }
                    Err(Rejected::OtherRun) => {
                        return Err(other_run(path));
                    }
                    Err(Rejected::Damaged(why)) => why,
                },
                Err(Unreadable::Missing) => continue,
                Err(Unreadable::Newer(version)) => {
                    let what = "the checkpoint was written by another version of this program";
                    let why = format!("its format is {version}");
                    return Err(Error::new(&CHECKPOINT, what).file(path).why(why));
                }
                Err(Unreadable::Damaged(why)) => why,
            };
            trouble.get_or_insert(why);
        }
        match trouble {
            None => Ok(None),
            Some(why) => {
                let what = "no checkpoint of this run is whole";
                Err(Error::new(&CHECKPOINT, what).file(&self.newest).why(why))
            }
        }
    }

    /// Removes the files: the run is over and its results are written.
    pub(crate) fn remove(&self) {
        // Left-over files would only be read again by the same run, and agree with it.
        let _ = std::fs::remove_file(&self.newest);
        let _ = std::fs::remove_file(&self.previous);
    }

    fn accept<M: Measure>(
        &self,
        content: container::Content,
        learner: &mut dyn Learner<Measure = M>,
    ) -> Result<State<M>, Rejected> {
        let header: Header<M> = serde_json::from_value(content.header)
            .map_err(|error| Rejected::Damaged(error.to_string()))?;
        if header.run != self.run {
            return Err(Rejected::OtherRun);
        }
        let mut arrays = content.arrays.into_iter();
        let mut take = |part: &str, name: &str, length: usize| match arrays.next() {
            Some((found, values)) if found == format!("{part}/{name}") => {
                (values.len() == length).then_some(values)
            }
            _ => None,
        };
        // Everything is checked before the model is touched.
        let mut state = State { counters: header.counters, adam: vec![], best: vec![] };
        let step = state.counters.step;
        let (mut loaded, mut missing) = (Vec::new(), None);
        learner.parameters(&mut |parameter| {
            let length = parameter.value.len();
            let mut get = |part| take(part, parameter.name, length);
            match (get("value"), get("first"), get("second"), get("best")) {
                (Some(value), Some(first), Some(second), Some(best)) => {
                    loaded.push(value);
                    state.adam.push(AdamWState { step, first: vec![first], second: vec![second] });
                    state.best.push(best);
                }
                _ => missing = missing.take().or(Some(parameter.name.to_owned())),
            }
        });
        if let Some(name) = missing {
            return Err(Rejected::Damaged(format!("`{name}` is missing or has another size")));
        }
        let mut loaded = loaded.into_iter();
        learner.parameters(&mut |parameter| {
            if let Some(value) = loaded.next() {
                parameter.value.copy_from_slice(&value);
            }
        });
        learner.updated();
        Ok(state)
    }
}

fn other_run(path: &Path) -> Error {
    Error::new(&OTHER_RUN, "this folder holds an unfinished run of something else").file(path)
}

enum Rejected {
    OtherRun,
    Damaged(String),
}
