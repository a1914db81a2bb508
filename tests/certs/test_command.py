"""`python -m certs issue`: four files or a clear line."""

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs.__main__ import main
from certs.x509 import Leaf, load_bundle, load_signer
from tests.certs.handshake import handshake
from tests.certs.test_x509 import verify

FILES = ["ca.crt", "ca.key", "tls.crt", "tls.key"]


def issue(out: Path, *more: str) -> int:
    """Run the command in this process."""
    return main(["issue", "--dns", "localhost", "--out", str(out), *more])


def content(out: Path) -> dict[str, bytes]:
    """Everything a directory holds."""
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_the_files_make_a_working_server(tmp_path):
    """The chain verifies, and the CA's key is the CA's."""
    assert issue(tmp_path / "new" / "tls") == 0
    files = content(tmp_path / "new" / "tls")
    assert sorted(files) == FILES
    signer = load_signer(files["ca.crt"], files["ca.key"])
    assert load_bundle(files["ca.crt"]) == (signer.authority,)
    verify(files["tls.crt"], files["ca.crt"], datetime.now(UTC), "localhost")


def test_it_runs_as_a_program(tmp_path):
    """One path a line on stdout, nothing else."""
    command = [sys.executable, "-m", "certs", "issue", "--dns", "a.example", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [str(tmp_path / name) for name in FILES]
    assert done.stderr == ""


def test_keys_are_for_their_owner_alone_whatever_the_umask(tmp_path):
    """Keys are 0600 and certificates 0644 even under umask 0."""
    previous = os.umask(0)
    try:
        assert issue(tmp_path) == 0
    finally:
        os.umask(previous)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "tls.crt": 0o644, "tls.key": 0o600}


def test_the_validity_is_what_was_asked_for(tmp_path):
    """`--days` counts from now, for both certificates."""
    assert issue(tmp_path, "--days", "3") == 0
    files = content(tmp_path)
    soon, late = (datetime.now(UTC) + timedelta(days=3, minutes=m) for m in (-5, 5))
    verify(files["tls.crt"], files["ca.crt"], soon, "localhost")
    assert load_bundle(files["ca.crt"])[0].not_after < late


def test_existing_files_are_kept(tmp_path, capsys):
    """A second run refuses, names the files, and changes nothing."""
    issue(tmp_path)
    before = content(tmp_path)
    assert issue(tmp_path) == 1
    assert content(tmp_path) == before
    error = capsys.readouterr().err
    assert "already holds ca.crt, ca.key, tls.crt, tls.key; give --force" in error


def test_force_replaces_all_four(tmp_path):
    """With `--force` nothing of the old set is left."""
    issue(tmp_path)
    before = content(tmp_path)
    assert issue(tmp_path, "--force") == 0
    after = content(tmp_path)
    assert sorted(after) == FILES
    assert all(after[name] != before[name] for name in FILES)


def test_one_foreign_file_is_enough_to_refuse(tmp_path, capsys):
    """A dangling link named like one of ours is somebody's too; nothing is left behind."""
    (tmp_path / "tls.crt").symlink_to("nowhere")
    assert issue(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tls.crt"]
    assert "already holds tls.crt" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["/proc/certs", "/dev/null", "/dev/null/tls"])
def test_a_directory_that_cannot_be_written_is_named(where, capsys):
    """One line says which directory and why; no traceback."""
    assert issue(Path(where)) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"certs: {where} can't take the certificates: ")
    assert error.count("\n") == 1


def test_a_bad_name_leaves_no_files(tmp_path, capsys):
    """Names are checked before anything is written."""
    assert main(["issue", "--dns", "a_b", "--out", str(tmp_path / "x")]) == 1
    assert "'a_b' isn't a DNS name" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("days", ["0", "-1", "x", "1.5", "36501", "٣", "9" * 30])
def test_bad_days_are_bad_usage(days, tmp_path, capsys):
    """The range is part of the message."""
    with pytest.raises(SystemExit, match="2"):
        issue(tmp_path, f"--days={days}")
    assert "isn't a number of days from 1 to 36500" in capsys.readouterr().err


def test_an_address_becomes_an_address_in_the_certificate(tmp_path):
    """Loopback clients verify by address."""
    assert issue(tmp_path, "--dns", "127.0.0.1", "--dns", "::1") == 0
    files = content(tmp_path)
    now = datetime.now(UTC)
    (ca,) = load_bundle(files["ca.crt"])
    leaf = Leaf(files["tls.crt"], files["tls.key"], ca, now, now)
    for name in ("127.0.0.1", "::1", "localhost"):
        assert handshake(leaf, files["ca.crt"], name) == "TLSv1.3"
