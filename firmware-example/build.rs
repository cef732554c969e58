//! Tells the linker about the board: `memory.x` and `device.x`. Here and not in `.cargo/config.toml`, so that it holds wherever
//! cargo is called from.

fn main() {
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rerun-if-changed=device.x");
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    for kind in ["bins", "examples"] {
        println!("cargo::rustc-link-arg-{kind}=-Tlink.x");
        println!("cargo::rustc-link-arg-{kind}=--nmagic");
        // Functions that are the same to the bit are there once. Nothing compares their addresses.
        println!("cargo::rustc-link-arg-{kind}=--icf=all");
    }
}
