//! What ONNX Runtime computes with: its execution providers.

/// An execution provider of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// Engines that NVIDIA's TensorRT builds for the GPU at hand; what it cannot build goes to CUDA.
    TensorRt,
    /// NVIDIA's GPUs by CUDA and cuDNN.
    Cuda,
    /// The processor; in every build of ONNX Runtime.
    #[default]
    Cpu,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TensorRt, Self::Cuda, Self::Cpu];

    /// The name that configurations, command lines and messages use: `tensorrt`, `cuda` or `cpu`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TensorRt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }

    /// The provider of a name; `None` if there is no such one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }

    /// Whether it computes on a GPU.
    pub fn is_gpu(self) -> bool {
        self != Self::Cpu
    }
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
