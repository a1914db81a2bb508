"""Options in s3fs's spelling: which there are, what they set, and how mistakes are told."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.attributes import Posix, Shown
from fusefs.cli import optionlist
from fusefs.cli.s3fsoptions import ACCEPTED, BY_NAME, REFUSED, SET
from fusefs.mount.settings import MountSettings
from fusefs.s3.settings import StoreSettings
from tests.mounts.mount import Mount as Daemon
from tests.mounts.ours import Directories, OurMount
from tests.mounts.s3fs import S3fsMount
from tests.servers.s3 import Bucket

DOCUMENT = Path(__file__).parents[3] / "docs/options.md"
MiB = 1 << 20


def applied(*lists: str) -> MountSettings:
    read = optionlist.read(lists)
    assert read.problems == ()
    return read.applied(MountSettings(StoreSettings("bucket"), Path("/mnt")))


def told_by_s3fs() -> set[str]:
    """Return the names of s3fs's options as its own help has them."""
    text = subprocess.run(["s3fs", "--help"], capture_output=True, text=True, timeout=20).stdout
    listed = text.partition("s3fs Options:")[2].partition("FUSE/mount Options:")[0]
    return set(re.findall(r"^   ([a-z][a-z0-9_]+)(?: \(| -|$)", listed, re.MULTILINE))


def test_every_option_s3fs_tells_of_is_known() -> None:
    """Nobody who comes from s3fs meets an unknown option; `bucket` to `use_xattr` are there."""
    names = told_by_s3fs()
    assert {"bucket", "use_cache", "umask", "use_xattr", "set_check_cache_sigusr1"} <= names
    assert len(names) > 60
    assert names - set(BY_NAME) == set()


def test_no_option_has_two_fates() -> None:
    """A name is in one of the three lists."""
    names = [option.name for option in (*SET, *ACCEPTED, *REFUSED)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("use_cache=/var/c", "cache_dir", Path("/var/c")),
        ("check_cache_dir_exist", "cache_dir_must_exist", True),
        ("ensure_diskfree=100", "keep_free", 100 * MiB),
        ("max_stat_cache_size=7", "remembered", 7),
        ("stat_cache_expire=900", "attr_ttl", 900.0),
        ("stat_cache_expire=0", "attr_ttl", 0.0),
        ("stat_cache_interval_expire=9", "attr_ttl", 9.0),
        ("parallel_count=3", "parallel", 3),
        ("multireq_max=4", "requests", 4),
        ("multipart_size=52", "plan.part_size", 52 * MiB),
        ("multipart_threshold=25", "plan.threshold", 25 * MiB),
        ("multipart_copy_size=5120", "plan.copy_size", 5120 * MiB),
        ("retries=8", "store.retries", 8),
        ("connect_timeout=300", "store.connect_timeout", 300.0),
        ("readwrite_timeout=120", "store.read_timeout", 120.0),
        ("endpoint=eu-west-1", "store.region", "eu-west-1"),
        ("url=https://s3.example.com/", "store.endpoint_url", "https://s3.example.com"),
        ("url=https://s3.example.com", "store.path_style", False),
        ("use_path_request_style,url=http://x:90", "store.path_style", True),
        ("allow_other", "allow_other", True),
        ("nonempty", "nonempty", True),
        ("ro", "read_only", True),
        ("storage_class=standard_ia", "store.storage_class", "STANDARD_IA"),
        ("use_rrs", "store.storage_class", "REDUCED_REDUNDANCY"),
        ("use_rrs=0", "store.storage_class", None),
        ("use_sse", "store.sse", "AES256"),
        ("use_sse=1", "store.sse", "AES256"),
        ("use_sse=kmsid:abc", "store.sse_kms_key", "abc"),
        ("use_sse=k:arn:aws:kms:x", "store.sse_kms_key", "arn:aws:kms:x"),
        ("use_sse=kmsid", "store.sse", "aws:kms"),
        ("default_acl=bucket-owner-read", "store.acl", "bucket-owner-read"),
        ("default_acl=private", "store.acl", None),
        ("requester_pays", "store.requester_pays", True),
        ("public_bucket=1", "store.anonymous", True),
        ("public_bucket=0", "store.anonymous", False),
        ("profile=prod", "store.profile", "prod"),
        ("dbglevel=debug", "debug", True),
        ("dbglevel=crit", "debug", False),
        ("umask=022", "shown.umask", 0o22),
        ("mp_umask=27", "shown.root_umask", 0o27),
        ("uid=7,gid=8", "shown.gid", 8),
    ],
)
def test_an_option_sets_what_its_row_says(text: str, path: str, value: object) -> None:
    """Each mapped option reaches its field, in the field's own unit."""
    found: Any = applied(text)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def test_the_last_of_two_holds() -> None:
    """As in s3fs, also over several lists."""
    assert applied("retries=1,retries=2").store.retries == 2
    assert applied("retries=1", "ro,retries=3").store.retries == 3


def test_a_backslash_keeps_a_comma_in_a_value() -> None:
    """As mount(8) and libfuse have it."""
    assert applied(r"use_cache=/a\,b,ro").cache_dir == Path("/a,b")


