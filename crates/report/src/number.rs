//! Numbers as people read them: the same rounding everywhere. What is not finite is shown as an
//! en dash.

/// What stands for a missing or undefined number.
pub const MISSING: &str = "–";

/// `x` with a fixed number of decimals.
pub fn fixed(x: f64, decimals: usize) -> String {
    if !x.is_finite() {
        return MISSING.to_owned();
    }
    let text = format!("{x:.decimals$}");
    // "-0.0" says nothing that "0.0" does not.
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_owned(),
        _ => text,
    }
}

/// `x` with three significant digits, thousands grouped: `0.0123`, `4.22`, `1,230`.
pub fn significant(x: f64) -> String {
    if !x.is_finite() {
        return MISSING.to_owned();
    }
    if x == 0.0 {
        return "0".to_owned();
    }
    let magnitude = x.abs().log10().floor() as i32;
    if !(-6..=15).contains(&magnitude) {
        return format!("{x:.2e}");
    }
    if magnitude >= 3 {
        let unit = 10f64.powi(magnitude - 2);
        let rounded = (x / unit).round() * unit;
        let sign = if rounded < 0.0 { "-" } else { "" };
        return format!("{sign}{}", count(rounded.abs() as u64));
    }
    fixed(x, (2 - magnitude).max(0) as usize)
}

/// A whole number with its thousands grouped: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, c) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A share as a percentage with one decimal: `93.1%`.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{}%", fixed(share * 100.0, 1)) } else { MISSING.to_owned() }
}

/// A share with its interval: `93.1% [92.0, 94.1]`.
pub fn percent_interval(share: f64, low: f64, high: f64) -> String {
    if !(low.is_finite() && high.is_finite()) {
        return percent(share);
    }
    format!("{} [{}, {}]", percent(share), fixed(low * 100.0, 1), fixed(high * 100.0, 1))
}

/// A difference of shares in percentage points, signed: `+1.2 pp`.
pub fn points(difference: f64) -> String {
    if !difference.is_finite() {
        return MISSING.to_owned();
    }
    format!("{} pp", signed(difference * 100.0, 1))
}

/// A margin in percentage points, which has no direction: `2.0 pp`.
pub fn points_unsigned(margin: f64) -> String {
    if margin.is_finite() { format!("{} pp", fixed(margin * 100.0, 1)) } else { MISSING.to_owned() }
}

/// A difference of shares in percentage points with its interval: `+1.2 pp [-0.3, +2.7]`.
pub fn points_interval(difference: f64, low: f64, high: f64) -> String {
    if !(low.is_finite() && high.is_finite()) {
        return points(difference);
    }
    format!("{} [{}, {}]", points(difference), signed(low * 100.0, 1), signed(high * 100.0, 1))
}

/// `x` with its sign and a fixed number of decimals.
pub fn signed(x: f64, decimals: usize) -> String {
    let text = fixed(x, decimals);
    if x > 0.0 && text.chars().any(|c| ('1'..='9').contains(&c)) {
        format!("+{text}")
    } else {
        text
    }
}

/// A plain number with its interval: `0.412 [0.398, 0.430]`.
pub fn interval(x: f64, low: f64, high: f64, decimals: usize) -> String {
    if !(low.is_finite() && high.is_finite()) {
        return fixed(x, decimals);
    }
    format!("{} [{}, {}]", fixed(x, decimals), fixed(low, decimals), fixed(high, decimals))
}

/// A duration given in milliseconds: `420 µs`, `4.22 ms`, `1.30 s`.
pub fn millis(ms: f64) -> String {
    if !ms.is_finite() {
        MISSING.to_owned()
    } else if ms != 0.0 && ms.abs() < 1.0 {
        format!("{} µs", significant(ms * 1000.0))
    } else if ms.abs() < 1000.0 {
        format!("{} ms", significant(ms))
    } else {
        format!("{} s", significant(ms / 1000.0))
    }
}

/// A duration given in seconds: `850 ms`, `42 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return MISSING.to_owned();
    }
    if seconds < 1.0 {
        return millis(seconds * 1000.0);
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", count(whole / 3600), whole % 3600 / 60),
    }
}

/// A size in binary units: `512 B`, `22.7 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut size = n as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{} {}", significant(size), UNITS[unit]) }
}

/// An amount of US dollars: `$0.0012`, `$0.50`, `$4.20`, `$1,230`.
pub fn usd(amount: f64) -> String {
    if !amount.is_finite() {
        MISSING.to_owned()
    } else if amount == 0.0 {
        "$0".to_owned()
    } else if amount < 0.0 {
        format!("-{}", usd(-amount))
    } else if amount < 0.995 {
        // Two significant digits: prices are not known better.
        let magnitude = amount.log10().floor().max(-12.0);
        let text = fixed(amount, (1.0 - magnitude) as usize);
        let short = if amount < 0.0995 { text.trim_end_matches('0') } else { &text };
        format!("${short}")
    } else if amount < 1000.0 {
        format!("${}", fixed(amount, 2))
    } else {
        format!("${}", count(amount.round() as u64))
    }
}

/// A p-value: three decimals, `< 0.001` below.
pub fn p_value(p: f64) -> String {
    if p.is_finite() && p < 0.001 { "< 0.001".to_owned() } else { fixed(p, 3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_the_way_people_write_them() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(percent(0.93149), "93.1%");
        assert_eq!(percent_interval(0.931, 0.92, 0.941), "93.1% [92.0, 94.1]");
        assert_eq!(points(-0.0124), "-1.2 pp");
        assert_eq!(points(0.0), "0.0 pp");
        assert_eq!(points(-0.0001), "0.0 pp");
        assert_eq!(points(0.0001), "0.0 pp");
        assert_eq!(millis(0.42), "420 µs");
        assert_eq!(millis(4.218), "4.22 ms");
        assert_eq!(millis(1300.0), "1.30 s");
        assert_eq!(bytes(23_800_000), "22.7 MiB");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(usd(0.001234), "$0.0012");
        assert_eq!(usd(0.000_06), "$0.00006");
        assert_eq!(usd(0.5), "$0.50");
        assert_eq!(usd(0.999), "$1.00");
        assert_eq!(points_unsigned(0.02), "2.0 pp");
        assert_eq!(usd(4.2), "$4.20");
        assert_eq!(usd(1234.5), "$1,235");
        assert_eq!(significant(12_345.0), "12,300");
        assert_eq!(significant(-12_345.0), "-12,300");
        assert_eq!(p_value(0.0004), "< 0.001");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(duration(7500.0), "2 h 5 min");
    }

    #[test]
    fn what_is_not_a_number_is_a_dash() {
        for text in
            [percent(f64::NAN), significant(f64::INFINITY), usd(f64::NAN), p_value(f64::NAN)]
        {
            assert_eq!(text, MISSING);
        }
        assert_eq!(percent_interval(0.5, f64::NAN, 1.0), "50.0%");
    }

    proptest::proptest! {
        #[test]
        fn no_number_breaks_the_formatting(x in proptest::num::f64::ANY) {
            for text in [significant(x), percent(x), points(x), millis(x), usd(x), duration(x)] {
                proptest::prop_assert!(!text.is_empty() && !text.contains("NaN"));
            }
        }
    }
}
