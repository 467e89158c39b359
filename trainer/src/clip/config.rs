//! `config.json` of a CLIP model. What a file leaves out has transformers' default.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Error;

/// Sizes of both towers.
#[derive(Debug)]
pub(super) struct Config {
    /// The text tower.
    pub text: TextConfig,
    /// The picture tower.
    pub vision: VisionConfig,
    /// Length of an embedding.
    pub projection_dim: usize,
}

/// Sizes of the text tower.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct TextConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
    /// The token whose place is pooled; 2, which old files have by mistake, stands for the largest
    /// id of the text.
    pub eos_token_id: u32,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
        }
    }
}

/// Sizes of the picture tower.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(super) struct VisionConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_channels: usize,
    pub image_size: usize,
    pub patch_size: usize,
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

/// The non-linearity of the feed-forward layers, by transformers' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Activation {
    /// x · sigmoid(1.702 x).
    QuickGelu,
    /// With the error function.
    Gelu,
    /// With tanh.
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluNew,
    Relu,
    #[serde(alias = "swish")]
    Silu,
}

impl Config {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = Error::read_text(path)?;
        let file: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|e| Error::damaged(path, format!("is not a JSON object: {e}")))?;
        if let Some(other) = file.get("model_type").filter(|t| *t != "clip") {
            return Err(Error::damaged(path, format!("model_type is {other}, not \"clip\"")));
        }
        let config = Self {
            text: part(path, &file, "text_config")?,
            vision: part(path, &file, "vision_config")?,
            projection_dim: match file.get("projection_dim") {
                None | Some(Value::Null) => 512,
                Some(n) => n.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| {
                    Error::damaged(path, format!("projection_dim is {n}, not a size"))
                })?,
            },
        };
        config.check().map_err(|problem| Error::damaged(path, problem))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let (t, v) = (&self.text, &self.vision);
        let positive = [
            ("projection_dim", self.projection_dim),
            ("text_config.vocab_size", t.vocab_size),
            ("text_config.hidden_size", t.hidden_size),
            ("text_config.intermediate_size", t.intermediate_size),
            ("text_config.num_attention_heads", t.num_attention_heads),
            ("vision_config.hidden_size", v.hidden_size),
            ("vision_config.intermediate_size", v.intermediate_size),
            ("vision_config.num_attention_heads", v.num_attention_heads),
            ("vision_config.patch_size", v.patch_size),
        ];
        // The largest published CLIP is far below; beyond, a product of two sizes may overflow.
        if let Some((name, n)) = positive.iter().find(|(_, n)| !(1..=1 << 20).contains(n)) {
            return Err(format!("{name} is {n}; 1 to {} is possible", 1 << 20));
        }
        for (name, hidden, heads) in [
            ("text_config", t.hidden_size, t.num_attention_heads),
            ("vision_config", v.hidden_size, v.num_attention_heads),
        ] {
            if hidden % heads != 0 {
                return Err(format!(
                    "{name}: hidden_size {hidden} is no multiple of num_attention_heads {heads}"
                ));
            }
        }
        if t.max_position_embeddings < 2 {
            return Err("text_config.max_position_embeddings must be at least 2".into());
        }
        if v.num_channels != 3 {
            return Err(format!("vision_config.num_channels is {}, not 3", v.num_channels));
        }
        if !(v.patch_size..=4096).contains(&v.image_size) {
            return Err(format!(
                "vision_config.image_size {} must be from patch_size {} to 4096",
                v.image_size, v.patch_size
            ));
        }
        Ok(())
    }
}

/// One tower's part of the file. `<name>_dict`, which old files have beside it, goes first; as in
/// transformers it replaces the whole part, defaults included.
fn part<T: serde::de::DeserializeOwned>(
    path: &Path,
    file: &Map<String, Value>,
    name: &str,
) -> Result<T, Error> {
    let object = |name: &str| file.get(name).filter(|v| !v.is_null());
    let value = object(&format!("{name}_dict")).or_else(|| object(name));
    let value = value.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    // A null stands for the default.
    let Value::Object(fields) = value else {
        return Err(Error::damaged(path, format!("{name} is not an object")));
    };
    let fields = fields.into_iter().filter(|(_, v)| !v.is_null()).collect();
    T::deserialize(Value::Object(fields)).map_err(|e| Error::damaged(path, format!("{name}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        Config::read(&path).map_err(|e| {
            let text = e.to_string();
            text.split_once("config.json: ").map_or(text.clone(), |(_, rest)| rest.to_owned())
        })
    }

    #[test]
    fn what_is_left_out_has_the_published_default() {
        let config = read(r#"{"model_type": "clip", "text_config": {"eos_token_id": 2}}"#).unwrap();
        assert_eq!((config.projection_dim, config.text.hidden_size), (512, 512));
        assert_eq!((config.text.eos_token_id, config.vision.image_size), (2, 224));
        // An old file's second part is the one that counts, defaults included.
        let old = r#"{"text_config": {"hidden_size": 64, "num_hidden_layers": 3},
                      "text_config_dict": {"hidden_size": 128}, "vision_config_dict": null}"#;
        let old = read(old).unwrap();
        assert_eq!((old.text.hidden_size, old.text.num_hidden_layers), (128, 12));
    }

    #[test]
    fn impossible_sizes_are_named() {
        for (text, expected) in [
            ("[]", "is not a JSON object"),
            (r#"{"model_type": "siglip"}"#, "model_type is \"siglip\""),
            (r#"{"projection_dim": -1}"#, "projection_dim is -1"),
            (
                r#"{"text_config": {"hidden_size": 30}}"#,
                "text_config: hidden_size 30 is no multiple",
            ),
            (r#"{"text_config": {"hidden_act": "mish"}}"#, "text_config: unknown variant `mish`"),
            (r#"{"vision_config": {"image_size": 8}}"#, "vision_config.image_size 8 must be"),
            (r#"{"vision_config": {"patch_size": 0}}"#, "vision_config.patch_size is 0"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
