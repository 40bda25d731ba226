//! Powers of two with a negative exponent, without floating point: the same on every machine.

/// `2^(-1/2)`, `2^(-1/4)`, …, each by 2³².
const ROOTS: [u64; 24] = [
    3_037_000_499,
    3_611_622_602,
    3_938_502_375,
    4_112_874_773,
    4_202_935_003,
    4_248_701_964,
    4_271_771_996,
    4_283_353_945,
    4_289_156_690,
    4_292_061_009,
    4_293_513_906,
    4_294_240_539,
    4_294_603_902,
    4_294_785_595,
    4_294_876_444,
    4_294_921_870,
    4_294_944_583,
    4_294_955_939,
    4_294_961_617,
    4_294_964_456,
    4_294_965_876,
    4_294_966_586,
    4_294_966_941,
    4_294_967_118,
];

/// `amount · 2^(−passed / half_life)`, rounded down; right to one part in a million.
pub(super) fn decayed(amount: u64, passed: u64, half_life: u64) -> u64 {
    // The part of the exponent behind the point, as a binary fraction of 24 digits.
    let fraction = (u128::from(passed % half_life) << ROOTS.len()) / u128::from(half_life);
    let mut factor: u64 = 1 << 32;
    for (digit, root) in ROOTS.iter().enumerate() {
        if (fraction >> (ROOTS.len() - 1 - digit)) & 1 == 1 {
            // The first factor alone has 33 bits, and every root is below 2³².
            factor = u64::try_from((u128::from(factor) * u128::from(*root)) >> 32)
                .expect("a product of parts of one");
        }
    }
    let product = (u128::from(amount) * u128::from(factor)) >> 32;
    let halvings = u32::try_from(passed / half_life).unwrap_or(u32::MAX);
    let left = product.checked_shr(halvings).unwrap_or(0);
    u64::try_from(left).expect("no more than there was")
}
