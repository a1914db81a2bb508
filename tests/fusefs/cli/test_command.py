"""The command line: what a person types, and the one line for what is wrong with it."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs.__main__ import main
from fusefs.attributes import Defaults
from fusefs.cli import command
from fusefs.errors import SetupError
from fusefs.mount.settings import MountSettings

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Undo what `main` does to the process's logging."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def settings(*words: str) -> MountSettings:
    return command.mount_settings(command._parser().parse_args(["mount", *words]))


def complaint(*words: str) -> str:
    with pytest.raises(SetupError) as caught:
        settings(*words)
    return str(caught.value)


def test_bucket_and_mountpoint_are_enough() -> None:
    """Everything else has a default."""
    mount = settings("my-bucket/data", "/mnt")
    assert (mount.store.bucket, mount.prefix, mount.mountpoint) == (
        "my-bucket",
        "data/",
        Path("/mnt"),
    )
    assert mount == MountSettings(mount.store, Path("/mnt"), "data/")


def test_the_words_reach_the_settings() -> None:
    """Each of the main options, in the settings' own units."""
    mount = settings(
        *("b-1", "/mnt", "--endpoint-url", "http://h:1", "--region", "eu", "--read-only"),
        *("--cache-dir", "/c", "--cache-size", "2Gi", "--memory-limit", "64Mi", "--uid", "7"),
        *("--gid", "8", "--file-mode", "0600", "--dir-mode", "0700", "--allow-other"),
        *("--metadata", "none", "--attr-ttl", "5m", "--on-conflict", "overwrite"),
        *("--drain-time", "1m", "--full-wait", "500ms"),
    )
    assert mount.store.endpoint_url == "http://h:1"
    assert (mount.store.region, mount.read_only, mount.allow_other) == ("eu", True, True)
    assert (mount.cache_dir, mount.cache_size, mount.memory_limit) == (Path("/c"), 2 << 30, 1 << 26)
    assert mount.defaults == Defaults(7, 8, 0o600, 0o700)
    assert (mount.metadata, mount.attr_ttl, mount.on_conflict) == ("none", 300.0, "overwrite")
    assert (mount.drain_seconds, mount.full_wait) == (60.0, 0.5)


def test_an_option_goes_before_its_long_spelling() -> None:
    """In a pod the long spelling has the default of an annotation nobody wrote."""
    assert settings("b-1", "/m", "--attr-ttl", "60", "-o", "stat_cache_expire=9").attr_ttl == 9
    assert settings("b-1", "/m", "--read-only", "-o", "rw").read_only


def test_there_are_connections_for_all_requests_at_once() -> None:
    """Else urllib3 would throw connections away and warn of it each time."""
    mount = settings("b-1", "/m", "-o", "parallel_count=100,multireq_max=100", "--memory-limit=4Gi")
    assert mount.store.connections == 898
    assert settings("b-1", "/m").store.connections == 276


def test_everything_wrong_is_told_at_once() -> None:
    """One line has every wrong word, in the order of the help."""
    told = complaint(
        *("x", "/mnt", "--endpoint-url", "h", "--cache-size", "1", "--uid", "me"),
        *("--attr-ttl", "soon", "-o", "retires=4,umask=9,passwd_file=/x"),
    )
    for name in ("'x'", "--endpoint-url", "--cache-size", "--uid", "--attr-ttl", "retries?"):
        assert name in told
    assert "-o umask" in told
    assert "-o passwd_file: refused" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ([], "command"),
        (["mnt"], "mnt"),
        (["mount"], "BUCKET"),
        (["mount", "b-1"], "mountpoint"),
        (["mount", "b-1", "/m", "--cache", "1Gi"], "--cache"),
        (["mount", "b-1", "/m", "--metadata", "some"], "--metadata"),
        (["mount", "b-1", "/m", "--driver", "nfs"], "--driver"),
        (["mount", "b-1", "/m", "--cache-size", "huge"], "--cache-size"),
        (["mount", "b-1", "/m", "--cache-dir", ""], "--cache-dir"),
        (["mount", "b-1", "/m", "--credentials-dir", ""], "--credentials-dir"),
        (["mount", "b-1", "/m", "-o", "multipart_size=4096"], "multipart_size"),
        (["mount", "b-1", "/m", "-o"], "-o"),
        (["mount", "b-1", "/m", "-o", "sigv2"], "sigv2"),
        (["mount", "b-1", "/proc/nothing/there"], "/proc/nothing/there"),
        (["probe", "/m", "--timeout", "soon"], "--timeout"),
    ],
)
@pytest.mark.usefixtures("own_logging")
def test_wrong_usage_is_one_line_and_exit_code_2(
    words: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the wrong word."""
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["level"] == "critical"
    assert word in json.loads(line)["event"]


def run(words: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fusefs", *words],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_process_ends_with_one_json_line_on_stderr(tmp_path: Path) -> None:
    """What the kubelet shows of a container that can't start."""
    done = run(["mount", "b-1", str(tmp_path / "m"), "-o", "umask=9"], {"HOME": str(tmp_path)})
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"].startswith("-o umask: the value must be")


def test_passthrough_and_its_opposite_contradict_each_other() -> None:
    """Whoever gives both has to say which one is meant; each alone is fine."""
    assert settings("b-1", "/mnt", "--without", "passthrough").without == {"passthrough"}
    told = complaint("b-1", "/mnt", "--passthrough", "--without", "slabs,passthrough")
    assert "--passthrough and --without passthrough contradict each other: leave one" in told


def test_the_table_of_options_is_printed(tmp_path: Path) -> None:
    """`python -m fusefs options` needs no bucket."""
    done = run(["options"], {"HOME": str(tmp_path)})
    assert done.returncode == 0
    assert "| `umask` |" in done.stdout


def test_a_cache_directory_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    """`check_cache_dir_exist` is for a volume that might not be mounted."""
    cache = tmp_path / "volume/cache"
    words = ["mount", "b-1", str(tmp_path / "m"), "-o", f"use_cache={cache},check_cache_dir_exist"]
    done = run(words, {"HOME": str(tmp_path)})
    assert done.returncode == 2
    assert f"cache directory {cache} isn't there" in done.stderr
    assert not cache.exists()
