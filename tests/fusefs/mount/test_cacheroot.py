"""Whose a cache directory is: one bucket's, one prefix's, one store's."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fusefs.errors import SetupError
from fusefs.mount.cacheroot import FILE, CacheRoot, Owner
from fusefs.mount.mount import open_mount
from fusefs.mount.settings import MountSettings
from fusefs.s3.settings import StoreSettings
from tests.fusefs.unmounted import CALLER, Unmounted
from tests.servers.buckets import Buckets
from tests.servers.s3 import REGION, Bucket

MOUNT = MountSettings(StoreSettings("bucket"), Path("/none"), prefix="a/b/")
OWN = Owner("bucket", "a/b/", "http://store:9000")


def at(path: Path, owner: Owner = OWN) -> CacheRoot:
    return CacheRoot.of(replace(MOUNT, cache_dir=path), owner)


def leave_unsent(path: Path) -> None:
    """Leave a changed file, as a process does that was killed."""
    (path / "staged").mkdir(parents=True, exist_ok=True)
    (path / "staged/x.log").write_text("{}\n")


@pytest.mark.parametrize("field", ["bucket", "prefix", "endpoint"])
def test_a_directory_of_another_bucket_prefix_or_store_is_refused(
    tmp_path: Path, field: str
) -> None:
    """One line that names both."""
    at(tmp_path).claim()
    at(tmp_path).claim()
    other = replace(OWN, **{field: "other/"})
    with pytest.raises(SetupError, match="belongs to s3://bucket/a/b/ at http://store:9000, not"):
        at(tmp_path, other)


def test_a_directory_is_taken_only_when_the_bucket_was_reached(tmp_path: Path) -> None:
    """Whoever mistypes a bucket can correct it."""
    at(tmp_path, replace(OWN, bucket="mistyped"))
    at(tmp_path).claim()


def test_of_two_that_claim_at_once_one_gets_it(tmp_path: Path) -> None:
    """Both looked before either wrote."""
    first, second = at(tmp_path), at(tmp_path, replace(OWN, bucket="other"))
    first.claim()
    with pytest.raises(SetupError, match="belongs to"):
        second.claim()
    assert os.listdir(tmp_path) == [FILE]


def test_a_directory_of_the_old_layout_is_adopted_if_nothing_in_it_is_unsent(
    tmp_path: Path,
) -> None:
    """With unsent changes nobody knows whose they are: refused, with the line that says so."""
    (tmp_path / "blocks").mkdir()
    at(tmp_path)
    leave_unsent(tmp_path)
    with pytest.raises(SetupError, match="left by a version") as caught:
        at(tmp_path)
    (tmp_path / FILE).write_text(str(caught.value).partition("--cache-dir: ")[2])
    at(tmp_path).claim()


def test_a_mount_that_goes_on_keeps_its_directory_of_the_old_layout(tmp_path: Path) -> None:
    """Its worker was replaced by a newer version; the mount is the same."""
    leave_unsent(tmp_path)
    root = CacheRoot.of(replace(MOUNT, cache_dir=tmp_path), OWN, ours=True)
    root.claim()
    at(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [('{"version": 9, "realm": "x"}', "version 9"), ("[1]", "can't be understood")],
)
def test_an_owner_of_an_unknown_form_is_refused_and_left(
    tmp_path: Path, text: str, says: str
) -> None:
    """A newer version wrote it, or nobody of ours."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(SetupError, match=says):
        at(tmp_path)
    assert (tmp_path / FILE).read_text() == text


def test_an_owner_that_a_power_failure_emptied_is_none(tmp_path: Path) -> None:
    """Its name was on the disk, its line wasn't."""
    (tmp_path / FILE).write_bytes(bytes(70))
    at(tmp_path).claim()
    assert json.loads((tmp_path / FILE).read_text())["bucket"] == "bucket"


def test_aws_is_one_place_and_other_stores_are_each_their_own() -> None:
    """Buckets of AWS have one name in all regions."""
    regions = ("https://s3.eu-central-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com")
    assert {Owner.of(MOUNT, url).endpoint for url in regions} == {"aws"}
    assert Owner.of(MOUNT, "http://Store:9000/").endpoint == "http://store:9000"


def test_default_directories_of_two_mounts_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of `x/y/` and `x_y/`, and of one name in two stores."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    owners = [
        Owner(*each)
        for each in (("b", "x/y/", "aws"), ("b", "x_y/", "aws"), ("b", "x/y/", "http://s"))
    ]
    paths = {CacheRoot.of(replace(MOUNT, cache_dir=None), owner).path for owner in owners}
    assert len(paths) == 3
    assert all(path.parent == tmp_path / ".cache/s3mount" for path in paths)


def test_unsent_changes_of_one_bucket_never_reach_another(
    bucket: Bucket, buckets: Buckets, tmp_path: Path
) -> None:
    """The same --cache-dir, another bucket: it doesn't start, and nothing is uploaded there."""
    with Unmounted(bucket, tmp_path, bucket.endpoint) as first:
        _, opened = first.calls.create(1, "f", 0o644, os.O_WRONLY | os.O_CREAT, CALLER)
        first.calls.write(opened.handle, 0, b"ours")
    other = buckets.take()
    settings = StoreSettings(
        other.name, other.endpoint.url, REGION, credentials_dir=tmp_path / "keys"
    )
    with pytest.raises(SetupError, match="belongs to"):
        open_mount(MountSettings(settings, tmp_path, cache_dir=tmp_path / "cache")).close()
    assert other.keys() == []
    buckets.give_back(other)
