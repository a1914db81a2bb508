"""Words to values: sizes, times, numbers, modes, buckets."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.errors import SetupError
from fusefs.mount import settings
from fusefs.s3.settings import StoreSettings
from fusefs.write.uploadplan import PlanSettings
from webhook.parse.quantities import parse_bytes

MiB = 1 << 20
MOUNT = settings.MountSettings(StoreSettings("bucket"), Path("/mnt"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0", 0), ("1073741824", 1 << 30), ("1Gi", 1 << 30), ("1G", 10**9)),
        *(("500MiB", 500 * MiB), ("500MB", 500 * 10**6), ("2t", 2 * 10**12), (" 3 k ", 3000)),
        *(("7b", 7), ("64ki", 64 << 10)),
    ],
)
def test_a_size_has_a_unit(text: str, value: int) -> None:
    """k, M, G and T are powers of 1000, with an i of 1024; with or without B, in either case."""
    assert settings.size(text, "--cache-size") == value


@pytest.mark.parametrize("text", ["1G", "1Gi", "500M", "64Mi", "2T", "2Ti", "300k", "1073741824"])
def test_a_size_means_what_it_does_in_an_annotation(text: str) -> None:
    """`--cache-size` and `s3.mount/cache-size` take the same words for the same bytes."""
    assert settings.size(text, "--cache-size") == parse_bytes(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5Gi", "1 Gi x", "Gi", "1Ei", "²", "१", "9" * 5000, "1\n2"]
)
def test_what_is_no_size_is_told_with_its_option(text: str) -> None:
    """The message names the option."""
    with pytest.raises(SetupError, match="--cache-size"):
        settings.size(text, "--cache-size")


def test_a_size_too_small_to_work_is_told() -> None:
    """A cache that can't hold one write of the kernel would refuse every write."""
    with pytest.raises(SetupError, match="1048576"):
        settings.size("1023Ki", "--cache-size", least=MiB)


@pytest.mark.parametrize(
    ("text", "value"),
    [("60", 60), ("60s", 60), ("5m", 300), ("2h", 7200), ("1d", 86400), ("250ms", 0.25)],
)
def test_a_time_is_seconds_unless_it_says_otherwise(text: str, value: float) -> None:
    """ms, s, m, h and d."""
    assert settings.seconds(text, "--attr-ttl") == value


@pytest.mark.parametrize("text", ["", "-1", "1w", "s", "1e3", "nan", "inf", "9" * 5000])
def test_what_is_no_time_is_told_with_its_option(text: str) -> None:
    """The message names the option."""
    with pytest.raises(SetupError, match="--attr-ttl"):
        settings.seconds(text, "--attr-ttl")


@pytest.mark.parametrize("text", ["0644", "644", "0755", "1777", "01777"])
def test_a_mode_is_octal(text: str) -> None:
    """With or without the leading zero, with or without the sticky bit."""
    assert settings.mode(text, "--file-mode") == int(text, 8)


@pytest.mark.parametrize("text", ["", "u=rw", "0888", "64", "0o644", "77777", "²"])
def test_what_is_no_mode_is_told_with_its_option(text: str) -> None:
    """The message names the option."""
    with pytest.raises(SetupError, match="--file-mode"):
        settings.mode(text, "--file-mode")


