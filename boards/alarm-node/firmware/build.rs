//! The linker script stands beside the manifest.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg=-T{folder}/memory.x");
    println!("cargo::rerun-if-changed=memory.x");
}
