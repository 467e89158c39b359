//! Training crops against the camera's own stack.

use inference::stack;
use model_bundle::manifest::{LocalSpec, ZScore};

use super::super::batch::{Purpose, Sampler};
use super::super::{CropSize, LocalConfig, LumaClip, to_cells};
use super::tiny_config;

const WIDTH: usize = 24;
const HEIGHT: usize = 16;

/// Every pixel of every frame has a level of its own; one labelled box moves by a cell a frame.
fn clip() -> LumaClip {
    let frame = |t: usize| (0..WIDTH * HEIGHT).map(|i| ((i * 7 + t * 31) % 251) as u8).collect();
    let label = |t: usize| {
        let inside =
            |i: usize| (4 * (t % 5)..4 * (t % 5) + 4).contains(&(i % WIDTH)) && i / WIDTH < 4;
        (0..WIDTH * HEIGHT).map(|i| if inside(i) { 2 } else { 0 }).collect()
    };
    LumaClip {
        width: WIDTH,
        height: HEIGHT,
        frames: (0..9).map(frame).collect(),
        labels: Some((0..9).map(label).collect()),
    }
}

fn plain_config() -> LocalConfig {
    LocalConfig {
        crop: CropSize { width: WIDTH, height: HEIGHT },
        gain: 0.0,
        brightness: 0.0,
        noise: 0.0,
        ..tiny_config()
    }
}

#[test]
fn without_jitter_a_crop_is_the_camera_s_stack_maybe_mirrored_with_its_labels() {
    let (config, clip) = (plain_config(), clip());
    let spec = LocalSpec {
        graph: "local".into(),
        offsets: config.offsets.clone(),
        mean: config.mean,
        std: config.std,
        diff_scale: config.diff_scale,
        stream: None,
        map_stride: 4,
        pool: 3,
        kinds: config.kinds.clone(),
        z: ZScore { mean: 0.0, std: 1.0 },
        weight: 1.0,
    };
    // Every crop there could be, by time and mirroring, as the camera would make it.
    let mut possible = Vec::new();
    for t in 2..7 {
        let frames = [t, t - 2, t + 2].map(|at| clip.frames[at].as_slice());
        let mut values = vec![0f32; stack::len(&spec, WIDTH, HEIGHT)];
        stack::fill(&spec, &frames, &mut values);
        let mut labels = clip.labels.as_ref().unwrap()[t].clone();
        possible.push((values.clone(), to_cells(&labels, WIDTH, HEIGHT)));
        values.chunks_exact_mut(WIDTH).for_each(<[f32]>::reverse);
        labels.chunks_exact_mut(WIDTH).for_each(<[u8]>::reverse);
        possible.push((values, to_cells(&labels, WIDTH, HEIGHT)));
    }
    let clips = [clip];
    let sampler = Sampler::new(&[], &clips, &config, 3).unwrap();
    let mut seen = vec![false; possible.len()];
    for step in 0..30 {
        let batch = sampler.batch(Purpose::Crop, step).unwrap();
        let stacks = batch.stacks.chunks_exact(3 * WIDTH * HEIGHT);
        for (stack, cells) in stacks.zip(batch.cells.chunks_exact(6 * 4)) {
            let same = |(values, labels): &(Vec<f32>, Vec<u8>)| values == stack && labels == cells;
            let at = possible.iter().position(same).expect("the crop is one of the possible ones");
            seen[at] = true;
        }
    }
    assert!(seen.iter().all(|seen| *seen), "{seen:?}");
}

#[test]
fn focused_crops_hold_the_changed_pixels() {
    let clip = clip();
    let config =
        LocalConfig { crop: CropSize { width: 16, height: 16 }, focus: 1.0, ..plain_config() };
    let clips = [clip];
    let sampler = Sampler::new(&[], &clips, &config, 3).unwrap();
    for step in 0..20 {
        let batch = sampler.batch(Purpose::Crop, step).unwrap();
        for cells in batch.cells.chunks_exact(4 * 4) {
            assert!(cells.contains(&2), "{cells:?}");
        }
    }
}

#[test]
fn a_share_of_the_crops_is_normal() {
    let clip = clip();
    let normal = LumaClip { labels: None, ..clip.clone() };
    let config = LocalConfig { focus: 1.0, batch: 12, ..plain_config() };
    let (normals, pseudo) = ([normal], [clip]);
    let sampler = Sampler::new(&normals, &pseudo, &config, 3).unwrap();
    let batch = sampler.batch(Purpose::Crop, 0).unwrap();
    let changed = batch.cells.chunks_exact(6 * 4).map(|cells| cells.contains(&2));
    assert_eq!(changed.collect::<Vec<_>>(), [[false; 4].as_slice(), &[true; 8]].concat());
}

#[test]
fn dropout_drops_its_share_and_keeps_the_mean() {
    let (config, clips) = (plain_config(), [clip()]);
    let sampler = Sampler::new(&[], &clips, &config, 3).unwrap();
    let mask = sampler.dropout(0, 5000);
    let dropped = mask.iter().filter(|value| **value == 0.0).count() as f32 / mask.len() as f32;
    assert!((dropped - 0.1).abs() < 0.01, "{dropped}");
    assert!((mask.iter().sum::<f32>() / mask.len() as f32 - 1.0).abs() < 0.01);
    assert_ne!(mask, sampler.dropout(1, 5000));
}

#[test]
fn a_resized_crop_keeps_its_labels_where_they_belong() {
    // A bright labelled box on dark ground: wherever a crop looks from, label and light agree.
    let inside = |i: usize| (6..18).contains(&(i % WIDTH)) && (4..12).contains(&(i / WIDTH));
    let plane = |level: u8, ground: u8| -> Vec<u8> {
        (0..WIDTH * HEIGHT).map(|i| if inside(i) { level } else { ground }).collect()
    };
    let clip = LumaClip {
        width: WIDTH,
        height: HEIGHT,
        frames: vec![plane(210, 10); 9],
        labels: Some(vec![plane(2, 0); 9]),
    };
    let config = LocalConfig {
        crop: CropSize { width: 16, height: 8 },
        resize: 0.5,
        gamma: 0.5,
        blur: 0.8,
        ..plain_config()
    };
    let clips = [clip];
    let sampler = Sampler::new(&[], &clips, &config, 3).unwrap();
    let (mut shares, mut bright) = (Vec::new(), Vec::new());
    for step in 0..30 {
        let batch = sampler.batch(Purpose::Crop, step).unwrap();
        let stacks = batch.stacks.chunks_exact(3 * 16 * 8);
        for (stack, cells) in stacks.zip(batch.cells.chunks_exact(4 * 2)) {
            for (cell, label) in cells.iter().enumerate() {
                let (left, top) = (cell % 4 * 4, cell / 4 * 4);
                let pixels = (0..16).map(|i| stack[(top + i / 4) * 16 + left + i % 4]);
                let level = pixels.sum::<f32>() / 16.0 * config.std + config.mean;
                match label {
                    0 => assert!(level < 100.0, "{level}"),
                    2 => bright.push(level),
                    _ => {}
                }
            }
            shares.push(cells.iter().filter(|label| **label == 2).count());
            // Nothing moves.
            assert!(stack[16 * 8..].iter().all(|value| value.abs() < 1e-4));
        }
    }
    let mean = bright.iter().sum::<f32>() / bright.len() as f32;
    assert!(mean > 150.0, "{mean}");
    assert!(shares.iter().any(|n| *n >= 6) && shares.iter().any(|n| *n <= 3), "{shares:?}");
}
