"""The commands for people, as a person runs them."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fusefs.cli import command as cli
from fusefs.disk.space import Space
from fusefs.errors import SetupError
from fusefs.objects import ObjectInfo
from fusefs.tools import command, conflicts, fsck, livestatus
from fusefs.tools.screen import Screen, duration, printable, size
from fusefs.write.staged import Record, Staged
from tests.servers.s3 import REGION, Bucket

Ask = Callable[..., Any]


@pytest.fixture
def ask(bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command about the test's bucket; return its JSON and exit code."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, value in bucket.endpoint.credentials.environment().items():
        (keys / name).write_text(value)

    def run(name: str, *words: str, at: Bucket = bucket) -> tuple[Any, int]:
        where = ["--region", REGION, f"--credentials-dir={keys}", "--endpoint-url", at.endpoint.url]
        code = command.run(name, [*words, "--json", *where], cli._settings_of)
        return json.loads(capsys.readouterr().out), code

    return run


def test_the_commands_are_those_of_the_help() -> None:
    """`fusefs --help` names each with the same words."""
    assert {each.name: each.help for each in command.COMMANDS} == cli.FOR_PEOPLE


def test_fsck_finds_what_a_mount_cannot_show(lenient_bucket: Bucket, ask: Ask) -> None:
    """Empty names and dots, a file where a directory is, metadata that lies; it ends with 1."""
    bucket = lenient_bucket
    for key in ("fine", "file", "file.txt", "file/below", "a//b", "a/../up", "dir/"):
        bucket.put(key, b"x" if key != "dir/" else b"")
    bucket.put("wrong", b"x", metadata={"mode": str(0o40755)})
    told, code = ask("fsck", bucket.name, "--attributes", at=bucket)
    found = {(each["kind"], each["where"]) for each in told["findings"]}
    assert code == 1
    assert found == {
        (fsck.UNSHOWN, "a//b"),
        (fsck.UNSHOWN, "a/../up"),
        (fsck.CLASH, "file"),
        (fsck.ATTRIBUTES, "wrong"),
    }
    assert told["objects"] == len(bucket.keys())


def test_fsck_of_a_sound_bucket_finds_nothing(bucket: Bucket, ask: Ask) -> None:
    """And ends with 0."""
    bucket.put("dir/", b"")
    bucket.put("dir/file", b"x")
    told, code = ask("fsck", bucket.name, "--attributes")
    assert (told["findings"], code) == ([], 0)


def test_fsck_fixes_what_loses_nothing(bucket: Bucket, ask: Ask) -> None:
    """An upload that nobody goes on with is told, and aborted with --fix."""
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="big")
    told, code = ask("fsck", bucket.name, "--older-than", "0s")
    assert ([each["kind"] for each in told["findings"]], code) == ([fsck.UPLOAD], 1)
    told, code = ask("fsck", bucket.name, "--older-than", "0s", "--fix")
    assert (told["aborted"], told["findings"], code) == (1, [], 0)


def test_abort_uploads_spares_young_ones(bucket: Bucket, ask: Ask) -> None:
    """Those of less than a day, unless told otherwise; --dry-run aborts none."""
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="big")
    assert ask("abort-uploads", bucket.name)[0]["uploads"] == []
    for words in (["--dry-run"], []):
        told, code = ask("abort-uploads", bucket.name, "--older-than", "0s", *words)
        assert ([each["key"] for each in told["uploads"]], code) == (["big"], 0)
    assert ask("abort-uploads", bucket.name, "--older-than", "0s")[0]["uploads"] == []


def test_explain_asks_step_by_step(bucket: Bucket, ask: Ask) -> None:
    """A file that is there has an answer to each; of a missing one it says so."""
    bucket.put("there", b"content")
    told, code = ask("explain", "there", bucket.name)
    assert ([each["asked"] for each in told["steps"]], code) == (
        ["the name", "LIST", "HEAD", "GET"],
        0,
    )
    told, code = ask("explain", "missing", bucket.name)
    assert (told["steps"][-1]["well"], code) == (False, 1)
    assert "no such object" in told["steps"][-1]["do"]


def test_explain_tells_a_missing_bucket_and_wrong_keys_from_a_missing_right(
    bucket: Bucket, tmp_path: Path, ask: Ask
) -> None:
    """Nothing after them is asked: HEAD would say 404 and 403, which mean other things mostly."""
    told, code = ask("explain", "k", "is-not-there")
    assert (code, told["steps"][-1]["asked"]) == (1, "LIST")
    assert "no such bucket" in told["steps"][-1]["do"]
    (tmp_path / "keys/AWS_SECRET_ACCESS_KEY").write_text("wrong")
    told, code = ask("explain", "k", bucket.name)
    assert (code, told["steps"][-1]["asked"]) == (1, "LIST")
    assert "the keys are wrong" in told["steps"][-1]["do"]


def kept(tmp_path: Path) -> Path:
    """Leave a conflict in a cache directory; return that."""
    info = ObjectInfo("k", 100, "e", 0.0)
    (tmp_path / "cache").mkdir()
    space = Space(tmp_path, 1 << 30, 0)
    staged = Staged(tmp_path / "x", Record("k", "e", info, 100), space)
    staged.write(10, b"ours")
    staged.zero(20, 25)
    staged.resize(60)
    staged.write(70, b"end")
    staged.keep_as_conflict(tmp_path / "cache" / conflicts.DIRECTORY)
    return tmp_path / "cache"


def run(capsys: pytest.CaptureFixture[str], name: str, *words: str | Path) -> Any:
    """Run a command that asks no store; returns its JSON."""
    assert command.run(name, [*map(str, words), "--json"], cli._settings_of) == 0
    return json.loads(capsys.readouterr().out or "null")


def test_a_conflict_is_listed_merged_and_discarded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written, zeroed, truncated and extended ranges are ours, the rest is the base's."""
    cache = kept(tmp_path)
    where = ("conflicts", "--cache-dir", cache)

    def told(*words: str | Path) -> Any:
        assert (
            command.run(
                "conflicts",
                ["--json", "--cache-dir", str(cache), *map(str, words)],
                cli._settings_of,
            )
            == 0
        )
        return json.loads(capsys.readouterr().out or "null")

    (found,) = run(capsys, *where)["conflicts"]
    assert (found["key"], found["size"], found["whole"]) == ("k", 73, False)
    (tmp_path / "base").write_bytes(b"b" * 100)
    told("merge", found["name"], "--base", tmp_path / "base", "--out", tmp_path / "merged")
    expected = bytearray(b"b" * 60 + bytes(10) + b"end")
    expected[10:14], expected[20:25] = b"ours", bytes(5)
    assert (tmp_path / "merged").read_bytes() == bytes(expected)
    assert run(capsys, *where)["conflicts"] == [found]
    told("discard", found["name"])
    assert run(capsys, *where)["conflicts"] == []


