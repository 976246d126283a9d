//! How the program is laid out in its file, so that an idle daemon holds few pages of it.
//!
//! What an idle daemon has in memory is for the most part its own code, which the kernel maps sixteen pages at a time
//! around each that is used. `apart.ld` therefore puts what only some commands, feeds and moments need behind all else;
//! and the table of relocations, all of which is read at every start, is packed where the C library can unpack it.

use std::env;
use std::process::Command;

/// Since when glibc reads packed relocations: <https://sourceware.org/glibc/wiki/Release/2.36>.
const GLIBC_THAT_UNPACKS: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=src/link");
    let is = |key: &str, value: &str| env::var(key).is_ok_and(|found| found == value);
    let optimised = is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if !optimised || chooses_a_linker() {
        return;
    }
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo names the folder of the manifest");
    // Each in an argument of its own: after `-Wl,` a comma in the folder's name would divide it.
    for argument in ["-T", &format!("{folder}/src/link/apart.ld")] {
        println!("cargo:rustc-link-arg-bins=-Xlinker");
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") && glibc().is_some_and(|version| version >= GLIBC_THAT_UNPACKS) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether whoever builds has a linker of their own, which may read no such script.
fn chooses_a_linker() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    flags.contains("fuse-ld") || flags.contains("linker") || env::var_os("RUSTC_LINKER").is_some()
}

/// The C library of the machine that builds; the program needs this one or a newer one anyway.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().rsplit(' ').next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