def test_accepted_options_change_nothing() -> None:
    """What is accepted leaves the settings alone and is told apart."""
    text = "enable_noobj_cache,iam_role=auto,iam_role,use_xattr=1,max_dirty_data=-1,_netdev"
    assert applied(text) == MountSettings(StoreSettings("bucket"), Path("/mnt"))
    assert "iam_role" in optionlist.read([text]).idle


@pytest.mark.parametrize(
    "text",
    [
        *("retries=0", "retries=x", "retries", "retries=", "retries=²", "retries=-1"),
        *("retries=" + "9" * 5000, "multipart_size=4", "multipart_size=5121", "umask=8"),
        *("umask=01000", "mp_umask=", "ro=1", "allow_other=", "url=s3.example.com", "url="),
        *("url=http://", "url=http://u:p@h", "url=http://h:99999", "url=ftp://h", "use_sse=2"),
        *("use_sse=custom:/key", "use_sse=/key", "default_acl=open", "storage_class=tape"),
        *("public_bucket=yes", "stat_cache_expire=1m", "stat_cache_expire=-1", "uid=root"),
        *("use_cache=", "use_cache=/a\0b", "ssl_verify_hostname=0", "max_dirty_data=49"),
    ],
)
def test_a_wrong_value_is_told_by_its_option_and_rule(text: str) -> None:
    """One sentence with the name and what the value must be; never the value itself."""
    (problem,) = optionlist.read([text]).problems
    assert problem.startswith(f"-o {text.partition('=')[0]}: the value must be ")
    assert "u:p" not in problem


@pytest.mark.parametrize("option", REFUSED, ids=lambda option: option.name)
def test_a_refused_option_tells_why(option: optionlist.Option) -> None:
    """Refused are names we know and can't serve honestly."""
    (problem,) = optionlist.read([option.name + "=/x"]).problems
    assert problem == f"-o {option.name}: refused: {option.why}"


def test_an_unknown_option_is_told_by_name_with_the_nearest_and_the_list() -> None:
    """All mistakes come at once; the list of known options once, at the end."""
    problems = optionlist.read(["retires=3,umask=9", "nonsense_qqq,passwd_file=/x"]).problems
    assert problems[0] == "-o retires: unknown; did you mean retries?"
    assert problems[1].startswith("-o umask: ")
    assert problems[2] == "-o nonsense_qqq: unknown"
    assert problems[3].startswith("-o passwd_file: refused: ")
    assert problems[4].startswith("known options: ro, ")
    assert len(problems) == 5


@given(st.lists(st.text() | st.sampled_from([o.name + "=" for o in SET]), max_size=4))
def test_no_text_raises(lists: list[str]) -> None:
    """Whatever somebody types is read, or told as a problem in printable ASCII or our own words."""
    read = optionlist.read(lists)
    assert all("\n" not in problem and "\0" not in problem for problem in read.problems)


def test_the_documented_tables_are_those_of_the_code() -> None:
    """docs/options.md ends with what `python -m fusefs options` prints."""
    assert DOCUMENT.read_text().endswith(optionlist.markdown())


def test_shown_owner_and_mode_go_before_stored_ones() -> None:
    """The mask takes from 0777, keeps the type, and `umask` goes before `mp_umask`."""
    posix = Posix(0o100640, 7, 8, 0, 0, 0)
    assert Shown().of(posix, root=True) == (0o100640, 7, 8)
    assert Shown(umask=0o22).of(posix, root=False) == (0o100755, 7, 8)
    assert Shown(uid=1, gid=2).of(posix, root=False) == (0o100640, 1, 2)
    assert Shown(root_umask=0o27).of(posix, root=False) == (0o100640, 7, 8)
    assert Shown(root_umask=0o27).of(posix, root=True) == (0o100750, 7, 8)
    assert Shown(umask=0o2, root_umask=0o27).of(posix, root=True) == (0o100775, 7, 8)


def shown(mount: Daemon) -> str:
    """Return mode, uid and gid of what is on a mount, as stat(1) prints them."""
    command = "cd $0 && stat -c '%n %a %u %g' . secret"
    done = subprocess.run(
        ["sh", "-c", command, mount.path], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


@pytest.mark.mount
@pytest.mark.parametrize(
    "text", ["umask=022", "umask=077,mp_umask=0", "uid=1000,gid=1001,mp_umask=027", "umask=2,uid=9"]
)
def test_owner_and_mode_are_shown_as_s3fs_shows_them(
    bucket: Bucket, tmp_path: Path, text: str
) -> None:
    """`uid`, `gid`, `umask` and `mp_umask` mean to us what they mean to the real s3fs."""
    bucket.put("secret", b"x", {"mode": str(0o100600), "uid": "7", "gid": "8", "mtime": "1"})
    text = "allow_other," + text
    theirs, ours = Directories(tmp_path / "s3fs"), Directories(tmp_path / "ours")
    said = []
    for mount in (
        S3fsMount(bucket.name, theirs, bucket.endpoint, [text]),
        OurMount(bucket.name, ours, bucket.endpoint, "fusepy", ["-o", text]),
    ):
        try:
            mount.wait_ready()
            said.append(shown(mount))
        finally:
            mount.release()
    assert said[0] == said[1]
