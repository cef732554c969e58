fn main() {
    println!("cargo::rerun-if-changed=image.x");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("arm") {
        return;
    }
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-link-arg-bins=-Timage.x");
    println!("cargo::rustc-link-arg-bins=--nmagic");
    // The same linker option as in the firmware example.
    println!("cargo::rustc-link-arg-bins=--icf=all");
}
