//! Formats numbers for people. An absent or infinite number is a dash, never a zero.

/// The text of an absent value.
pub(super) const ABSENT: &str = "–";

fn finite(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    match value.filter(|number| number.is_finite()) {
        Some(number) => show(number),
        None => ABSENT.into(),
    }
}

/// A number with `decimals` decimals and commas between thousands.
pub(super) fn grouped(number: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", number.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    // A number that rounds to zero has no sign.
    if number < 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        out.push('-');
    }
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A number with some significant digits and commas between thousands: 2,391 with two digits is `2,400`,
/// 0.0312 is `0.031`.
pub(super) fn significant(number: f64, digits: u8) -> String {
    finite(Some(number), |number| {
        if number == 0.0 {
            return "0".into();
        }
        let digits = i32::from(digits.max(1));
        let exponent = number.abs().log10().floor() as i32;
        let scale = 10f64.powi(digits - 1 - exponent);
        let rounded = (number * scale).round() / scale;
        // Rounding up to a power of ten adds a digit.
        let exponent = rounded.abs().log10().floor() as i32;
        grouped(rounded, (digits - 1 - exponent).clamp(0, 12) as usize)
    })
}

/// A latency in milliseconds with some significant digits: `184 ms`, from a second on in seconds: `2.4 s`,
/// from ten minutes on in minutes.
pub(super) fn latency(ms: f64, digits: u8) -> String {
    finite(Some(ms), |ms| match ms.abs() {
        short if short < 999.5 => format!("{} ms", significant(ms, digits)),
        middle if middle < 600_000.0 => format!("{} s", significant(ms / 1e3, digits)),
        _ => format!("{} min", significant(ms / 6e4, digits)),
    })
}

/// A rate without its unit, with one digit more than a latency because it rests on all samples: `39.8`,
/// `3,822`; below a thousand at most three.
pub(super) fn rate(value: f64, digits: u8) -> String {
    let most = if value.abs() < 999.5 { 3 } else { 4 };
    significant(value, (digits + 1).min(most))
}

/// A factor with some significant digits, near one with two decimals: `1.04×`, `0.62×`, `3.2×`, `12×`.
pub(super) fn factor(factor: f64, digits: u8) -> String {
    finite(Some(factor), |factor| match factor.abs() {
        _ if factor.fract().abs() < 1e-9 => format!("{}×", grouped(factor, 0)),
        near if near < 1.995 => format!("{}×", grouped(factor, 2)),
        _ => format!("{}×", significant(factor, digits)),
    })
}

/// The decimals for three to four significant digits: none from 100, one from 10, two below.
fn digits(number: f64) -> usize {
    match number.abs() {
        large if large >= 99.95 => 0,
        middle if middle >= 9.995 => 1,
        _ => 2,
    }
}

/// Milliseconds without the unit: `1,316`, `42.5`, `8.04`.
pub(super) fn ms_bare(value: Option<f64>) -> String {
    finite(value, |ms| grouped(ms, digits(ms)))
}

/// Milliseconds: `1,316 ms`.
pub(super) fn ms(value: Option<f64>) -> String {
    finite(value, |ms| format!("{} ms", grouped(ms, digits(ms))))
}

/// Seconds: `42.5 s`.
pub(super) fn s(value: Option<f64>) -> String {
    finite(value, |s| format!("{} s", grouped(s, digits(s))))
}

/// Tokens per second without the unit: `580`, `62.3`.
pub(super) fn rate_bare(value: Option<f64>) -> String {
    finite(value, |rate| grouped(rate, digits(rate).min(1)))
}

/// Tokens per second: `580 tok/s`.
pub(super) fn tok_s(value: Option<f64>) -> String {
    finite(value, |rate| format!("{} tok/s", grouped(rate, digits(rate).min(1))))
}

/// A whole number with commas; a fraction keeps two decimals.
pub(super) fn thousands(value: Option<f64>) -> String {
    finite(value, |number| grouped(number, if number.fract() == 0.0 { 0 } else { 2 }))
}

/// A fraction as a percentage: 0.25 is `25 %`.
pub(super) fn percent(value: Option<f64>) -> String {
    finite(value, |fraction| {
        let hundred = fraction * 100.0;
        format!("{} %", grouped(hundred, usize::from(hundred.abs() < 9.95 && hundred != 0.0)))
    })
}

/// A fraction as a percentage with its sign: 0.25 is `+25 %`.
pub(super) fn signed(value: Option<f64>) -> String {
    finite(value, |fraction| {
        let sign = if fraction < 0.0 { "−" } else { "+" };
        format!("{sign}{}", percent(Some(fraction.abs())))
    })
}

/// A price: `USD 0.137`. Not `$`, because some pages read text between two dollar signs as a formula.
pub(super) fn usd(value: Option<f64>) -> String {
    finite(value, |price| {
        let decimals = match price.abs() {
            large if large >= 1.0 => 2,
            middle if middle >= 0.01 => 3,
            _ => 5,
        };
        format!("USD {}", grouped(price, decimals))
    })
}

/// A duration: `42.5 s`, `12.3 min`, `5.2 h`, `3.1 days`.
pub(super) fn duration(value: Option<f64>) -> String {
    finite(value, |seconds| {
        let (number, unit) = match seconds.abs() {
            short if short < 120.0 => (seconds, "s"),
            middle if middle < 7200.0 => (seconds / 60.0, "min"),
            long if long < 172_800.0 => (seconds / 3600.0, "h"),
            _ => (seconds / 86_400.0, "days"),
        };
        format!("{} {unit}", grouped(number, digits(number).min(1)))
    })
}

/// Memory in GiB: `7.24 GiB`.
pub(super) fn gib(value: Option<f64>) -> String {
    finite(value, |gib| format!("{} GiB", grouped(gib, digits(gib))))
}

/// A factor: `1.37×`, `12×`.
pub(super) fn times(factor: Option<f64>) -> String {
    finite(factor, |factor| {
        let decimals = if factor.fract() == 0.0 { 0 } else { digits(factor) };
        format!("{}×", grouped(factor, decimals))
    })
}

/// A list as text: `a`, `a and b`, `a, b and c`.
pub(super) fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        assert_eq!(ms(Some(1316.46)), "1,316 ms");
        assert_eq!(ms(Some(42.46)), "42.5 ms");
        assert_eq!(ms(Some(8.044)), "8.04 ms");
        assert_eq!(ms(Some(99.96)), "100 ms");
        assert_eq!(tok_s(Some(48.1)), "48.1 tok/s");
        assert_eq!(tok_s(Some(1_234_567.0)), "1,234,567 tok/s");
        assert_eq!(thousands(Some(1000.0)), "1,000");
        assert_eq!(thousands(Some(-0.0)), "0");
        assert_eq!(percent(Some(0.031)), "3.1 %");
        assert_eq!(percent(Some(1.0)), "100 %");
        assert_eq!(usd(Some(0.11499)), "USD 0.115");
        assert_eq!(times(Some(1.366)), "1.37×");
        assert_eq!(times(Some(16.0)), "16×");
    }

    #[test]
    fn what_is_absent_or_not_finite_is_a_dash() {
        for value in [None, Some(f64::NAN), Some(f64::INFINITY)] {
            for text in [ms(value), tok_s(value), thousands(value), percent(value), usd(value)] {
                assert_eq!(text, ABSENT);
            }
        }
    }
}
