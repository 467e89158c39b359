//! The local detector of a stream.

use model_bundle::manifest::{InputSpec, LocalSpec};

use crate::luma::LumaRing;
use crate::maps::MapReader;
use crate::stack::{self, MAX_FRAMES};
use crate::track::Track;
use crate::{Error, Graph, Region, ScoreMap, States};

/// Takes maps as they are computed; `None` if nobody asked for them, and then nothing is computed.
pub(crate) type MapOutlet<'a> = Option<&'a mut dyn FnMut(&ScoreMap<'_>)>;

/// What the maps say of a frame besides its raw value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) kind: u16,
    pub(crate) region: Region,
}

/// Runs the local network as soon as the frames ahead that it looks at are there. Frames before the
/// stream's first or after its last are replaced by that one.
pub(crate) struct LocalStage {
    network: Network,
    spec: LocalSpec,
    maps: MapReader,
    /// Width and height of a map.
    cells: (usize, usize),
    /// The newest map for an outlet; empty until one asks.
    strongest: Vec<f32>,
    hits: Vec<Hit>,
    /// Every how manieth frame is looked at; the others are taken to be like the one before.
    every: u64,
    pub(crate) track: Track,
}

impl LocalStage {
    pub(crate) fn new(spec: &LocalSpec, input: &InputSpec, track: Track, capacity: usize) -> Self {
        let (width, height) = (input.width as usize, input.height as usize);
        let stride = spec.map_stride as usize;
        let cells = (width / stride, height / stride);
        let nowhere = Region { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
        Self {
            network: Network::new(spec, width, height),
            spec: spec.clone(),
            maps: MapReader::new(cells.0, cells.1, spec.pool as usize),
            cells,
            strongest: Vec::new(),
            hits: vec![Hit { kind: 0, region: nowhere }; capacity],
            every: 1,
            track,
        }
    }

    /// Looks at every so manieth frame from now on, at 0 as at 1.
    pub(crate) fn look_every(&mut self, every: u64) {
        self.every = every.max(1);
    }

    /// Looks only where `keep`, one for each pixel of the model's input, is true at a cell's middle.
    pub(crate) fn look_only_at(&mut self, keep: &[bool]) -> bool {
        let stride = self.spec.map_stride as usize;
        let (cells, rows) = self.cells;
        let middle = |cell: usize| cell * stride + stride / 2;
        let at = |i: usize| keep.get(middle(i / cells) * cells * stride + middle(i % cells));
        let cells: Vec<bool> = (0..cells * rows).map(|i| at(i).is_some_and(|&kept| kept)).collect();
        self.maps.look_only_at(&cells)
    }

    /// Takes up the newest frame.
    pub(crate) fn advance(
        &mut self,
        lumas: &LumaRing,
        graph: &mut dyn Graph,
        outlet: &mut MapOutlet<'_>,
    ) -> Result<(), Error> {
        self.step(lumas, graph, outlet, false)
    }

    /// Takes up the frames that waited for frames after the stream's end.
    pub(crate) fn finish(
        &mut self,
        lumas: &LumaRing,
        graph: &mut dyn Graph,
        outlet: &mut MapOutlet<'_>,
    ) -> Result<(), Error> {
        while self.track.known() <= lumas.newest() {
            self.step(lumas, graph, outlet, true)?;
        }
        Ok(())
    }

    /// What the maps said of a frame that is still held.
    pub(crate) fn hit(&self, frame: u64) -> Hit {
        self.hits[(frame % self.hits.len() as u64) as usize]
    }

    /// Reads the maps of the next frame, if they can be had.
    fn step(
        &mut self,
        lumas: &LumaRing,
        graph: &mut dyn Graph,
        outlet: &mut MapOutlet<'_>,
        ended: bool,
    ) -> Result<(), Error> {
        let centre = self.track.known();
        if centre > 0 && self.network.passes(&self.spec, lumas, centre, self.every, ended) {
            let slot = (centre % self.hits.len() as u64) as usize;
            self.hits[slot] = self.hit(centre - 1);
            return self.track.push(self.track.get(centre - 1));
        }
        let Some(maps) = self.network.maps(&self.spec, lumas, graph, centre, ended)? else {
            return Ok(());
        };
        let peak = self.maps.peak(maps);
        if let Some(peak) = &peak {
            let slot = (centre % self.hits.len() as u64) as usize;
            self.hits[slot] = Hit { kind: peak.kind as u16, region: self.maps.region(peak) };
        }
        self.track.push(peak.map_or(f64::NAN, |peak| peak.value.into()))?;
        if let Some(outlet) = outlet {
            self.maps.strongest(maps, &mut self.strongest);
            for value in &mut self.strongest {
                *value = ((f64::from(*value) - self.spec.z.mean) / self.spec.z.std) as f32;
            }
            let (width, height) = self.cells;
            outlet(&ScoreMap { frame: centre, width, height, z: &self.strongest });
        }
        Ok(())
    }
}

/// What the graph is called with.
enum Network {
    /// The stack of a frame and those around it.
    Stack { stack: Vec<f32>, outputs: Vec<Vec<f32>> },
    /// The newest frame; the graph keeps those before it.
    Streaming { frame: Vec<f32>, states: States, calls: u64 },
}

impl Network {
    fn new(spec: &LocalSpec, width: usize, height: usize) -> Self {
        match &spec.stream {
            None => Self::Stack {
                stack: vec![0.0; stack::len(spec, width, height)],
                outputs: vec![Vec::new()],
            },
            Some(stream) => Self::Streaming {
                frame: vec![0.0; width * height],
                states: States::new(stream),
                calls: 0,
            },
        }
    }

