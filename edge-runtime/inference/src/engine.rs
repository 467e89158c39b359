//! The loaded detectors of one model on one backend.

use model_bundle::Contents;
use model_bundle::detectors::{Port, graph_roles};
use model_bundle::manifest::{Detectors, GoldenEntry, GraphEntry, SemanticSpec};
use video::Frame;

use crate::aside::{Aside, Wake};
use crate::golden::{self, describe};
use crate::semantic::Place;
use crate::stream::{Outlets, Stream, latency, slack};
use crate::{Backend, Error, FrameScore, Graph, RawScores, ScoreMap, TensorInfo};

/// The loaded detectors of one model on one backend; shared by all streams of a process, which take
/// turns.
pub struct Engine {
    detectors: Detectors,
    graphs: Graphs,
}

/// The graphs by what they are for.
pub(crate) struct Graphs {
    pub(crate) local: Option<Box<dyn Graph>>,
    /// Backbone and head.
    pub(crate) semantic: Option<Place>,
}

impl Engine {
    /// Loads the graphs of a bundle and proves with its golden entries for this backend that they
    /// compute here what they computed on the host. A GPU gets the fp32 graphs, with their golden entries:
    /// a bundle's INT8 graphs are in the form that ONNX Runtime has processor kernels for.
    ///
    /// # Errors
    /// [`Error::NoGraph`] if the bundle has no graphs for this backend, [`Error::Load`],
    /// [`Error::Shape`], [`Error::Golden`].
    pub fn load(bundle: &dyn Contents, backend: &dyn Backend) -> Result<Self, Error> {
        if backend.provider().is_gpu() {
            return Self::load_fp32(bundle, backend);
        }
        Self::load_graphs(bundle, backend, |entry| entry.backend == backend.kind().name())
    }

    /// As [`Self::load`], but on the bundle's fp32 graphs, those for another backend if need be: to
    /// measure what INT8 costs.
    ///
    /// # Errors
    /// As [`Self::load`]; [`Error::NoGraph`] if a graph is there as INT8 only.
    pub fn load_fp32(bundle: &dyn Contents, backend: &dyn Backend) -> Result<Self, Error> {
        Self::load_graphs(bundle, backend, |entry| entry.precision == "fp32")
    }

    fn load_graphs(
        bundle: &dyn Contents,
        backend: &dyn Backend,
        wanted: impl Fn(&GraphEntry) -> bool,
    ) -> Result<Self, Error> {
        let engine = match Self::prove_graphs(bundle, backend, &wanted) {
            // Made of what an earlier start kept, and that may be what is wrong.
            Err(e) if backend.forget(&e.to_string()) => {
                Self::prove_graphs(bundle, backend, &wanted)
            }
            other => other,
        }?;
        backend.keep();
        Ok(engine)
    }

    fn prove_graphs(
        bundle: &dyn Contents,
        backend: &dyn Backend,
        wanted: &impl Fn(&GraphEntry) -> bool,
    ) -> Result<Self, Error> {
        let manifest = bundle.manifest();
        let kind = backend.kind();
        let mut graphs = Vec::new();
        for role in graph_roles(&manifest.detectors) {
            let name = role.name.as_str();
            let entries = manifest.graphs.iter().filter(|e| e.name == name && wanted(e));
            // The backend's own first.
            let entry = entries.min_by_key(|e| e.backend != kind.name());
            let entry = entry.ok_or_else(|| Error::NoGraph {
                graph: name.into(),
                for_backend: format!(" for backend {kind}"),
            })?;
            let onnx = bundle.blob(&entry.blob).map_err(Error::Bundle)?;
            let mut graph = if seldom(&manifest.detectors, name) {
                backend.load_seldom(name, &onnx)?
            } else {
                backend.load(name, &onnx)?
            };
            // Before it runs: what a graph computes in may be as large again.
            drop(onnx);
            let own = |e: &&GoldenEntry| e.graph == name && e.backend == entry.backend;
            for golden in manifest.golden.iter().filter(own) {
                golden::check(bundle, golden, graph.as_mut(), kind)?;
            }
            graphs.push((name.to_owned(), graph));
        }
        Self::from_graphs(manifest.detectors.clone(), graphs)
    }

