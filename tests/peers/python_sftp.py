"""An SFTP server on loopback over the folder that is named, for the tests; prints its port and its key's fingerprint.

    python_sftp.py FOLDER password|questions|repeat|disconnect [PASSWORD]

The user is `longshore`, the password `secret` unless it is named. `questions`: it takes the password only as the answer
to a question (keyboard-interactive). `repeat` and `disconnect` refuse every password, and say it to whoever listens.
"""

import asyncio
import sys

import asyncssh

FOLDER, MANNER = sys.argv[1:3]
PASSWORD = sys.argv[3] if len(sys.argv) > 3 else "secret"


class Server(asyncssh.SSHServer):
    def connection_made(self, conn):
        self.conn = conn

    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return MANNER != "questions"

    def kbdint_auth_supported(self):
        return MANNER == "questions"

    def get_kbdint_challenge(self, username, lang, submethods):
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username, responses):
        return username == "longshore" and responses == [PASSWORD]

    def validate_password(self, username, password):
        print("asked", flush=True)
        if MANNER == "repeat":
            self.conn.send_auth_banner(f"not with {password}\n")
            return False
        if MANNER == "disconnect":
            raise asyncssh.DisconnectError(asyncssh.DISC_BY_APPLICATION, f"not with {password}")
        return username == "longshore" and password == PASSWORD


async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[key],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=FOLDER),
        allow_scp=False,
    )
    print(server.get_port(), key.get_fingerprint(), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
