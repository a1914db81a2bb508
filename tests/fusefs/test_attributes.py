"""POSIX attributes in object metadata: s3fs's forms, round trips, and garbage."""

import stat
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs import attributes
from fusefs.attributes import Defaults, Posix
from fusefs.objects import Headers, ObjectInfo

DEFAULTS = Defaults(uid=5, gid=6, file_mode=0o640, dir_mode=0o750)
FILE = stat.S_IFREG | 0o640

KINDS = st.sampled_from([stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK])
IDS = st.integers(0, 2**32 - 1)
TIMES = st.integers(-(2**40), 2**62)
XATTRS = st.dictionaries(st.text(min_size=1), st.binary(), max_size=3)
POSIX = st.builds(
    lambda kind, mode, *rest: Posix(kind | mode, *rest),
    *(KINDS, st.integers(0, 0o7777), IDS, IDS, TIMES, TIMES, TIMES, XATTRS),
)


def stored(**metadata: str) -> ObjectInfo:
    return ObjectInfo("k", 1, "e", 1000.5, Headers(metadata))


def read(directory: bool = False, **metadata: str) -> Posix:
    return attributes.read(stored(**metadata), DEFAULTS, directory)


@given(POSIX)
def test_what_was_written_is_read_again(posix: Posix) -> None:
    """Every attribute, to the nanosecond and the byte."""
    headers = attributes.write(posix, Headers())
    assert attributes.read(ObjectInfo("k", 1, "e", 0.0, headers), DEFAULTS, False) == posix


@given(POSIX)
def test_what_is_written_can_be_a_header(posix: Posix) -> None:
    """Metadata travels as HTTP headers: printable ASCII without line breaks."""
    for name, value in attributes.write(posix, Headers()).metadata.items():
        assert (name + value).isascii()
        assert (name + value).isprintable()


@given(
    POSIX, st.dictionaries(st.sampled_from(["owner-team", "x", "md5", "permissions"]), st.text())
)
def test_metadata_of_others_stays(posix: Posix, foreign: dict[str, str]) -> None:
    """Only our own keys are replaced; other settings of the object stay too."""
    before = Headers({**foreign, "mode": "33188", "xattr": "old"}, {"ContentType": "text/plain"})
    after = attributes.write(posix, before)
    assert {name: after.metadata[name] for name in foreign} == foreign
    assert after.system == before.system
    assert ("xattr" in after.metadata) == bool(posix.xattrs)


def test_the_forms_are_those_of_s3fs() -> None:
    """As read off objects that s3fs 1.90 wrote."""
    posix = Posix(0o100644, 1000, 1001, 1_700_000_000_000_000_000, 1_700_000_000_000_000_005, 0)
    posix = replace(posix, xattrs={"user.a": b"value"})
    assert attributes.write(posix, Headers()).metadata == {
        "mode": "33188",
        "uid": "1000",
        "gid": "1001",
        "atime": "1700000000",
        "mtime": "1700000000.000000005",
        "ctime": "0",
        "xattr": "%7B%22user.a%22%3A%22dmFsdWU%3D%22%7D",
    }


@pytest.mark.parametrize(
    ("metadata", "mode"),
    [
        ({"mode": "33188"}, 0o100644),
        ({"mode": "33261"}, 0o100755),
        ({"mode": "41471"}, 0o120777),
        ({"mode": "420"}, 0o100644),
        ({"permissions": "33188"}, 0o100644),
        ({"file-permissions": "0600"}, 0o100600),
        ({"mode": "100644"}, 0o100644),
        ({"mode": "16877"}, 0o100755),
        ({"mode": "33188", "permissions": "33261"}, 0o100644),
        ({"mode": "", "permissions": "33261"}, 0o100755),
        ({"mode": "-1"}, FILE),
        ({"mode": "0x81a4"}, FILE),
        ({"mode": "999999999999"}, FILE),
        ({"mode": "٣٣١٨٨"}, FILE),
        ({}, FILE),
    ],
)
def test_modes_are_read_in_all_their_forms(metadata: dict[str, str], mode: int) -> None:
    """s3fs's decimal, s3sync's names, DataSync's and rclone's octal; a file is no directory."""
    assert read(**metadata).mode == mode


