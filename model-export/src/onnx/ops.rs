//! The operators: one method each, with the shapes it takes and gives.
//!
//! Every method adds a node called `name` and returns its result. All of them fail with
//! [`Error::Shape`] when the inputs do not fit and [`Error::DuplicateName`] when `name` is taken.

use super::{Error, GraphBuilder, Value, Window, float, int, ints, shape_error};

impl GraphBuilder {
    /// Convolution of any rank: `x` `[n, c, ...]`, `weight` `[k, c / groups, kernel...]`, `bias`
    /// `[k]`; gives `[n, k, ...]`.
    ///
    /// # Errors
    /// See the module.
    pub fn conv(
        &mut self,
        name: &str,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        window: &Window,
    ) -> Result<Value, Error> {
        let (xs, ws) = (x.shape(), weight.shape());
        let fits = xs.len() >= 3
            && ws.len() == xs.len()
            && ws[2..] == window.kernel
            && window.groups > 0
            && ws[1] * window.groups == xs[1]
            && ws[0].is_multiple_of(window.groups)
            && bias.is_none_or(|bias| bias.shape() == [ws[0]]);
        if !fits {
            let groups = window.groups;
            let reason =
                format!("weight {ws:?} in {groups} groups and its bias do not fit input {xs:?}");
            return Err(shape_error(name, reason));
        }
        let size = window.output(name, &xs[2..])?;
        let shape = [&[xs[0], ws[0]], &size[..]].concat();
        let mut attributes = window.attributes();
        attributes.push(ints("dilations", window.dilation.iter().copied()));
        attributes.push(int("group", window.groups as i64));
        let inputs: Vec<_> = [x, weight].into_iter().chain(bias).collect();
        self.node("Conv", name, &inputs, attributes, &shape)
    }

    /// Largest value of each window; padding never wins.
    ///
    /// # Errors
    /// See the module.
    pub fn max_pool(&mut self, name: &str, x: &Value, window: &Window) -> Result<Value, Error> {
        self.pool("MaxPool", name, x, window)
    }

    /// Mean of each window, padding left out of the count.
    ///
    /// # Errors
    /// See the module.
    pub fn average_pool(&mut self, name: &str, x: &Value, window: &Window) -> Result<Value, Error> {
        self.pool("AveragePool", name, x, window)
    }

    fn pool(&mut self, op: &str, name: &str, x: &Value, w: &Window) -> Result<Value, Error> {
        if x.shape().len() < 3 || w.dilation.iter().any(|&d| d != 1) || w.groups != 1 {
            let reason = format!("input {:?} cannot be pooled by {w:?}", x.shape());
            return Err(shape_error(name, reason));
        }
        let size = w.output(name, &x.shape()[2..])?;
        let shape = [&x.shape()[..2], &size].concat();
        self.node(op, name, &[x], w.attributes(), &shape)
    }

    /// Mean over all spatial axes: `[n, c, ...]` to `[n, c]`.
    ///
    /// # Errors
    /// See the module.
    pub fn spatial_mean(&mut self, name: &str, x: &Value) -> Result<Value, Error> {
        let axes: Vec<_> = (2..x.shape().len()).collect();
        self.mean(name, x, &axes)
    }

    /// Mean over `axes`, which leave the shape.
    ///
    /// # Errors
    /// See the module.
    pub fn mean(&mut self, name: &str, x: &Value, axes: &[usize]) -> Result<Value, Error> {
        if axes.is_empty() || axes.iter().any(|&axis| axis >= x.shape().len()) {
            let reason = format!("no axes {axes:?} in input {:?}", x.shape());
            return Err(shape_error(name, reason));
        }
        let kept = x.shape().iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        let shape: Vec<_> = kept.map(|(_, &d)| d).collect();
        let attributes = vec![ints("axes", axes.iter().copied()), int("keepdims", 0)];
        self.node("ReduceMean", name, &[x], attributes, &shape)
    }