    /// From graphs that are already loaded, by name: for the host, before there is a bundle.
    ///
    /// # Errors
    /// [`Error::Detectors`] if the description is not valid, [`Error::NoGraph`], [`Error::Shape`]
    /// if a graph does not have the inputs and outputs that the description says.
    pub fn from_graphs(
        detectors: Detectors,
        mut graphs: Vec<(String, Box<dyn Graph>)>,
    ) -> Result<Self, Error> {
        model_bundle::detectors::validate(&detectors)?;
        let mut loaded = Vec::new();
        for role in graph_roles(&detectors) {
            let missing =
                || Error::NoGraph { graph: role.name.clone(), for_backend: String::new() };
            let at = graphs.iter().position(|(n, _)| *n == role.name).ok_or_else(missing)?;
            let graph = graphs.swap_remove(at).1;
            check(&role.name, "input", graph.inputs(), &role.inputs)?;
            check(&role.name, "output", graph.outputs(), &role.outputs)?;
            loaded.push(graph);
        }
        // In the order of the roles: local, backbone, head.
        let mut loaded = loaded.into_iter();
        let local = detectors.local.as_ref().and_then(|_| loaded.next());
        let semantic = detectors.semantic.as_ref().and_then(|_| loaded.next().zip(loaded.next()));
        let semantic = semantic.map(|(backbone, head)| Place::Here(backbone, head));
        Ok(Self { detectors, graphs: Graphs { local, semantic } })
    }

    /// Computes snippets in a thread of their own from now on, if the backbone takes them as a whole: such
    /// a call takes as long as many frames. The thread calls `begin` first. The scores are the same; frames
    /// that are pushed wait as before unless [`Stream::is_ready`] is asked, and `wake` is called when there
    /// is something to [collect](Self::collect). Called again it changes `wake` alone.
    ///
    /// # Errors
    /// If the system has no thread for it; snippets are then computed as before.
    pub fn compute_aside(&mut self, begin: fn(), wake: Wake) -> std::io::Result<()> {
        let whole = self.detectors.semantic.as_ref().is_some_and(|s| s.snippet.stream.is_none());
        if whole && matches!(self.graphs.semantic, Some(Place::Here(..))) {
            let aside = Aside::start(begin)?;
            self.graphs.semantic = match self.graphs.semantic.take() {
                Some(Place::Here(backbone, head)) => {
                    Some(Place::Aside(aside.take((backbone, head))))
                }
                other => other,
            };
        }
        if let Some(Place::Aside(aside)) = &self.graphs.semantic {
            aside.wake_with(wake);
        }
        Ok(())
    }

    /// Model frames by which scores of a [live](Stream::go_live) stream may come later than
    /// [`Self::latency`] says while snippets are computed aside.
    pub fn slack(&self) -> u64 {
        match &self.graphs.semantic {
            Some(Place::Aside(_)) => slack(&self.detectors),
            _ => 0,
        }
    }

    /// Takes up what has been computed aside for a stream, if anything; `emit` gets the frames whose score
    /// has become known.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn collect(
        &mut self,
        stream: &mut Stream,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error> {
        let mut outlets = Outlets { scores: emit, raw: &mut |_| {}, maps: None };
        stream.collect(&self.detectors, &mut self.graphs, &mut outlets, false)
    }