def test_a_marker_is_a_directory_whatever_it_says() -> None:
    """And takes the default mode where it says nothing."""
    assert read(directory=True, mode="33188").mode == stat.S_IFDIR | 0o644
    assert read(directory=True).mode == stat.S_IFDIR | 0o750


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("1700000000", 1_700_000_000 * 10**9),
        ("1700000000.5", 1_700_000_000_500_000_000),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("1700000000.1234567891", 1_700_000_000_123_456_789),
        ("-1", -(10**9)),
        ("2023-11-14", 1_000_500_000_000),
        ("", 1_000_500_000_000),
        ("1.x", 1_000_500_000_000),
        ("nan", 1_000_500_000_000),
    ],
)
def test_times_are_seconds_with_a_fraction(text: str, ns: int) -> None:
    """What can't be read is the object's own LastModified."""
    assert read(mtime=text).mtime_ns == ns


@given(st.integers(-(2**61), 2**62))
def test_a_time_before_1970_with_a_fraction_comes_back(ns: int) -> None:
    """The fraction counts upwards from the second before, as in `struct timespec`."""
    assert read(**attributes.write(Posix(FILE, 0, 0, 0, ns, 0), Headers()).metadata).mtime_ns == ns


@pytest.mark.parametrize(
    "names", [("uid", "gid"), ("owner", "group"), ("file-owner", "file-group")]
)
def test_owners_are_read_in_all_their_forms(names: tuple[str, str]) -> None:
    """s3fs's, s3sync's, DataSync's."""
    posix = read(**dict(zip(names, ("7", "8"), strict=True)))
    assert (posix.uid, posix.gid) == (7, 8)


def test_owners_that_are_no_number_are_the_defaults() -> None:
    """Names of users mean nothing here."""
    posix = read(uid="root", gid="4294967296")
    assert (posix.uid, posix.gid) == (5, 6)


def test_atime_and_ctime_default_to_mtime() -> None:
    """Older s3fs stores mtime alone."""
    posix = read(mtime="9")
    assert (posix.atime_ns, posix.ctime_ns) == (9 * 10**9, 9 * 10**9)


def test_a_listing_tells_no_attributes() -> None:
    """Until a HEAD does, the defaults hold."""
    info = ObjectInfo("k", 1, "e", 2.0)
    assert attributes.read(info, DEFAULTS, False) == Posix(FILE, 5, 6, *[2 * 10**9] * 3)


GARBAGE = [
    *("%7B", "%FF", "null", "[]", '{"a":1}', '{"a":null}', "%22x%22", "-", ".", "-.5", "+1"),
    *(
        "9" * 5000,
        "0" * 5000,
        "1." + "9" * 5000,
        "-" + "9" * 5000,
        "9" * 30,
        "1_000",
        "\N{FULLWIDTH DIGIT ONE}",
    ),
    *(quote('{"user.a":"!"}'), quote('{"user.a":"==="}'), quote("[" * 100_000)),
]
NAMES = [*attributes.KEYS, "permissions", "file-permissions", "owner", "file-owner", "group"]


@given(st.dictionaries(st.sampled_from(NAMES), st.text() | st.sampled_from(GARBAGE)))
def test_garbage_never_raises(metadata: dict[str, str]) -> None:
    """Anybody can write anything into metadata; it is as if it weren't there."""
    for directory in (False, True):
        posix = read(directory, **metadata)
        assert stat.S_ISDIR(posix.mode) == directory
        assert 0 <= posix.uid < 2**32


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: text[:12])
@pytest.mark.parametrize("name", NAMES)
def test_one_garbage_value_leaves_the_other_attributes(name: str, text: str) -> None:
    """A broken xattr or time doesn't hide the mode."""
    assert read(**{"gid": "9", name: text}).gid in (9, DEFAULTS.gid)


@pytest.mark.parametrize("field", ["atime", "mtime", "ctime"])
def test_times_a_kernel_cannot_hold_are_not_there(field: str) -> None:
    """FUSE has 64 bits of seconds; a number of more digits is no time."""
    assert getattr(read(**{field: "9" * 30}), f"{field}_ns") == 1_000_500_000_000
