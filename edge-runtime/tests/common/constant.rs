//! A graph that says always the same.

use std::time::Duration;

use inference::{Error, Graph, TensorInfo};

/// A graph of one input and one output whose output is always one value, after some time.
pub struct Constant {
    inputs: [TensorInfo; 1],
    outputs: [TensorInfo; 1],
    value: f32,
    time: Duration,
}

impl Constant {
    pub fn boxed(input: &[usize], output: &[usize], value: f32, time: Duration) -> Box<dyn Graph> {
        let info =
            |name: &str, shape: &[usize]| [TensorInfo { name: name.into(), shape: shape.to_vec() }];
        Box::new(Self { inputs: info("in", input), outputs: info("out", output), value, time })
    }
}

impl Graph for Constant {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, _: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Error> {
        if !self.time.is_zero() {
            std::thread::sleep(self.time);
        }
        let size = self.outputs[0].shape.iter().product();
        outputs[0].clear();
        outputs[0].resize(size, self.value);
        Ok(())
    }
}
