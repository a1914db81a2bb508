"""Signatures as the S3 API reference has them.

The vectors are those of "Authenticating Requests: Using the Authorization Header".
"""

import pytest

from fusefs.s3.credentials import Keys
from fusefs.s3.signing import UNSIGNED, Signer, encoded, payload_hash, query_string

KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
THEN = "20130524T000000Z"


def signed(query: dict[str, str], keys: Keys = KEYS) -> dict[str, str]:
    """Return the headers of a GET of the examples' bucket."""
    headers = {
        "host": "examplebucket.s3.amazonaws.com",
        "x-amz-content-sha256": payload_hash(b"", tls=False),
    }
    Signer("us-east-1", "s3").sign(keys, "GET", "/", query_string(query), headers, THEN)
    return headers


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ({"lifecycle": ""}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            {"prefix": "J", "max-keys": "2"},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_examples_of_the_reference(query: dict[str, str], signature: str) -> None:
    """The same request has the same signature."""
    headers = signed(query)
    assert headers["x-amz-date"] == "20130524T000000Z"
    assert headers["authorization"].endswith(f"Signature={signature}")
    assert "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/" in headers["authorization"]


def test_a_session_token_is_signed_too() -> None:
    """It is sent, and a request with another one has another signature."""
    headers = signed({}, Keys(KEYS.access, KEYS.secret, "token"))
    assert headers["x-amz-security-token"] == "token"
    assert "x-amz-security-token" in headers["authorization"]
    assert headers["authorization"] != signed({})["authorization"]


def test_another_secret_is_not_signed_with_the_key_of_the_last() -> None:
    """Credentials change while a signer lives."""
    signer = Signer("us-east-1", "s3")
    found = []
    for secret in ("one", "two", "one"):
        headers = {"host": "h", "x-amz-content-sha256": UNSIGNED}
        signer.sign(Keys("A", secret), "GET", "/", "", headers, THEN)
        found.append(headers["authorization"])
    assert found[0] == found[2] != found[1]


def test_keys_are_encoded_once() -> None:
    """Slashes stay, whatever isn't unreserved is percent-encoded as UTF-8."""
    assert encoded("/b/a b+c~/%41/ü") == "/b/a%20b%2Bc~/%2541/%C3%BC"


def test_secrets_stay_out_of_what_is_printed() -> None:
    """Neither secret nor token."""
    assert "secret" not in repr(Keys("A", "secret", "secret"))
