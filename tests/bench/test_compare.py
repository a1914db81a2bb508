"""The comparison with other file systems: what doesn't need them."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import chart, compare, content
from bench.compare import Repetitions, Stored, arrived_late, measure, outcome, settings
from bench.content import MIB, WrongBytes
from bench.peers import OURS, PEERS, Peer
from bench.workloads import WORKLOADS
from tests.stores.server import QuirkyStore


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All programs of the table on PATH."""
    for peer in PEERS:
        (tmp_path / peer.name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def result(peer: str, value: float | None, *, late: bool = False) -> dict[str, Any]:
    """Return one file system's part of a row."""
    return {"peer": peer, "value": value, "late": late}


def row(better: str, *results: dict[str, Any], limit: float | None = None) -> dict[str, Any]:
    """Return a row of the table."""
    return {
        "name": "write",
        "unit": "MB/s",
        "better": better,
        "limit": limit,
        "results": list(results),
    }


def test_a_ratio_is_to_the_best_that_keeps_the_promise() -> None:
    """A peer whose close() doesn't wait is no measure; less may be better."""
    ours = result("ours", 120.0)
    more = row("more", ours, result("a", 60.0), result("b", 900.0, late=True), limit=240.0)
    assert chart.ratio(more, ours) == "2.00x the best peer, 50% of the limit"
    less = row("less", ours, result("a", 60.0))
    assert chart.ratio(less, ours) == "0.50x the best peer"
    assert [each["peer"] for each in chart.ranked(less)] == ["a", "ours"]


def test_a_chart_shows_who_failed() -> None:
    """Last, and in so many words."""
    drawn = chart.drawn(row("more", result("s3fs", None), result("ours", 1.0), limit=2.0))
    said = [text.text for text in ElementTree.fromstring(drawn).iter() if text.text]  # noqa: S314 - our own
    assert "failed" in said
    assert said.index("ours") < said.index("s3fs")


def test_wrong_bytes_are_seen() -> None:
    """One in a block, or a block of another place."""
    found = bytearray(content.block(3))
    content.check(found, MIB, 3 * MIB)
    with pytest.raises(WrongBytes):
        content.check(found, MIB, 4 * MIB)
    found[77] ^= 1
    with pytest.raises(WrongBytes):
        content.check(found, MIB, 3 * MIB)
    with pytest.raises(WrongBytes):
        content.check(found, MIB - 1, 3 * MIB)


def test_workloads_are_named_once() -> None:
    """`--only` takes one of them."""
    names = [workload.name for workload in WORKLOADS]
    assert len(set(names)) == len(names)


def test_the_table_begins_with_what_we_are_worst_at() -> None:
    """A row in which we failed first, then where others are ahead, which is marked."""
    ahead = row("more", result("ours", 3.0), result("a", 1.0))
    behind = row("less", result("ours", 3.0), result("a", 1.0), limit=1.5) | {"name": "find"}
    failed = row("more", result("ours", None), result("a", 1.0)) | {"name": "rename"}
    lines = chart.table([ahead, behind, failed]).splitlines()[2:]
    assert [each.split(",")[0] for each in lines] == ["| rename", "| find", "| write"]
    assert "| **failed** |" in lines[0]
    assert lines[1].endswith("| 3 | 1 (a) | **0.33** | 50% |")
    assert lines[2].endswith("| 3 | 1 (a) | 3.00 | - |")


def test_who_was_not_chosen_has_not_failed() -> None:
    """As with `--peers rclone`."""
    assert "| not measured | 60 (a) |" in chart.table([row("more", result("a", 60.0))])
    assert "| **failed** |" in chart.table([row("more", result("ours", None))])


def test_variants_of_ours_have_rows_of_their_own() -> None:
    """Compared with the others, never with each other."""
    both = row("more", result("ours", 3.0), result("ours, content-ttl 60s", 8.0), result("a", 4.0))
    lines = chart.table([both]).splitlines()[2:]
    assert lines[0].endswith("(more is better) | 3 | 4 (a) | **0.75** | - |")
    assert lines[1].endswith("(more is better), content-ttl 60s | 8 | 4 (a) | 2.00 | - |")


def test_variants_of_ours_take_part_where_they_differ() -> None:
    """Attributes by `ls -l`, passthrough where cached files are read, answers at small ones."""
    taking = {
        workload.name: [peer.name.partition(", ")[2] for peer in PEERS if peer.takes_part(workload)]
        for workload in WORKLOADS
    }
    assert taking["write"] == ["", "", "", "", ""]
    assert "no attributes" in taking["ls-l"] and "content-ttl 60s" not in taking["ls-l"]
    assert {name for name, them in taking.items() if "content-ttl 60s" in them} == {
        "small-files-8", "small-files-1", "create", "create-exclusive",
    }  # fmt: skip
    rows = {name for name, them in taking.items() if "passthrough" in them}
    assert rows == {"read-from-disk", "read-hot"}


def test_a_peer_that_fails_costs_its_result_only() -> None:
    """So does one whose objects can't be stored, and a limit that can't be measured."""

    def fail(*_: object) -> Any:
        raise OSError("no such program")

    peers = [Peer("a", fail), Peer("ours", fail)]
    with QuirkyStore() as store:  # which makes no buckets
        measured = measure(WORKLOADS[0], peers, Stored(store.endpoint), Repetitions(2, 0.0))
    assert [each["value"] for each in measured["results"]] == [None, None]
    assert all(each["error"] for each in measured["results"])
    assert measured["limit"] is None


def test_a_failure_of_ours_is_one_of_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where another repetition went well; what others can't do isn't."""
    good = row("more", result("ours", 3.0) | {"error": ""})
    theirs = row("more", result("a", None) | {"error": "can't rename"})
    assert outcome([good, theirs]) == 0
    assert capsys.readouterr().err == ""
    ours = row("more", result("ours, passthrough", 3.0) | {"error": "WrongBytes: at 4096"})
    assert outcome([good, ours, theirs]) == 1
    assert capsys.readouterr().err == "bench: write, ours, passthrough: WrongBytes: at 4096\n"


def test_what_arrives_after_its_close_is_late() -> None:
    """It is no failure, but no measure either."""
    looks = iter([KeyError("written"), WrongBytes("an older version"), None])

    def verify(_: object) -> None:
        if (error := next(looks)) is not None:
            raise error

    with QuirkyStore() as store:
        assert arrived_late(replace(WORKLOADS[0], verify=verify), store.bucket)
        assert not arrived_late(WORKLOADS[0], store.bucket)


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ([], [peer.name for peer in PEERS]),
        (["--peers", "s3fs,ours"], ["ours", "s3fs"]),
        (["--peer", "ours, passthrough"], ["ours, passthrough"]),
        (
            ["--peer", "rclone", "--peers", "ours", "--peer", "geesefs"],
            ["ours", "geesefs", "rclone"],
        ),
    ],
)
def test_file_systems_are_chosen_by_name(
    words: list[str], chosen: list[str], programs: None
) -> None:
    """Also those whose name has a comma; in the order of the table."""
    assert [peer.name for peer in settings(words).peers] == chosen


@pytest.mark.parametrize("words", [["--peers", "ours,s3sf"], ["--peer", "ours,s3fs"]])
def test_what_is_no_file_system_is_an_error(
    words: list[str], programs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names those that there are."""
    with pytest.raises(SystemExit):
        settings(words)
    told = capsys.readouterr().err
    assert words[1].removeprefix("ours,") in told
    assert "'ours, passthrough'" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--times", "0"], "argument --times: '0' is not a whole number from 1 on"),
        (["--times", "x"], "argument --times: 'x' is not a whole number from 1 on"),
        (["--enough", "nan"], "argument --enough: 'nan' is not a number of seconds from 0 on"),
        (["--enough", "-1"], "argument --enough: '-1' is not a number of seconds from 0 on"),
        (["--results", "{}"], "--results {}: File exists; name a directory that can be written"),
        (["--results", "{}/x"], "--results {}/x: Not a directory; name a directory"),
    ],
)
def test_wrong_options_are_told_before_anything_is_measured(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what is wrong, and what may be given."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        settings([word.format(tmp_path / "file") for word in words])
    assert told.format(tmp_path / "file") in capsys.readouterr().err


def test_without_the_right_to_mount_no_results_are_written(tmp_path: Path) -> None:
    """It would be a table of failures in the place of the last one."""
    words = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    words += [sys.executable, "-m", "bench.compare", "--results", str(tmp_path / "results")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if "setpriv:" in done.stderr:
        pytest.skip("only root can give a right up")
    assert done.stderr == f"bench: {compare.NO_MOUNTS}\n"
    assert (done.returncode, list(tmp_path.rglob("*.*"))) == (2, [])


def test_a_signal_ends_a_measurement_in_good_order(capsys: pytest.CaptureFixture[str]) -> None:
    """SIGTERM and SIGHUP, too, unmount and stop what was begun; then there is one line."""
    ended = []

    def run() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
            return 0
        finally:
            ended.append("unmounted")

    before = [signal.getsignal(number) for number in compare.ENDING]
    assert compare.stoppable(run) == 128 + signal.SIGTERM
    assert [signal.getsignal(number) for number in compare.ENDING] == before
    assert ended == ["unmounted"]
    assert capsys.readouterr().err == "bench: stopped; rows that were printed are written\n"


def test_a_chosen_program_must_be_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who names it wants its figures; unnamed it is left out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {peer.name.partition(",")[0] for peer in settings([]).peers} == {OURS}
    with pytest.raises(SystemExit):
        settings(["--peers", "ours,rclone"])
    assert "rclone: not on PATH" in capsys.readouterr().err


def test_large_reads_are_compared_after_their_time(tmp_path: Path) -> None:
    """A read that is timed compares nothing; what it brought is compared before the mount ends."""
    timed = [each for each in WORKLOADS if each.name in ("read-cold", "read-from-disk", "read-hot")]
    (tmp_path / "large").write_bytes(content.whole(2 * MIB))
    for workload in timed:
        assert workload.run(tmp_path) == 2 * MIB / 1e6
        workload.check(tmp_path)
    with (tmp_path / "large").open("r+b") as file:
        file.seek(MIB + 5)
        file.write(b"wrong")
    for workload in timed:
        workload.run(tmp_path)
        with pytest.raises(WrongBytes):
            workload.check(tmp_path)
    assert len(timed) == 3
