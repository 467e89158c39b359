//! A QuickTime file of JPEG pictures, each shown for a time of its own (`stts`): the pictures are
//! copied as they are, no encoder is needed, and a player shows them at the moments at which they were
//! taken even where some are missing.
//!
//! ```text
//! ftyp
//! moov ─ mvhd, trak ─ tkhd, mdia ─ mdhd, hdlr, minf ─ vmhd, hdlr, dinf, stbl ─ stsd stts stsc stsz stco
//! mdat   the pictures, one after the other
//! ```
//!
//! Layout after Apple's QuickTime File Format Specification.

use std::io::{self, Write};

/// Units of time in a second.
const TIMESCALE: u32 = 1000;
/// The identity, in the file's fixed-point numbers.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// A picture and how long it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The JPEG file.
    pub jpeg: &'a [u8],
    /// Milliseconds until the next picture.
    pub milliseconds: u32,
}

/// A file that is ready to be written.
#[derive(Debug)]
pub struct Movie<'a> {
    head: Vec<u8>,
    samples: &'a [Sample<'a>],
    /// Bytes of all pictures.
    data: u32,
}

impl<'a> Movie<'a> {
    /// A movie of pictures that all have one size in pixels. `None` if it would be too long for 32-bit
    /// offsets, or has no picture.
    pub fn new(width: u16, height: u16, samples: &'a [Sample<'a>]) -> Option<Self> {
        let total = samples.iter().map(|s| s.jpeg.len() as u64).sum::<u64>();
        // Room for the tables: each picture has at most twelve bytes in them.
        let tables = 1024 + 12 * samples.len() as u64;
        let data = u32::try_from(total + tables).ok().map(|_| total as u32)?;
        if samples.is_empty() {
            return None;
        }
        let mut head = Vec::new();
        atom(&mut head, b"ftyp", |out| {
            out.extend(b"qt  ");
            out.extend(0x200_u32.to_be_bytes());
            out.extend(b"qt  ");
        });
        // The offset of the pictures depends on the length of what stands before them, which does not
        // depend on the offset.
        let start = head.len() + tracks(width, height, samples, 0).len() + 8;
        head.extend(tracks(width, height, samples, start as u32));
        head.extend((data + 8).to_be_bytes());
        head.extend(b"mdat");
        Some(Self { head, samples, data })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.head.len() as u64 + u64::from(self.data)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.head)?;
        self.samples.iter().try_for_each(|sample| out.write_all(sample.jpeg))
    }
}

