"""The rules of names and values, text by text."""

import pytest

from webhook.parse.buckets import parse_bucket
from webhook.parse.quantities import parse_bytes, parse_millicores
from webhook.parse.values import (
    SYSTEM_DIRECTORIES,
    SYSTEM_TREES,
    parse_endpoint,
    parse_path,
    parse_prefix,
    parse_secret,
)

BUCKETS = [
    "abc", "my-bucket", "my.bucket", "1-2", "a" * 63,
    "data--use1-az4--x-s3", "data--usw2-lax1-az1--x-s3",
    "my-point-abcdefghijklmnopqrstuvwxyz0123456-s3alias",
    "arn:aws:s3:eu-central-1:123456789012:accesspoint/data",
    "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/data",
]  # fmt: skip
NO_BUCKETS = [
    "", "ab", "a" * 64, "A-bucket", "my_bucket", "-abc", "abc-", "a..b", ".abc", "192.168.0.1",
    "xn--abc", "sthree-abc", "amzn-s3-demo-x", "abc--ol-s3", "abc.mrap", "abc--table-s3",
    "--x-s3", "data--x-s3", "bücket", "a b", "abc\n", "abc\0", "bucket/prefix", "s3://bucket",
    "arn:aws:s3:::bucket", "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/x",
    "arn:aws:s3:eu-central-1:1234:accesspoint/data", "arn:aws:s3::123456789012:accesspoint/m.mrap",
]  # fmt: skip


@pytest.mark.parametrize("text", BUCKETS)
def test_buckets_and_access_points(text: str) -> None:
    """General purpose and directory buckets, access points by alias and ARN."""
    assert parse_bucket(text) == text


@pytest.mark.parametrize("text", NO_BUCKETS)
def test_what_no_bucket_is_called(text: str) -> None:
    """S3's own rules, checked before S3 is asked."""
    with pytest.raises(ValueError, match=r"must|directory bucket"):
        parse_bucket(text)


@pytest.mark.parametrize("text", ["/a", "/var/s3", "/home/me", "/usr/share/x", "/däta", "/a b"])
def test_paths(text: str) -> None:
    """Absolute and in normal form."""
    assert parse_path(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "./a", "/a/", "/a//b", "/a/./b", "/a/../b", "//a", "/..", "/a:b", "/a\n", "/a\0b",
     "/" + "a" * 1024, "/proc/1", "/dev/shm", "/var/run/secrets/x", *SYSTEM_TREES,
     *SYSTEM_DIRECTORIES],
)  # fmt: skip
def test_what_no_mount_may_cover(text: str) -> None:
    """Relative, odd and system paths."""
    with pytest.raises(ValueError, match="must"):
        parse_path(text)


@pytest.mark.parametrize("text", ["/", "/a", "a//b", "a/../b", ".", "..", "a/.", "a\0", "x" * 901])
def test_what_no_prefix_is(text: str) -> None:
    """A prefix stands for a directory with a name that can be listed."""
    with pytest.raises(ValueError, match="must"):
        parse_prefix(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://S3.Example.com/", "https://s3.example.com"),
        ("http://minio:80", "http://minio"),
        ("https://minio:9000/path/", "https://minio:9000/path"),
        ("https://[::1]:9000", "https://[::1]:9000"),
    ],
)
def test_endpoints_have_one_form(text: str, expected: str) -> None:
    """The policy compares them as text."""
    assert parse_endpoint(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "minio:9000", "ftp://a", "https://", "https://a b", "https://u:p@a", "https://a?x",
     "https://a#x", "https://a:99999", "https://a/../b", "https://a\\b", "https://[::1", "//a",
     "https://a\n.b", "file:///etc/passwd"],
)  # fmt: skip
def test_what_no_endpoint_is(text: str) -> None:
    """Only http and https URLs of a host, without anything that could hide another one."""
    with pytest.raises(ValueError):
        parse_endpoint(text)


def test_secrets() -> None:
    """A name as Kubernetes has it; `none` is none."""
    assert (parse_secret("a.b-c"), parse_secret("none")) == ("a.b-c", None)
    for text in ("", "A", "a/b", "../a", "a..b", "-a", "a" * 254, "a\n"):
        with pytest.raises(ValueError):
            parse_secret(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("1k", 1000), ("1Ki", 1024), ("1.5Gi", 3 * 2**29), ("1e3", 1000), ("0.1", 1),
     (".5Ki", 512), ("9223372036854775807", 2**63 - 1)],
)  # fmt: skip
def test_quantities(text: str, expected: int) -> None:
    """As Kubernetes reads them, rounded up."""
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1 Gi", "1gi", "-1", "1GB", "0x10", "1e99", "9223372036854775808", "٣", "1_000"]
)
def test_what_no_quantity_is(text: str) -> None:
    """Nothing that Kubernetes would refuse or read otherwise."""
    for parse in (parse_bytes, parse_millicores):
        with pytest.raises(ValueError):
            parse(text if text != "9223372036854775808" else text + "0")
