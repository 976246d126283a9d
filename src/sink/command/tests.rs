use std::path::Path;

use super::*;
use crate::error::Classify;
use crate::sink::test_support::{batch, delivery};

/// No program here takes nearly this long on a busy machine; where it is to run out, time is moved.
const TIMEOUT: Duration = Duration::from_secs(60);

fn sink(script: &str, dir: &Path) -> CommandSink {
    sink_for(script, dir, TIMEOUT)
}

fn sink_for(script: &str, dir: &Path, timeout: Duration) -> CommandSink {
    let command = ["/bin/sh", "-c", script, &dir.display().to_string()].map(ToOwned::to_owned).to_vec();
    let settings =
        CommandSettings { command, timeout, permanent_exit_codes: vec![65], environment: vec!["HOME".into()] };
    CommandSink::new(SinkName::new("out"), DEFAULT_BATCH, settings).expect("settings")
}

async fn run_on(sink: &CommandSink, batch: &RecordBatch) -> Result<Delivered, SinkError> {
    let mut opened = sink.open(delivery("Items; rm -rf $HOME"), Progress::default()).await.expect("open");
    tokio::time::timeout(3 * TIMEOUT, opened.transfer.deliver(batch)).await.expect("bounded by the sink")
}

async fn run(script: &str) -> Result<Delivered, SinkError> {
    let dir = tempfile::tempdir().expect("dir");
    run_on(&sink(script, dir.path()), &batch(1, &["1"])).await
}

