"""What the bodies of one mount work with; any thread."""

from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fusefs.cache.cache import Cache
from fusefs.counters import Counters
from fusefs.disk.leftbehind import LeftBehind
from fusefs.disk.space import Space
from fusefs.read.reader import Reader
from fusefs.s3.store import Store
from fusefs.write.flush import Flush
from fusefs.write.unsent import DirtySet
from fusefs.write.uploader import Uploader


@dataclass(frozen=True)
class Depot:
    """What bodies work with; one per mount."""

    store: Store
    reader: Reader
    cache: Cache
    space: Space
    committer: Uploader
    pool: Executor
    staging: Path
    conflicts: Path
    stores_attributes: bool
    on_conflict: Literal["fail", "overwrite"] = "fail"
    full_wait: float = 10.0  # see settings.Mount
    dirty: DirtySet = field(default_factory=DirtySet)
    flush: Flush = field(default_factory=Flush)
    counters: Counters = field(default_factory=Counters)

    kept: LeftBehind = field(init=False)  # the files in `conflicts`, as space

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", LeftBehind(self.space, self.conflicts))

    @property
    def renames(self) -> Path:
        """Where the journals of directory renames are."""
        return self.staging.parent / "renames"
