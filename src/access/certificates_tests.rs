use std::os::unix::fs::symlink;

use super::*;
use crate::access::fakes::{Issued, NOW};

const WARNING: Duration = Duration::from_secs(30 * 86_400);

fn names(found: &Found) -> Vec<&str> {
    found.usable.iter().map(|c| c.name.split(' ').next().expect("a name")).collect()
}

#[test]
fn the_valid_certificate_that_expires_last_leads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    Issued::rsa("a", NOW, -100, 10).write(path, "old.pem");
    Issued::rsa("a", NOW, -10, 300).write(path, "new.pem");
    Issued::rsa("a", NOW, -500, -1).write(path, "expired.pem");
    Issued::rsa("a", NOW, 1, 900).write(path, "future.pem");
    Issued::ec("a", NOW, -1, 900).write(path, "ec.pem");
    std::fs::write(path.join("README"), "nothing").expect("written");
    let found = load(path, NOW).expect("two usable ones");
    assert_eq!(names(&found), ["new.pem", "old.pem"]);
    assert_eq!(found.passed_over.len(), 5, "{:?}", found.passed_over);
    assert!(found.passed_over.iter().any(|text| text.starts_with("expired.pem expired at 2023-11-13T")));
    assert!(found.passed_over.iter().any(|text| text.starts_with("future.pem is not valid before 2023-11-15T")));
    // Days later another one leads, without anything having changed on disk.
    let later = load(path, NOW.plus(Duration::from_secs(2 * 86_400))).expect("three usable ones");
    assert_eq!(names(&later), ["future.pem", "new.pem", "old.pem"]);
}

#[test]
fn a_certificate_finds_its_key_whatever_the_files_are_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let (one, two) = (Issued::rsa("a", NOW, -1, 10), Issued::rsa("b", NOW, -1, 20));
    std::fs::write(path.join("x.crt"), &one.certificate_pem).expect("written");
    std::fs::write(path.join("x.key"), &two.key_pem).expect("written");
    std::fs::write(path.join("certificate"), &two.certificate_pem).expect("written");
    std::fs::write(path.join("secret"), &one.key_pem).expect("written");
    let found = load(path, NOW).expect("two usable ones");
    assert_eq!(names(&found), ["certificate", "x.crt"]);
    assert_eq!(found.passed_over, [""; 0]);
    // A single file takes its key from beside it.
    std::fs::write(path.join("x.key"), &one.key_pem).expect("written");
    assert_eq!(names(&load(&path.join("x.crt"), NOW).expect("usable")), ["x.crt"]);
}

#[test]
fn a_chain_in_the_file_goes_with_its_leaf() {
    let folder = tempfile::tempdir().expect("a folder");
    let (leaf, issuer) = (Issued::rsa("a", NOW, -1, 10), Issued::rsa("ca", NOW, -1, 20));
    let text = format!("{}{}{}", issuer.certificate_pem, leaf.key_pem, leaf.certificate_pem);
    std::fs::write(folder.path().join("all.pem"), text).expect("written");
    let found = load(folder.path(), NOW).expect("usable");
    assert_eq!(found.usable[0].chain, [leaf.der, issuer.der.clone()]);
    assert_eq!(found.passed_over, [""; 0]);
    // Another one of ours in the same file is no part of it.
    let (one, two) = (Issued::rsa("a", NOW, -1, 30), Issued::rsa("b", NOW, -1, 20));
    let all = [&one.certificate_pem, &one.key_pem, &issuer.certificate_pem, &two.certificate_pem, &two.key_pem];
    std::fs::write(folder.path().join("all.pem"), all.map(String::as_str).concat()).expect("written");
    let found = load(folder.path(), NOW).expect("usable");
    assert_eq!(found.usable[0].chain, [one.der, issuer.der.clone()]);
    assert_eq!(found.usable[1].chain, [two.der, issuer.der]);
}

#[test]
fn mounted_secrets_are_read_through_their_links_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let hidden = folder.path().join("..data");
    std::fs::create_dir(&hidden).expect("a folder");
    Issued::rsa("a", NOW, -1, 10).write(&hidden, "tls.pem");
    symlink(hidden.join("tls.pem"), folder.path().join("tls.pem")).expect("a link");
    symlink(hidden.join("tls.pem"), folder.path().join("again.pem")).expect("a link");
    assert_eq!(load(folder.path(), NOW).expect("usable").usable.len(), 1);
}

#[test]
fn nothing_usable_names_the_folder_and_what_was_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let said = || load(path, NOW).expect_err("nothing usable").to_string();
    assert!(
        said().contains(&format!("no certificate in {} can be used: there is none;", path.display())),
        "{}",
        said()
    );
    let issued = Issued::rsa("a", NOW, -1, 10);
    std::fs::write(path.join("a.pem"), &issued.certificate_pem).expect("written");
    assert!(said().contains("a.pem has a certificate whose private key was not found"), "{}", said());
    Issued::ec("a", NOW, -1, 900).write(path, "ec.pem");
    assert!(said().contains("the certificate in ec.pem is not for RSA, which Entra ID wants"), "{}", said());
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(path.join("b.pem"), format!("{}{encrypted}", issued.certificate_pem)).expect("written");
    assert!(said().contains("the key in b.pem is encrypted; remove its passphrase"), "{}", said());
    std::fs::write(path.join("c.pem"), "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")
        .expect("written");
    assert!(said().contains("c.pem is damaged PEM"), "{}", said());
    let missing = load(&path.join("nowhere"), NOW).expect_err("not there").to_string();
    assert!(missing.contains("nowhere cannot be read: "), "{missing}");
}

#[test]
fn the_end_of_the_last_certificate_is_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    Issued::rsa("a", NOW, -100, 20).write(folder.path(), "old.pem");
    let found = load(folder.path(), NOW).expect("usable");
    assert_eq!(found.expires_within(WARNING, NOW), Some(NOW.plus(Duration::from_secs(20 * 86_400))));
    Issued::rsa("a", NOW, -1, 200).write(folder.path(), "new.pem");
    let found = load(folder.path(), NOW).expect("usable");
    assert_eq!(found.expires_within(WARNING, NOW), None);
}

#[test]
fn a_key_is_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let issued = Issued::rsa("a", NOW, -1, 20);
    issued.write(folder.path(), "a.pem");
    let shown = format!("{:?}", load(folder.path(), NOW).expect("usable"));
    for line in issued.key_pem.lines().filter(|line| !line.starts_with("---")) {
        assert!(!shown.contains(line), "{shown}");
    }
}
