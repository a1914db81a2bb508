"""The four files of `issue` in a user's directory: all of them or none.

Not the directory that a running webhook reads, which is swapped as a whole (`tlsdir`).
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from certs.errors import BadOutput
from certs.x509 import Leaf, Signer

KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644


def write(directory: Path, signer: Signer, leaf: Leaf, *, force: bool = False) -> list[Path]:
    """Write ca.crt, ca.key, tls.crt and tls.key; keys are readable by their owner only.

    Existing files are replaced only with `force`. BadOutput names the path and the remedy.
    """
    files = {
        "ca.key": (signer.key, KEY_MODE),
        "tls.key": (leaf.key, KEY_MODE),
        "ca.crt": (signer.authority.certificate, CERTIFICATE_MODE),
        "tls.crt": (leaf.certificate, CERTIFICATE_MODE),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _refuse_existing(directory, list(files), force=force)
        with tempfile.TemporaryDirectory(prefix=".certs-", dir=directory) as stage:
            return _place(directory, Path(stage), files, force=force)
    except OSError as error:
        raise BadOutput(
            f"{directory} can't take the certificates: {error.strerror or error}"
            f" ({error.filename or directory}); choose another --out"
        ) from error


def _refuse_existing(directory: Path, names: list[str], *, force: bool) -> None:
    found = [name for name in names if os.path.lexists(directory / name)]
    if found and not force:
        raise BadOutput(
            f"{directory} already holds {', '.join(sorted(found))};"
            " give --force to replace them, or choose another --out"
        )


def _place(
    directory: Path, stage: Path, files: Mapping[str, tuple[bytes, int]], *, force: bool
) -> list[Path]:
    for name, (content, mode) in files.items():
        _write_file(stage / name, content, mode)
    placed: list[Path] = []
    try:
        for name in files:
            # link() refuses to replace a file that was made since the check.
            (os.replace if force else os.link)(stage / name, directory / name)
            placed.append(directory / name)
    except OSError:
        if not force:
            for path in placed:
                path.unlink(missing_ok=True)
        raise
    return sorted(placed)


def _write_file(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
