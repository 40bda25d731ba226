//! Times as people write them: `500ms`, `20s`, `10m`, `1h`, `2d`, and sums such as `1h30m`.

/// A longer text is no time.
const TEXT_MAX_BYTES: usize = 32;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// The text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: use a number and a unit, such as 500ms, 20s, 10m, 1h or 2d")]
pub struct DurationError(String);

/// Reads a time, in milliseconds.
///
/// # Errors
/// [`DurationError`] for anything but whole numbers each followed by `ms`, `s`, `m`, `h` or `d`.
pub fn parse_duration_ms(text: &str) -> Result<u64, DurationError> {
    let refused = || DurationError(text.chars().take(TEXT_MAX_BYTES).collect());
    if text.is_empty() || text.len() > TEXT_MAX_BYTES {
        return Err(refused());
    }
    let mut rest = text;
    let mut total_ms = 0_u64;
    while !rest.is_empty() {
        let (number, tail) = split_at_first(rest, |c| !c.is_ascii_digit());
        let (unit, tail) = split_at_first(tail, |c| c.is_ascii_digit());
        let (_, unit_ms) = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim())
            .ok_or_else(refused)?;
        let count: u64 = number.parse().map_err(|_| refused())?;
        let part_ms = count.checked_mul(*unit_ms).ok_or_else(refused)?;
        total_ms = total_ms.checked_add(part_ms).ok_or_else(refused)?;
        rest = tail;
    }
    Ok(total_ms)
}

fn split_at_first(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

/// Writes a time in the largest unit that holds it exactly; the inverse of [`parse_duration_ms`].
pub fn show_duration_ms(ms: u64) -> String {
    let exact = |(_, unit_ms): &&(&str, u64)| ms != 0 && ms.is_multiple_of(*unit_ms);
    let (unit, unit_ms) = UNITS.iter().rev().find(exact).unwrap_or(&("ms", 1));
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn humane_times_are_read() {
        let cases = [
            ("0s", 0),
            ("500ms", 500),
            ("20s", 20_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("1h30m", 5_400_000),
            ("20 s", 20_000),
        ];
        for (text, ms) in cases {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn nonsense_and_overflow_are_refused_with_an_example() {
        for text in [
            "",
            "20",
            "s",
            "1w",
            "-1s",
            "1.5h",
            "1h 30",
            "99999999999999999999s",
        ] {
            let error = parse_duration_ms(text).expect_err(text).to_string();
            assert!(error.contains("500ms"), "{error}");
        }
        assert!(parse_duration_ms("999999999999999999d").is_err());
    }

    #[test]
    fn what_is_shown_reads_back() {
        for ms in [
            0, 1, 500, 1_500, 20_000, 600_000, 3_600_000, 5_400_000, 86_400_000,
        ] {
            assert_eq!(parse_duration_ms(&show_duration_ms(ms)), Ok(ms));
        }
        assert_eq!(show_duration_ms(5_400_000), "90m");
    }
}
