use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

/// The smallest useful file.
pub(super) const SMALLEST: &str = include_str!("../../deploy/smallest.toml");

fn surroundings(files: Files) -> Surroundings {
    Surroundings { folder: PathBuf::from("/etc/longshore"), credentials: None, files }
}

pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("longshore.toml"), text, &surroundings(Files::Assumed))
}

/// What a person reads of a wrong file.
pub(super) fn told(text: &str) -> String {
    match parse(text) {
        Ok(config) => config.warnings.map_or_else(|| "nothing".to_owned(), |findings| findings.to_string()),
        Err(error) => error.to_string(),
    }
}

/// The smallest file with lines added at the end of the sections that they belong to, or in place of others.
pub(super) fn changed(changes: &[(&str, &str)]) -> String {
    let mut text = SMALLEST.to_owned();
    for (old, new) in changes {
        assert!(text.contains(old), "{old:?} stands in the smallest file");
        text = text.replacen(old, new, 1);
    }
    text
}

#[test]
fn the_smallest_useful_file_is_under_25_lines() {
    assert!(SMALLEST.lines().count() < 25);
    let config = parse(SMALLEST).expect("a configuration");
    assert!(config.warnings.is_none());
    assert_eq!((config.feeds.len(), config.routes.len(), config.sinks.len()), (1, 1, 1));
    assert!(config.changed.is_empty());
    assert_eq!(config.inbox.retention_age, Duration::from_secs(30 * 24 * 3_600));
    assert_eq!(config.inbox.path, Path::new("/var/lib/longshore/inbox.db"));
}

#[test]
fn every_error_is_told_at_once_with_its_place_and_what_is_allowed() {
    insta::assert_snapshot!(told(&changed(&[
        ("[identity]", "colour = true\n\n[identity]"),
        ("client_id = ", "clientid = "),
        (
            "[[route]]",
            "[inbox]\ncommit_notices_max = 100\n[work]\nworkers = 0\nretry_min = \"1h\"\nretry_max = \"5s\"\nlease = \"a while\"\n\n[[route]]"
        ),
        ("sinks = [\"files\"]", "sinks = [\"file\"]"),
        ("type = \"directory\"", "type = \"folder\""),
    ])));
}

#[test]
fn a_value_of_the_wrong_kind_is_told_with_what_is_allowed() {
    insta::assert_snapshot!(told(&changed(&[
        ("blob_types = [\"*\"]", "blob_types = \"*\""),
        (
            "[[route]]",
            "[limits]\nrecord_bytes_max = \"4 bananas\"\ndepth_max = \"deep\"\nrecords_max = -1\n\n[work]\nordering = \"blobtype\"\n\
             attempts_max = 1.5\n[ops]\nlisten = 9464\nbeyond_loopback = \"yes\"\n\n[[route]]"
        ),
    ])));
}

#[test]
fn a_syntax_error_is_told_with_its_place() {
    insta::assert_snapshot!(told("[identity\nauthority = \"x\"\n[[feed]]\nname = eg\n"));
}

#[test]
fn missing_keys_and_sections_are_told() {
    insta::assert_snapshot!(told(
        "[identity]\nauthority = \"https://login.example\"\n[[feed]]\ntype = \"service-bus\"\n[[route]]\n[[sink]]\ntype = \"sqlite\"\n"
    ));
    insta::assert_snapshot!("an_empty_file", told(""));
}

#[test]
fn names_that_lead_nowhere_are_told_with_the_nearest_one() {
    insta::assert_snapshot!(told(&changed(&[(
        "sinks = [\"files\"]",
        "sinks = [\"flies\", \"archive\"]\nfeeds = [\"EG\"]"
    ),])));
}

#[test]
fn a_name_given_twice_is_told_with_both_places() {
    let again = SMALLEST.replace("[identity]", "[unused]");
    let again = &again[again.find("[[route]]").expect("a route")..];
    insta::assert_snapshot!(told(&format!("{SMALLEST}\n{again}")));
}

#[test]
fn a_feed_that_no_route_takes_is_an_error() {
    insta::assert_snapshot!(told(&format!(
        "{}\n[[feed]]\nname = \"other\"\ntype = \"service-bus\"\ntenant_service = \"https://tenantservice.example\"\nintegration_name = \"other\"\n",
        changed(&[("blob_types = ", "feeds = [\"eg\"]\nblob_types = ")])
    )));
}