@pytest.mark.parametrize("text", ["", "-1", "root", "²", "1.0", str(2**32 - 1), "9" * 5000])
def test_what_is_no_uid_is_told_with_its_option(text: str) -> None:
    """2**32 - 1 is (uid_t) -1, which chown takes for "leave it"."""
    with pytest.raises(SetupError, match="--uid"):
        settings.number(text, "--uid")


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("my-bucket", "my-bucket", ""),
        ("my-bucket/", "my-bucket", ""),
        ("my-bucket/a/b", "my-bucket", "a/b/"),
        ("my-bucket/a/b/", "my-bucket", "a/b/"),
        ("s3://my-bucket/a", "my-bucket", "a/"),
        ("my-bucket:/a", "my-bucket", "a/"),
        ("data--use1-az4--x-s3/a", "data--use1-az4--x-s3", "a/"),
        ("my-bucket/ä b", "my-bucket", "ä b/"),
        (
            "arn:aws:s3:us-west-2:123456789012:accesspoint/ap/a",
            "arn:aws:s3:us-west-2:123456789012:accesspoint/ap",
            "a/",
        ),
        (
            "arn:aws:s3:us-west-2:123456789012:accesspoint:ap",
            "arn:aws:s3:us-west-2:123456789012:accesspoint:ap",
            "",
        ),
        (
            "arn:aws:s3:us-west-2:123456789012:accesspoint:ap/a/b",
            "arn:aws:s3:us-west-2:123456789012:accesspoint:ap",
            "a/b/",
        ),
    ],
)
def test_a_bucket_may_have_a_prefix_behind_it(text: str, bucket: str, prefix: str) -> None:
    """As we, the AWS command line and s3fs write it; a prefix ends in a slash."""
    assert settings.bucket_and_prefix(text) == (bucket, prefix)


@pytest.mark.parametrize(
    "text",
    [
        *("", "ab", "/a", "my bucket", "my-bucket:a", "b\nc-d", "arn:", "arn:aws", "bücket"),
        *("x" * 256, "my-bucket/\udcff", "my-bucket/" + "a" * 1024),
    ],
)
def test_what_can_be_no_bucket_or_prefix_is_told(text: str) -> None:
    """Before anything is asked of a store."""
    with pytest.raises(SetupError, match="is not"):
        settings.bucket_and_prefix(text)


@pytest.mark.parametrize(
    "text", ["https://x-1/b", "http://user:secret@x-1:9000/b", "S3://my-bucket", "gs://my-bucket/a"]
)
def test_a_url_is_no_bucket(text: str) -> None:
    """A scheme could be a bucket's name; the error says where a store's address belongs."""
    with pytest.raises(SetupError, match=r"BUCKET\[/PREFIX\].*--endpoint-url") as raised:
        settings.bucket_and_prefix(text)
    assert text.partition("/")[0] in str(raised.value)
    assert "secret" not in str(raised.value)


@given(st.text())
def test_no_text_raises_anything_but_a_setup_error(text: str) -> None:
    """Every parser reads it or tells its option."""
    for parse in (settings.size, settings.seconds, settings.number, settings.mode):
        try:
            parse(text, "--name")
        except SetupError as error:
            assert "--name" in str(error)


def test_an_endpoint_is_a_url_without_secrets() -> None:
    """The message doesn't repeat what was typed: there may be a password in it."""
    assert settings.endpoint("http://127.0.0.1:9000/", "--endpoint-url") == "http://127.0.0.1:9000"
    with pytest.raises(SetupError) as caught:
        settings.endpoint("https://me:geheim@s3.example.com", "--endpoint-url")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("memory", "part", "uploads"), [(128, 16, 8), (128, 52, 2), (128, 128, 1), (1, 16, 1)]
)
def test_as_many_parts_are_sent_at_once_as_fit_in_memory(
    memory: int, part: int, uploads: int
) -> None:
    """At least one, at most `parallel`."""
    plan = PlanSettings(part_size=part * MiB)
    assert replace(MOUNT, memory_limit=memory * MiB, plan=plan).uploads == uploads


def test_a_part_must_fit_in_memory() -> None:
    """What is sent is held in memory whole."""
    assert settings.too_large(MOUNT) == []
    assert settings.too_large(replace(MOUNT, memory_limit=MiB)) == []
    big = PlanSettings(part_size=129 * MiB, threshold=200 * MiB)
    assert [text.split(":")[0] for text in settings.too_large(replace(MOUNT, plan=big))] == [
        "-o multipart_size",
        "-o multipart_threshold",
    ]
