//! What goes wrong between us and an SFTP or FTP server goes wrong with both in the same ways: connections that break in
//! the middle of a file or of a listing, files that are replaced while they are read, kill -9 before the answer.

use std::path::{Path, PathBuf};

use crate::common::place::lay;
use crate::ftp::Server;
use crate::proxy::Proxy;
use crate::sshd::Sshd;
use crate::world::{World, day};

/// A server behind a proxy.
struct Remote {
    folder: PathBuf,
    proxy: Proxy,
    source: String,
    keys: String,
    _server: Box<dyn std::any::Any>,
}

impl Remote {
    async fn sftp() -> Option<Self> {
        let sshd = Sshd::start().await?;
        let proxy = Proxy::start(sshd.port);
        let (folder, source, keys) = (sshd.path("drop"), sshd.source(proxy.port), sshd.keys(""));
        Some(Self { folder, proxy, source, keys, _server: Box::new(sshd) })
    }

    async fn ftp() -> Option<Self> {
        let server = Server::start(None).await?;
        let proxy = Proxy::of_ftp(server.port);
        let (folder, source) = (server.drop(""), format!("ftp://longshore@127.0.0.1:{}/", proxy.port));
        let keys = "password_file = \"password\"\n".to_owned();
        Some(Self { folder, proxy, source, keys, _server: Box::new(server) })
    }

    fn world(&self, more: &str) -> World {
        let world = World::of_folder("");
        world.write("password", "secret\n");
        world.configure(&self.source, &format!("{}{more}", self.keys));
        world
    }

