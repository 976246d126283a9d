//! The drop feed as a user runs it: the real program over a folder, OpenSSH's and asyncssh's SFTP servers, pyftpdlib's FTP server and
//! moto's S3, killed and cut off wherever it hurts. Nothing is lost, nothing comes twice.

#[path = "../common/mod.rs"]
mod common;
mod crashes;
mod folder;
mod ftp;
mod hand;
mod password;
mod proxy;
mod remote;
mod s3;
mod s3_replaced;
mod sftp;
mod sshd;
mod ways;
mod world;

#[path = "../bucket/front.rs"]
mod front;
#[path = "../bucket/key.rs"]
mod key;
#[path = "../bucket/servers.rs"]
mod servers;
