//! A folder of this machine.

use crate::common::place::lay;
use crate::world::{World, day};

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_zip_is_delivered_record_by_record_and_told_of() {
    let world = World::of_folder("after = \"move\"\nmove_to = \"done\"\n");
    let checked = world.say(&["check", "--connect"]).await;
    for seen in ["folder readable", "files can be moved and deleted", "spool writable"] {
        assert!(checked.contains(seen), "{seen} is not in:\n{checked}");
    }
    lay(&world.drop("Client ID_ 02012022.zip"), day(1));
    let daemon = world.run();
    world.wait_finished(2).await;
    world.assert_each_once([1]);
    let notices = world.notices().await;
    assert_eq!(notices[0].blob_type, "add to cart");
    let shown = world.say(&["show", &notices[0].id.to_string()]).await;
    assert!(shown.contains("Client ID_ 02012022.zip") && shown.contains("add to cart_02012022.csv"), "{shown}");
    daemon.until("it is moved", || world.drop("done/Client ID_ 02012022.zip").exists()).await;
    daemon.stop().await;

    // A replay needs nothing of the source.
    std::fs::remove_dir_all(world.drop("done")).expect("removed");
    std::fs::remove_dir_all(world.path("out")).expect("removed");
    world.say(&["replay", "--all", "--yes"]).await;
    let daemon = world.run();
    world.wait_finished(2).await;
    daemon.stop().await;
    world.assert_each_once([1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_there_is_told_by_check_and_waited_for_by_the_daemon() {
    let world = World::new("nowhere", "");
    let (status, said) = world.try_say(&["check", "--connect"]).await;
    assert!(!status.success() && said.contains("nowhere"), "{said}");
    let daemon = world.run();
    daemon.says("nowhere").await;
    std::fs::create_dir(world.path("nowhere")).expect("made");
    lay(&world.path("nowhere/day.zip"), day(1));
    world.wait_finished(2).await;
    world.assert_each_once([1]);
    daemon.stop().await;
}
