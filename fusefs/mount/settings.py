"""All settings of a mount, parsed once into frozen values.

`MountSettings` is what `python -m fusefs mount` and the configuration of a pod both come down to.
No requests, no side effects.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fusefs import keys
from fusefs.attributes import Defaults, Shown
from fusefs.errors import BadName, NameTooLong, SetupError
from fusefs.mount import optionvalues
from fusefs.s3.settings import StoreSettings
from fusefs.write.uploadplan import PlanSettings

# What is done only to save requests or time, by the name that `--without` has for it:
# lists: a directory is listed for the sake of lookups in it; opens: an open takes the answer to the
# question before it in the same open(2); walks: what is below a directory is listed at once; heads:
# a scan of attributes has those of the next names requested; readahead: a sequential read has what
# is behind it requested; slabs: small cached versions are many to a file; passthrough: the kernel
# of a read-only mount reads files that are cached as a whole by itself; splice: it takes the bytes
# of other large reads from the cache's file, not from a buffer.
SAVINGS = ("lists", "opens", "walks", "heads", "readahead", "slabs", "passthrough", "splice")

# As Kubernetes has them, so that an option means what the annotation of that name does.
UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


NAMES_MOST = 48 << 20
CACHED_PART = 8  # this part of the memory limit may be taken by the index of the cache
MESSAGES_MOST = 32 << 20  # as many requests of 1 MiB as there are threads


@dataclass(frozen=True, slots=True)
class NamesMemory:
    """Bytes for what is known of names: pages of listings, remembered attributes, nodes."""

    pages: int
    remembered: int
    nodes: int


@dataclass(frozen=True, slots=True)
class MountSettings:
    """One mount. Sizes in bytes, times in seconds."""

    store: StoreSettings
    mountpoint: Path
    prefix: str = ""  # empty, or ending in "/"
    cache_dir: Path | None = None  # None: a directory of our own under /var/cache or ~/.cache
    cache_dir_must_exist: bool = False
    cache_size: int = 1 << 30
    keep_free: int = 64 << 20  # bytes of the cache disk left to others (s3fs: ensure_diskfree)
    fake_disk_free: int | None = None  # test hook
    memory_limit: int = 128 << 20
    background_fill: int = 25  # percent of the cache a file read at random may take; 0: not done
    read_only: bool = False
    passthrough: bool = False  # where files can be written, too (see `passthrough_bytes`)
    allow_other: bool = False
    nonempty: bool = False
    metadata: Literal["posix", "none"] = "posix"
    defaults: Defaults = field(default_factory=Defaults)
    shown: Shown = field(default_factory=Shown)
    attr_ttl: float = 60.0
    negative_ttl: float = 1.0  # how long a name that S3 has not is not asked for again
    node_cache: Path | None = None  # socket of the cache that the pods of a node share
    # How long before an open S3 may have been asked for its version, or whether there is a name.
    content_ttl: float = 0.0
    remembered: int = 200_000
    on_conflict: Literal["fail", "overwrite"] = "fail"
    parallel: int = 12  # GETs of readers at once
    requests: int = 32  # of each kind (see `pools`); they wait for the network, not for a core
    plan: PlanSettings = field(default_factory=PlanSettings)
    driver: Literal["native", "fusepy"] | None = None  # None: native where it may mount
    metrics_port: int | None = None
    drain_seconds: float = 25.0  # a pod's default grace period is 30
    full_wait: float = 10.0  # a writer waits so long for room on a full cache disk
    abort_uploads: float = 86_400.0  # age of unfinished uploads that nobody goes on with; 0: keep
    debug: bool = False  # debug lines in the log
    without: frozenset[str] = frozenset()  # of SAVINGS
    folder_markers: bool = False  # look for `NAME_$folder$` before any listing had one

    @property
    def message_memory(self) -> int:
        """The part of the memory limit for the kernel's requests and answers."""
        return min(MESSAGES_MOST, self.memory_limit // 4)

    @property
    def read_memory(self) -> int:
        """The part of the memory limit for what is read ahead."""
        return self.memory_limit - self.message_memory - self.memory_limit // CACHED_PART

    @property
    def passthrough_bytes(self) -> int:
        """What readers in passthrough may hold of the cache where writers need room in it."""
        return self.cache_size // 2 if self.passthrough else 0

    @property
    def cached_versions(self) -> int:
        """How many versions the cache may keep, whatever their size; they take memory, too."""
        # Imported late, here and below: a supervisor needs settings, but neither cache nor uploads.
        from fusefs.cache.cache import VERSION_BYTES

        return self.memory_limit // CACHED_PART // VERSION_BYTES

    @property
    def names_memory(self) -> NamesMemory:
        """What names may take, beside the memory limit: three eighths of it, 48 MiB at most."""
        total = min(NAMES_MOST, self.memory_limit * 3 // 8)
        return NamesMemory(total // 4, total // 4, total // 2)

    @property
    def uploads(self) -> int:
        """Parts sent at once: on two of three connections, and as many as fit in memory."""
        return max(1, min(self.parallel * 2 // 3, self.memory_limit // self.plan.part_size))

    @property
    def ahead(self) -> int:
        """HEADs of a scan at once: 128 by default, so 6 400 in a second of 20 ms round trips."""
        return 4 * self.requests

    @property
    def connections(self) -> int:
        """Connections all requests at once can need; more would be closed after each use."""
        from fusefs.write.flush import AT_ONCE

        return 3 * self.requests + self.ahead + self.parallel + self.uploads + AT_ONCE


def too_large(mount: MountSettings) -> list[str]:
    """Return a sentence for each size that doesn't fit into the memory limit."""
    usual = PlanSettings()
    limit = max(mount.memory_limit, usual.part_size, usual.threshold)
    return [
        f"-o {name}: {value >> 20} MB don't fit into the memory limit of {limit >> 20} MB; "
        "raise --memory-limit"
        for name, value in (
            ("multipart_size", mount.plan.part_size),
            ("multipart_threshold", mount.plan.threshold),
        )
        if value > limit
    ]


def size(text: str, name: str, least: int = 0) -> int:
    """Parse `1Gi` (2**30), `1G` (10**9), `1073741824`; raises SetupError naming the option."""
    match = re.fullmatch(
        r"([0-9]{1,18})\s*(?:([kmgt])(i)?)?b?", text.strip(), re.IGNORECASE | re.ASCII
    )
    if match is None:
        raise SetupError(f"{name}: {text!r} is not a size; write for example 1Gi or 1073741824")
    value: int = int(match[1]) * (1024 if match[3] else 1000) ** UNITS[(match[2] or "").lower()]
    if value < least:
        raise SetupError(f"{name}: {text!r} is less than the least that works, {least}")
    return value


_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str, name: str) -> float:
    """Parse `60`, `60s`, `5m`, `1d`, `0.5`; raises SetupError naming the option."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d)?", text.strip())
    if match is None:
        raise SetupError(f"{name}: {text!r} is not a time; write for example 60s or 5m")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def number(text: str, name: str, least: int = 0, most: int = 2**32 - 2) -> int:
    """Parse a whole number between two limits; raises SetupError naming the option."""
    try:
        value = optionvalues.whole(text, least, most)
    except ValueError:
        message = f"{name}: {text!r} is not a whole number from {least} to {most}"
        raise SetupError(message) from None
    return value


def port(text: str, name: str) -> int:
    """Parse the number of a TCP port, 0 for any; raises SetupError naming the option."""
    return number(text, name, 0, 65535)


def mode(text: str, name: str) -> int:
    """Parse octal permission bits; raises SetupError naming the option."""
    if re.fullmatch(r"0?[0-7]{3,4}", text) is None:
        raise SetupError(f"{name}: {text!r} is not an octal mode; write for example 0644")
    return int(text, 8)


def savings(text: str, name: str) -> frozenset[str]:
    """Parse a comma separated list of SAVINGS; raises SetupError naming the option."""
    words = frozenset(word.strip() for word in text.split(",") if word.strip())
    if unknown := sorted(words.difference(SAVINGS)):
        raise SetupError(f"{name}: {unknown[0]!r} is none of {', '.join(SAVINGS)}")
    return words


def path(text: str, name: str) -> Path:
    """Parse the path of a directory; raises SetupError naming the option."""
    if not text or "\0" in text:
        raise SetupError(f"{name}: must be the path of a directory")
    return Path(text)


def endpoint(text: str, name: str) -> str:
    """Parse the URL of a store; raises SetupError naming the option, not what may be a secret."""
    try:
        return optionvalues.url(text)
    except ValueError:
        raise SetupError(
            f"{name}: must be {optionvalues.URL.rule}: {optionvalues.URL.example}"
        ) from None


def bucket_and_prefix(text: str) -> tuple[str, str]:
    """Split `BUCKET[/PREFIX]` (an ARN has slashes of its own); the prefix ends in `/`."""
    url = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)
    if url is not None and url[0] != "s3://":  # the rest may have a password
        raise SetupError(
            f"a bucket is BUCKET[/PREFIX] or s3://BUCKET[/PREFIX], which {url[0]}… is not; the "
            "address of a store belongs to --endpoint-url"
        )
    if text.startswith("arn:"):
        match = re.fullmatch(r"(arn:[^/]+:accesspoint[/:][^/:]+)(?:/(.*))?", text, re.DOTALL)
        if match is None:
            raise SetupError(f"{text!r} is not the ARN of an access point")
        bucket, prefix = match[1], match[2] or ""
    else:
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        if prefix and bucket.endswith(":"):  # s3fs writes BUCKET:/PREFIX
            bucket = bucket[:-1]
    if not re.fullmatch(r"arn:[A-Za-z0-9._:/-]{3,251}|[A-Za-z0-9._-]{3,255}", bucket):
        raise SetupError(f"{bucket!r} is not the name of a bucket: 3 to 63 of a-z, 0-9, . and -")
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    try:
        keys.check("", prefix)
    except (BadName, NameTooLong) as error:
        message = f"{prefix[:80]!r} is not a prefix: UTF-8 of at most {keys.MAX_KEY} bytes"
        raise SetupError(message) from error
    return bucket, prefix