#[tokio::test]
async fn the_program_gets_the_records_and_is_told_what_they_are() {
    let dir = tempfile::tempdir().expect("dir");
    let sink = sink("cat > $0/in; env > $0/env", dir.path());
    let delivered = run_on(&sink, &batch(5, &["1", r#"{"a":2}"#])).await.expect("deliver");
    assert!(delivered.confirmed);
    assert_eq!(std::fs::read_to_string(dir.path().join("in")).expect("in"), "1\n{\"a\":2}\n");
    let environment = std::fs::read_to_string(dir.path().join("env")).expect("env");
    for line in [
        "LONGSHORE_NOTICE=42",
        "LONGSHORE_BLOB_TYPE=Items; rm -rf $HOME",
        "LONGSHORE_CORRELATION_ID=c-1",
        "LONGSHORE_PUBLISHED=2022-07-05T00:00:00.000Z",
        "LONGSHORE_ROUTE=items",
        "LONGSHORE_RUN=0",
        "LONGSHORE_FIRST_RECORD=5",
        "LONGSHORE_LAST_RECORD=6",
    ] {
        assert!(environment.lines().any(|l| l == line), "{line} in {environment}");
    }
    assert!(environment.contains("LONGSHORE_IDEMPOTENCY_KEY="));
    let foreign: Vec<&str> = environment
        .lines()
        .filter(|line| {
            !["LONGSHORE_", "PATH=", "HOME=", "PWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own))
        })
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[tokio::test]
async fn the_exit_code_decides() {
    run("exit 0").await.expect("confirmed");
    let error = run("echo one >&2; echo 'two  sig=canary' >&2; exit 1").await.expect_err("again");
    assert_eq!(error.class(), Class::Transient);
    assert!(error.to_string().contains("exit code 1, and said: one | two  sig=[secret]"), "{error}");
    assert_eq!(run("exit 65").await.expect_err("for good").class(), Class::Permanent);
    let error = run("kill -9 $$").await.expect_err("killed");
    assert!(error.class() == Class::Transient && error.to_string().contains("signal 9"), "{error}");
}

#[tokio::test]
async fn a_program_that_neglects_its_streams_does_not_block() {
    let large = "x".repeat(2 << 20);
    let dir = tempfile::tempdir().expect("dir");
    let large = batch(1, &[&large]);
    run_on(&sink("exit 0", dir.path()), &large).await.expect("reads nothing");
    run_on(&sink("exec 0<&-; exit 0", dir.path()), &large).await.expect("closes its input");
    run_on(&sink("cat; cat <$0/none; head -c 1000000 /dev/zero; exit 0", dir.path()), &large)
        .await
        .expect("talks a lot");
    let error = run("head -c 3000000 /dev/zero | tr '\\0' e >&2; exit 1").await.expect_err("again");
    assert!(error.to_string().len() < 3_000);
}

#[tokio::test]
async fn a_program_whose_time_is_over_is_killed_with_its_children() {
    let dir = tempfile::tempdir().expect("dir");
    let (sink, batch) = (sink(TWO_SLEEPERS, dir.path()), batch(1, &["1"]));
    let time_goes_by = async {
        runs(dir.path()).await;
        tokio::time::pause();
        tokio::time::advance(TIMEOUT).await;
        tokio::time::resume();
    };
    let (delivered, ()) = tokio::join!(run_on(&sink, &batch), time_goes_by);
    let error = delivered.expect_err("too slow");
    assert_eq!(error.class(), Class::Transient);
    assert!(error.to_string().contains("was killed after 60s"), "{error}");
    assert_group_ends(dir.path()).await;
}

#[tokio::test]
async fn a_dropped_delivery_takes_its_program_along() {
    let dir = tempfile::tempdir().expect("dir");
    let (sink, batch) = (sink(TWO_SLEEPERS, dir.path()), batch(1, &["1"]));
    tokio::select! {
        _ = run_on(&sink, &batch) => panic!("ended by itself"),
        () = runs(dir.path()) => {}
    }
    assert_group_ends(dir.path()).await;
}

/// A program and its child, which tell their group and do not end.
const TWO_SLEEPERS: &str = "echo $$ > $0/group.new; mv $0/group.new $0/group; sleep 600 & sleep 600";

/// Waits until they run.
async fn runs(dir: &Path) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !dir.join("group").exists() {
        tick.tick().await;
    }
}

/// Waits until no process of the group lives; killed ones may still have to be collected.
async fn assert_group_ends(dir: &Path) {
    let group = std::fs::read_to_string(dir.join("group")).expect("group").trim().to_owned();
    let alive = || {
        std::fs::read_dir("/proc").expect("proc").flatten().any(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            fields.len() > 2 && fields[2] == group && fields[0] != "Z"
        })
    };
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let ended = async {
        while alive() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(TIMEOUT, ended).await.expect("the group is gone");
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_hold_the_delivery() {
    let dir = tempfile::tempdir().expect("dir");
    // It outlives the time that the program has.
    run_on(&sink("sleep 100 & exit 0", dir.path()), &batch(1, &["1"])).await.expect("confirmed");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_for_good() {
    let settings = CommandSettings {
        command: vec!["/nonexistent/program".to_owned()],
        timeout: DEFAULT_TIMEOUT,
        permanent_exit_codes: Vec::new(),
        environment: Vec::new(),
    };
    let sink = CommandSink::new(SinkName::new("out"), DEFAULT_BATCH, settings).expect("settings");
    assert_eq!(run_on(&sink, &batch(1, &["1"])).await.expect_err("not there").class(), Class::Permanent);
    assert!(sink.probe().await.is_err());
}

#[tokio::test]
async fn a_probe_finds_the_program_without_starting_it() {
    let dir = tempfile::tempdir().expect("dir");
    assert_eq!(sink("touch $0/started", dir.path()).probe().await.expect("probe"), "/bin/sh can be started");
    assert!(!dir.path().join("started").exists());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |command: &[&str], environment: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let settings = CommandSettings {
            command: owned(command),
            timeout: DEFAULT_TIMEOUT,
            permanent_exit_codes: Vec::new(),
            environment: owned(environment),
        };
        CommandSink::new(SinkName::new("out"), DEFAULT_BATCH, settings).is_err()
    };
    assert!(refused(&[], &[]));
    assert!(refused(&[""], &[]));
    assert!(refused(&["a\0"], &[]));
    assert!(refused(&["a"], &["X=1"]));
    assert!(!refused(&["a"], &["X"]));
}

proptest::proptest! {
    #[test]
    fn whatever_a_notice_says_makes_the_same_variables_and_no_other_ones(
        blob_type in proptest::prelude::any::<String>(),
        correlation_id in "(\\PC|\0|\n|=|LD_PRELOAD=|PATH=){0,2000}",
    ) {
        let mut delivery = delivery(&blob_type);
        Arc::make_mut(&mut delivery.notice).metadata.correlation_id = Some(correlation_id);
        let identity = DeliveryIdentity::of(&delivery);
        let dir = std::env::temp_dir();
        let transfer = CommandTransfer { shared: sink("true", &dir).shared.clone(), delivery, identity };
        let variables = transfer.variables(&batch(1, &["1"]));
        proptest::prop_assert_eq!(variables.len(), 13);
        for (name, value) in variables {
            proptest::prop_assert!(name.starts_with("LONGSHORE_"));
            proptest::prop_assert!(!value.contains('\0') && value.len() <= 3 * VARIABLE_BYTES_MAX, "{name}");
        }
    }
}
