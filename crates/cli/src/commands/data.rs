//! `sprat data check | clean | split`.

use super::Context;
use crate::args::DataCommand;
use crate::overrides;
use sprat_flow::Done;
use sprat_task::Result;

/// Runs the command.
pub(super) fn run(context: &Context, command: &DataCommand) -> Result<Done> {
    match command {
        DataCommand::Check(flags) => {
            let waive = |s: &mut sprat_task::settings::Settings| {
                s.data.waive.extend(flags.waive.iter().cloned());
            };
            context.project(waive)?.data_check(flags.html.as_deref())
        }
        DataCommand::Clean(flags) => context.project(|s| overrides::clean(s, flags))?.data_clean(),
        DataCommand::Split => context.plain_project()?.data_split(),
    }
}
