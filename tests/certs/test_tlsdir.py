"""What the webhook sees in the directory: always one whole generation."""

import os
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs.errors import BadOutput
from certs.tlsdir import TlsDirectory
from certs.x509 import Leaf, new_signer, sign_leaf

NOW = datetime.now(UTC)


def leaf() -> Leaf:
    """A leaf of a CA of its own."""
    return sign_leaf(new_signer(NOW, timedelta(days=9)), ["localhost"], NOW, timedelta(days=7))


def test_what_is_written_is_read_back(tmp_path):
    """Also by the next run of the agent."""
    written = leaf()
    TlsDirectory(tmp_path).write(written)
    assert TlsDirectory(tmp_path).read() == written
    assert (tmp_path / "tls.crt").read_bytes() == written.certificate
    assert (tmp_path / "ca.crt").read_bytes() == written.issuer.certificate


def test_the_key_is_closed_to_others(tmp_path):
    """Owner and group may read it: a reader under another user shares the pod's group."""
    previous = os.umask(0)
    try:
        TlsDirectory(tmp_path).write(leaf())
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "tls.key").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "..data").stat().st_mode) == 0o750


def test_a_reader_never_sees_half_a_swap(tmp_path):
    """A hundred swaps under a reader that loads the pair through one resolved directory."""
    directory = TlsDirectory(tmp_path)
    leaves = [leaf(), leaf()]
    directory.write(leaves[0])
    writer = threading.Thread(
        target=lambda: [directory.write(leaves[i % 2]) for i in range(100)], daemon=True
    )
    writer.start()
    loads = 0
    while writer.is_alive() or not loads:
        folder = (tmp_path / "..data").resolve()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        except FileNotFoundError:
            # Two swaps went by since it was resolved; a pair that doesn't match would be SSLError.
            continue
        loads += 1


def test_only_this_generation_and_the_one_before_are_kept(tmp_path):
    """What an aborted run left goes too."""
    (tmp_path / "..left").mkdir()
    directory = TlsDirectory(tmp_path)
    for _ in range(5):
        directory.write(leaf())
    assert len([p for p in tmp_path.iterdir() if p.is_dir() and not p.is_symlink()]) == 2


def test_ready_comes_and_goes(tmp_path):
    """Marking twice is marking once."""
    directory = TlsDirectory(tmp_path)
    for ready in (False, True, True, False, False):
        directory.mark(ready=ready)
        assert (tmp_path / "ready").exists() is ready


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_a_damaged_generation_is_no_leaf(tmp_path, name):
    """The next run starts afresh instead of serving it."""
    directory = TlsDirectory(tmp_path)
    directory.write(leaf())
    (tmp_path / name).write_bytes(b"garbage")
    assert directory.read() is None


@pytest.mark.parametrize("name", ["tls.key", "ca.crt"])
def test_parts_of_different_leaves_are_no_leaf(tmp_path, name):
    """A key or a CA of another certificate."""
    directory, other = TlsDirectory(tmp_path), TlsDirectory(tmp_path / "other")
    (tmp_path / "other").mkdir()
    directory.write(leaf())
    other.write(leaf())
    (tmp_path / name).write_bytes((tmp_path / "other" / name).read_bytes())
    assert directory.read() is None


def test_an_empty_directory_has_no_leaf(tmp_path):
    """The first start."""
    assert TlsDirectory(tmp_path).read() is None


@pytest.mark.parametrize("action", ["write", "mark", "beat"])
def test_a_directory_that_is_gone_is_an_error_with_its_name(tmp_path, action):
    """One line, no traceback."""
    directory = TlsDirectory(Path(tmp_path, "none"))
    calls = {
        "write": lambda: directory.write(leaf()),
        "mark": lambda: directory.mark(ready=True),
        "beat": directory.beat,
    }
    with pytest.raises(BadOutput, match="none can't take the certificate"):
        calls[action]()
