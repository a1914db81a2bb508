"""A directory with credentials, as the kubelet mounts a Secret."""

import os
from pathlib import Path

import pytest

from fusefs.errors import SetupError
from fusefs.s3.credentials import CredentialsDirectory, Keys

NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class Secret:
    """Files behind two links, swapped at once, as the kubelet does it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._versions = 0
        path.mkdir()

    def update(self, *values: str | None) -> None:
        self._versions += 1
        version = self.path / f"..v{self._versions}"
        version.mkdir()
        for name, value in zip(NAMES, values, strict=False):
            if value is not None:
                (version / name).write_text(value)
        (self.path / "..new").symlink_to(version.name)
        os.replace(self.path / "..new", self.path / "..data")
        for name in NAMES:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    return Secret(tmp_path / "secret")


def test_keys_are_read_without_the_line_break_of_an_editor(secret: Secret) -> None:
    """With and without a session token."""
    secret.update("id\n", " key \n")
    assert CredentialsDirectory(secret.path).current() == Keys("id", "key")
    secret.update("id", "key", "token\n")
    assert CredentialsDirectory(secret.path).current() == Keys("id", "key", "token")


def test_a_changed_secret_is_read_again(secret: Secret) -> None:
    """All of it at once; without a request until a second has passed, or at once if asked."""
    secret.update("id1", "key1", "token1")
    directory = CredentialsDirectory(secret.path)
    secret.update("id2", "key2")
    assert directory.current() == Keys("id1", "key1", "token1")
    assert directory.current(fresh=True) == Keys("id2", "key2")


def test_what_worked_stays_while_the_files_are_being_swapped(secret: Secret) -> None:
    """A Secret that lost a key, or a directory in the middle of a swap."""
    secret.update("id1", "key1")
    directory = CredentialsDirectory(secret.path)
    for broken in (("id2", None), (None, "key2"), ("id2", "  "), ()):
        secret.update(*broken)
        assert directory.current(fresh=True) == Keys("id1", "key1")
    (secret.path / "..data").unlink()
    assert directory.current(fresh=True) == Keys("id1", "key1")
    secret.update("id3", "key3")
    assert directory.current(fresh=True) == Keys("id3", "key3")


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / "AWS_ACCESS_KEY_ID").mkdir()
    with pytest.raises(SetupError) as raised:
        CredentialsDirectory(tmp_path).current()
    assert str(raised.value).count(str(tmp_path)) == 1


def test_keys_of_two_versions_are_never_mixed(secret: Secret) -> None:
    """The swap may come between the reading of two files: an id with another's secret would be
    refused by the store."""
    secret.update("id1", "key1", "token1")
    directory = CredentialsDirectory(secret.path)
    secret.update("id2", "key2", "token2")
    read = directory._value

    def swapped(name: str) -> str:
        value = read(name)
        if name == "AWS_ACCESS_KEY_ID" and value == "id2":
            secret.update("id3", "key3", "token3")
        return value

    directory._value = swapped  # type: ignore[method-assign]
    assert directory.current(fresh=True) == Keys("id3", "key3", "token3")


@pytest.mark.parametrize("values", [(), ("id",), (None, "key"), ("", "key"), ("id", "\n")])
def test_a_secret_without_its_keys_is_told_at_the_start(
    secret: Secret, values: tuple[str | None, ...]
) -> None:
    """By the directory and the names it needs."""
    secret.update(*values)
    with pytest.raises(SetupError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        CredentialsDirectory(secret.path)


def test_a_file_that_is_no_text_is_told_without_what_is_in_it(secret: Secret) -> None:
    """Nor may the reason, which would quote it."""
    secret.update("id", "key")
    (secret.path / "..data/AWS_SECRET_ACCESS_KEY").write_bytes(b"geheim\xff")
    with pytest.raises(SetupError) as caught:
        CredentialsDirectory(secret.path)
    assert "AWS_SECRET_ACCESS_KEY" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_secrets_stay_out_of_what_is_printed() -> None:
    """Logs and tracebacks show the access key's id alone."""
    shown = repr(Keys("id", "geheim", "token-geheim"))
    assert shown == "Keys(access='id')"
    assert "geheim" not in f"{Keys('id', 'geheim')!s}"
