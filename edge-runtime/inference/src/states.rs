//! Running a streaming graph: one call a frame, its states handed from call to call.

use model_bundle::manifest::{InitialState, StreamSpec};
use model_bundle::states::MAX_STATES;

use crate::golden::describe;
use crate::{Error, Graph, TensorInfo};

/// The states of one stream on a streaming graph. A new stream begins with new ones.
pub struct States {
    spec: StreamSpec,
    /// The states for the next call; empty before the first.
    values: Vec<Vec<f32>>,
    /// What the last call gave: the output, then the states that were taken by it.
    outputs: Vec<Vec<f32>>,
}

impl States {
    /// The states of a stream that has not begun.
    pub fn new(spec: &StreamSpec) -> Self {
        Self { spec: spec.clone(), values: Vec::new(), outputs: Vec::new() }
    }

    /// The states for the next call, in their order; none before the first call.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// The first output of the last call; empty before the first.
    pub(crate) fn newest(&self) -> &[f32] {
        self.outputs.first().map_or(&[], Vec::as_slice)
    }

    /// Calls the graph with the stream's next frame; its first output.
    ///
    /// # Errors
    /// [`Error::Shape`] if the graph's inputs and outputs are not the frame and the states that it was
    /// described with, and those of [`Graph::run`].
    pub fn run(&mut self, graph: &mut dyn Graph, frame: &[f32]) -> Result<&[f32], Error> {
        if self.outputs.is_empty() {
            self.check(graph)?;
            self.begin(frame);
        }
        let mut inputs: heapless::Vec<&[f32], { 1 + MAX_STATES }> = heapless::Vec::new();
        for input in std::iter::once(frame).chain(self.values.iter().map(Vec::as_slice)) {
            // `check` saw that there are no more than this.
            let _ = inputs.push(input);
        }
        graph.run(&inputs, &mut self.outputs)?;
        drop(inputs);
        for (state, next) in self.values.iter_mut().zip(&mut self.outputs[1..]) {
            std::mem::swap(state, next);
        }
        Ok(&self.outputs[0])
    }

    /// Sets the states to what they are before a stream's first frame.
    fn begin(&mut self, frame: &[f32]) {
        self.values.clear();
        for state in &self.spec.states {
            let length = state.shape.iter().map(|&size| size as usize).product();
            let mut values = vec![0.0; length];
            match state.initial {
                InitialState::Zero => {}
                InitialState::FirstFrame => {
                    for copy in values.chunks_exact_mut(frame.len().max(1)) {
                        copy.copy_from_slice(frame);
                    }
                }
            }
            self.values.push(values);
        }
        self.outputs = vec![Vec::new(); 1 + self.values.len()];
    }

    /// Whether the graph has the states, by name, shape and order.
    fn check(&self, graph: &dyn Graph) -> Result<(), Error> {
        let states = &self.spec.states;
        let shape = |shape: &[u32]| shape.iter().map(|&size| size as usize).collect();
        let wanted =
            |name: &String, sizes: &[u32]| TensorInfo { name: name.clone(), shape: shape(sizes) };
        let inputs: Vec<_> = states.iter().map(|s| wanted(&s.input, &s.shape)).collect();
        let outputs: Vec<_> = states.iter().map(|s| wanted(&s.output, &s.shape)).collect();
        for (what, found, expected) in
            [("input", graph.inputs(), inputs), ("output", graph.outputs(), outputs)]
        {
            let fits = found.len() <= 1 + MAX_STATES
                && found.split_first().is_some_and(|(_, states)| states == expected);
            if !fits {
                return Err(Error::Shape {
                    graph: "of a stream".into(),
                    tensor: format!("{what}s"),
                    found: describe(found),
                    expected: format!("one and the states {}", describe(&expected)),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model_bundle::manifest::StateSpec;

    /// Gives the sum of frame and states, and the frame as both states' next value.
    struct Sum {
        ports: [Vec<TensorInfo>; 2],
    }

    impl Sum {
        fn new(names: [[&str; 3]; 2]) -> Self {
            let info = |name: &str| TensorInfo { name: name.into(), shape: vec![1, 2] };
            Self { ports: names.map(|names| names.map(info).into()) }
        }
    }

    impl Graph for Sum {
        fn inputs(&self) -> &[TensorInfo] {
            &self.ports[0]
        }
        fn outputs(&self) -> &[TensorInfo] {
            &self.ports[1]
        }
        fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Error> {
            outputs[0] = (0..2).map(|i| inputs.iter().map(|x| x[i]).sum()).collect();
            outputs[1] = inputs[0].to_vec();
            outputs[2] = inputs[1].to_vec();
            Ok(())
        }
    }

    fn spec(initial: InitialState) -> StreamSpec {
        let state = |input: &str, output: &str, initial| StateSpec {
            input: input.into(),
            output: output.into(),
            shape: vec![1, 2],
            initial,
        };
        StreamSpec { states: vec![state("a", "a2", initial), state("b", "b2", InitialState::Zero)] }
    }

    #[test]
    fn states_go_from_call_to_call() {
        let mut graph = Sum::new([["x", "a", "b"], ["y", "a2", "b2"]]);
        let mut states = States::new(&spec(InitialState::Zero));
        assert!(states.values().is_empty());
        let mut run = |frame: [f32; 2]| states.run(&mut graph, &frame).unwrap().to_vec();
        assert_eq!(run([1.0, 10.0]), [1.0, 10.0]);
        assert_eq!(run([2.0, 20.0]), [3.0, 30.0]);
        assert_eq!(run([4.0, 40.0]), [7.0, 70.0]);
        assert_eq!(run([0.0, 0.0]), [6.0, 60.0]);
        assert_eq!(states.values(), [[0.0, 0.0], [4.0, 40.0]]);
        let mut filled = States::new(&spec(InitialState::FirstFrame));
        assert_eq!(filled.run(&mut graph, &[1.0, 10.0]).unwrap(), [2.0, 20.0]);
    }

    #[test]
    fn a_graph_with_other_states_is_refused() {
        for names in [[["x", "b", "a"], ["y", "a2", "b2"]], [["x", "a", "b"], ["y", "a2", "c"]]] {
            let mut states = States::new(&spec(InitialState::Zero));
            let text = states.run(&mut Sum::new(names), &[0.0; 2]).unwrap_err().to_string();
            assert!(text.contains("`a2`") || text.contains("`b`"), "{text}");
        }
    }
}
