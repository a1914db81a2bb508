"""The directory of a mount's cache and journals: where it is, and whose it is.

Its unsent changes are uploaded by the next start, so it must never serve another bucket, prefix or
store than it was begun for: `owner.json` says which. It is written once the bucket was reached, so
that a mistyped bucket doesn't take the directory.

Not here: what is in it (`cache`, `write.staged`, `session`). Used at the start, by one thread; two
processes that claim one directory at once are kept apart by `link(2)`.
"""

import hashlib
import json
import logging
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from fusefs import versions
from fusefs.errors import SetupError
from fusefs.mount.settings import MountSettings

log = logging.getLogger(__name__)

VERSION = 1
FILE = "owner.json"
AWS = "aws"  # bucket names are unique there, whatever the region
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


@dataclass(frozen=True, slots=True)
class Owner:
    """What a cache directory belongs to: a prefix of a bucket at an endpoint, `aws` for AWS."""

    bucket: str
    prefix: str
    endpoint: str

    @classmethod
    def of(cls, settings: MountSettings, endpoint_url: str) -> "Owner":
        """Return the owner that a mount is; `endpoint_url` is what its client really uses."""
        parts = urlsplit(endpoint_url)
        host = (parts.hostname or "").lower()
        own = parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")
        endpoint = AWS if host.endswith(_AWS_HOSTS) else own
        return cls(settings.store.bucket, settings.prefix, endpoint)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix} at {self.endpoint}"

    @property
    def line(self) -> str:
        """The content of `owner.json`."""
        return json.dumps({"version": VERSION, **asdict(self)})

    @property
    def name(self) -> str:
        """A file name for people to recognise, with a hash that no other owner has."""
        shown = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{self.bucket}/{self.prefix}").strip("_")
        digest = hashlib.blake2b(self.line.encode(), digest_size=8).hexdigest()
        return f"{shown[:80]}-{digest}"


class CacheRoot:
    """The cache directory of one mount."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path = path
        self._owner = owner

    @classmethod
    def of(cls, settings: MountSettings, owner: Owner, *, ours: bool = False) -> "CacheRoot":
        """Make the directory, or find it; raises SetupError where it can't be this mount's.

        `ours`: the mount was served from it already, so one without an owner is this mount's.
        """
        path = settings.cache_dir or _default(settings, owner)
        if settings.cache_dir_must_exist and not path.is_dir():
            raise SetupError(f"cache directory {path} isn't there (-o check_cache_dir_exist)")
        root = cls(path, owner)
        try:
            made(path)
            root._examine(ours=ours)
        except OSError as error:
            raise SetupError(f"cache directory {path}: {error.strerror}") from error
        return root

    def claim(self) -> None:
        """Say whose it is, for all who come later; the bucket was reached."""
        file = self.path / FILE
        new = self.path / f"{FILE}.{uuid4().hex}"
        try:
            with new.open("x", encoding="utf-8") as opened:
                opened.write(f"{self._owner.line}\n")
                opened.flush()
                os.fsync(opened.fileno())
            try:
                if self._found() is None:
                    file.unlink(missing_ok=True)  # cut to nothing by a power failure
                file.hardlink_to(new)
            except FileExistsError:
                self._examine(ours=False)
            finally:
                new.unlink()
        except OSError as error:
            raise SetupError(f"cache directory {self.path}: {error.strerror}") from error

    def _examine(self, *, ours: bool) -> None:
        """Raise SetupError where the directory is another's, or may be."""
        found = self._found()
        unsent = _unsent(self.path)
        left = f"; it holds {unsent} changes that aren't uploaded" if unsent else ""
        if found is not None and found != self._owner:
            raise SetupError(
                f"cache directory {self.path} belongs to {found}, not to {self._owner}{left}: "
                "give each mount its own --cache-dir"
            )
        if found is None and unsent and not ours:
            raise SetupError(
                f"cache directory {self.path} was left by a version that didn't note its bucket"
                f"{left}: if they are of {self._owner}, write this line into {self.path / FILE}, "
                f"else give another --cache-dir: {self._owner.line}"
            )

    def _found(self) -> Owner | None:
        """Return whose it is; None where nothing says so. Raises SetupError for an unknown form."""
        file = self.path / FILE
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        if not text.strip("\0 \n"):
            return None
        try:
            document = json.loads(text)
            versions.check(document, (VERSION,))
            return Owner(document["bucket"], document["prefix"], document["endpoint"])
        except versions.UnknownVersion as error:
            raise SetupError(
                f"cache directory {self.path} is of another version of s3mount and is left as it "
                f"is; give another --cache-dir ({FILE}: {error})"
            ) from error
        except (ValueError, KeyError) as error:
            raise SetupError(f"{file} can't be understood: {error}") from error


def _unsent(path: Path) -> int:
    """Count what the next start would carry out in the bucket: changed files and renames."""
    return sum(1 for pattern in ("staged/*.log", "renames/*.json") for _ in path.glob(pattern))


def _default(settings: MountSettings, owner: Owner) -> Path:
    """Return a directory of this mount's own: of root under /var/cache, else under ~/.cache."""
    root = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    _look_at_former(root / "s3mount" / _former_name(settings))
    return root / "s3mount" / owner.name


def _former_name(settings: MountSettings) -> str:
    """Return the name up to version 0.1, which `x/y/` and `x_y/` shared."""
    name = f"{settings.store.bucket}/{settings.prefix}".replace(":", "_").replace("/", "_")
    return name.strip("_")


def _look_at_former(path: Path) -> None:
    if unsent := _unsent(path):
        log.error(
            "changes that a former version did not upload are in another cache directory: mount "
            "the bucket they are of once with --cache-dir",
            extra={"cache_dir": str(path), "changes": unsent},
        )


def made(path: Path) -> Path:
    """Make a directory that only its user may look into, unless it is there."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
