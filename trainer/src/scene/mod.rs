//! A procedural surveillance scene, for demonstrations and tests without any data.
