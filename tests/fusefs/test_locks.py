"""Locks are taken in the order of docs/design.md, and a test that doesn't do so fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fusefs import locks
from fusefs.locks import PATIENT, Rank

DOCUMENT = Path(__file__).parents[2] / "docs/design.md"


@pytest.fixture
def reports(lock_order: Path) -> Reports:
    """What is reported while the test runs; it is taken back, being meant."""
    return Reports(lock_order)


class Reports:
    """The file of reports, from here on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = path.stat().st_size

    def taken(self) -> list[str]:
        """Return the first lines of the reports, and forget them."""
        told = self._path.read_bytes()[self._before :].decode()
        os.truncate(self._path, self._before)
        return [line for line in told.splitlines() if line.startswith("lock order: ")]


def test_the_order_is_silent(reports: Reports) -> None:
    """From top to bottom, and again the one that is held, where it may be."""
    with locks.rlock(Rank.NODE), locks.rlock(Rank.COMMIT) as _:
        again = locks.rlock(Rank.TREE)
        with again, again, locks.lock(Rank.LEAF):
            pass
    assert reports.taken() == []


def test_two_locks_against_the_order_are_reported(reports: Reports) -> None:
    """With both names, even though nobody else wanted them: no luck is needed to see it."""
    with locks.rlock(Rank.COMMIT), locks.rlock(Rank.NODE):
        pass
    found = reports.taken()
    assert [line.partition(", in ")[0] for line in found] == [
        "lock order: Node.lock is taken while FileContent.commit_lock is held"
    ]


def test_two_of_one_rank_are_taken_together_or_not_at_all(reports: Reports) -> None:
    """`together` sorts them; a leaf is never taken while another one is held."""
    first, second = locks.rlock(Rank.NODE), locks.rlock(Rank.NODE)
    with locks.together(Rank.NODE, {2: second, 1: first}):
        assert reports.taken() == []
    with first, second:
        assert len(reports.taken()) == 1
    with locks.lock(Rank.LEAF), locks.lock(Rank.LEAF):
        assert len(reports.taken()) == 1


def test_who_gives_up_after_a_while_may_try_any_lock(reports: Reports) -> None:
    """It can't be part of a deadlock; what it then holds counts."""
    node, state = locks.rlock(Rank.NODE), locks.lock(Rank.STATE)
    with state:
        assert node.acquire(timeout=1)
    assert reports.taken() == []
    with locks.rlock(Rank.NODE):
        assert len(reports.taken()) == 1
    node.release()


def test_threads_do_not_hold_each_others_locks(reports: Reports) -> None:
    """The order is one thread's."""
    with locks.lock(Rank.LEAF):
        thread = threading.Thread(target=lambda: locks.rlock(Rank.NODE).acquire())
        thread.start()
        thread.join(10)
    assert reports.taken() == []


def test_the_store_is_waited_for_with_few_locks_held(reports: Reports) -> None:
    """With those only of which the table says so."""
    with locks.rlock(Rank.NODE), locks.rlock(Rank.COMMIT):
        locks.waits_for_store()
        assert reports.taken() == []
        with locks.lock(Rank.STATE):
            locks.waits_for_store()
            assert len(reports.taken()) == 1


def test_a_condition_waits_and_wakes(reports: Reports) -> None:
    """Its lock is one of the others."""
    condition, came = locks.condition(Rank.LEAF), threading.Event()

    def wait() -> None:
        with condition:
            came.set()
            condition.wait(10)

    thread = threading.Thread(target=wait)
    thread.start()
    assert came.wait(10)
    with condition:
        condition.notify_all()
    thread.join(10)
    assert not thread.is_alive() and reports.taken() == []


BAD = """
from fusefs import locks
with locks.lock(locks.Rank.LEAF), locks.rlock(locks.Rank.TREE):
    print(type(locks.lock(locks.Rank.LEAF)).__name__)
"""


def test_a_child_process_reports_to_the_test(reports: Reports) -> None:
    """Mounts are checked, too: they inherit the name of the file."""
    done = subprocess.run(
        [sys.executable, "-c", BAD], check=True, capture_output=True, text=True, timeout=20
    )
    assert done.stdout == "_Checked\n"
    assert len(reports.taken()) == 1


def test_in_production_locks_are_the_standard_librarys() -> None:
    """Nothing is checked, and nothing is paid for it."""
    environment = {name: text for name, text in os.environ.items() if "LOCK_ORDER" not in name}
    command = [sys.executable, "-c", BAD]
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=20
    )
    assert done.stdout == "lock\n"


def documented() -> list[tuple[str, str]]:
    """The names of the locks in docs/design.md, each with whether it is held over a request."""
    chapter = DOCUMENT.read_text().partition("## Locks, and the order of taking them")[2]
    table = chapter.partition("\n\nThe order")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    found = []
    for row in (row for row in rows if len(row) == 5 and row[1].startswith(("`", "leaves"))):
        names = re.findall(r"[A-Za-z_]+\.[A-Za-z_]+", row[1]) or [row[1]]
        found += [(name, row[3]) for name in names]
    return found


def test_the_documents_table_has_every_rank_in_this_order() -> None:
    """docs/design.md, "Locks, and the order of taking them"."""
    assert [name for name, _ in documented()] == [rank.value for rank in Rank]


def test_the_document_tells_which_locks_are_held_over_a_request() -> None:
    """The last column of the table is what the checker allows."""
    patient = {name for name, held in documented() if held.startswith("yes")}
    assert patient == {rank.value for rank in PATIENT}
