//! `strftime_now`: the date that a template writes.

use super::functions::failed;
use minijinja::Error;
use sprat_task::Timestamp;

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment in UTC by the directives of C's `strftime`, in English.
pub(super) fn format(now: Timestamp, format: &str) -> Result<String, Error> {
    // `YYYY-MM-DDTHH:MM:SSZ`.
    let text = now.to_rfc3339();
    let numbers: Vec<usize> =
        text.split(['-', 'T', ':', 'Z']).filter_map(|part| part.parse().ok()).collect();
    let &[year, month, day, hour, minute, second] = numbers.as_slice() else {
        return Err(failed("the date is too far away"));
    };
    // 1 January 1970 was a Thursday.
    let weekday = (now.0 / 86_400_000 + 4) % 7;
    let weekday = DAYS[weekday as usize];
    let month_name = MONTHS.get(month.wrapping_sub(1)).copied().unwrap_or_default();
    let half = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut directive = letters.next();
        let padded = directive != Some('-');
        if !padded {
            directive = letters.next();
        }
        let two = |number: usize| match padded {
            true => format!("{number:02}"),
            false => number.to_string(),
        };
        match directive {
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&two(year % 100)),
            Some('m') => out.push_str(&two(month)),
            Some('d') => out.push_str(&two(day)),
            Some('e') => out.push_str(&format!("{day:2}")),
            Some('H') => out.push_str(&two(hour)),
            Some('I') => out.push_str(&two(half)),
            Some('M') => out.push_str(&two(minute)),
            Some('S') => out.push_str(&two(second)),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('A') => out.push_str(weekday),
            Some('a') => out.push_str(&weekday[..3]),
            Some('B') => out.push_str(month_name),
            Some('b' | 'h') => out.push_str(month_name.get(..3).unwrap_or_default()),
            Some('F') => out.push_str(&text[..10]),
            Some('T') => out.push_str(&text[11..19]),
            Some('%') => out.push('%'),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(failed(format!("strftime_now: `%{other}` is not supported")));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_python_does() {
        // `datetime.fromtimestamp(1_735_689_599, UTC).strftime(...)`.
        let now = Timestamp(1_735_689_599_000);
        let text = format(now, "%A %a, %d %B %b %Y %H:%M:%S %I%p %-m %y %F %T %%").unwrap();
        let expected =
            "Tuesday Tue, 31 December Dec 2024 23:59:59 11PM 12 24 2024-12-31 23:59:59 %";
        assert_eq!(text, expected);
        assert_eq!(format(Timestamp(0), "%-d/%-m %e %I").unwrap(), "1/1  1 12");
        assert!(format(now, "%Q").unwrap_err().to_string().contains("`%Q`"));
        assert!(format(now, "%").is_err());
    }
}
