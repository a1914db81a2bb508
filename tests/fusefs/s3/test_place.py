"""Where requests go and for which region they are signed: what boto3 says, without boto3."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest

from fusefs import errors
from fusefs.s3.credentials import CredentialsDirectory
from fusefs.s3.fastpath import FastPath, Wire
from fusefs.s3.httprequest import request_of
from fusefs.s3.place import authorities, place_of, static_keys
from fusefs.s3.retry import RetryBudget
from fusefs.s3.sdk import Sdk
from fusefs.s3.settings import StoreSettings

NAMES = ("data", "my.data", "My_Data", "a--b", "0-9", "xn--abc", "a" * 63)
REGIONS = (None, "us-east-1", "eu-west-1", "ap-southeast-2", "us-gov-west-1", "cn-northwest-1")
ENDPOINTS = ("http://127.0.0.1:9000", "https://s3.example.com", "http://minio:80", "https://h:443")
OWN_REGIONS = (None, "us-east-1", "garage", "auto", "r1-2")
# What is left to boto3, and a word on why.
LEFT = (
    ({"bucket": "data--use1-az4--x-s3"}, "directory bucket"),
    ({"bucket": "arn:aws:s3:us-west-2:123456789012:accesspoint/mine"}, "access point"),
    ({"bucket": "mine-abc-s3alias"}, "its alias"),
    ({"bucket": "mine--op-s3"}, "Outposts"),
    ({"region": "us-iso-east-1"}, "another domain"),
    ({"region": "aws-global"}, "no region"),
    ({"region": "US-EAST-1"}, "misspelt"),
    ({"profile": "mine"}, "a profile"),
    ({"anonymous": True}, "not signed"),
    ({"direct": False}, "asked for"),
    ({"endpoint_url": "http://h/base"}, "a path"),
    ({"endpoint_url": "http://my_minio:9000"}, "boto3 refuses it"),
    ({"endpoint_url": "http://h", "region": "aws-global"}, "signed for another"),
    ({"endpoint_url": "http://h", "path_style": False}, "virtual hosts"),
    ({"endpoint_url": "https://s3.eu-west-1.amazonaws.com"}, "AWS by its name"),
)
ODD = (
    {"AWS_PROFILE": "mine"},
    {"AWS_ENDPOINT_URL": "http://h"},
    {"AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_A_LATER_VARIABLE": "1"},
    {"https_proxy": "http://proxy:3128"},
    {"ALL_PROXY": "http://proxy:3128"},
)


class _Seen(Exception):
    """A request of boto3's that isn't to be sent."""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Static keys in the environment, and a home without configuration."""
    told = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S", "HOME": str(tmp_path)}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return told


def settings(bucket: str = "data", **told: object) -> StoreSettings:
    return replace(StoreSettings(bucket), **told)  # type: ignore[arg-type] # as tests name them


def seen_of_boto3(
    told: StoreSettings, operation: str = "list_objects_v2", **arguments: object
) -> tuple[str, Mapping[str, str], str]:
    """Return URL and headers of a request of boto3's, and the URL of its client."""
    seen: list[tuple[str, Mapping[str, str]]] = []

    def sends(url: str, headers: Mapping[str, str]) -> None:
        seen.append((url, headers))
        raise _Seen

    sdk = Sdk(told, None)
    sdk.watch(sends)
    with pytest.raises(_Seen):
        budget = RetryBudget(0, time.monotonic(), 1)
        sdk.call(operation, {"Bucket": told.bucket, **arguments}, budget)
    sdk.close()
    return *seen[0], sdk.endpoint


def where(direct: FastPath) -> tuple[str, ...]:
    """Return what tells one way from another."""
    assert direct.name is not None
    return direct.name


@pytest.mark.parametrize(
    "told",
    [
        *(settings(name, region=region) for name, region in zip(NAMES, cycle(REGIONS))),
        *(settings(region=region) for region in REGIONS[1:]),
        *(
            settings(name, region=region, endpoint_url=endpoint)
            for name, endpoint, region in zip(NAMES, cycle(ENDPOINTS), cycle(OWN_REGIONS))
        ),
    ],
    ids=lambda told: f"{told.bucket[:9]}-{told.region}-{told.endpoint_url}",
)
def test_a_plain_bucket_is_where_boto3_says(
    environment: dict[str, str], told: StoreSettings
) -> None:
    """Host, path and region are the same, for AWS and for an endpoint of one's own."""
    place = place_of(told, environment)
    assert place is not None
    url, headers, endpoint = seen_of_boto3(told)
    wire = Wire(1, 1, 1, authorities(environment))
    ours, theirs = (
        FastPath(told.bucket, wire, lambda: None),
        FastPath(told.bucket, wire, lambda: None),
    )
    ours.go(place.url, place.region)
    theirs.learn(url, headers)
    assert where(ours) == where(theirs)
    assert place.endpoint == endpoint


