fn main() {
    println!("cargo::rerun-if-changed=image.x");
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-link-arg-bins=-Timage.x");
    println!("cargo::rustc-link-arg-bins=--nmagic");
    // As the firmware example.
    println!("cargo::rustc-link-arg-bins=--icf=all");
}
