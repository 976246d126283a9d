"""An FTP server on loopback over the folder that is named, for the tests; prints its port.

    python_ftp.py FOLDER [CERTIFICATE.pem]

With a certificate, commands and files must go over TLS. The user is `longshore`, the password `secret`.
"""

import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

logging.basicConfig(level=logging.ERROR)
authorizer = DummyAuthorizer()
authorizer.add_user("longshore", "secret", sys.argv[1], perm="elradfmwMT")
if len(sys.argv) > 2:
    handler = TLS_FTPHandler
    handler.certfile = sys.argv[2]
    handler.tls_control_required = True
    handler.tls_data_required = True
else:
    handler = FTPHandler
handler.authorizer = authorizer
server = FTPServer(("127.0.0.1", 0), handler)
print(server.socket.getsockname()[1], flush=True)
server.serve_forever(handle_exit=False)