/// Appends an atom: its length, its name, its content.
fn atom(out: &mut Vec<u8>, name: &[u8; 4], content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(name);
    content(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends numbers of 32 bits.
fn words(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend(word.to_be_bytes()));
}

fn tracks(width: u16, height: u16, samples: &[Sample<'_>], start: u32) -> Vec<u8> {
    let duration = samples.iter().fold(0_u32, |sum, s| sum.saturating_add(s.milliseconds));
    let mut out = Vec::new();
    atom(&mut out, b"moov", |out| {
        atom(out, b"mvhd", |out| {
            // Version and flags, made, changed, scale, duration, rate 1, volume 1.
            words(out, &[0, 0, 0, TIMESCALE, duration, 0x1_0000, 0x0100_0000, 0, 0]);
            words(out, &MATRIX);
            // Preview, poster, selection, current time; the next track's number.
            words(out, &[0, 0, 0, 0, 0, 0, 2]);
        });
        atom(out, b"trak", |out| {
            atom(out, b"tkhd", |out| {
                // Version and flags: enabled, in movie, in preview.
                words(out, &[7, 0, 0, 1, 0, duration, 0, 0, 0, 0]);
                words(out, &MATRIX);
                words(out, &[u32::from(width) << 16, u32::from(height) << 16]);
            });
            atom(out, b"mdia", |out| {
                // The language and the quality are left at nothing.
                atom(out, b"mdhd", |out| words(out, &[0, 0, 0, TIMESCALE, duration, 0]));
                handler(out, b"mhlr", b"vide");
                atom(out, b"minf", |out| {
                    atom(out, b"vmhd", |out| words(out, &[1, 0, 0]));
                    handler(out, b"dhlr", b"url ");
                    atom(out, b"dinf", |out| {
                        atom(out, b"dref", |out| {
                            words(out, &[0, 1]);
                            // The pictures are in this file.
                            atom(out, b"url ", |out| words(out, &[1]));
                        });
                    });
                    atom(out, b"stbl", |out| table(out, width, height, samples, start));
                });
            });
        });
    });
    out
}

fn handler(out: &mut Vec<u8>, kind: &[u8; 4], subtype: &[u8; 4]) {
    atom(out, b"hdlr", |out| {
        words(out, &[0]);
        out.extend(kind);
        out.extend(subtype);
        words(out, &[0, 0, 0]);
        // A name of no characters.
        out.push(0);
    });
}

/// Where and when each picture is.
fn table(out: &mut Vec<u8>, width: u16, height: u16, samples: &[Sample<'_>], start: u32) {
    let count = samples.len() as u32;
    atom(out, b"stsd", |out| {
        words(out, &[0, 1]);
        atom(out, b"jpeg", |out| {
            // Six reserved bytes and the data reference 1, version, vendor.
            words(out, &[0, 1, 0, 0]);
            // Temporal and spatial quality, size.
            words(out, &[0, 0x200, u32::from(width) << 16 | u32::from(height)]);
            // 72 dots an inch, one picture a sample.
            words(out, &[72 << 16, 72 << 16, 0]);
            out.extend(1_u16.to_be_bytes());
            // The compressor's name in 32 bytes, the first of which is its length.
            let mut name = [0; 32];
            name[..5].copy_from_slice(b"\x04JPEG");
            out.extend(name);
            // 24 bits of colour, no table.
            out.extend(24_u16.to_be_bytes());
            out.extend(u16::MAX.to_be_bytes());
        });
    });
    atom(out, b"stts", |out| {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for sample in samples {
            match runs.last_mut() {
                Some((count, time)) if *time == sample.milliseconds => *count += 1,
                _ => runs.push((1, sample.milliseconds)),
            }
        }
        words(out, &[0, runs.len() as u32]);
        runs.iter().for_each(|&(count, time)| words(out, &[count, time]));
    });
    // One chunk that holds all.
    atom(out, b"stsc", |out| words(out, &[0, 1, 1, count, 1]));
    atom(out, b"stsz", |out| {
        words(out, &[0, 0, count]);
        samples.iter().for_each(|sample| words(out, &[sample.jpeg.len() as u32]));
    });
    atom(out, b"stco", |out| words(out, &[0, 1, start]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_the_file_and_the_offset_that_of_the_first_picture() {
        let jpegs = [vec![1; 10], vec![2; 20], vec![3; 5]];
        let times = [100, 100, 40];
        let samples: Vec<Sample<'_>> = jpegs
            .iter()
            .zip(times)
            .map(|(jpeg, milliseconds)| Sample { jpeg, milliseconds })
            .collect();
        let movie = Movie::new(640, 480, &samples).unwrap();
        let mut file = Vec::new();
        movie.write(&mut file).unwrap();
        assert_eq!(file.len() as u64, movie.size());
        let at = file.windows(4).position(|w| w == b"stco").unwrap();
        let offset = u32::from_be_bytes(file[at + 12..at + 16].try_into().unwrap()) as usize;
        assert_eq!(file[offset..], jpegs.concat()[..]);
        // Two runs of times.
        let at = file.windows(4).position(|w| w == b"stts").unwrap();
        assert_eq!(
            file[at + 8..at + 28],
            [0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 100, 0, 0, 0, 1, 0, 0, 0, 40]
        );
        assert!(Movie::new(640, 480, &[]).is_none());
    }

    /// As a player sees it: FFmpeg.
    #[cfg(feature = "ffmpeg")]
    #[test]
    fn ffmpeg_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mov");
        let jpegs: Vec<Vec<u8>> = (0..7u8)
            .map(|i| {
                let frame = video::Frame::from_luma(48, 32, &[i * 30; 48 * 32]).unwrap();
                video::encode_jpeg(&frame, 90).unwrap()
            })
            .collect();
        let samples: Vec<Sample<'_>> =
            jpegs.iter().map(|jpeg| Sample { jpeg, milliseconds: 100 }).collect();
        let movie = Movie::new(48, 32, &samples).unwrap();
        movie.write(&mut std::fs::File::create(&path).unwrap()).unwrap();
        let mut reader = video::Reader::open(&path).unwrap();
        let info = *reader.info();
        assert_eq!((info.width, info.height, info.frames), (48, 32, Some(7)));
        assert!((info.frame_rate - 10.0).abs() < 0.01, "{}", info.frame_rate);
        let mut frame = video::Frame::default();
        for i in 0..7u8 {
            assert!(reader.read(&mut frame).unwrap());
            let level = frame.rgb()[0];
            assert!(level.abs_diff(i * 30) <= 3, "frame {i} is {level}");
        }
        assert!(!reader.read(&mut frame).unwrap());
    }
}
