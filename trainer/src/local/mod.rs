//! The local detector: a fully convolutional network trained on the pixels the synthesizer changed.