    /// `max(x, 0)`.
    ///
    /// # Errors
    /// See the module.
    pub fn relu(&mut self, name: &str, x: &Value) -> Result<Value, Error> {
        self.node("Relu", name, &[x], vec![], x.shape())
    }

    /// `min(max(x, 0), 6)`.
    ///
    /// # Errors
    /// See the module.
    pub fn relu6(&mut self, name: &str, x: &Value) -> Result<Value, Error> {
        let low = self.constant(&format!("{name}.min"), &[], &[0.0])?;
        let high = self.constant(&format!("{name}.max"), &[], &[6.0])?;
        self.node("Clip", name, &[x, &low, &high], vec![], x.shape())
    }

    /// `1 / (1 + exp(-x))`.
    ///
    /// # Errors
    /// See the module.
    pub fn sigmoid(&mut self, name: &str, x: &Value) -> Result<Value, Error> {
        self.node("Sigmoid", name, &[x], vec![], x.shape())
    }

    /// The error function, element by element.
    ///
    /// # Errors
    /// See the module.
    pub fn erf(&mut self, name: &str, x: &Value) -> Result<Value, Error> {
        self.node("Erf", name, &[x], vec![], x.shape())
    }

    /// Exact GELU, `x / 2 * (1 + erf(x / sqrt(2)))`, in its parts: opset 17 has no such operator.
    ///
    /// # Errors
    /// See the module.
    pub fn gelu(&mut self, name: &str, x: &Value) -> Result<Value, Error> {
        let ones = vec![1; x.shape().len()];
        let root = std::f32::consts::FRAC_1_SQRT_2;
        let root = self.constant(&format!("{name}.scale"), &ones, &[root])?;
        let one = self.constant(&format!("{name}.one"), &ones, &[1.0])?;
        let half = self.constant(&format!("{name}.half"), &ones, &[0.5])?;
        let y = self.mul(&format!("{name}/scaled"), x, &root)?;
        let y = self.erf(&format!("{name}/erf"), &y)?;
        let y = self.add(&format!("{name}/gate"), &y, &one)?;
        let y = self.mul(&format!("{name}/gated"), x, &y)?;
        self.mul(name, &y, &half)
    }

    /// Softmax along `axis`.
    ///
    /// # Errors
    /// See the module.
    pub fn softmax(&mut self, name: &str, x: &Value, axis: usize) -> Result<Value, Error> {
        if axis >= x.shape().len() {
            return Err(shape_error(name, format!("no axis {axis} in input {:?}", x.shape())));
        }
        self.node("Softmax", name, &[x], vec![int("axis", axis as i64)], x.shape())
    }

    /// Normalises the last axis to mean 0 and variance 1, then applies `scale` and `bias`, both
    /// `[last]`.
    ///
    /// # Errors
    /// See the module.
    pub fn layer_norm(
        &mut self,
        name: &str,
        x: &Value,
        scale: &Value,
        bias: &Value,
        epsilon: f32,
    ) -> Result<Value, Error> {
        let last = x.shape().last().copied().unwrap_or(0);
        if scale.shape() != [last] || bias.shape() != [last] {
            let (s, b) = (scale.shape(), bias.shape());
            let reason = format!("scale {s:?} and bias {b:?} do not fit input {:?}", x.shape());
            return Err(shape_error(name, reason));
        }
        let attributes = vec![int("axis", -1), float("epsilon", epsilon)];
        self.node("LayerNormalization", name, &[x, scale, bias], attributes, x.shape())
    }

    /// `a + b`, broadcast like NumPy.
    ///
    /// # Errors
    /// See the module.
    pub fn add(&mut self, name: &str, a: &Value, b: &Value) -> Result<Value, Error> {
        let shape = broadcast(name, a.shape(), b.shape())?;
        self.node("Add", name, &[a, b], vec![], &shape)
    }

    /// `a * b`, broadcast like NumPy.
    ///
    /// # Errors
    /// See the module.
    pub fn mul(&mut self, name: &str, a: &Value, b: &Value) -> Result<Value, Error> {
        let shape = broadcast(name, a.shape(), b.shape())?;
        self.node("Mul", name, &[a, b], vec![], &shape)
    }

