//! Synthesis of pseudo-abnormal clips from normal footage.