    /// Whether frame `centre` is due and is one that is not looked at; a streaming graph is then not called.
    fn passes(
        &mut self,
        spec: &LocalSpec,
        lumas: &LumaRing,
        centre: u64,
        every: u64,
        ended: bool,
    ) -> bool {
        let ahead = spec.reach().1 as u64;
        match self {
            Self::Stack { .. } => {
                let due = ended || centre + ahead <= lumas.newest();
                due && !centre.is_multiple_of(every)
            }
            Self::Streaming { calls, .. } => {
                let passed = !calls.is_multiple_of(every);
                *calls += u64::from(passed);
                passed
            }
        }
    }

    /// The maps of frame `centre`; `None` if more frames must come, or more calls be made, first. A
    /// streaming graph is called exactly once, after the stream's end with the last frame again.
    fn maps(
        &mut self,
        spec: &LocalSpec,
        lumas: &LumaRing,
        graph: &mut dyn Graph,
        centre: u64,
        ended: bool,
    ) -> Result<Option<&[f32]>, Error> {
        let newest = lumas.newest();
        let ahead = spec.reach().1 as u64;
        match self {
            Self::Stack { stack, outputs } => {
                if centre + ahead > newest && !ended {
                    return Ok(None);
                }
                let mut frames: heapless::Vec<&[u8], MAX_FRAMES> = heapless::Vec::new();
                for offset in std::iter::once(0).chain(spec.offsets.iter().copied()) {
                    let frame = centre.saturating_add_signed(offset.into()).min(newest);
                    frames.push(lumas.get(frame)).map_err(|_| too_many(spec))?;
                }
                stack::fill(spec, &frames, stack);
                graph.run(&[stack], outputs)?;
                Ok(Some(&outputs[0]))
            }
            Self::Streaming { frame, states, calls } => {
                let levels = lumas.get((*calls).min(newest));
                frame.iter_mut().zip(levels).for_each(|(value, &level)| *value = level.into());
                let maps = states.run(graph, frame)?;
                *calls += 1;
                Ok((*calls > ahead).then_some(maps))
            }
        }
    }
}

fn too_many(spec: &LocalSpec) -> Error {
    Error::Shape {
        graph: spec.graph.clone(),
        tensor: "input `stack`".into(),
        found: format!("of {} frames", 1 + spec.offsets.len()),
        expected: format!("at most {MAX_FRAMES}"),
    }
}
