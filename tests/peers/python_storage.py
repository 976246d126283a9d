"""Google's own Python library reads the sandbox's bucket with the key file.

Usage: python_storage.py KEY_FILE ENDPOINT BUCKET KEY…   (the CA is taken from REQUESTS_CA_BUNDLE)
The keys are those of all objects, in order and in two folders at least. Prints OK.
"""

import sys

from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.oauth2 import service_account

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"


def raises(kind: type[Exception], call) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


def read(client: storage.Client, name: str, keys: list[str]) -> None:
    assert client.get_bucket(name).name == name
    assert not client.bucket("another").exists()
    raises(Forbidden, lambda: list(client.list_buckets()))

    def listed(**how) -> list[str]:
        return [blob.name for blob in client.list_blobs(name, **how)]

    assert listed() == keys
    assert listed(page_size=1) == keys
    assert listed(start_offset=keys[1], end_offset=keys[-1]) == keys[1:-1]
    folders = client.list_blobs(name, delimiter="/", page_size=1)
    assert list(folders) == []
    assert folders.prefixes == {key.split("/")[0] + "/" for key in keys}

    bucket = client.bucket(name)
    assert bucket.get_blob("none") is None
    blob = bucket.get_blob(keys[0])
    content = blob.download_as_bytes(checksum="crc32c")
    assert len(content) == blob.size and content == blob.download_as_bytes(checksum="md5")
    assert blob.download_as_bytes(start=2, end=5) == content[2:6]
    assert blob.download_as_bytes(if_etag_match=blob.etag) == content
    blob.reload(if_generation_match=blob.generation)
    raises(PreconditionFailed, lambda: blob.reload(if_generation_match=1))
    raises(PreconditionFailed, lambda: blob.download_as_bytes(if_generation_match=1))
    raises(NotFound, lambda: bucket.blob(keys[0], generation=1).download_as_bytes())


def main() -> int:
    key_file, endpoint, name, *keys = sys.argv[1:]
    account = service_account.Credentials.from_service_account_file(key_file, scopes=[SCOPE])
    # An assertion for a token of the endpoint's, and a token that the account signs itself.
    for credentials in (account, account.with_always_use_jwt_access(True)):
        client = storage.Client(
            project="sandbox",
            credentials=credentials,
            _http=AuthorizedSession(credentials),
            client_options=ClientOptions(api_endpoint=endpoint),
        )
        read(client, name, keys)
    print("OK")
    return 0


if __name__ == "__main__":
    sys.exit(main())
