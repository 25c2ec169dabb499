//! Each command: its flags become settings and a call into `flow`.

mod data;
mod keys;
mod label;
mod predict;
mod route;
mod serve;
mod watch;

use crate::args::{CONFIG, Cli, Command, Global, KindArg, Pull};
use crate::{overrides, progress, reference, signals};
use sprat_flow::{Done, InitOptions, Project, Surroundings};
use sprat_hub::ModelRef;
use sprat_task::settings::{Settings, TaskKind};
use sprat_task::{Interrupt, Progress, Quiet, Result, SystemClock};
use std::path::Path;
use std::sync::Arc;

/// The settings of a folder without a task.
const NO_TASK: &str = "[task]\nname = \"models\"\n";

/// What a command works with besides its own flags.
pub(crate) struct Context {
    global: Global,
    progress: Arc<dyn Progress>,
    interrupt: Interrupt,
}

impl Context {
    /// The settings, as the file says.
    fn settings(&self) -> Result<Settings> {
        Settings::read(&self.global.config)
    }

    /// The project of the settings, with flags put over them.
    fn project(&self, change: impl FnOnce(&mut Settings)) -> Result<Project> {
        self.open(self.settings()?, change)
    }

    /// The same for commands that may name the models they need: then they work in any folder,
    /// with the defaults where it has no settings.
    fn project_for(
        &self,
        names_models: bool,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Project> {
        let config = &self.global.config;
        if names_models && config == Path::new(CONFIG) && !config.exists() {
            return self.open(Settings::parse(NO_TASK)?, change);
        }
        self.project(change)
    }

    fn open(&self, mut settings: Settings, change: impl FnOnce(&mut Settings)) -> Result<Project> {
        change(&mut settings);
        settings.check_ranges()?;
        let around = Surroundings {
            offline: self.global.offline,
            clock: Arc::new(SystemClock),
            progress: Arc::clone(&self.progress),
            interrupt: self.interrupt.clone(),
            executable: std::env::current_exe().ok(),
        };
        Project::open(settings, around)
    }

    /// A further project over the same settings, for a thread of its own that nobody watches.
    fn beside(&self, settings: Settings, interrupt: &Interrupt) -> Result<Project> {
        let around = Surroundings {
            offline: self.global.offline,
            clock: Arc::new(SystemClock),
            progress: Arc::new(Quiet),
            interrupt: interrupt.clone(),
            executable: std::env::current_exe().ok(),
        };
        Project::open(settings, around)
    }

    fn plain_project(&self) -> Result<Project> {
        self.project(|_| {})
    }
}

/// Runs the command.
pub(crate) fn run(cli: &Cli) -> Result<Done> {
    let global = cli.global.clone();
    if let Some(threads) = global.threads {
        sprat_nn::threads::set_threads(threads.max(1));
    }
    let interrupt = Interrupt::default();
    let progress: Arc<dyn Progress> =
        if global.quiet { Arc::new(Quiet) } else { Arc::new(progress::Terminal::new()) };
    // The server has its own way of stopping: it drains.
    if !matches!(cli.command, Command::Serve(_)) {
        signals::watch(&interrupt);
    }
    let context = Context { global, progress, interrupt };
    match &cli.command {
        Command::Init(flags) => {
            let options = InitOptions {
                train: flags.train.clone(),
                name: flags.name.clone(),
                input: flags.input.clone(),
                target: flags.target.clone(),
                group: flags.group.clone(),
                kind: match flags.kind {
                    KindArg::Classify => TaskKind::Classify,
                    KindArg::Extract => TaskKind::Extract,
                    KindArg::Generate => TaskKind::Generate,
                },
                schema: flags.schema.clone(),
                instruction: flags.instruction.clone(),
                model: flags.model.clone(),
                force: flags.force,
            };
            sprat_flow::init(&context.global.config, &options)
        }
        Command::Pull(flags) => pull(&context, flags),
        Command::Data(command) => data::run(&context, command),
        Command::Tune(flags) => context.project(|s| overrides::tune(s, flags))?.tune(),
        Command::Shrink => context.plain_project()?.shrink(),
        Command::Bench(flags) => {
            context.plain_project()?.bench(&flags.model, flags.html.as_deref())
        }
        Command::Choose => context.plain_project()?.choose(),
        Command::Release(flags) => context.plain_project()?.release(&flags.message),
        Command::Promote(flags) if flags.canary => {
            context.plain_project()?.promote_canary(&flags.version, &flags.message)
        }
        Command::Promote(flags) => {
            context.plain_project()?.promote(&flags.version, flags.alias.as_deref(), &flags.message)
        }
        Command::Rollback(flags) if flags.canary => {
            context.plain_project()?.rollback_canary(&flags.message)
        }
        Command::Rollback(flags) => {
            context.plain_project()?.rollback(flags.alias.as_deref(), &flags.message)
        }
        Command::Log => context.plain_project()?.log(),
        Command::Show(flags) => context.plain_project()?.show(&flags.version),
        Command::Diff(flags) => context.plain_project()?.diff(&flags.from, &flags.to),
        Command::Reproduce(flags) => context.plain_project()?.reproduce(&flags.version),
        Command::Export(flags) => context.plain_project()?.export(&flags.version, &flags.file),
        Command::Import(flags) => context.plain_project()?.import(&flags.file),
        Command::Gc(flags) => context.plain_project()?.gc(flags.dry_run),
        Command::Doctor => context.plain_project()?.doctor(),
        Command::Serve(flags) => serve::run(&context, flags),
        Command::Predict(flags) => predict::run(&context, flags),
        Command::Route(command) => route::run(&context, command),
        Command::Keys(command) => keys::run(&context, command),
        Command::Watch(flags) => watch::run(&context, flags),
        Command::Label(flags) => label::run(&context, flags),
        Command::Improve(flags) => context.plain_project()?.improve(flags.auto),
        Command::Traces(command) => watch::traces(&context, command),
        Command::Up(flags) => {
            let project = context.plain_project()?;
            let done = project.up()?;
            if flags.no_serve || done.refused.is_some() {
                return Ok(done);
            }
            serve::after_up(&context, project, &done)
        }
        Command::Reference(flags) => reference::run(&flags.folder, flags.check),
        Command::Measure(flags) => {
            sprat_flow::measure_child(&flags.folder, &flags.exchange)?;
            Ok(Done::new("sprat.measure/1", serde_json::json!({}), Default::default()))
        }
    }
}

fn pull(context: &Context, flags: &Pull) -> Result<Done> {
    let references: Vec<ModelRef> = if flags.models.is_empty() {
        let settings = context.settings()?;
        let parsed: Result<Vec<ModelRef>> =
            settings.candidates.iter().map(|candidate| candidate.model.parse()).collect();
        parsed?.into_iter().filter(ModelRef::is_pullable).collect()
    } else {
        flags.models.iter().map(|model| model.parse()).collect::<Result<_>>()?
    };
    sprat_flow::pull(
        &references,
        flags.verify,
        context.global.offline,
        context.progress.as_ref(),
        &context.interrupt,
    )
}
