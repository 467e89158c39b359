//! Tests on drawn scenes with known walkers.

mod scene;

use rayon::prelude::*;
use video::Frame;

use self::scene::{SCENE, Scene, clip, clips};
use super::*;
use crate::synthesis::LabelMap;

/// Settings under which only `kind` occurs, with no benign pastes.
fn only(kind: &str) -> CompositeConfig {
    let mut config = CompositeConfig { events: 1, benign: [0, 0], ..Default::default() };
    for (name, _) in KindRates::default().entries() {
        *config.kinds.rate_mut(name).unwrap() = if name == kind { 1.0 } else { 0.0 };
    }
    config
}

fn synthesize(composite: &Composite<'_>, n: u64) -> Vec<PseudoClip> {
    (0..n).map(|i| composite.synthesize(i).unwrap()).collect()
}

/// Largest channel's difference of pixel `i`.
fn change(a: &Frame, b: &Frame, i: usize) -> u8 {
    (3 * i..3 * i + 3).map(|c| a.rgb()[c].abs_diff(b.rgb()[c])).max().unwrap()
}

#[test]
fn walkers_are_found_with_their_size_and_speed() {
    let clips = clips(&SCENE, 4);
    let composite = Composite::new(&clips, &CompositeConfig::default(), 1).unwrap();
    let [site] = composite.summaries()[..] else { panic!("one site") };
    assert_eq!(site.clips, 4);
    assert!(site.walkers >= 8, "{site:?}");
    assert!((site.height - SCENE.tall).abs() <= 2.0, "{site:?}");
    assert!((site.speed - SCENE.speed).abs() < 0.1, "{site:?}");
    assert!((site.noise - 1.2).abs() < 0.7, "{site:?}");
}

#[test]
fn noisy_dark_footage_works() {
    let scene = Scene { noise: 14.0, light: 0.6, ..SCENE };
    let clips = clips(&scene, 4);
    let composite = Composite::new(&clips, &CompositeConfig::default(), 1).unwrap();
    let [site] = composite.summaries()[..] else { panic!("one site") };
    assert!(site.walkers >= 6, "{site:?}");
    assert!((site.height - scene.tall).abs() <= 4.0, "{site:?}");
    assert!((site.speed - scene.speed).abs() < 0.25, "{site:?}");
    assert!(site.noise > 6.0, "{site:?}");
}

#[test]
fn sizes_follow_the_picture() {
    let large = Scene { width: 360, height: 240, tall: 40.0, speed: 2.5, ..SCENE };
    let area = |scene: &Scene| {
        let clips = clips(scene, 2);
        let composite = Composite::new(&clips, &only("cart"), 1).unwrap();
        let made = synthesize(&composite, 12);
        let labels = made.iter().flat_map(|c| &c.labels).flat_map(|m| &m.data);
        (composite.summaries()[0], labels.filter(|&&l| l == 1).count() as f32)
    };
    let ((small_site, small), (large_site, large)) = (area(&SCENE), area(&large));
    assert!((large_site.height / small_site.height - 2.0).abs() < 0.2);
    assert!((large_site.speed / small_site.speed - 2.0).abs() < 0.2);
    assert!((2.8..5.6).contains(&(large / small)), "{small} {large}");
}

#[test]
fn same_seed_gives_same_clips_in_any_order_on_any_thread() {
    let clips = clips(&SCENE, 3);
    let config = CompositeConfig::default();
    let composite = Composite::new(&clips, &config, 9).unwrap();
    let forth = synthesize(&composite, 6);
    let mut back: Vec<_> = (0..6).rev().map(|i| composite.synthesize(i).unwrap()).collect();
    back.reverse();
    assert!(forth == back);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let spread: Vec<_> = pool.install(|| {
        let again = Composite::new(&clips, &config, 9).unwrap();
        (0..6).into_par_iter().map(|i| again.synthesize(i).unwrap()).collect()
    });
    assert!(forth == spread);
    let other = Composite::new(&clips, &config, 10).unwrap();
    assert!(forth[0].frames != other.synthesize(0).unwrap().frames);
    assert!(forth[0].frames != forth[1].frames);
}

#[test]
fn every_kind_happens_and_is_labelled() {
    for scene in [SCENE, Scene { coloured: true, ..SCENE }] {
        let clips = clips(&scene, 3);
        for (name, _) in KindRates::default().entries() {
            let composite = Composite::new(&clips, &only(name), 5).unwrap();
            assert_eq!(composite.kinds(), [name]);
            let made = synthesize(&composite, 6);
            let seen = made
                .iter()
                .filter(|c| c.events.iter().any(|e| e.kind == 0 && e.last - e.first + 1 >= 4));
            assert!(seen.count() >= 5, "{name}");
        }
    }
}

