//! The semantic detector: UR-DMU with DARM.
