//! The layout of the program's file (`src/link/`) is chosen wherever the sources lie.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::path::Path;
use std::process::Command;

#[test]
fn a_program_is_linked_also_in_a_folder_with_a_comma_in_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let there = folder.path().join("a,b c");
    let link = there.join("src/link");
    std::fs::create_dir_all(&link).expect("a folder");
    for name in ["build.rs", "apart.ld"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/link").join(name);
        std::fs::copy(from, link.join(name)).expect("copied");
    }
    let manifest =
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\nbuild = \"src/link/build.rs\"\n";
    std::fs::write(there.join("Cargo.toml"), manifest).expect("written");
    std::fs::write(there.join("src/main.rs"), "fn main() {}\n").expect("written");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--offline"])
        .current_dir(&there)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_TARGET_DIR", there.join("target"))
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let program = std::fs::read(there.join("target/release/small")).expect("the program");
    let has_section = program.windows(b".text.apart".len()).any(|name| name == b".text.apart");
    assert!(has_section, "the script was read");
}