#[test]
fn bad_globs_pointers_and_addresses_are_told() {
    insta::assert_snapshot!(told(&changed(&[
        (
            "blob_types = [\"*\"]",
            "blob_types = [\"Gateway.[\", \"Gateway.{Item,Price}Changes\"]\nexclude = [\"\"]\nonly = [{ pointer = \"status\", equals = [1] }, { pointer = \"/a\" }]\ncsv_separator = \"tab\""
        ),
        ("tenant_service = \"https:", "tenant_service = \"http:"),
        ("authority = \"https://login.microsoftonline.com", "authority = \"login.microsoftonline.com"),
    ])));
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_shown() {
    let shown = told(&format!(
        "{}\n[[sink]]\nname = \"web\"\ntype = \"http\"\nurl = \"https://u:hunter2@example.com/\"\nbearer = \"hunter3\"\n\
         headers = {{ Authorization = \"Basic hunter4\", \"ce-id\" = \"x\" }}\n\
         [[sink]]\nname = \"web2\"\ntype = \"http\"\nurl = \"https://example.com/?sig=hunter5\"\n",
        changed(&[(
            "integration_name",
            "connection_string = \"Endpoint=sb://x/;SharedAccessKey=hunter6\"\nintegration_name"
        )])
    ));
    assert!(!shown.contains("hunter"), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn hours_that_overlap_or_hold_no_time_are_told() {
    insta::assert_snapshot!(told(&format!(
        "{SMALLEST}\n[work]\nwindows = [\"22:00-06:00\", \"05:00-07:00\", \"12:00-12:00\", \"9-17\", \"18:00-24:00\"]\nzone = \"Europe/Olso\"\n"
    )));
    let config = parse(&format!("{SMALLEST}\n[work]\nwindows = [\"18:00-24:00\", \"00:00-06:00\"]\n")).expect("hours");
    assert_eq!(config.work.windows.len(), 2);
}

#[test]
fn ops_beyond_loopback_has_to_be_said() {
    let with = |ops: &str| format!("{SMALLEST}\n[ops]\n{ops}\n");
    insta::assert_snapshot!(told(&with("listen = \"0.0.0.0:9464\"")));
    let config = parse(&with("listen = \"0.0.0.0:9464\"\nbeyond_loopback = true")).expect("said");
    assert!(config.ops.listen.is_some());
    assert!(parse(&with("listen = \"\"")).expect("off").ops.listen.is_none());
}

#[test]
fn what_can_never_happen_is_a_warning() {
    insta::assert_snapshot!(told(&format!(
        "{SMALLEST}\n[[route]]\nname = \"late\"\nblob_types = [\"Customers\"]\nsinks = [\"files\"]\n\
         [[sink]]\nname = \"unused\"\ntype = \"directory\"\npath = \"out\"\npattern = \"{{blob_type}}\"\n\
         [[feed]]\nname = \"eg2\"\ntype = \"service-bus\"\ntenant_service = \"https://tenantservice.egretail.cloud\"\nintegration_name = \"longshore\"\n"
    )));
}

#[test]
fn nothing_can_be_left_out_for_a_sink_that_takes_payloads_whole() {
    let text = changed(&[("path = \"/srv/longshore\"", "path = \"/srv/longshore\"\nformat = \"raw\"")]) + RECONCILED;
    insta::assert_snapshot!(told(&text));
    let elsewhere = text.replacen("sinks = [\"files\"]", "sinks = [\"files\"]\nfeeds = [\"eg\"]", 1)
        + "[[route]]\nname = \"events\"\nfeeds = [\"export\", \"fft\"]\nblob_types = [\"*\"]\nsinks = [\"records\"]\n\
           [[sink]]\nname = \"records\"\ntype = \"directory\"\npath = \"/srv/records\"\n";
    let config = parse(&elsewhere).expect("a configuration");
    assert_eq!(config.reconciles[0].nameless, crate::route::Nameless::Deliver, "nothing is lost without being told to");
}

const RECONCILED: &str = r#"
[[feed]]
name = "export"
type = "bucket"
provider = "gcs"
bucket = "exports"
key_file = "/etc/longshore/key.json"
content_type = "application/x-jsonlines"
blob_type = "fft.export"
blob_type_from = "record"
record_blob_type = "/eventName"
[[feed]]
name = "fft"
type = "webhook"
listen = "127.0.0.1:8080"
secret_file = "/etc/longshore/secret"
[[reconcile]]
export = "export"
webhook = "fft"
names = { ORDER_CREATED = "order-created_event" }
"#;

#[test]
fn files_that_are_not_there_are_told_and_open_ones_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, content: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode set");
    };
    std::fs::create_dir(folder.path().join("certificates")).expect("a folder");
    write("ca.pem", "no certificate", 0o644);
    write("token", "t", 0o644);
    write("empty", "", 0o600);
    let text = format!(
        "{}\n[[sink]]\nname = \"a\"\ntype = \"http\"\nurl = \"https://example.com\"\nbearer_file = \"token\"\n\
         [[sink]]\nname = \"b\"\ntype = \"http\"\nurl = \"https://example.com\"\nbearer_file = \"empty\"\n\
         [[sink]]\nname = \"c\"\ntype = \"http\"\nurl = \"https://example.com\"\nbearer_file = \"credential:api\"\n\
         [[sink]]\nname = \"d\"\ntype = \"http\"\nurl = \"https://example.com\"\nbearer_file = \"nowhere\"\n",
        changed(&[
            ("client_id", "ca_file = \"ca.pem\"\nclient_id"),
            ("certificates = \"/etc/longshore/certificates\"", "certificates = \"certificates\""),
            ("sinks = [\"files\"]", "sinks = [\"files\", \"a\", \"b\", \"c\", \"d\"]"),
        ])
    );
    let surroundings = Surroundings { folder: folder.path().to_owned(), credentials: None, files: Files::Checked };
    let error = Config::parse(Path::new("longshore.toml"), &text, &surroundings).expect_err("files are missing");
    let shown = error.to_string().replace(&folder.path().display().to_string(), "<folder>");
    insta::assert_snapshot!(shown);
}

#[test]
fn a_credential_is_found_in_systemds_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("eg.pem"), "pem").expect("written");
    let text = |path: &str| changed(&[("/etc/longshore/certificates", path)]);
    let surroundings = Surroundings {
        folder: PathBuf::from("/etc/longshore"),
        credentials: Some(folder.path().to_owned()),
        files: Files::Assumed,
    };
    for path in ["credential:eg.pem", "$CREDENTIALS_DIRECTORY/eg.pem"] {
        let config = Config::parse(Path::new("longshore.toml"), &text(path), &surroundings).expect("a configuration");
        let AccessConfig::TenantService { identity, .. } = config.feeds[0].access().expect("tokens") else {
            panic!("a token service")
        };
        assert_eq!(identity.certificates, folder.path().join("eg.pem"));
    }
    assert!(Config::parse(Path::new("longshore.toml"), &text("credential:../x"), &surroundings).is_err());
    let config = parse(&text("credential:eg.pem")).expect("a configuration");
    let AccessConfig::TenantService { identity, .. } = config.feeds[0].access().expect("tokens") else {
        panic!("a token service")
    };
    assert_eq!(identity.certificates, Path::new("/run/credentials/longshore.service/eg.pem"));
}

