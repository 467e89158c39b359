//! Random numbers that depend on a seed, on what they are for and on a number alone, so that one use
//! neither shifts nor repeats another's.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// The random stream number `index`, below 2^56, of a purpose.
#[must_use]
pub fn stream(seed: u64, purpose: u8, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((u64::from(purpose) << 56) | index);
    rng
}
