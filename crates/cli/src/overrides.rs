//! Flags that stand over the settings file.

use crate::args::{DataClean, MethodArg, Tune};
use sprat_task::settings::{Method, Settings};

/// Puts the flags of `sprat tune` over the settings.
pub(crate) fn tune(settings: &mut Settings, flags: &Tune) {
    let tune = &mut settings.tune;
    if let Some(method) = flags.method {
        tune.method = match method {
            MethodArg::Head => Method::Head,
            MethodArg::Lora => Method::Lora,
            MethodArg::Full => Method::Full,
        };
    }
    if let Some(rank) = flags.rank {
        // The adapters' scale, alpha / rank, stays what the settings say.
        tune.alpha *= rank as f64 / tune.rank.max(1) as f64;
        tune.rank = rank;
    }
    set(&mut tune.epochs, flags.epochs);
    set(&mut tune.batch, flags.batch);
    set(&mut tune.seed, flags.seed);
    tune.learning_rate = flags.learning_rate.or(tune.learning_rate);
    tune.budget = flags.budget.or(tune.budget);
    settings.data.pick = flags.pick.or(settings.data.pick);
}

/// Puts the flags of `sprat data clean` over the settings.
pub(crate) fn clean(settings: &mut Settings, flags: &DataClean) {
    settings.data.drop_label_errors |= flags.drop_label_errors;
    settings.data.redact |= flags.redact;
    settings.data.pick = flags.pick.or(settings.data.pick);
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
