//! Flags that stand over the settings file.

use crate::args::{DataClean, FailureArg, MethodArg, PolicyArg, RouteFit, Tune};
use sprat_task::settings::{Method, RouteFailure, RoutePolicy, Settings};

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

/// Puts the flags of `sprat route fit` over the settings.
pub(crate) fn route(settings: &mut Settings, flags: &RouteFit) {
    let route = &mut settings.route;
    set(&mut route.alpha, flags.alpha);
    set(&mut route.delta, flags.delta);
    set(&mut route.seed, flags.seed);
    let failure = flags.failure.map(|failure| match failure {
        FailureArg::Wrong => RouteFailure::Wrong,
        FailureArg::Regret => RouteFailure::Regret,
    });
    set(&mut route.failure, failure);
    let policy = flags.policy.map(|policy| match policy {
        PolicyArg::After => RoutePolicy::After,
        PolicyArg::Before => RoutePolicy::Before,
    });
    set(&mut route.policy, policy);
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
