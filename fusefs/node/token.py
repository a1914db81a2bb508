"""The webhook's signature on the volumes that it writes into pods, and the check of it.

A volume's attribute `token` is an HMAC-SHA256 in hexadecimal, by a key that webhook and plugins
share, of five lines: the word below, the pod's namespace, its service account, the mount's name,
and `ro` or `rw`; and of a sixth where the volume has the attribute `cache`: its value. So a pod
that the webhook has not seen can't have a volume, save with a token that was copied from a pod of
the same namespace and account: those are the guards' to refuse.

A key file has one key a line; the webhook signs with the first, all are taken here, so a key can be
replaced in two steps. Not here: signing, which is the webhook's (`webhook.platform.nodekey`).
No state, usable from any thread.
"""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from fusefs.errors import SetupError

WORD = "s3.mount/1"
LEAST_KEY = 32  # characters: less can be guessed


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The keys of a file, which is read for each check: it is small, and may be replaced."""

    file: Path

    def check(
        self,
        token: str,
        namespace: str,
        account: str,
        name: str,
        *,
        read_only: bool,
        cache: str | None = None,
    ) -> bool:
        """Return whether a token is the webhook's for this volume; SetupError without a key."""
        access, more = "ro" if read_only else "rw", () if cache is None else (cache,)
        text = "\n".join((WORD, namespace, account, name, access, *more)).encode()
        matches = [
            hmac.compare_digest(hmac.new(key, text, hashlib.sha256).hexdigest(), token)
            for key in self.keys()
        ]
        return any(matches)

    def keys(self) -> list[bytes]:
        """Return the keys; SetupError if there is none, or one that is too short."""
        try:
            lines = self.file.read_bytes().split()
        except OSError as error:
            raise SetupError(f"the key file {self.file} can't be read: {error.strerror}") from error
        if not lines or min(map(len, lines)) < LEAST_KEY:
            raise SetupError(
                f"the key file {self.file} needs a key of {LEAST_KEY} characters a line"
            )
        return lines
