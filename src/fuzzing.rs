//! What reads foreign bytes, as functions of bytes that hold an invariant: for the fuzz targets in `fuzz/`, and for the
//! unit test that runs what they found on every `cargo test`.

pub use crate::access::fuzzing::{blob_address, connection_string, sas, token_answer};
pub use crate::config::fuzzing::configuration;
pub use crate::feed::drop::fuzzing::zip;
pub use crate::feed::service_bus::fuzzing::{amqp_message, amqp_stream, notice_body};
pub use crate::feed::webhook::fuzzing::webhook;
pub use crate::payload::fuzzing::{csv, decode, json, json_lines, text, xml, xml_lines};
#[cfg(feature = "sandbox")]
pub use crate::sandbox::broker::fuzzing::amqp_frames;

/// A target.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    #[cfg(feature = "sandbox")]
    ("amqp_frames", amqp_frames),
    ("amqp_message", amqp_message),
    ("amqp_stream", amqp_stream),
    ("blob_address", blob_address),
    ("configuration", configuration),
    ("connection_string", connection_string),
    ("csv", csv),
    ("decode", decode),
    ("json", json),
    ("json_lines", json_lines),
    ("notice_body", notice_body),
    ("sas", sas),
    ("text", text),
    ("token_answer", token_answer),
    ("webhook", webhook),
    ("xml", xml),
    ("xml_lines", xml_lines),
    ("zip", zip),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_the_fuzzers_found_stays_mended() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus-kept");
        for (name, target) in TARGETS {
            let folder = corpus.join(name);
            let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            let mut count = 0;
            for file in files {
                let path = file.expect("an entry").path();
                let bytes = std::fs::read(&path).expect("a file");
                // Names the file, should the target panic over it.
                println!("{}", path.display());
                target(&bytes);
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
        }
    }

    #[test]
    fn every_target_has_its_file_and_its_entry() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("the manifest");
        for (name, _) in TARGETS {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
            assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).exists(), "{name} has no file");
        }
    }
}