#[test]
fn relative_paths_start_from_the_files_own_folder() {
    let config = parse(&changed(&[("path = \"/srv/longshore\"", "path = \"out\"")])).expect("a configuration");
    let crate::sink::SinkKind::Directory(settings) = &config.sinks[0].kind else { panic!("a directory") };
    assert_eq!(settings.path, Path::new("/etc/longshore/out"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("longshore.toml");
    let error = Config::load(&path, Files::Checked).expect_err("not there").to_string();
    assert!(error.contains("longshore.toml cannot be read"), "{error}");
    std::fs::write(&path, b"name = \"\xff\"").expect("written");
    let error = Config::load(&path, Files::Checked).expect_err("not UTF-8").to_string();
    assert!(error.ends_with("is not UTF-8 from byte 8 on"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

    /// Whatever is typed, the answer is a configuration or a reason, and the reason can be shown.
    #[test]
    fn no_file_is_too_odd_to_be_told_what_is_wrong_with_it(
        changes in proptest::collection::vec((0_usize..10_000, ".{0,3}", 0_usize..4), 0..12)
    ) {
        let mut text = include_str!("../../deploy/longshore.example.toml").replace("\n#~ ", "\n").replace("\n#", "\n");
        for (at, new, cut) in changes {
            let from = text.floor_char_boundary(at % (text.len() + 1));
            let to = text.floor_char_boundary((from + cut).min(text.len()));
            text.replace_range(from..to.max(from), &new);
        }
        match parse(&text) {
            Ok(_) => {}
            Err(error) => proptest::prop_assert!(error.to_string().contains("error")),
        }
        // The lines that are comments there are no TOML without their marks; this way the values are reached as well.
        let keys: String = text.lines().filter(|line| line.contains('=') || line.starts_with('[')).map(|line| line.to_owned() + "\n").collect();
        let _ = parse(&keys).map_err(|error| error.to_string());
    }
}

#[test]
fn a_webhooks_events_are_known_for_as_long_as_its_sender_retries() {
    let feed = "[[feed]]\nname = \"fft\"\ntype = \"webhook\"\nlisten = \"0.0.0.0:8443\"\ncertificate_file = \"c.pem\"\n\
                secret_file = \"s\"\n\n[inbox]\nretention_age = \"1d\"\ndedupe_age = \"6d23h\"\n\n[[route]]";
    let said = told(&changed(&[("[[route]]", feed)]));
    assert!(said.contains("is shorter than a webhook's sender retries"), "{said}");
    for good in [feed.replace("6d23h", "7d"), feed.replace("dedupe_age = \"6d23h\"\n", "")] {
        assert_eq!(told(&changed(&[("[[route]]", &good)])), "nothing");
    }
}

#[test]
fn what_was_just_written_is_not_always_warned_of() {
    let feed = |more: &str| {
        format!(
            "[[feed]]\nname = \"b\"\ntype = \"bucket\"\nprovider = \"gcs\"\nbucket = \"exports\"\nkey_file = \"k\"\n{more}\n[[route]]"
        )
    };
    let said = |more: &str| told(&changed(&[("[[route]]", &feed(more))]));
    let always = said("retention = \"30d\"");
    assert!(always.contains("warned of already, and so always"), "{always}");
    assert_eq!(said("retention = \"30d\"\nretention_warning = \"10d\""), "nothing");
}

#[test]
fn a_webhook_asks_who_sends_and_shows_no_secret_to_the_network() {
    let feed = |more: &str| format!("[[feed]]\nname = \"fft\"\ntype = \"webhook\"\n{more}\n[[route]]");
    let said = |more: &str| told(&changed(&[("[[route]]", &feed(more))]));
    let plain = said("listen = \"0.0.0.0:8080\"\nsecret_file = \"s\"");
    assert!(plain.contains("needs a certificate"), "{plain}");
    let anyone = said("listen = \"127.0.0.1:8080\"");
    assert!(anyone.contains("anyone who knows its address"), "{anyone}");
    assert_eq!(said("listen = \"127.0.0.1:8080\"\nanyone = true"), "nothing");
    assert_eq!(said("listen = \"127.0.0.1:8080\"\nsecret_file = \"s\""), "nothing");
}

#[test]
fn a_drop_in_a_bucket_says_who_it_is_and_nothing_that_belongs_elsewhere() {
    let feed = |keys: &str| format!("[[feed]]\nname = \"laid\"\ntype = \"drop\"\n{keys}\n\n[[route]]");
    insta::assert_snapshot!(told(&changed(&[(
        "[[route]]",
        &feed("source = \"s3://AKIA@bucket/in\"\nkey_file = \"key\"\nmove_to = \"done\"")
    )])));
    insta::assert_snapshot!(
        "keys_of_a_drop_in_a_bucket",
        told(&changed(&[("[[route]]", &feed("source = \"s3://bucket/in\"\npassword_file = \"password\""))]))
    );
    insta::assert_snapshot!(
        "keys_of_a_bucket_in_a_folder",
        told(&changed(&[("[[route]]", &feed("source = \"/srv/drop\"\nregion = \"x\"\naccess_key_file = \"id\""))]))
    );
}