@pytest.mark.parametrize("named", ["AWS_DEFAULT_REGION", "AWS_REGION"])
def test_the_region_of_the_environment_is_boto3s(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """Whatever boto3 makes of a variable, we make the same of it."""
    monkeypatch.setenv(named, "eu-central-1")
    place = place_of(settings(), environment | {named: "eu-central-1"})
    assert place is not None
    assert seen_of_boto3(settings())[0].startswith(place.url)


@pytest.mark.parametrize(("told", "why"), LEFT, ids=[why for _, why in LEFT])
def test_what_is_not_plain_is_left_to_boto3(
    environment: dict[str, str], told: dict[str, object], why: str
) -> None:
    """Nothing is guessed."""
    assert place_of(replace(settings(), **told), environment) is None, why  # type: ignore[arg-type] # as above


@pytest.mark.parametrize("odd", ODD, ids=[next(iter(each)) for each in ODD])
def test_an_environment_that_says_more_is_left_to_boto3(
    environment: dict[str, str], odd: dict[str, str]
) -> None:
    """Proxies, profiles, and whatever boto3 may learn to read."""
    assert place_of(settings(), environment | odd) is None


@pytest.mark.parametrize("name", ["config", "credentials"])
def test_configuration_files_are_boto3s(environment: dict[str, str], name: str) -> None:
    """They may say anything."""
    file = Path(environment["HOME"]) / ".aws" / name
    file.parent.mkdir()
    file.touch()
    assert place_of(settings(), environment) is None


def test_a_role_that_static_keys_come_before_changes_nothing(environment: dict[str, str]) -> None:
    """A platform that gives every pod a role does no harm to one with a Secret."""
    role = {"AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}
    assert place_of(settings(), environment | role) == place_of(settings(), environment)


def test_keys_come_from_the_directory_first(environment: dict[str, str], tmp_path: Path) -> None:
    """As the chain has it; half a key is none."""
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("of the directory")
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("S")
    of_directory = static_keys(CredentialsDirectory(tmp_path), environment)
    of_environment = static_keys(None, environment)
    assert of_directory is not None
    assert of_environment is not None
    assert (of_directory().access, of_environment().access) == ("of the directory", "A")
    assert static_keys(None, {"AWS_ACCESS_KEY_ID": "A"}) is None


def test_the_certificates_are_boto3s(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own, unless the environment names a file."""
    found = authorities(environment)
    assert found is not None
    assert "BEGIN CERTIFICATE" in Path(found).read_text()
    monkeypatch.setenv("AWS_CA_BUNDLE", "/own.pem")
    assert authorities(environment | {"AWS_CA_BUNDLE": "/own.pem"}) == "/own.pem"
    assert Sdk(settings(), None).authorities == "/own.pem"


def test_a_wrong_endpoint_is_boto3s_to_refuse(environment: dict[str, str]) -> None:
    """Before anything is mounted."""
    with pytest.raises(errors.SetupError, match="Invalid endpoint"):
        Sdk(settings(endpoint_url="http://my_minio:9000"), None)


ACCESS_POINT = "arn:aws:s3:us-west-2:123456789012:accesspoint/mine"


@pytest.mark.parametrize(
    ("bucket", "path"),
    [
        ("data", "data/a%20b/%2B"),
        (ACCESS_POINT, f"{ACCESS_POINT.replace(':', '%3A')}/object/a%20b/%2B"),
    ],
)
@pytest.mark.usefixtures("environment")
def test_a_copy_names_its_source_as_aws_documents_it(bucket: str, path: str) -> None:
    """A bucket and a key; through an access point the ARN of the object. Both URL-encoded."""
    source = {"Bucket": bucket, "Key": "a b/+"}
    told = settings(bucket, region="us-west-2")
    _, headers, _ = seen_of_boto3(told, "copy_object", Key="c", CopySource=source)
    assert headers["x-amz-copy-source"] == path
    direct = request_of("copy_object", {"Bucket": bucket, "Key": "c", "CopySource": source})
    assert direct is not None
    assert direct.headers["x-amz-copy-source"] == path
