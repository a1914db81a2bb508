"""Credentials as files in a directory: a Kubernetes Secret as the kubelet mounts it.

The kubelet swaps the files when the Secret changes, so they are read again, at most once a second.
Not here: boto3's credentials objects (`sdk` makes them of these keys). Any thread.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

from fusefs import locks
from fusefs.errors import SetupError
from fusefs.locks import Rank

LOOKS_MOST = 10
LOOK_EVERY = 1.0  # seconds; the kubelet itself needs up to a minute


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key; its secret parts stay out of `repr`."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(repr=False, default=None)


class CredentialsDirectory:
    """The current `Keys` of a directory with files named like the environment variables.

    Raises SetupError where the directory has no usable keys at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = locks.lock(Rank.LEAF)
        self._keys = self._read()
        self._looked = time.monotonic()
        self.changed_at = 0.0  # monotonic seconds

    def current(self, fresh: bool = False) -> Keys:
        """Return the keys, read again if due or `fresh`; the last ones if files are missing."""
        if not fresh and time.monotonic() - self._looked <= LOOK_EVERY:
            return self._keys  # without the lock: replaced as a whole
        with self._lock:
            if fresh or time.monotonic() - self._looked > LOOK_EVERY:
                self._look()
            return self._keys

    def _look(self) -> None:
        try:
            found = self._read()
        except SetupError:
            # In the middle of a swap, or a Secret that lost a key: keep the last good keys.
            found = self._keys
        if found != self._keys:
            self._keys = found
            self.changed_at = time.monotonic()  # no request with the old keys is younger
        self._looked = time.monotonic()  # last: until then others wait for the lock

    def _read(self) -> Keys:
        # A swap between two files would mix two Secrets, so read until two results are equal.
        found = self._files()
        for _ in range(LOOKS_MOST):
            before, found = found, self._files()
            if found == before:
                break
        access, secret, token = found
        if not access or not secret:
            raise SetupError(
                f"credentials directory {self._path}: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
                "must both be files with a value; check the keys of the Secret"
            )
        return Keys(access, secret, token or None)

    def _files(self) -> tuple[str, str, str]:
        return (
            self._value("AWS_ACCESS_KEY_ID"),
            self._value("AWS_SECRET_ACCESS_KEY"),
            self._value("AWS_SESSION_TOKEN"),
        )

    def _value(self, name: str) -> str:
        try:
            return (self._path / name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", error)
            raise SetupError(
                f"credentials file {self._path / name}: can't be read: {reason}"
            ) from error