    /// Tells that no frame comes any more, and begins what is left to compute aside. When the stream is
    /// [ready](Stream::is_ready), [`Self::finish`] does not wait.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn end(&mut self, stream: &mut Stream) -> Result<(), Error> {
        stream.end(&mut self.graphs)
    }

    /// The description of the detectors.
    pub fn detectors(&self) -> &Detectors {
        &self.detectors
    }

    /// Model frames from a frame's arrival to its score, at most: the smoothing's `lag`, or more
    /// where a detector needs to see further (a snippet is scored when it is complete, and the
    /// smoothing's radius comes after that).
    pub fn latency(&self) -> u64 {
        latency(&self.detectors)
    }

    /// Begins a video of `source_rate` frames per second. A rate that is not known may be given as
    /// 0: every frame is then a model frame, unless frames have times ([`Stream::at`]).
    pub fn stream(&self, source_rate: f64) -> Stream {
        Stream::new(&self.detectors, source_rate)
    }

    /// Takes up the next source frame, of any size; `emit` gets the frames whose score has become
    /// known.
    ///
    /// # Errors
    /// [`Error::Run`], [`Error::NotFinite`], [`Error::Frame`] for an empty frame,
    /// [`Error::Finished`]. The stream cannot go on after an error.
    pub fn push(
        &mut self,
        stream: &mut Stream,
        frame: &Frame,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error> {
        self.push_with_raw(stream, frame, emit, &mut |_| {})
    }

    /// Ends the video; `emit` gets the frames that were still waiting.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn finish(
        &mut self,
        stream: &mut Stream,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error> {
        self.finish_with_raw(stream, emit, &mut |_| {})
    }

    /// As [`Engine::push`]; `raw` also gets the raw values of each model frame, once and in order,
    /// as soon as all its detectors know theirs. For calibration.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn push_with_raw(
        &mut self,
        stream: &mut Stream,
        frame: &Frame,
        emit: &mut dyn FnMut(&FrameScore),
        raw: &mut dyn FnMut(&RawScores),
    ) -> Result<(), Error> {
        let mut outlets = Outlets { scores: emit, raw, maps: None };
        stream.push(&self.detectors, &mut self.graphs, frame, &mut outlets)
    }

    /// As [`Engine::finish`], with the raw values.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn finish_with_raw(
        &mut self,
        stream: &mut Stream,
        emit: &mut dyn FnMut(&FrameScore),
        raw: &mut dyn FnMut(&RawScores),
    ) -> Result<(), Error> {
        let mut outlets = Outlets { scores: emit, raw, maps: None };
        stream.finish(&self.detectors, &mut self.graphs, &mut outlets)
    }

    /// As [`Engine::push`]; `maps` also gets the local detector's map of each model frame, once and
    /// in order, as soon as it is computed. Nothing comes if the model has no local detector. For
    /// evaluation; it costs a second pooling of the maps.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn push_with_maps(
        &mut self,
        stream: &mut Stream,
        frame: &Frame,
        emit: &mut dyn FnMut(&FrameScore),
        maps: &mut dyn FnMut(&ScoreMap<'_>),
    ) -> Result<(), Error> {
        let mut outlets = Outlets { scores: emit, raw: &mut |_| {}, maps: Some(maps) };
        stream.push(&self.detectors, &mut self.graphs, frame, &mut outlets)
    }

    /// As [`Engine::finish`], with the maps of the frames that were still waiting.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn finish_with_maps(
        &mut self,
        stream: &mut Stream,
        emit: &mut dyn FnMut(&FrameScore),
        maps: &mut dyn FnMut(&ScoreMap<'_>),
    ) -> Result<(), Error> {
        let mut outlets = Outlets { scores: emit, raw: &mut |_| {}, maps: Some(maps) };
        stream.finish(&self.detectors, &mut self.graphs, &mut outlets)
    }
}

/// Whether a graph runs for each snippet only and not for each frame.
fn seldom(detectors: &Detectors, name: &str) -> bool {
    let each_frame =
        |semantic: &SemanticSpec| semantic.backbone == name && semantic.snippet.stream.is_some();
    detectors.local.as_ref().is_none_or(|local| local.graph != name)
        && !detectors.semantic.as_ref().is_some_and(each_frame)
}

/// Checks a graph's inputs or outputs: the shape of the only one, names and shapes of several.
fn check(graph: &str, what: &str, found: &[TensorInfo], wanted: &[Port]) -> Result<(), Error> {
    let fits = found.len() == wanted.len()
        && found.iter().zip(wanted).all(|(info, (name, shape))| {
            (wanted.len() == 1 || info.name == *name) && info.shape.iter().eq(&sizes(shape))
        });
    if fits {
        return Ok(());
    }
    let expected = match wanted {
        [(_, shape)] => format!("{shape:?}"),
        wanted => describe(
            &wanted
                .iter()
                .map(|(name, shape)| TensorInfo { name: name.clone(), shape: sizes(shape) })
                .collect::<Vec<_>>(),
        ),
    };
    Err(Error::Shape { graph: graph.into(), tensor: what.into(), found: describe(found), expected })
}

fn sizes(shape: &[u64]) -> Vec<usize> {
    shape.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect()
}
