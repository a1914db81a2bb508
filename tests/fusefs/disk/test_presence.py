"""A directory that goes away under us."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fusefs.disk.presence import DirectoryPresence, nameless


def test_a_directory_is_gone_when_its_path_leads_elsewhere(tmp_path: Path) -> None:
    """Also when somebody has made another one of the same name."""
    path = tmp_path / "a/b"
    path.mkdir(parents=True)
    presence = DirectoryPresence(path)
    assert not presence.gone()
    path.rename(tmp_path / "moved")
    assert presence.gone()
    path.mkdir()
    assert presence.gone()
    presence.close()


def test_a_nameless_file_lies_in_the_nearest_directory_there_is(tmp_path: Path) -> None:
    """It can be read and written, and nothing of it is seen or left."""
    fd = nameless(tmp_path / "gone/too/file", 0)
    os.write(fd, b"abc")
    assert os.pread(fd, 3, 0) == b"abc"
    assert os.listdir(tmp_path) == []
    os.close(fd)


def test_without_any_directory_it_is_an_io_error() -> None:
    """Not ENOENT, which would be said of the file that somebody works on."""
    with pytest.raises(OSError, match="was removed") as caught:
        nameless(Path("/proc/none/file"), os.O_APPEND)
    assert caught.value.errno == errno.EIO
