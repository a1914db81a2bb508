"""The key with which the webhook signs the volumes of node mode, for the plugins to check.

The text that is signed is `fusefs.node.token`'s; a test compares the two. Immutable, any thread.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from webhook.errors import SettingsError

WORD = "s3.mount/2"
LEAST_KEY = 32  # characters: less can be guessed
# In place of a token where nothing is signed: on the command line.
UNSIGNED = "signed-by-the-webhook"
# Of `generateName`, as far as the API server uses it (its names/generate.go).
_GENERATED_MOST = 58


@dataclass(frozen=True, slots=True)
class SignedVolume:
    """What a token is for.

    `pod`: from `bound_to`. `nonce`: the pod's. `cache`: what the mount has in common with those
    that it shares the node's cache with.
    """

    namespace: str
    account: str
    pod: str
    nonce: str
    mount: str
    read_only: bool
    cache: str | None = None

    def text(self) -> str:
        """Return what is signed."""
        more = () if self.cache is None else (self.cache,)
        access = "ro" if self.read_only else "rw"
        owner = (self.namespace, self.account, self.pod, self.nonce)
        return "\n".join((WORD, *owner, self.mount, access, *more))


def bound_to(name: str, generate_name: str) -> str:
    """Return as much as is known of a pod's name: its uid isn't, when the pod is created."""
    return f"name {name}" if name else f"generated {generate_name[:_GENERATED_MOST]}"


@dataclass(frozen=True)
class NodeKey:
    """The key; without one, tokens are a placeholder that no plugin takes."""

    key: str = field(default="", repr=False)

    def token(self, volume: SignedVolume) -> str:
        """Return the token of one mount of a pod, as a volume's attribute."""
        if not self.key:
            return UNSIGNED
        return hmac.new(
            self.key.encode(), volume.text().encode(errors="replace"), hashlib.sha256
        ).hexdigest()

    def nonce(self) -> str:
        """Return what distinguishes one pod's volumes from another's: another value each time."""
        return secrets.token_hex(8) if self.key else UNSIGNED


def read_node_key(path: Path) -> NodeKey:
    """Return the first key of a file; SettingsError if it can't be read, or is too short."""
    try:
        keys = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", error)
        raise SettingsError(f"S3MOUNT_NODE_KEY_FILE={path}: can't be read: {reason}") from error
    if not keys or len(keys[0]) < LEAST_KEY:
        problem = f"its first line must be a key of at least {LEAST_KEY} characters"
        raise SettingsError(f"S3MOUNT_NODE_KEY_FILE={path}: {problem}")
    return NodeKey(keys[0])
