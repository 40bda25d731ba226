//! Sizes as people write them: `512KiB`, `100MiB`, `64GiB`, or a plain number of bytes.

/// A longer text is no size.
const TEXT_MAX_BYTES: usize = 32;

const UNITS: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a size, in bytes; none when the text is not one.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    if text.len() > TEXT_MAX_BYTES {
        return None;
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    let (_, bytes) = UNITS
        .iter()
        .find(|(name, _)| *name == unit || (unit.is_empty() && *name == "B"))?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// Writes a size in the largest unit that holds it exactly.
pub(super) fn show_size(size: u64) -> String {
    let exact = |(_, bytes): &&(&str, u64)| size != 0 && size.is_multiple_of(*bytes);
    let (unit, bytes) = UNITS.iter().rev().find(exact).unwrap_or(&("B", 1));
    format!("{}{unit}", size / bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        for (text, size) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("64GiB", Some(64 << 30)),
            ("1 MiB", Some(1 << 20)),
            ("3TiB", Some(3 << 40)),
            ("64GB", None),
            ("MiB", None),
            ("-1KiB", None),
            ("1.5GiB", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(parse_size(text), size, "{text}");
        }
        for size in [0, 1, 1 << 10, 3 << 20, 64 << 30, (1 << 30) + 1] {
            assert_eq!(parse_size(&show_size(size)), Some(size));
        }
    }
}
