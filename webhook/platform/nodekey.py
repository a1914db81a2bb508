"""The key with which the webhook signs the volumes of node mode, for the plugins to check.

The text that is signed is `fusefs.node.token`'s; a test compares the two. Immutable, any thread.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from webhook.errors import SettingsError

WORD = "s3.mount/1"
LEAST_KEY = 32  # characters: less can be guessed
# In place of a token where nothing is signed: on the command line.
UNSIGNED = "signed-by-the-webhook"


@dataclass(frozen=True)
class NodeKey:
    """The key; without one, tokens are a placeholder that no plugin takes."""

    key: str = field(default="", repr=False)

    def token(
        self,
        namespace: str,
        account: str,
        mount: str,
        *,
        read_only: bool,
        cache: str | None = None,
    ) -> str:
        """Return the token of one mount of a pod, as a volume's attribute.

        `cache`: what the mount has in common with those that it shares the node's cache with.
        """
        if not self.key:
            return UNSIGNED
        access, more = "ro" if read_only else "rw", () if cache is None else (cache,)
        text = "\n".join((WORD, namespace, account, mount, access, *more))
        return hmac.new(self.key.encode(), text.encode(), hashlib.sha256).hexdigest()


def read_node_key(path: Path) -> NodeKey:
    """Return the first key of a file; SettingsError if it can't be read, or is too short."""
    try:
        keys = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"S3MOUNT_NODE_KEY_FILE={path}: can't be read: {error}") from error
    if not keys or len(keys[0]) < LEAST_KEY:
        problem = f"its first line must be a key of at least {LEAST_KEY} characters"
        raise SettingsError(f"S3MOUNT_NODE_KEY_FILE={path}: {problem}")
    return NodeKey(keys[0])