    /// Matrix product of the last two axes, `[..., m, k]` by `[..., k, n]`; the others broadcast.
    ///
    /// # Errors
    /// See the module.
    pub fn matmul(&mut self, name: &str, a: &Value, b: &Value) -> Result<Value, Error> {
        let (&[ref outer_a @ .., m, k], &[ref outer_b @ .., k2, n]) = (a.shape(), b.shape()) else {
            return Err(shape_error(name, "a matrix product needs two matrices".into()));
        };
        if k != k2 {
            let reason = format!("{:?} cannot be multiplied by {:?}", a.shape(), b.shape());
            return Err(shape_error(name, reason));
        }
        let mut shape = broadcast(name, outer_a, outer_b)?;
        shape.extend([m, n]);
        self.node("MatMul", name, &[a, b], vec![], &shape)
    }

    /// Joins values along `axis`.
    ///
    /// # Errors
    /// See the module.
    pub fn concat(&mut self, name: &str, parts: &[&Value], axis: usize) -> Result<Value, Error> {
        let first = parts.first().map_or(&[][..], |part| part.shape());
        let mut shape = first.to_vec();
        let alike = |part: &&Value| {
            let mut axes = part.shape().iter().zip(first).enumerate();
            part.shape().len() == first.len() && axes.all(|(i, (a, b))| i == axis || a == b)
        };
        if axis >= first.len() || !parts.iter().all(alike) {
            let shapes: Vec<_> = parts.iter().map(|part| part.shape()).collect();
            return Err(shape_error(name, format!("{shapes:?} cannot be joined along {axis}")));
        }
        shape[axis] = parts.iter().map(|part| part.shape()[axis]).sum();
        self.node("Concat", name, parts, vec![int("axis", axis as i64)], &shape)
    }

    /// Indices `start..end` along `axis`.
    ///
    /// # Errors
    /// See the module.
    pub fn slice(
        &mut self,
        name: &str,
        x: &Value,
        axis: usize,
        range: std::ops::Range<usize>,
    ) -> Result<Value, Error> {
        let size = x.shape().get(axis).copied().unwrap_or(0);
        if range.is_empty() || range.end > size {
            let reason = format!("no {range:?} along axis {axis} of input {:?}", x.shape());
            return Err(shape_error(name, reason));
        }
        let starts = self.integers(&format!("{name}.start"), &[range.start as i64])?;
        let ends = self.integers(&format!("{name}.end"), &[range.end as i64])?;
        let axes = self.integers(&format!("{name}.axis"), &[axis as i64])?;
        let mut shape = x.shape().to_vec();
        shape[axis] = range.len();
        self.node("Slice", name, &[x, &starts, &ends, &axes], vec![], &shape)
    }

    /// The same values in row-major order under another shape.
    ///
    /// # Errors
    /// See the module.
    pub fn reshape(&mut self, name: &str, x: &Value, shape: &[usize]) -> Result<Value, Error> {
        if shape.iter().product::<usize>() != x.shape().iter().product::<usize>() {
            let reason = format!("{:?} cannot be reshaped to {shape:?}", x.shape());
            return Err(shape_error(name, reason));
        }
        let dims: Vec<_> = shape.iter().map(|&d| d as i64).collect();
        let dims = self.integers(&format!("{name}.shape"), &dims)?;
        self.node("Reshape", name, &[x, &dims], vec![], shape)
    }

