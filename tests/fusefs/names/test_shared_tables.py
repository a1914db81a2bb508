"""What the threads of one mount share is changed under a lock: no load makes a call fail."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from fusefs.attributes import Defaults
from fusefs.changes import Changes
from fusefs.names.listing import Listing
from fusefs.names.lookup import Lookup
from fusefs.names.remembered import Remembered
from fusefs.names.tree import Node, Tree
from fusefs.objects import Headers, ObjectInfo, Page

THREADS, ROUNDS = 6, 40
FILES = [f"f{number}" for number in range(12)]


class Memory:
    """A store that answers at once: every directory has the same files."""

    sorted = True

    def __init__(self) -> None:
        self.changes = Changes()

    def head(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, 3, "e", 1.0, Headers())

    def begin_head(self, key: str) -> None:
        """There is no connection that could be idle."""

    def list_page(self, prefix: str, delimiter: str = "/", **_: Any) -> Page:
        return Page(tuple(ObjectInfo(prefix + name, 3, "e", 1.0) for name in FILES), (), None)


class Pools:
    def __init__(self) -> None:
        self.asks: Executor = ThreadPoolExecutor(2)
        self.ahead = self.asks


@contextmanager
def switching_often() -> Iterator[None]:
    """Have threads take turns after a few instructions each."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def in_a_crowd(work: Callable[[int], None]) -> list[BaseException]:
    """Run work(number) in threads at once; return what they raised."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - the test tells it
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    with switching_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    return failures


def test_scans_of_many_directories_at_once_disturb_none() -> None:
    """Each is recognised for itself; none walks what another one changes."""
    store: Any = Memory()
    tree = Tree("", ttl=60.0)
    pools = Pools()
    lookup = Lookup(tree, store, pools, Defaults(), stored=True, remembered=Remembered(0, 0))
    directories = [tree.place(tree.root, f"d{number}", directory=True) for number in range(80)]
    for node in directories:
        tree.relist(node, Listing(store, tree.key(node))).load()

    def scan(number: int) -> None:
        for node in (directories[number:] + directories[:number]) * 3:
            for name in FILES[:3]:
                node.children.pop(name, None)  # as if the kernel had forgotten it
                lookup.find(node, name)

    failures = in_a_crowd(scan)
    pools.asks.shutdown()
    assert failures == []


def test_names_come_and_go_while_others_look_them_up() -> None:
    """Making, moving, removing and forgetting nodes of one directory, and walks of it."""
    store: Any = Memory()
    tree = Tree("", ttl=60.0)
    pools = Pools()
    lookup = Lookup(tree, store, pools, Defaults(), stored=True, remembered=Remembered(20, 1 << 20))
    tree.relist(tree.root, Listing(store, "")).load()

    def work(number: int) -> None:
        for round_ in range(ROUNDS):
            node = lookup.find(tree.root, FILES[(number + round_) % len(FILES)])
            lookup.forget(tree.key(node))
            tree.unlisted(tree.root, f"gone{number}-{round_}")
            made = tree.place(tree.root, f"new{number}", directory=False)
            tree.move(made, tree.root, f"moved{number}")
            tree.made(made)
            assert all(isinstance(each, Node) for each in tree.walk(tree.root))
            tree.detach(made)
            tree.forget(node.id, 1)

    failures = in_a_crowd(work)
    pools.asks.shutdown()
    assert failures == []
