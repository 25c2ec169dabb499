//! `sprat.toml`: whatever the bytes, an answer or an error, never a panic; and whatever is
//! accepted keeps its promises of range.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sprat_task::settings::Settings;

fuzz_target!(|text: &str| {
    if let Ok(settings) = Settings::parse(text) {
        assert!(settings.data.validation_share + settings.data.test_share <= 0.95);
        assert!((1..=1024).contains(&settings.tune.rank));
    }
});
