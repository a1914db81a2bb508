"""The directory with the webhook's certificate, replaced atomically.

    tls.crt, tls.key, ca.crt -> ..data/<name>     never change
    ..data -> ..<generation>                      swapped by one rename(2)
    ready                                         only while the API server trusts this leaf
    heartbeat                                     touched by every round of the agent

As in a volume of the kubelet: a reader that resolves `..data` once reads files of one generation,
and the one before stays until the next swap. One writer; any number of readers in other processes.
"""

import os
import shutil
import tempfile
from pathlib import Path

from certs.errors import BadAuthority, BadOutput
from certs.x509 import Leaf, load_leaf

_DATA = "..data"
_READY = "ready"
_HEARTBEAT = "heartbeat"
_STAGE = "..new-"
# Group-readable: the reader may have another uid with the same group (fsGroup).
_KEY_MODE = 0o640


class TlsDirectory:
    """The writer of the directory; BadOutput if it can't be written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, leaf: Leaf) -> None:
        """Replace the leaf atomically."""
        files = {"tls.crt": leaf.certificate, "ca.crt": leaf.issuer.certificate}
        try:
            before = self._current()
            generation = Path(tempfile.mkdtemp(prefix="..", dir=self._path))
            generation.chmod(0o750)
            for name, content in files.items():
                (generation / name).write_bytes(content)
            _write_key(generation / "tls.key", leaf.key)
            self._link(_DATA, generation.name)
            for name in (*files, "tls.key"):
                self._link(name, f"{_DATA}/{name}")
            self._prune(keep={generation.name, before})
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def read(self) -> Leaf | None:
        """Return the leaf of an earlier run; None without a complete one."""
        names = ("tls.crt", "tls.key", "ca.crt")
        try:
            return load_leaf(*((self._path / _DATA / name).read_bytes() for name in names))
        except (OSError, BadAuthority):
            return None

    def mark(self, *, ready: bool) -> None:
        """Make or remove `ready`: whether the API server trusts the present leaf."""
        try:
            if ready:
                (self._path / _READY).touch()
            else:
                (self._path / _READY).unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def beat(self) -> None:
        """Touch `heartbeat`: the agent is alive."""
        try:
            (self._path / _HEARTBEAT).touch()
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def _current(self) -> str:
        try:
            return (self._path / _DATA).readlink().name
        except FileNotFoundError:
            return ""

    def _link(self, name: str, target: str) -> None:
        stage = self._path / f"{_STAGE}{name.lstrip('.')}"
        stage.unlink(missing_ok=True)
        stage.symlink_to(target)
        stage.replace(self._path / name)

    def _prune(self, keep: set[str]) -> None:
        for entry in self._path.glob("..*"):
            if entry.is_dir() and not entry.is_symlink() and entry.name not in keep:
                shutil.rmtree(entry)


def _write_key(path: Path, key: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _KEY_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)


def _unwritable(path: Path, error: OSError) -> BadOutput:
    return BadOutput(f"{path} can't take the certificate: {error.strerror or error}")