    fn drop(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Writes a file anew in place, as a sender does who overwrites it.
fn overwrite(path: &Path, content: &[u8]) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(path).expect("it is there");
    file.write_all(content).expect("written");
}

/// A file that was written a while ago, as far as its time says. These servers tell whole seconds, which tell nothing
/// apart in a test that waits for none to pass.
fn lay_old(path: &Path, content: &[u8]) {
    lay(path, content);
    let file = std::fs::File::options().write(true).open(path).expect("it is there");
    let now = file.metadata().and_then(|found| found.modified()).expect("a time");
    file.set_modified(now - std::time::Duration::from_secs(3_600)).expect("an older time");
}

async fn a_replaced_zip_is_the_new_one(remote: &Remote, replace: fn(&Path, &[u8])) {
    let world = remote.world("after = \"delete\"");
    // As long as each other: nothing but their bytes and times tells them apart.
    assert_eq!(day(1).len(), day(2).len());
    lay_old(&remote.drop("day.zip"), &day(1));
    remote.proxy.hold_after(100_000);
    let daemon = world.run();
    remote.proxy.held().await;
    replace(&remote.drop("day.zip"), &day(2));
    remote.proxy.let_go();
    world.wait_finished(2).await;
    daemon.until("it is deleted", || !remote.drop("day.zip").exists()).await;
    daemon.stop().await;
    world.assert_each_once([2]);
    assert_eq!(world.notices().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_that_is_replaced_on_an_sftp_server_while_it_is_read_is_the_new_one_and_never_mixed() {
    let Some(remote) = Remote::sftp().await else { return };
    a_replaced_zip_is_the_new_one(&remote, |path, content| lay(path, content)).await;
    a_replaced_zip_is_the_new_one(&remote, overwrite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_that_is_replaced_on_an_ftp_server_while_it_is_read_is_the_new_one_and_never_mixed() {
    let Some(remote) = Remote::ftp().await else { return };
    a_replaced_zip_is_the_new_one(&remote, |path, content| lay(path, content)).await;
    a_replaced_zip_is_the_new_one(&remote, overwrite).await;
}

async fn a_broken_file_is_copied_again(remote: &Remote) {
    let world = remote.world("after = \"delete\"");
    lay_old(&remote.drop("day.zip"), &day(1));
    remote.proxy.break_once_after(100_000);
    let daemon = world.run();
    remote.proxy.held().await;
    world.wait_finished(2).await;
    // And killed in the middle of the next one.
    remote.proxy.hold_after(100_000);
    lay(&remote.drop("day.zip"), day(2));
    remote.proxy.held().await;
    daemon.kill().await;
    assert_eq!(world.notices().await.len(), 2);
    remote.proxy.let_go();
    let daemon = world.run();
    world.wait_finished(4).await;
    daemon.until("it is deleted", || !remote.drop("day.zip").exists()).await;
    daemon.stop().await;
    world.assert_each_once([1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sftp_connection_that_breaks_in_mid_file_and_a_kill_there_cost_a_second_copy_and_no_more() {
    let Some(remote) = Remote::sftp().await else { return };
    a_broken_file_is_copied_again(&remote).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ftp_connection_that_breaks_in_mid_file_and_a_kill_there_cost_a_second_copy_and_no_more() {
    let Some(remote) = Remote::ftp().await else { return };
    a_broken_file_is_copied_again(&remote).await;
}

/// Files whose listing is some 20 kB long.
const MANY: u64 = 250;

async fn a_broken_listing_forgets_nothing(remote: &Remote, after: usize) {
    let world = remote.world("");
    let small = |name: &str| (remote.drop(name), format!("eventId\n{name}\n").into_bytes());
    for n in 0..MANY {
        let (path, content) = small(&format!("event with a long name {n:04}.csv"));
        std::fs::write(path, content).expect("written");
    }
    let daemon = world.run();
    world.wait_finished(MANY).await;
    remote.proxy.break_once_after(after);
    remote.proxy.held().await;
    // What comes after it shows that another look is over, or two.
    for (n, name) in ["later.csv", "latest.csv"].into_iter().enumerate() {
        let (path, content) = small(name);
        lay(&path, &content);
        world.wait_finished(MANY + 1 + n as u64).await;
    }
    daemon.stop().await;
    let notices = world.notices().await;
    assert!(notices.iter().all(|notice| notice.seen_count == 1), "taken again after a listing that broke");
    assert_eq!((notices.len(), world.delivered().values().sum::<u32>()), (252, 252));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sftp_listing_that_breaks_in_its_middle_forgets_nothing_that_was_taken() {
    let Some(remote) = Remote::sftp().await else { return };
    a_broken_listing_forgets_nothing(&remote, 15_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ftp_listing_that_breaks_in_its_middle_forgets_nothing_that_was_taken() {
    let Some(remote) = Remote::ftp().await else { return };
    a_broken_listing_forgets_nothing(&remote, 9_000).await;
}

async fn a_kill_before_the_answer_is_borne(remote: &Remote, after: &str) {
    let world = remote.world(after);
    lay_old(&remote.drop("day.zip"), &day(1));
    remote.proxy.hold_once_gone(&remote.drop("day.zip"));
    let daemon = world.run();
    // The server has done it, and we have not heard so.
    remote.proxy.held().await;
    world.wait_finished(2).await;
    daemon.kill().await;
    remote.proxy.let_go();
    lay(&remote.drop("day.zip"), day(2));
    let daemon = world.run();
    world.wait_finished(4).await;
    daemon.until("it is gone", || !remote.drop("day.zip").exists()).await;
    daemon.stop().await;
    world.assert_each_once([1, 2]);
    let notices = world.notices().await;
    assert!(notices.len() == 4 && notices.iter().all(|notice| notice.seen_count == 1), "{notices:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_between_an_sftp_servers_deed_and_its_answer_loses_nothing_and_doubles_nothing() {
    let Some(remote) = Remote::sftp().await else { return };
    a_kill_before_the_answer_is_borne(&remote, "after = \"delete\"").await;
    a_kill_before_the_answer_is_borne(&remote, "after = \"move\"\nmove_to = \"done\"").await;
    assert_eq!(std::fs::read_dir(remote.drop("done")).expect("a folder").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_nine_between_an_ftp_servers_deed_and_its_answer_loses_nothing_and_doubles_nothing() {
    let Some(remote) = Remote::ftp().await else { return };
    a_kill_before_the_answer_is_borne(&remote, "after = \"delete\"").await;
    a_kill_before_the_answer_is_borne(&remote, "after = \"move\"\nmove_to = \"done\"").await;
    assert_eq!(std::fs::read_dir(remote.drop("done")).expect("a folder").count(), 2);
}