    /// Axis `i` of the result is axis `order[i]` of `x`.
    ///
    /// # Errors
    /// See the module.
    pub fn transpose(&mut self, name: &str, x: &Value, order: &[usize]) -> Result<Value, Error> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x.shape().len()) {
            let reason = format!("{order:?} is no order of the axes of {:?}", x.shape());
            return Err(shape_error(name, reason));
        }
        let shape: Vec<_> = order.iter().map(|&axis| x.shape()[axis]).collect();
        self.node("Transpose", name, &[x], vec![ints("perm", order.iter().copied())], &shape)
    }

    /// Puts zeros before and after along each axis.
    ///
    /// # Errors
    /// See the module.
    pub fn pad(&mut self, name: &str, x: &Value, pads: &[(usize, usize)]) -> Result<Value, Error> {
        if pads.len() != x.shape().len() {
            let reason = format!("{} pads for the axes of {:?}", pads.len(), x.shape());
            return Err(shape_error(name, reason));
        }
        let sides = pads.iter().map(|p| p.0).chain(pads.iter().map(|p| p.1));
        let sides: Vec<_> = sides.map(|side| side as i64).collect();
        let sides = self.integers(&format!("{name}.pads"), &sides)?;
        let shape: Vec<_> = x.shape().iter().zip(pads).map(|(&d, p)| p.0 + d + p.1).collect();
        self.node("Pad", name, &[x, &sides], vec![], &shape)
    }
}

/// The shape of an element-by-element result of `a` and `b`, aligned at their ends.
fn broadcast(node: &str, a: &[usize], b: &[usize]) -> Result<Vec<usize>, Error> {
    let rank = a.len().max(b.len());
    let at =
        |shape: &[usize], i: usize| (i + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let axes = (0..rank).map(|i| match (at(a, i), at(b, i)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    });
    axes.collect::<Option<_>>()
        .ok_or_else(|| shape_error(node, format!("{a:?} does not broadcast with {b:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_the_operators() {
        let mut graph = GraphBuilder::new("g");
        let x = graph.input("x", &[2, 3, 4]).unwrap();
        let y = graph.transpose("t", &x, &[0, 2, 1]).unwrap();
        assert_eq!(y.shape(), [2, 4, 3]);
        assert_eq!(graph.matmul("m", &x, &y).unwrap().shape(), [2, 3, 3]);
        assert_eq!(graph.concat("c", &[&x, &x], 1).unwrap().shape(), [2, 6, 4]);
        assert_eq!(graph.pad("p", &x, &[(0, 0), (1, 2), (0, 1)]).unwrap().shape(), [2, 6, 5]);
        assert_eq!(graph.mean("a", &x, &[0, 2]).unwrap().shape(), [3]);
        assert_eq!(graph.reshape("r", &x, &[6, 4]).unwrap().shape(), [6, 4]);
        assert_eq!(graph.slice("l", &x, 1, 1..3).unwrap().shape(), [2, 2, 4]);
        let row = graph.constant("row", &[4], &[0.0; 4]).unwrap();
        assert_eq!(graph.add("s", &x, &row).unwrap().shape(), [2, 3, 4]);
    }

    #[test]
    fn inputs_that_do_not_fit_are_refused() {
        let mut graph = GraphBuilder::new("g");
        let x = graph.input("x", &[2, 3, 4]).unwrap();
        let row = graph.constant("row", &[3], &[0.0; 3]).unwrap();
        assert!(graph.add("s", &x, &row).is_err());
        assert!(graph.matmul("m", &x, &x).is_err());
        assert!(graph.matmul("m", &x, &row).is_err());
        assert!(graph.concat("c", &[&x, &row], 0).is_err());
        assert!(graph.concat("c", &[], 0).is_err());
        assert!(graph.reshape("r", &x, &[5, 5]).is_err());
        assert!(graph.slice("l", &x, 1, 1..4).is_err());
        assert!(graph.slice("l", &x, 1, 2..2).is_err());
        assert!(graph.slice("l", &x, 3, 0..1).is_err());
        assert!(graph.transpose("t", &x, &[0, 0, 1]).is_err());
        assert!(graph.mean("a", &x, &[3]).is_err());
        assert!(graph.softmax("f", &x, 3).is_err());
        assert!(graph.layer_norm("n", &x, &row, &row, 1e-5).is_err());
        assert!(graph.pad("p", &x, &[(1, 1)]).is_err());
    }
}