#[test]
fn labels_are_exact() {
    let clips = clips(&SCENE, 3);
    // Who falls walks before, and that is benign.
    let kinds = KindRates { fall: 0.0, ..Default::default() };
    let config = CompositeConfig { benign: [0, 0], kinds, ..Default::default() };
    let composite = Composite::new(&clips, &config, 3).unwrap();
    let mut labelled = [0; 11];
    for clip in synthesize(&composite, 16) {
        let (source, first) = clip.source;
        assert_eq!(clip.frames.len(), 64);
        for (t, (frame, map)) in clip.frames.iter().zip(&clip.labels).enumerate() {
            let filmed = &clips[source].frames[first + t];
            for (i, &label) in map.data.iter().enumerate() {
                match label {
                    LabelMap::NORMAL => assert_eq!(change(frame, filmed, i), 0),
                    LabelMap::IGNORE => {}
                    kind => {
                        assert!(change(frame, filmed, i) > 3, "kind {kind}");
                        labelled[kind as usize] += 1;
                    }
                }
            }
        }
        for event in &clip.events {
            let shows = |t: usize| clip.labels[t].data.contains(&(event.kind as u8 + 1));
            assert!(shows(event.first) && shows(event.last));
        }
    }
    assert!(labelled[1..].iter().all(|&n| n > 0), "{labelled:?}");
}

#[test]
fn benign_pastes_change_pixels_and_stay_normal() {
    let clips = clips(&SCENE, 3);
    let config = CompositeConfig { benign: [2, 2], ..only("flash") };
    let composite = Composite::new(&clips, &config, 3).unwrap();
    let mut pasted = 0;
    for clip in synthesize(&composite, 4) {
        let (source, first) = clip.source;
        for (t, (frame, map)) in clip.frames.iter().zip(&clip.labels).enumerate() {
            let filmed = &clips[source].frames[first + t];
            pasted += (0..map.data.len())
                .filter(|&i| map.data[i] == LabelMap::NORMAL && change(frame, filmed, i) > 30)
                .count();
        }
    }
    assert!(pasted > 4000, "{pasted}");
}

#[test]
fn grey_footage_stays_grey() {
    let clips = clips(&SCENE, 2);
    let composite = Composite::new(&clips, &CompositeConfig::default(), 3).unwrap();
    for clip in synthesize(&composite, 8) {
        for frame in &clip.frames {
            assert!(frame.rgb().chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]));
        }
    }
}

#[test]
fn an_empty_scene_still_gives_what_needs_no_walker() {
    let clips = clips(&Scene { walkers: 0, ..SCENE }, 2);
    let composite = Composite::new(&clips, &CompositeConfig::default(), 2).unwrap();
    assert_eq!(composite.kinds(), ["cart", "texture", "flash", "throw"]);
    let made = synthesize(&composite, 8);
    assert!(made.iter().all(|c| c.events.len() >= 2));
    let refused = Composite::new(&clips, &only("bike"), 2);
    assert!(matches!(refused, Err(Error::NoWalker)));
}

