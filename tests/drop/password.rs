//! An SFTP server that lets in by a password.

use crate::common::place::lay;
use crate::common::python::Sftp;
use crate::world::{World, day, two_days_are_delivered_and_moved};

/// A world whose feed knows the server, and logs in with this password.
fn world(server: &Sftp, password: &str) -> World {
    let world = World::of_folder("");
    world.write("password", password);
    let keys = format!(
        "password_file = \"password\"\nhost_keys = [{:?}]\nafter = \"move\"\nmove_to = \"done\"\n",
        server.fingerprint
    );
    world.configure(&format!("sftp://longshore@127.0.0.1:{}/", server.port), &keys);
    world
}

async fn a_zip_is_delivered(manner: &str) {
    let Some(server) = Sftp::start(manner).await else { return };
    let world = world(&server, "secret\n");
    let checked = world.say(&["check", "--connect"]).await;
    assert!(checked.contains("folder readable") && checked.contains(&server.fingerprint), "{checked}");
    two_days_are_delivered_and_moved(&world, &server.drop("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_behind_a_password_is_delivered_and_moved_there() {
    a_zip_is_delivered("password").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_the_password_is_answered() {
    a_zip_is_delivered("questions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_with_its_file_and_the_right_one_is_taken_up_without_a_restart() {
    for manner in ["password", "questions"] {
        let Some(server) = Sftp::start(manner).await else { return };
        let world = world(&server, "wrong\n");
        lay(&server.drop("day.zip"), day(1));
        let file = world.path("password").display().to_string();
        let expected = ["the server does not let \"longshore\" in", &format!("look whether {file} holds its password")];
        let (status, said) = world.try_say(&["check", "--connect"]).await;
        assert!(!status.success() && expected.iter().all(|part| said.contains(part)), "{said}");
        assert_eq!(said.matches(expected[1]).count(), 1, "what to do is said once: {said}");
        let daemon = world.run();
        daemon.until("it says so", || expected.iter().all(|part| daemon.log().contains(part))).await;
        daemon.says("somebody has to change something; trying again in").await;
        world.write("password", "secret\n");
        world.wait_finished(2).await;
        daemon.says("all is well again after").await;
        daemon.stop().await;
        world.assert_each_once([1]);
    }
}
