"""The webhook's signature on the volumes that it writes into pods, and the check of it.

A volume's attribute `token` is an HMAC-SHA256 in hexadecimal, by a key that webhook and plugins
share, of seven lines: the word below, the pod's namespace, its service account, `name` and the
pod's name or `generated` and what a generated name begins with, the volume's attribute `nonce`, the
mount's name, and `ro` or `rw`; and of an eighth where the volume has the attribute `cache`: its
value. So a pod that the webhook has not seen can't have a volume, save with a token that was copied
from a pod of the same namespace, account and name. The nonce is another one for each pod: of pods
that live on one node each has its own (`nodemounts`).

A key file has one key a line; the webhook signs with the first, all are taken here, so a key can be
replaced in two steps. Not here: signing, which is the webhook's (`webhook.platform.nodekey`).
No state, usable from any thread.
"""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fusefs.errors import SetupError

WORD = "s3.mount/2"
LEAST_KEY = 32  # characters: less can be guessed
SUFFIX = 5  # characters that the API server appends to `generateName`


@dataclass(frozen=True, slots=True)
class SignedVolume:
    """What a token is for; `pod` is the pod's name."""

    namespace: str
    account: str
    pod: str
    nonce: str
    mount: str
    read_only: bool
    cache: str | None = None

    def texts(self) -> Iterator[str]:
        """Yield what the webhook may have signed: it may not have known the end of the name."""
        more = () if self.cache is None else (self.cache,)
        access = "ro" if self.read_only else "rw"
        for pod in (f"name {self.pod}", f"generated {self.pod[:-SUFFIX]}"):
            lines = (WORD, self.namespace, self.account, pod, self.nonce, self.mount, access, *more)
            yield "\n".join(lines)


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The keys of a file, which is read for each check: it is small, and may be replaced."""

    file: Path

    def check(self, token: str, volume: SignedVolume) -> bool:
        """Return whether a token is the webhook's for this volume; SetupError without a key."""
        matches = [
            hmac.compare_digest(_signed(key, text), token.encode())
            for key in self.keys()
            for text in volume.texts()
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


def _signed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest().encode()
