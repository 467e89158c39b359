//! The local detector of a stream.

use model_bundle::manifest::{InputSpec, LocalSpec};

use crate::luma::LumaRing;
use crate::maps::MapReader;
use crate::stack::{self, MAX_FRAMES};
use crate::track::Track;
use crate::{Error, Graph, Region, ScoreMap};

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
    spec: LocalSpec,
    stack: Vec<f32>,
    outputs: Vec<Vec<f32>>,
    maps: MapReader,
    /// Width and height of a map.
    cells: (usize, usize),
    /// The newest map for an outlet; empty until one asks.
    strongest: Vec<f32>,
    hits: Vec<Hit>,
    pub(crate) track: Track,
}

impl LocalStage {
    pub(crate) fn new(spec: &LocalSpec, input: &InputSpec, track: Track, capacity: usize) -> Self {
        let (width, height) = (input.width as usize, input.height as usize);
        let stride = spec.map_stride as usize;
        let cells = (width / stride, height / stride);
        let nowhere = Region { x: 0.0, y: 0.0, width: 0.0, height: 0.0 };
        Self {
            spec: spec.clone(),
            stack: vec![0.0; stack::len(spec, width, height)],
            outputs: vec![Vec::new()],
            maps: MapReader::new(cells.0, cells.1, spec.pool as usize),
            cells,
            strongest: Vec::new(),
            hits: vec![Hit { kind: 0, region: nowhere }; capacity],
            track,
        }
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
        match lumas.newest().checked_sub(lookahead(&self.spec)) {
            Some(_) => self.run_next(lumas, graph, outlet),
            None => Ok(()),
        }
    }

    /// Takes up the frames that waited for frames after the stream's end.
    pub(crate) fn finish(
        &mut self,
        lumas: &LumaRing,
        graph: &mut dyn Graph,
        outlet: &mut MapOutlet<'_>,
    ) -> Result<(), Error> {
        while self.track.known() <= lumas.newest() {
            self.run_next(lumas, graph, outlet)?;
        }
        Ok(())
    }

    /// What the maps said of a frame that is still held.
    pub(crate) fn hit(&self, frame: u64) -> Hit {
        self.hits[(frame % self.hits.len() as u64) as usize]
    }

    fn run_next(
        &mut self,
        lumas: &LumaRing,
        graph: &mut dyn Graph,
        outlet: &mut MapOutlet<'_>,
    ) -> Result<(), Error> {
        let centre = self.track.known();
        let mut frames: heapless::Vec<&[u8], MAX_FRAMES> = heapless::Vec::new();
        for offset in std::iter::once(0).chain(self.spec.offsets.iter().copied()) {
            let frame = centre.saturating_add_signed(offset.into()).min(lumas.newest());
            frames.push(lumas.get(frame)).map_err(|_| too_many(&self.spec))?;
        }
        stack::fill(&self.spec, &frames, &mut self.stack);
        graph.run(&[&self.stack], &mut self.outputs)?;
        let peak = self.maps.peak(&self.outputs[0]);
        if let Some(peak) = &peak {
            let slot = (centre % self.hits.len() as u64) as usize;
            self.hits[slot] = Hit { kind: peak.kind as u16, region: self.maps.region(peak) };
        }
        self.track.push(peak.map_or(f64::NAN, |peak| peak.value.into()))?;
        if let Some(outlet) = outlet {
            self.maps.strongest(&self.outputs[0], &mut self.strongest);
            for value in &mut self.strongest {
                *value = ((f64::from(*value) - self.spec.z.mean) / self.spec.z.std) as f32;
            }
            let (width, height) = self.cells;
            outlet(&ScoreMap { frame: centre, width, height, z: &self.strongest });
        }
        Ok(())
    }
}

/// Frames ahead that the network looks at.
pub(crate) fn lookahead(spec: &LocalSpec) -> u64 {
    spec.offsets.iter().copied().max().unwrap_or(0).max(0) as u64
}

/// Frames back that the network looks at.
pub(crate) fn lookback(spec: &LocalSpec) -> u64 {
    spec.offsets.iter().copied().min().unwrap_or(0).min(0).unsigned_abs().into()
}

fn too_many(spec: &LocalSpec) -> Error {
    Error::Shape {
        graph: spec.graph.clone(),
        tensor: "input `stack`".into(),
        found: format!("of {} frames", 1 + spec.offsets.len()),
        expected: format!("at most {MAX_FRAMES}"),
    }
}