#[test]
fn views_are_kept_apart_and_lend_walkers() {
    let mut clips = clips(&SCENE, 3);
    let mut empty = clip(&Scene { walkers: 0, ..SCENE }, 8);
    for frame in &mut empty.frames {
        frame.rgb_mut().reverse();
        frame.rgb_mut().iter_mut().for_each(|v| *v = v.saturating_add(70));
    }
    clips.push(empty);
    let composite = Composite::new(&clips, &only("fast"), 2).unwrap();
    let sites = composite.summaries();
    assert_eq!(sites.iter().map(|s| s.clips).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(sites[1].walkers, 0);
    let made = synthesize(&composite, 24);
    let there = made.iter().find(|c| c.source.0 == 3).expect("a quarter of the footage");
    assert!(!there.events.is_empty());
}

#[test]
fn unusable_footage_is_refused() {
    let config = CompositeConfig::default();
    let refuse = |clips: &[NormalClip]| match Composite::new(clips, &config, 0) {
        Ok(_) => panic!("must be refused"),
        Err(e) => e.to_string(),
    };
    assert!(refuse(&[]).starts_with("no normal clips"));
    let mut one = clip(&SCENE, 0);
    one.frames.truncate(1);
    assert_eq!(
        refuse(&[clip(&SCENE, 1), one]),
        "clip drawn-0: 1 frame(s), at least 16 are needed; leave the clip out"
    );
    let mut mixed = clip(&SCENE, 2);
    mixed.frames[7] = Frame::new(64, 64);
    assert!(refuse(&[mixed]).starts_with("clip drawn-2, frame 7: 64x64, but"));
    let mut still = clip(&SCENE, 3);
    still.frame_rate = 0.0;
    assert!(refuse(&[still]).contains("frame rate 0"));
    let tiny =
        NormalClip { name: "tiny".into(), frame_rate: 10.0, frames: vec![Frame::new(16, 16); 20] };
    assert!(refuse(&[tiny]).contains("too small"));
}

#[test]
fn settings_are_checked() {
    let parsed: CompositeConfig =
        toml::from_str("frames = 48\nevents = 2\n[kinds]\nbike = 2.5\nskip = 0.0\n").unwrap();
    assert_eq!((parsed.frames, parsed.kinds.bike, parsed.kinds.fast), (48, 2.5, 1.0));
    assert!(parsed.validate().is_ok());
    assert!(toml::from_str::<CompositeConfig>("[kinds]\nhorse = 1.0\n").is_err());
    let bad = [
        CompositeConfig { frames: 2, ..Default::default() },
        CompositeConfig { events: 0, ..Default::default() },
        CompositeConfig { event_frames: [9, 8], ..Default::default() },
        CompositeConfig { benign: [2, 1], ..Default::default() },
        CompositeConfig {
            kinds: KindRates { fast: -1.0, ..Default::default() },
            ..Default::default()
        },
    ];
    assert!(bad.iter().all(|c| c.validate().is_err()));
}

#[test]
fn a_short_clip_is_used_whole() {
    let mut short = clip(&SCENE, 4);
    short.frames.truncate(20);
    let clips = [clip(&SCENE, 5), short];
    let composite = Composite::new(&clips, &CompositeConfig::default(), 4).unwrap();
    let lengths: Vec<usize> = synthesize(&composite, 24).iter().map(|c| c.frames.len()).collect();
    assert!(lengths.contains(&64) && lengths.contains(&20));
    assert!(lengths.iter().all(|&n| n == 64 || n == 20));
}

#[test]
fn contact_sheet_shows_a_row_for_each_event() {
    let clips = clips(&SCENE, 2);
    let composite = Composite::new(&clips, &CompositeConfig::default(), 6).unwrap();
    let made = synthesize(&composite, 2);
    let rows: usize = made.iter().map(|c| c.events.len()).sum();
    let sheet = crate::synthesis::contact_sheet(&made, composite.kinds(), 4);
    assert_eq!(sheet.width(), 4 * (SCENE.width + 2));
    assert_eq!(sheet.height(), rows * (SCENE.height + 9));
    let coloured = sheet.rgb().chunks_exact(3).filter(|p| p[0] != p[1] || p[1] != p[2]).count();
    assert!(coloured > 200 * rows, "{coloured}");
    assert_eq!(crate::synthesis::contact_sheet(&[], composite.kinds(), 4).width(), 0);
}

#[test]
fn one_person_who_is_near_is_not_read_as_small_ones() {
    let read = |scene: &Scene| {
        let clips = clips(scene, 4);
        let composite = Composite::new(&clips, &CompositeConfig::default(), 1).unwrap();
        // Somebody twice as large would not fit, and whoever comes close is.
        let near = scene.tall > 0.4 * scene.height as f32;
        assert_eq!(
            composite.kinds().iter().any(|kind| kind == "scale"),
            !near && scene.walkers > 0
        );
        composite.person_height()
    };
    // Half as high as the picture.
    let near = Scene { width: 320, height: 240, tall: 120.0, speed: 5.0, walkers: 1, ..SCENE };
    let tall = read(&near).unwrap();
    let refused = Composite::new(&clips(&near, 4), &only("scale"), 1).err().unwrap();
    assert!(refused.to_string().contains("more room than there is"), "{refused}");
    assert!((105.0..=130.0).contains(&tall), "{tall}");
    let far = Scene { width: 320, height: 240, tall: 30.0, speed: 2.0, walkers: 3, ..SCENE };
    let tall = read(&far).unwrap();
    assert!((26.0..=34.0).contains(&tall), "{tall}");
    assert_eq!(read(&Scene { walkers: 0, ..SCENE }), None);
}
