use super::*;
use proptest::prelude::*;

fn kinds(text: &str) -> Vec<&'static str> {
    find_personal(text).iter().map(|span| span.kind.name()).collect()
}

#[test]
fn every_kind_is_found() {
    // Card numbers are the schemes' published test numbers; the IBANs are those of the IBAN
    // registry's examples; addresses are from the documentation ranges (RFC 5737, 3849, 7042).
    for (text, kind) in [
        ("write to jo.doe+x@mail.example.co.uk, please", "email"),
        ("my card 4111 1111 1111 1111 was declined", "card"),
        ("card 5555-5555-5555-4444", "card"),
        ("378282246310005 is my amex", "card"),
        ("pay to DE89 3704 0044 0532 0130 00 today", "iban"),
        ("GB82WEST12345698765432", "iban"),
        ("call me: +49 170 1234567", "phone"),
        ("call (555) 123-4567 now", "phone"),
        ("ring 020 7946 0958", "phone"),
        ("login from 203.0.113.7 failed", "ip"),
        ("login from 2001:db8:0:1234::1 failed", "ip"),
        ("device 00:00:5E:00:53:AF is blocked", "mac"),
        ("password: hunter2Zx9", "secret"),
        ("key AKIAIOSFODNN7EXAMPLE leaked", "secret"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "secret"),
        ("use Zm9vYmFyMTIzNDU2Nzg5QUJDREVGR0hJSktMTU5PUFE now", "secret"),
    ] {
        assert_eq!(kinds(text), [kind], "{text}");
        assert!(redact(text).contains(&format!("[{kind}]")), "{}", redact(text));
    }
}

#[test]
fn ordinary_numbers_and_words_raise_no_alarm() {
    for text in [
        "order 4111111111111112 has not arrived",
        "I paid 1,234,567.89 on 2024-01-15 10:30:00",
        "since 2023-12-01 12:00:00 my balance is 1000000",
        "upgrade to version 10.4.3.2 please",
        "see std::io::Error and a::b",
        "my token is not working anymore",
        "what is a password?",
        "DE89 3704 0044 0532 0130 01",
        "ticket 1234567890123456",
        "meet @ 5 at gate 12-34-56",
        "internationalization-and-localization-of-everything",
        "1111 1111 1111 1111",
    ] {
        assert_eq!(kinds(text), [] as [&str; 0], "{text}");
        assert_eq!(redact(text), text);
    }
}

#[test]
fn several_things_in_one_text_are_all_hidden() {
    let text = "Ann (ann@x.org, +44 20 7946 0958) lost 4111111111111111";
    assert_eq!(redact(text), "Ann ([email], [phone]) lost [card]");
}

/// The check digit that makes the digits pass Luhn.
fn check_digit(digits: &[u8]) -> u8 {
    (0..10).find(|digit| payment::luhn(&[digits, &[*digit]].concat())).unwrap()
}

proptest! {
    #[test]
    fn luhn_catches_every_single_wrong_digit(
        digits in prop::collection::vec(0_u8..10, 12..18), at in 0_usize..12, by in 1_u8..10,
    ) {
        let mut number = digits.clone();
        number.push(check_digit(&digits));
        prop_assert!(payment::luhn(&number));
        number[at] = (number[at] + by) % 10;
        prop_assert!(!payment::luhn(&number));
    }

    #[test]
    fn an_iban_has_one_right_pair_of_check_digits(account in "[0-9]{18}") {
        let right = (2..=98).filter(|n| payment::iban(&format!("DE{n:02}{account}"))).count();
        prop_assert_eq!(right, 1);
    }

    #[test]
    fn redacting_never_panics(text in "\\PC{0,60}|[-+0-9 .:@a-fA-F]{0,60}") {
        let _ = redact(&text);
    }
}
