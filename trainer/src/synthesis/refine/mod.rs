//! Prompt refinement: a vision-language model looks at the chosen frame and says how the class of
//! anomaly would happen in it.

mod openai;

pub use openai::{OpenAi, OpenAiConfig};

/// Writes a description of an abnormal event into a frame.
pub trait PromptRefiner: Sync {
    /// The model's name; with the instruction it decides what a description is.
    fn name(&self) -> &str;

    /// One description for the frame in `jpeg`, of at most `max_characters`.
    ///
    /// # Errors
    /// Why there is none; the class phrase is then used instead.
    fn describe(
        &self,
        instruction: &str,
        jpeg: &[u8],
        max_characters: usize,
    ) -> Result<String, RefineError>;
}

/// Why a language model gave no usable description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefineError {
    /// The server cannot be reached, or answers no request in time.
    #[error("server not available: {0}")]
    Unavailable(String),
    /// The server refuses such requests for good: no access, no such model, no pictures.
    #[error("refused: {0}")]
    Refused(String),
    /// It answers, and the answer is of no use.
    #[error("unusable answer: {0}")]
    Unusable(String),
}
