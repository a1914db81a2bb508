"""Names that were found not to be there, and when; of all directories together a bounded number.

Not the decision how long that is believed: `lookup` makes it. Threading: under its owner's lock.
"""

from collections import OrderedDict

# They are believed for a second or so. A name takes about 300 bytes.
MOST = 16_384
NEVER = float("-inf")


class MissingNames:
    """When names were last known not to be there, by directory's node id (monotonic seconds)."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._count = 0
        self._of: OrderedDict[int, dict[str, float]] = OrderedDict()  # the last noted of at the end

    def note(self, directory: int, name: str, since: float) -> None:
        """Note that a name isn't there; one too many costs the directory not noted of for long."""
        names = self._of.setdefault(directory, {})
        self._of.move_to_end(directory)
        self._count += name not in names
        names[name] = since
        if self._count > self._most:
            oldest, names = next(iter(self._of.items()))
            self.take(oldest, next(iter(names)))

    def since(self, directory: int, name: str) -> float:
        """Return when a name was last known not to be there."""
        return self._of.get(directory, {}).get(name, NEVER)

    def take(self, directory: int, name: str) -> float:
        """Drop a name; return when it was last known not to be there."""
        names = self._of.get(directory, {})
        since = names.pop(name, NEVER)
        self._count -= since != NEVER
        if not names:
            self._of.pop(directory, None)
        return since

    def drop(self, directory: int) -> None:
        """Drop all names of a directory."""
        self._count -= len(self._of.pop(directory, {}))
