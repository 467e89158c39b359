//! The UR-DMU head in evaluation: scores of a window of snippet features.
//!
//! Zhou, Yu and Yang, "Dual Memory Units with Uncertainty Regulation for Weakly Supervised Video
//! Anomaly Detection", AAAI 2023 (arXiv 2302.05160). Tensor names are those of the authors' public
//! PyTorch code, so that its checkpoints load.

use super::Error;
use crate::{
    onnx::{GraphBuilder, ModelProto, Value, Window},
    weights::Weights,
};

/// Attention heads of each layer in the published network.
pub const HEADS: usize = 4;
/// Epsilon of PyTorch's layer norms.
const EPSILON: f32 = 1e-5;

/// What is not in the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Time series scored side by side, each on its own: cells of the picture, or 1.
    pub cells: usize,
    /// Snippets scored together.
    pub window: usize,
    /// Attention heads of each layer.
    pub heads: usize,
}

impl Config {
    /// The published network's [`HEADS`] over a window of snippets.
    pub fn new(window: usize) -> Self {
        Self { cells: 1, window, heads: HEADS }
    }
}

/// Builds the graph: input `features` `[cells, window, d]`, output `scores` `[cells, window]` in
/// [0, 1].
/// `d`, the width, the number of layers and that of memory slots are those of the weights.
///
/// # Errors
/// [`Error::Weights`] names the tensor that is missing or misshapen, [`Error::Config`] if the cells,
/// the window or the heads are none.
pub fn build(weights: &Weights, config: &Config) -> Result<ModelProto, Error> {
    let Config { cells, window, heads } = *config;
    if [cells, window, heads].contains(&0) {
        let reason = format!(
            "{cells} cells, a window of {window} snippets and {heads} heads must not be empty"
        );
        return Err(Error::Config { graph: "head", reason });
    }
    let &[width, inputs, kernel] = &shape::<3>(weights, "embedding.conv_1.0.weight")?;
    let mut net = Net { graph: GraphBuilder::new("head"), weights };
    let x = net.graph.input("features", &[cells, window, inputs])?;
    let mut x = net.embedding(&x, width, kernel)?; // [cells, window, width]
    let mut layer = 0;
    while weights.get(&format!("selfatt.layers.{layer}.0.fn.to_qkv.weight")).is_some() {
        let attention = net.attention(layer, heads, &x)?;
        x = net.graph.add(&format!("selfatt.layers.{layer}.0/sum"), &x, &attention)?;
        let forward = net.feed_forward(layer, &x)?;
        x = net.graph.add(&format!("selfatt.layers.{layer}.1/sum"), &x, &forward)?;
        layer += 1;
    }
    let abnormal = net.memory("Amemory", &x)?;
    let normal = net.memory("Nmemory", &x)?;
    let both = net.graph.add("memory/sum", &abnormal, &normal)?;
    // mu(a) + mu(n) = W (a + n) + 2 b
    let mean = net.linear("encoder_mu.0", &both, width, 2.0)?;
    let x = net.graph.concat("cls_head/concat", &[&x, &mean], 2)?; // [cells, window, 2 width]
    let &[hidden, _] = &shape::<2>(weights, "cls_head.mlp.0.weight")?;
    let x = net.linear("cls_head.mlp.0", &x, hidden, 1.0)?;
    let x = net.graph.relu("cls_head.mlp.1", &x)?;
    let x = net.linear("cls_head.mlp.2", &x, 1, 1.0)?; // [cells, window, 1]
    let x = net.graph.sigmoid("cls_head.mlp.3", &x)?;
    let scores = net.graph.reshape("cls_head/scores", &x, &[cells, window])?;
    Ok(net.graph.finish(&[(&scores, "scores")])?)
}

/// Weights of the local branch of the attention, `[window, window]`: `exp(-|i - j| / e)`, each
/// column divided by its sum.
///
/// The paper speaks of rows; the authors' code divides by the sums along the other axis, and their
/// checkpoints expect that.
pub fn local_attention(window: usize) -> Vec<f32> {
    let near = |i: usize, j: usize| (-(i.abs_diff(j) as f64) / std::f64::consts::E).exp();
    let sums: Vec<f64> = (0..window).map(|j| (0..window).map(|i| near(i, j)).sum()).collect();
    let rows = (0..window).flat_map(|i| (0..window).map(move |j| (i, j)));
    rows.map(|(i, j)| (near(i, j) / sums[j]) as f32).collect()
}

