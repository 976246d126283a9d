"""The official Python SDK gets a token from the sandbox's authority with a certificate.

Usage: python_identity.py AUTHORITY TENANT CLIENT_ID SCOPE CERTIFICATE CA
Prints the token's remaining seconds; exits with 3 and the error's text when the authority refuses.
"""

import sys
import time

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential


def main() -> int:
    authority, tenant, client_id, scope, certificate, ca = sys.argv[1:]
    credential = CertificateCredential(
        tenant_id=tenant,
        client_id=client_id,
        certificate_path=certificate,
        authority=authority,
        disable_instance_discovery=True,
        connection_verify=ca,
    )
    try:
        token = credential.get_token(scope)
    except ClientAuthenticationError as error:
        print(error.message)
        return 3
    assert token.token.count(".") == 2, "not a JWT"
    print(int(token.expires_on - time.time()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
