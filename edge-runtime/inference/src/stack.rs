//! From luma frames to the local network's input.

use model_bundle::manifest::LocalSpec;

/// Most frames in a stack: the centre and the 16 offsets that a manifest may have.
pub(crate) const MAX_FRAMES: usize = 17;

/// Number of values that [`fill`] writes for frames of `width` × `height` pixels.
pub fn len(spec: &LocalSpec, width: usize, height: usize) -> usize {
    (1 + spec.offsets.len()) * width * height
}

/// Fills the network's input `[1 + offsets, height, width]`: channel 0 is `(f_t - mean) / std`,
/// channel i is `(f_{t+offsets[i-1]} - f_t) / diff_scale`.
///
/// `frames` holds the luma of frame t, then of the frames at `spec.offsets` in that order, each of
/// the same length.
///
/// # Panics
/// If the number of frames or a length does not match.
pub fn fill(spec: &LocalSpec, frames: &[&[u8]], out: &mut [f32]) {
    assert_eq!(frames.len(), 1 + spec.offsets.len(), "one frame for the centre and each offset");
    let centre = frames[0];
    assert_eq!(out.len(), frames.len() * centre.len(), "one value for each pixel of each frame");
    let (first, rest) = out.split_at_mut(centre.len());
    for (value, &level) in first.iter_mut().zip(centre) {
        *value = (level as f32 - spec.mean) / spec.std;
    }
    for (frame, channel) in frames[1..].iter().zip(rest.chunks_exact_mut(centre.len())) {
        assert_eq!(frame.len(), centre.len(), "frames of one size");
        for ((value, &level), &middle) in channel.iter_mut().zip(*frame).zip(centre) {
            *value = (level as f32 - middle as f32) / spec.diff_scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model_bundle::manifest::ZScore;

    #[test]
    fn stack_is_the_formula() {
        let spec = LocalSpec {
            graph: "local".into(),
            offsets: vec![-2, 3],
            mean: 110.0,
            std: 50.0,
            diff_scale: 30.0,
            stream: None,
            map_stride: 1,
            pool: 1,
            kinds: vec!["a".into()],
            z: ZScore { mean: 0.0, std: 1.0 },
            weight: 1.0,
        };
        let mut out = [0.0; 6];
        assert_eq!(len(&spec, 2, 1), 6);
        fill(&spec, &[&[110, 210], &[140, 150], &[50, 255]], &mut out);
        assert_eq!(out, [0.0, 2.0, 1.0, -2.0, -2.0, 1.5]);
    }
}
