//! Addresses of machines: IPv4, IPv6, MAC.

use super::{PersonalKind, PersonalSpan, alone, pattern};
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) fn find(text: &str, spans: &mut Vec<PersonalSpan>) {
    let mac = pattern!(r"(?i)\b[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5})\b");
    for found in mac.find_iter(text) {
        let mixed = found.as_str().bytes().any(|byte| byte.is_ascii_digit());
        let goes_on = text[found.end()..].starts_with([':', '-']);
        if mixed && !goes_on && alone(text, &found.range()) {
            spans.push(PersonalSpan { kind: PersonalKind::Mac, range: found.range() });
        }
    }
    for found in pattern!(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}").find_iter(text) {
        let before = text[..found.start()].trim_end().to_ascii_lowercase();
        let version = ["v", "version", "release", "."].iter().any(|word| before.ends_with(word));
        let after = &text.as_bytes()[found.end()..];
        let goes_on = matches!(after, [b'.', digit, ..] if digit.is_ascii_digit());
        let address = found.as_str().parse::<Ipv4Addr>();
        let of_somebody = address.is_ok_and(|ip| {
            !ip.is_loopback() && !ip.is_unspecified() && !ip.is_broadcast() && ip.octets()[0] > 3
        });
        if of_somebody && !version && !goes_on && alone(text, &found.range()) {
            spans.push(PersonalSpan { kind: PersonalKind::Ip, range: found.range() });
        }
    }
    for found in pattern!(r"(?i)[0-9a-f:]*:[0-9a-f:]*:[0-9a-f]+").find_iter(text) {
        // `std::io` and `10:30:00` are none: three groups with four or more digits in all, and
        // the standard's own parser must agree.
        let groups = found.as_str().split(':').filter(|group| !group.is_empty());
        let digits = found.as_str().bytes().filter(u8::is_ascii_digit).count();
        if groups.count() >= 3
            && digits >= 4
            && found.as_str().parse::<Ipv6Addr>().is_ok()
            && alone(text, &found.range())
        {
            spans.push(PersonalSpan { kind: PersonalKind::Ip, range: found.range() });
        }
    }
}