@pytest.mark.parametrize("words", [["conflicts"], ["fsck", "bucket"], ["explain", "k", "bucket"]])
def test_a_cache_directory_that_is_not_there_is_an_error(words: list[str], tmp_path: Path) -> None:
    """A word spelt wrong must not look like a cache in which all is well."""
    where = str(tmp_path / "nowhere")
    with pytest.raises(SetupError, match=f"--cache-dir {where}: no such directory"):
        command.run(words[0], [*words[1:], "--cache-dir", where], cli._settings_of)


def test_the_cache_directory_may_stand_before_or_after_the_action(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And outside a pod it has to be named."""
    where = ["--cache-dir", str(tmp_path)]
    for words in (where, [*where, "list"], ["list", *where]):
        assert command.run("conflicts", words, cli._settings_of) == 0
        assert f"{tmp_path}/conflicts: 0 conflicts" in capsys.readouterr().out
    with pytest.raises(SetupError, match="name the --cache-dir of the mount"):
        command.run("conflicts", [], cli._settings_of)


@pytest.mark.parametrize("words", [["fsck"], ["abort-uploads"]])
def test_a_store_that_refuses_is_a_line_and_exit_code_1(
    words: list[str], bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bucket that isn't there, like a store that is dead, is no traceback."""
    for name, value in bucket.endpoint.credentials.environment().items():
        (tmp_path / name).write_text(value)
    where = ["--region", REGION, f"--credentials-dir={tmp_path}"]
    where += ["--endpoint-url", bucket.endpoint.url]
    assert command.run(words[0], ["is-not-there", *where], cli._settings_of) == 1
    (record,) = caplog.records
    assert record.levelname == "CRITICAL" and "is-not-there" in record.getMessage()


def test_discarding_names_what_it_deletes(tmp_path: Path) -> None:
    """Neither nothing nor something that isn't there."""
    cache = kept(tmp_path)
    for words in (["discard"], ["discard", "other"], ["discard", "x", "--all"]):
        with pytest.raises(SetupError):
            command.run("conflicts", ["--cache-dir", str(cache), *words], cli._settings_of)
    assert len(list((cache / conflicts.DIRECTORY).iterdir())) == 2


def test_warming_reads_all_files_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And counts them; what can't be read is named."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/one").write_bytes(b"x" * 1000)
    (tmp_path / "two").write_bytes(b"x" * 24)
    told = run(capsys, "warm", tmp_path)
    assert (told["files"], told["bytes"], told["failed"]) == (2, 1024, {})
    told = run(capsys, "warm", tmp_path / "two", tmp_path / "dir/one")
    assert (told["files"], told["bytes"], told["failed"]) == (2, 1024, {})
    for absent in (str(tmp_path / "absent"), "https://x/b"):
        with pytest.raises(SetupError, match=r"isn't there: .* mount"):
            command.run("warm", [absent], cli._settings_of)


@pytest.mark.parametrize(
    "words",
    [["fsck", "https://x/b"], ["abort-uploads", "https://x/b"], ["explain", "f", "https://x/b"]],
)
def test_what_asks_for_a_bucket_takes_no_url(words: list[str]) -> None:
    """Not `https` for a bucket's name."""
    with pytest.raises(SetupError, match="--endpoint-url"):
        command.run(words[0], words[1:], cli._settings_of)


def test_a_pods_own_mount_need_not_be_named(
    bucket: Bucket, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In its worker the configuration says the bucket; of several, --mount chooses."""
    bucket.put("p/file", b"x")
    told = {"bucket": bucket.name, "readOnly": False}
    told |= {"endpoint": bucket.endpoint.url, "credentialsDir": str(tmp_path / "keys")}
    mounts = [
        {"name": "a", "mountpoint": "/bus/a", **told},
        {"name": "b", "mountpoint": "/bus/b", **told, "prefix": "p/"},
    ]
    monkeypatch.setenv("S3MOUNT_CONFIG", json.dumps({"version": 1, "mounts": mounts}))
    assert ask("explain", "file", "--mount", "b")[1] == 0
    with pytest.raises(SetupError, match="--mount must be one of a, b"):
        ask("fsck")


def test_without_a_pod_a_bucket_has_to_be_named(ask: Ask) -> None:
    """By an error that says so."""
    with pytest.raises(SetupError, match="name a BUCKET"):
        ask("fsck")


def test_names_from_a_bucket_cannot_move_the_cursor() -> None:
    """Control characters are shown as escapes, in plain lines and in tables."""
    out = io.StringIO()
    Screen(out=out).table(("key",), [("a\x1b[2Jb\n",)])
    assert "\x1b" not in out.getvalue()
    assert printable("a\x1b[2J\udcff") == "a\\x1b[2J\\udcff"


def test_sizes_and_times_are_for_people() -> None:
    """In units of 1024, and two units of time at most."""
    assert (size(0), size(1536), size(3 << 30)) == ("0 B", "1.5 KiB", "3.0 GiB")
    assert (duration(5), duration(65), duration(7260)) == ("5 s", "1 min 5 s", "2 h 1 min")


class Terminal(io.StringIO):
    """Text that thinks it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_tables_and_bars() -> None:
    """Drawn by rich; names from a bucket are no markup of its."""
    out = Terminal()
    screen = Screen(out=out)
    screen.table(("key", "size"), [("[red]a[/red]\x1b[2J", "1 B")])
    with screen.progress("warming", 100.0) as shown:
        shown(100.0)
    assert "[red]a[/red]\\x1b[2J" in out.getvalue()
    assert "┃" in out.getvalue()
    assert "warming" in out.getvalue()


def test_elsewhere_progress_is_a_line_in_a_while() -> None:
    """And JSON is nothing but JSON."""
    out = io.StringIO()
    with Screen(as_json=True, out=out).progress("warming", 100.0) as shown:
        shown(50.0)
    assert out.getvalue() == ""


def test_a_narrow_terminal_gets_a_column_for_each_mount() -> None:
    """Ten columns don't fit into eighty characters."""
    rows = [("/a", "serving"), ("/b", "draining")]
    assert livestatus.turned(("mount", "state"), rows) == (
        ("mount", "/a", "/b"),
        [("state", "serving", "draining")],
    )


def test_status_shows_rates_from_the_second_look_on() -> None:
    """Totals first; then what was added in each second."""
    looked = livestatus.Looked()

    def look(sent: int, now: float) -> list[str]:
        each = livestatus.MountStatus("/m", "serving", "", {"sent_bytes": sent, "operations": sent})
        ((*row,),) = looked.rows({"m": each}, now)
        return row

    assert look(1024, 1.0)[3] == "1.0 KiB"
    assert look(5120, 3.0)[3] == "2.0 KiB/s"


def test_status_needs_no_place_to_write() -> None:
    """A pod's containers have none: there the worker's socket is all there is to be found."""

    def nothing_may_be_written() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = subprocess.run(
        [sys.executable, "-m", "fusefs", "status"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=nothing_may_be_written,
    )
    assert "Traceback" not in done.stderr
    assert "no mount" in done.stderr
