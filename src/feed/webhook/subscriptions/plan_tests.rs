//! What a plan is, and in which order it is done.

use url::Url;

use super::*;
use crate::secret::Secret;

fn terms() -> Terms {
    Terms {
        target: Url::parse("https://hooks.example/events").expect("a URL"),
        former_targets: vec![Url::parse("https://old.example/events").expect("a URL")],
        name: "longshore".to_owned(),
        header: Some((http::header::AUTHORIZATION, Secret::new("Bearer now"))),
    }
}

fn wanted(events: &[&str]) -> Vec<Wanted> {
    events.iter().map(|event| Wanted::new(event, Vec::new())).collect()
}

/// One of ours as it should be.
fn ours(id: &str, event: &str) -> Told {
    Told {
        id: id.to_owned(),
        name: format!("longshore {event}"),
        what: Wanted::new(event, Vec::new()),
        kind: "WEBHOOK".to_owned(),
        address: Some("https://hooks.example/events".to_owned()),
        headers: vec![("Authorization".to_owned(), Secret::new("Bearer now"))],
        created: format!("2026-03-01T00:00:0{}Z", id.len()),
    }
}

fn with_secret(told: Told, secret: &str) -> Told {
    Told { headers: vec![("authorization".to_owned(), Secret::new(secret))], ..told }
}

fn others(id: &str, event: &str) -> Told {
    Told { name: "shop".to_owned(), address: Some("https://shop.example/".to_owned()), ..ours(id, event) }
}

fn plan(wanted: &[Wanted], all: &[Told]) -> Plan {
    Plan::new(wanted, all, &terms(), Choices::default())
}

/// Each line in a few characters.
fn told(plan: &Plan) -> Vec<String> {
    let mark = |action| match action {
        Action::Keep => '=',
        Action::Create => '+',
        Action::Replace => '~',
        Action::Delete => '-',
        Action::NoRoom => '!',
    };
    plan.lines.iter().map(|line| format!("{}{} {}", mark(line.action), line.what.event, line.ids.join(","))).collect()
}

fn steps(plan: &Plan) -> Vec<String> {
    let one = |step| match step {
        Step::Create(wanted) => format!("+{}", wanted.event),
        Step::Delete { id, .. } => format!("-{id}"),
    };
    plan.steps().into_iter().map(one).collect()
}

#[test]
fn what_is_wanted_is_kept_made_replaced_or_deleted() {
    let all = [ours("1", "A"), with_secret(ours("2", "B"), "Bearer before"), ours("3", "D"), others("4", "C")];
    let plan = plan(&wanted(&["A", "B", "C"]), &all);
    assert_eq!(told(&plan), ["=A 1", "~B 2", "+C ", "-D 3"]);
    assert_eq!(steps(&plan), ["+B", "-2", "+C", "-3"]);
    assert_eq!((plan.is_done(), plan.others, plan.notes.len()), (false, 1, 0));
}

#[test]
fn a_plan_that_was_cut_off_after_any_step_is_ended_by_the_next() {
    let wants = wanted(&["A", "B", "C"]);
    let start = vec![with_secret(ours("1", "A"), "Bearer before"), ours("2", "B"), ours("3", "B"), ours("4", "D")];
    let count = plan(&wants, &start).steps().len();
    for cut in 0..=count {
        let mut all = start.clone();
        let do_steps = |steps: Vec<Step>, all: &mut Vec<Told>| {
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Create(what) => all.push(ours(&format!("new{number}{}", all.len()), &what.event)),
                    Step::Delete { id, .. } => all.retain(|told| told.id != id),
                }
                // The events that are wanted and were delivered are delivered all along.
                for event in ["A", "B"] {
                    assert!(all.iter().any(|told| told.what.event == event), "{event} is lost");
                }
            }
        };
        do_steps(plan(&wants, &all).steps().into_iter().take(cut).collect(), &mut all);
        do_steps(plan(&wants, &all).steps(), &mut all);
        let after = plan(&wants, &all);
        assert!(after.is_done(), "cut after {cut}: {after:?}");
        assert_eq!(all.len(), 3);
    }
}

