//! The screens of both kinds of places.

use super::*;
use crate::cli::fixture::NOW;

#[test]
fn what_lies_there_stands_beside_what_was_heard_of_it() {
    let line = |path: &str, known: Option<(i64, NoticeState)>| Line {
        path: path.to_owned(),
        bytes: 1_234_567,
        written: NOW,
        notice: known.map(|(notice, _)| NoticeId(notice)),
        state: known.map(|(_, state)| state),
    };
    let days = [
        Day {
            folder: "2026-03-01/".to_owned(),
            objects: vec![
                line("2026-03-01/orders/a.jsonl.gz", Some((12, NoticeState::Open))),
                line("2026-03-01/orders/late.jsonl.gz", None),
            ],
        },
        Day {
            folder: "2026-02-28/".to_owned(),
            objects: vec![
                line("2026-02-28/a\n.jsonl.gz", Some((11, NoticeState::Finished))),
                line("2026-02-28/b.jsonl.gz", Some((10, NoticeState::Quarantined))),
            ],
        },
    ];
    let shelves: Vec<_> = days.iter().map(shelf_of_day).collect();
    insta::assert_snapshot!(told(&shelves, 3));
    insta::assert_snapshot!("feed_list_json", serde_json::to_string_pretty(&days[..1]).unwrap());
    assert_eq!(told(&[], 3), "nothing lies there\n");
}

#[test]
fn a_drop_is_told_with_what_each_file_waits_for_and_with_what_is_gone() {
    let file = |name: &str, state, why: Option<&str>, notices: &[(i64, NoticeState)]| File {
        name: name.to_owned(),
        bytes: 1_234_567,
        written: Some(NOW),
        state,
        why: why.map(str::to_owned),
        notices: notices.iter().map(|(notice, state)| (NoticeId(*notice), *state)).collect(),
        same_as: Vec::new(),
    };
    let finished = NoticeState::Finished;
    let holding = Holding {
        place: "sftp://longshore@files.example.com:22/out".to_owned(),
        files: vec![
            file("Client ID_ 05012022.zip.part", FileState::Ignored, Some("its name is one of `ignore`"), &[]),
            file("Client ID_ 04012022.zip", FileState::New, None, &[]),
            File { written: None, ..file("a\u{1b}.csv", FileState::Incomplete, Some("it is empty"), &[]) },
            file("b.csv", FileState::Changed, Some("another version of it was taken"), &[(7, finished)]),
            file(
                "Client ID_ 03012022.zip",
                FileState::Taken,
                None,
                &[(11, finished), (12, finished), (13, NoticeState::Skipped)],
            ),
            File { same_as: vec!["d.csv".to_owned()], ..file("c.csv", FileState::Taken, None, &[(9, finished)]) },
            file("old.csv", FileState::Taken, Some("its notices were pruned"), &[]),
        ],
        gone: vec![Gone {
            name: "Client ID_ 02012022.zip".to_owned(),
            stored: NOW,
            notices: vec![(NoticeId(5), finished), (NoticeId(6), NoticeState::Quarantined)],
        }],
        is_cut_off: false,
    };
    insta::assert_snapshot!(told(&shelves_of_drop(&holding), 100));
    insta::assert_snapshot!("feed_list_drop_json", serde_json::to_string_pretty(&[folder(holding)]).unwrap());
}
