"""Attributes of the mount's root where that is a whole bucket: there is no key to keep them at.

An object `/` would be a nameless directory to s3fs and others, so they are kept in `root.json` on
the cache volume: this mount and those that go on with its cache directory show them, others don't.
Any thread; one `rename(2)` a change, whose caller holds the root node's lock.
"""

import json
import logging
from pathlib import Path

from fusefs import attributes, versions
from fusefs.attributes import Defaults, Posix
from fusefs.objects import Headers, ObjectInfo

log = logging.getLogger(__name__)

FILE = "root.json"
VERSION = 1


class RootAttributes:
    """The file with the root's attributes; `directory` is that of the cache."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    def load(self, defaults: Defaults) -> Posix | None:
        """Return what was kept, None where nothing was or it isn't understood."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            versions.check(document, (VERSION,))
            metadata = {str(name): str(text) for name, text in document["metadata"].items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, AttributeError) as error:
            log.warning(
                "the root's attributes are not known",
                extra={"file": str(self._path), "error": str(error)},
            )
            return None
        info = ObjectInfo("", 0, "", 0.0, Headers(metadata))
        return attributes.read(info, defaults, directory=True)

    def save(self, posix: Posix) -> None:
        """Keep them. Without a cache volume they last as long as the process."""
        metadata = attributes.write(posix, Headers()).metadata
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps({"version": VERSION, "metadata": dict(metadata)}))
            new.replace(self._path)
        except OSError as error:
            log.warning(
                "the root's attributes can't be kept for the next start",
                extra={"file": str(self._path), "error": str(error)},
            )
