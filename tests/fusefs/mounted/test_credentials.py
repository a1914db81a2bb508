"""Credentials that change or expire under a running mount."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fusefs.mounted.conftest import Mounts
from tests.fusefs.mounted.test_read import MIB, content
from tests.mounts.ours import OurMount
from tests.proxy.faults import ACCESS_DENIED, EXPIRED_TOKEN, Fault, Status
from tests.proxy.proxy import Proxy
from tests.servers.s3 import Bucket, Credentials
from tests.servers.seaweed import SUCCESSOR


def store(directory: Path, credentials: Credentials) -> None:
    """Write credentials as the kubelet updates a Secret: a new directory, then one symlink."""
    version = directory / f"..{credentials.access_key}"
    version.mkdir(parents=True)
    for name, value in credentials.environment().items():
        (version / name).write_text(value)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data") / name)
    (directory / "..new").symlink_to(version.name)
    os.replace(directory / "..new", directory / "..data")


@pytest.fixture
def secret(tmp_path: Path, bucket: Bucket) -> Path:
    """A directory as a mounted Secret looks like."""
    store(tmp_path / "secret", bucket.endpoint.credentials)
    return tmp_path / "secret"


@pytest.fixture
def mount(bucket: Bucket, mounts: Mounts, proxy: Proxy, secret: Path) -> OurMount:
    """A mount with its credentials in a directory, and wrong ones in its environment."""
    wrong = replace(proxy.endpoint, credentials=Credentials("not-this", "nor-this"))
    return mounts(bucket, "--credentials-dir", str(secret), endpoint=wrong)


REFUSALS = {
    "expired": EXPIRED_TOKEN,
    "unknown": Status(403, "InvalidAccessKeyId"),
    "signature": Status(403, "SignatureDoesNotMatch"),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_new_credentials_are_taken_up_in_the_middle_of_a_read(
    mount: OurMount, bucket: Bucket, proxy: Proxy, secret: Path, refusal: Fault
) -> None:
    """The old key stops working after the files have changed: the program sees no error."""
    bucket.put("f", content(40 * MIB))
    with (mount.path / "f").open("rb", buffering=0) as file:
        read = file.read(MIB)
        store(secret, SUCCESSOR)
        proxy.reject(bucket.endpoint.credentials.access_key, refusal)
        while part := file.read(MIB):
            read += part
    assert read == content(40 * MIB)
    assert proxy.requests[-1].access_key == SUCCESSOR.access_key


def test_new_credentials_are_taken_up_in_the_middle_of_an_upload(
    mount: OurMount, bucket: Bucket, proxy: Proxy, secret: Path
) -> None:
    """A multipart upload begun with one key is completed with the next."""
    with (mount.path / "f").open("wb", buffering=0) as file:
        file.write(content(30 * MIB))
        store(secret, SUCCESSOR)
        proxy.reject(bucket.endpoint.credentials.access_key)
        file.write(content(10 * MIB, 2))
    assert bucket.get("f") == content(30 * MIB) + content(10 * MIB, 2)


def test_names_and_attributes_go_on_with_new_credentials(
    mount: OurMount, bucket: Bucket, proxy: Proxy, secret: Path
) -> None:
    """Every kind of request, not only transfers."""
    (mount.path / "f").write_bytes(b"x")
    store(secret, SUCCESSOR)
    proxy.reject(bucket.endpoint.credentials.access_key)
    (mount.path / "d").mkdir()
    (mount.path / "f").chmod(0o600)
    (mount.path / "f").rename(mount.path / "d/f")
    assert os.listdir(mount.path / "d") == ["f"]
    (mount.path / "d/f").unlink()
    assert bucket.keys() == ["d/"]


def test_without_new_credentials_it_is_an_error(
    mount: OurMount, bucket: Bucket, proxy: Proxy
) -> None:
    """Refused and nothing newer to be had: an error for the program, and words in the log."""
    mount.expected.append("credential|denied|refus|expired|Expired|upload")
    bucket.put("f", content(MIB))
    proxy.reject(bucket.endpoint.credentials.access_key, ACCESS_DENIED)
    with pytest.raises(OSError):
        (mount.path / "f").read_bytes()


def test_secrets_are_never_logged(mount: OurMount, bucket: Bucket) -> None:
    """Neither keys nor signatures."""
    (mount.path / "f").write_bytes(b"x")
    assert bucket.endpoint.credentials.secret_key not in mount.said()
    assert "Signature=" not in mount.said()
