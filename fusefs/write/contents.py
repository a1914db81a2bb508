"""Making the contents of files: of those that are opened, and those a former process left changed.

Not here: which content a file has (`posix.opening`). Any thread; no state.
"""

from pathlib import Path

from fusefs.attributes import Posix
from fusefs.objects import ObjectInfo
from fusefs.read.reader import Reader
from fusefs.write.filecontent import FileContent
from fusefs.write.staging import Staging
from fusefs.write.uploader import Uploader


class FileContents:
    """The contents of one mount have its local side, its remote side and its reader."""

    def __init__(self, staging: Staging, reader: Reader, uploader: Uploader) -> None:
        self._staging = staging
        self._reader = reader
        self._uploader = uploader

    def new(
        self, key: str, info: ObjectInfo | None, posix: Posix, node: int = 0, head: bytes = b""
    ) -> FileContent:
        """Make the content of an object, or of what isn't in S3 yet; `head` is its known start."""
        content = FileContent(self._staging, self._reader, self._uploader, key, info, posix, node)
        if head and info is not None:
            content.attach(self._reader.open(info.key, info.etag, info.size, head))
        return content

    def restore(self, stem: Path) -> FileContent | None:
        """Take over a staged file; None where there is nothing in it, or nothing to be trusted.

        Raises OSError, ValueError, KeyError or TypeError where it can't be understood or kept.
        """
        staged = self._staging.restore(stem)
        if staged is None:
            return None
        outgoing = staged.outgoing
        if self._staging.keep_damaged(staged):
            if outgoing is not None:
                self._uploader.abort(outgoing.key, outgoing.upload)
            return None
        return FileContent.restored(self._staging, self._reader, self._uploader, staged)
