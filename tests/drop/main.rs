//! The drop feed as a user runs it: the real program over a folder, OpenSSH's SFTP server and pyftpdlib's FTP server,
//! killed and cut off wherever it hurts. Nothing is lost, nothing comes twice.

mod crashes;
mod folder;
mod ftp;
mod proxy;
mod sftp;
mod sshd;
mod world;
