"""Inode numbers: what `stat` and a directory return for a name, whether anybody has asked or not.

A directory of a million names must return numbers without a node for each, so the number is a hash
of the directory's number and the name. A file keeps its number when it is renamed or removed, as
long as its node lives: that is a claim on it, and a new file under the old name then gets another.

Not the ids of nodes, which the kernel and the session journal know. Its caller holds the tree's
lock.
"""

from hashlib import blake2b

BITS = 48  # the bits above distinguish versions of one file (`kernel.backing`)


class Inodes:
    """The numbers that are another's than the one whose name they come from."""

    def __init__(self) -> None:
        # Numbers of nodes that lost their names: while there are any, a name's may be another's.
        self.claimed: set[int] = set()

    def number(self, parent: int, name: str) -> int:
        """Return the number of a name in the directory of this number."""
        salt = 0
        while (number := _hash(parent, name, salt)) in self.claimed:
            salt += 1
        return number

    def claim(self, number: int) -> None:
        """The node of this number has lost its name."""
        self.claimed.add(number)

    def give_back(self, number: int) -> None:
        """The node is forgotten."""
        self.claimed.discard(number)


def _hash(parent: int, name: str, salt: int) -> int:
    key = parent.to_bytes(8, "little") + salt.to_bytes(8, "little")
    hashed = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=BITS // 8, key=key)
    return int.from_bytes(hashed.digest(), "little") | 2  # neither 0 nor the root's
