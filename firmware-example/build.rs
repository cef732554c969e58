//! Passes the linker scripts of the board, `memory.x` and `device.x`. A build script does so and not `.cargo/config.toml`, so
//! that cargo may be called from any folder.

fn main() {
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rerun-if-changed=device.x");
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    for kind in ["bins", "examples"] {
        println!("cargo::rustc-link-arg-{kind}=-Tlink.x");
        println!("cargo::rustc-link-arg-{kind}=--nmagic");
        // The linker keeps one copy of functions with identical code. No code compares their addresses.
        println!("cargo::rustc-link-arg-{kind}=--icf=all");
    }
}