struct Net<'a> {
    graph: GraphBuilder,
    weights: &'a Weights,
}

impl Net<'_> {
    /// Convolution over time and ReLU: `[cells, window, d]` to `[cells, window, width]`.
    fn embedding(&mut self, x: &Value, width: usize, kernel: usize) -> Result<Value, Error> {
        let name = "embedding.conv_1.0";
        let shape = [width, x.shape()[2], kernel];
        let weight = self.weights.tensor(&format!("{name}.weight"), &shape)?;
        let weight = self.graph.constant(&format!("{name}.weight"), &shape, weight)?;
        let bias = self.weights.tensor(&format!("{name}.bias"), &[width])?;
        let bias = self.graph.constant(&format!("{name}.bias"), &[width], bias)?;
        let x = self.graph.transpose("embedding/channels_first", x, &[0, 2, 1])?;
        let window = Window::new(&[kernel]).padded(kernel / 2);
        let x = self.graph.conv(&format!("{name}/conv"), &x, &weight, Some(&bias), &window)?;
        let x = self.graph.relu("embedding.conv_1.1", &x)?;
        Ok(self.graph.transpose("embedding/channels_last", &x, &[0, 2, 1])?)
    }

    /// Pre-norm attention with a global branch (softmax) and a local one (distance).
    fn attention(&mut self, layer: usize, heads: usize, x: &Value) -> Result<Value, Error> {
        let name = format!("selfatt.layers.{layer}.0");
        let &[cells, window, width] = x.shape() else {
            unreachable!("the embedding has three axes")
        };
        let qkvt_name = format!("{name}.fn.to_qkv.weight");
        let &[rows, _] = &shape::<2>(self.weights, &qkvt_name)?;
        let per_branch = rows / 4;
        let size = per_branch / heads;
        let qkvt = self.weights.tensor(&qkvt_name, &[4 * heads * size, width])?;
        let scale = 1.0 / (size as f32).sqrt();

        let x = self.norm(&format!("{name}.norm"), x)?;
        // One projection for each of the four; q has the scale in its weights.
        let mut branches = Vec::new();
        let turns = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3], [0, 2, 1, 3]];
        for (i, (branch, turn)) in ["q", "k", "v", "t"].into_iter().zip(turns).enumerate() {
            let scale = if branch == "q" { scale } else { 1.0 };
            let block = &qkvt[i * per_branch * width..(i + 1) * per_branch * width];
            let weight = turned(block, per_branch, width, scale);
            let to = format!("{name}.fn/to_{branch}");
            let weight =
                self.graph.constant(&format!("{to}.weight"), &[width, per_branch], &weight)?;
            let y = self.graph.matmul(&to, &x, &weight)?;
            let y =
                self.graph.reshape(&format!("{to}/heads"), &y, &[cells, window, heads, size])?;
            branches.push(self.graph.transpose(&format!("{name}.fn/{branch}"), &y, &turn)?);
        }
        let [q, k, v, t] = &branches[..] else { unreachable!("four branches were made") };
        let dots = self.graph.matmul(&format!("{name}.fn/dots"), q, k)?; // [cells, heads, window, window]
        let far = self.graph.softmax(&format!("{name}.fn/attend"), &dots, 3)?;
        let far = self.graph.matmul(&format!("{name}.fn/global"), &far, v)?; // [cells, heads, window, size]
        let near = format!("{name}.fn/distance");
        let near = self.graph.constant(&near, &[1, 1, window, window], &local_attention(window))?;
        let near = self.graph.matmul(&format!("{name}.fn/local"), &near, t)?;
        let both = self.graph.concat(&format!("{name}.fn/concat"), &[&far, &near], 3)?;
        let both = self.graph.transpose(&format!("{name}.fn/joined"), &both, &[0, 2, 1, 3])?;
        let shape = [cells, window, 2 * heads * size];
        let both = self.graph.reshape(&format!("{name}.fn/out"), &both, &shape)?;
        self.linear(&format!("{name}.fn.to_out.0"), &both, width, 1.0)
    }

    /// Pre-norm feed-forward layer with an exact GELU.
    fn feed_forward(&mut self, layer: usize, x: &Value) -> Result<Value, Error> {
        let name = format!("selfatt.layers.{layer}.1");
        let width = x.shape()[2];
        let first = format!("{name}.fn.net.0");
        let &[hidden, _] = &shape::<2>(self.weights, &format!("{first}.weight"))?;
        let x = self.norm(&format!("{name}.norm"), x)?;
        let x = self.linear(&first, &x, hidden, 1.0)?;
        let x = self.graph.gelu(&format!("{name}.fn.net.1"), &x)?;
        self.linear(&format!("{name}.fn.net.3"), &x, width, 1.0)
    }

    /// What a memory unit gives back for `x`: `sigmoid(x Mᵀ / sqrt(width)) M`.
    fn memory(&mut self, name: &str, x: &Value) -> Result<Value, Error> {
        let block = format!("{name}.memory_block");
        let width = x.shape()[2];
        let &[slots, _] = &shape::<2>(self.weights, &block)?;
        let memory = self.weights.tensor(&block, &[slots, width])?;
        let scale = 1.0 / (width as f32).sqrt();
        let keys = turned(memory, slots, width, scale);
        let keys = self.graph.constant(&format!("{name}.keys"), &[width, slots], &keys)?;
        let values = self.graph.constant(&block, &[slots, width], memory)?;
        let read = self.graph.matmul(&format!("{name}/dots"), x, &keys)?; // [cells, window, slots]
        let read = self.graph.sigmoid(&format!("{name}/sigmoid"), &read)?;
        Ok(self.graph.matmul(&format!("{name}/augment"), &read, &values)?)
    }

    fn norm(&mut self, name: &str, x: &Value) -> Result<Value, Error> {
        let width = x.shape()[2];
        let scale = self.weights.tensor(&format!("{name}.weight"), &[width])?;
        let scale = self.graph.constant(&format!("{name}.weight"), &[width], scale)?;
        let bias = self.weights.tensor(&format!("{name}.bias"), &[width])?;
        let bias = self.graph.constant(&format!("{name}.bias"), &[width], bias)?;
        Ok(self.graph.layer_norm(name, x, &scale, &bias, EPSILON)?)
    }

    /// `x Wᵀ + times · b` over the last axis.
    fn linear(
        &mut self,
        name: &str,
        x: &Value,
        outputs: usize,
        times: f32,
    ) -> Result<Value, Error> {
        let inputs = x.shape()[2];
        let weight = self.weights.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let weight = turned(weight, outputs, inputs, 1.0);
        let weight = self.graph.constant(&format!("{name}.weight"), &[inputs, outputs], &weight)?;
        let bias = self.weights.tensor(&format!("{name}.bias"), &[outputs])?;
        let bias: Vec<_> = bias.iter().map(|b| b * times).collect();
        let bias = self.graph.constant(&format!("{name}.bias"), &[outputs], &bias)?;
        let y = self.graph.matmul(&format!("{name}/product"), x, &weight)?;
        Ok(self.graph.add(name, &y, &bias)?)
    }
}