#[test]
fn what_is_not_ours_is_left_alone_and_told_of() {
    let by_hand = Told { name: "made by hand".to_owned(), ..ours("1", "A") };
    let stale = with_secret(Told { name: "made by hand".to_owned(), ..ours("2", "B") }, "Bearer before");
    let namesake = Told { address: Some("https://staging.example/events".to_owned()), ..ours("3", "C") };
    let queue = Told { kind: "GOOGLE_CLOUD_PUB_SUB".to_owned(), address: None, name: "q".to_owned(), ..ours("4", "A") };
    let plan = plan(&wanted(&["A", "B"]), &[by_hand, stale, namesake, queue]);
    assert_eq!(told(&plan), ["=A 1", "+B "]);
    assert_eq!(steps(&plan), ["+B"]);
    assert_eq!(plan.notes.len(), 2, "{:?}", plan.notes);
    assert!(plan.notes[0].contains("made by hand") && plan.notes[1].contains("former_targets"), "{:?}", plan.notes);
    assert_eq!(plan.others, 1);
}

#[test]
fn a_former_address_is_replaced_by_the_new_one() {
    let old = Told { address: Some("https://old.example/events".to_owned()), ..ours("1", "A") };
    let plan = plan(&wanted(&["A"]), &[old]);
    assert_eq!(steps(&plan), ["+A", "-1"]);
}

#[test]
fn addresses_contexts_and_headers_are_compared_by_what_they_mean() {
    let context = |values: &[&str]| EventContext {
        kind: FACILITY.to_owned(),
        values: values.iter().map(ToString::to_string).collect(),
    };
    let what = Wanted::new("A", vec![context(&["b", "a"])]);
    let there = Told {
        what: Wanted::new("A", vec![context(&["a", "b", "a"])]),
        address: Some("HTTPS://hooks.example:443/events".to_owned()),
        ..ours("1", "A")
    };
    assert!(plan(std::slice::from_ref(&what), std::slice::from_ref(&there)).is_done());
    // Another context is another subscription.
    assert_eq!(told(&plan(&wanted(&["A"]), &[there])), ["+A ", "-A 1"]);
    // Stars cannot be compared.
    assert!(plan(&wanted(&["A"]), &[with_secret(ours("1", "A"), "*****")]).is_done());
    let rotate = Choices { rotate: true, ..Choices::default() };
    let plan = Plan::new(&wanted(&["A"]), &[with_secret(ours("1", "A"), "*****")], &terms(), rotate);
    assert_eq!(steps(&plan), ["+A", "-1"]);
}

#[test]
fn without_room_for_both_nothing_is_deleted_unless_a_gap_is_agreed_to() {
    let mut all: Vec<Told> = (1..5).map(|id| others(&id.to_string(), "A")).collect();
    all.push(with_secret(ours("5", "A"), "Bearer before"));
    let full = plan(&wanted(&["A"]), &all);
    assert_eq!((told(&full), steps(&full)), (vec!["!A 5".to_owned()], Vec::<String>::new()));
    assert!(!full.is_done());
    let gap = Plan::new(&wanted(&["A"]), &all, &terms(), Choices { allow_gap: true, ..Choices::default() });
    assert_eq!((told(&gap), steps(&gap)), (vec!["~A 5".to_owned()], vec!["-5".to_owned(), "+A".to_owned()]));
    // One that delivers the same goes first, and nothing is missed meanwhile.
    all[0] = with_secret(ours("1", "A"), "Bearer before");
    assert_eq!(steps(&plan(&wanted(&["A"]), &all)).len(), 3);
    // Nobody of ours could make room.
    let all: Vec<Told> = (1..6).map(|id| others(&id.to_string(), "A")).collect();
    let full = plan(&wanted(&["A"]), &all);
    assert_eq!((told(&full), steps(&full).len()), (vec!["!A ".to_owned()], 0));
}