/// A `[rows, columns]` matrix times `scale` as `[columns, rows]`.
fn turned(matrix: &[f32], rows: usize, columns: usize, scale: f32) -> Vec<f32> {
    let cells = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
    cells.map(|cell| matrix[cell] * scale).collect()
}

/// Shape of a tensor that has `N` axes, none of them empty.
fn shape<const N: usize>(weights: &Weights, name: &str) -> Result<[usize; N], Error> {
    let array = weights.require(name)?;
    match array.shape.as_slice().try_into() {
        Ok(shape) if !array.data.is_empty() => Ok(shape),
        _ => Err(weights.misshapen(name, array, &[0; N]).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_attention_falls_with_distance_and_its_columns_sum_to_one() {
        let attention = local_attention(5);
        for j in 0..5 {
            let sum: f32 = (0..5).map(|i| attention[i * 5 + j]).sum();
            assert!((sum - 1.0).abs() < 1e-6, "column {j} sums to {sum}");
        }
        let ratio = attention[2 * 5 + 2] / attention[3 * 5 + 2];
        assert!((f64::from(ratio) - (1.0 / std::f64::consts::E).exp()).abs() < 1e-6);
    }

    #[test]
    fn matrices_are_turned() {
        assert_eq!(turned(&[1., 2., 3., 4., 5., 6.], 2, 3, 2.0), [2., 8., 4., 10., 6., 12.]);
    }
}
