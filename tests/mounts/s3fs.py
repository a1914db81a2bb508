"""Debian's s3fs, the file system whose buckets ours has to share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.mounts.mount import Mount
from tests.mounts.ours import Directories, environment
from tests.servers.s3 import Endpoint


class S3fsMount(Mount):
    """A bucket mounted by the real s3fs, caching as little as it can."""

    def __init__(
        self, bucket: str, where: Directories, endpoint: Endpoint, options: Sequence[str] = ()
    ) -> None:
        keys = endpoint.credentials
        password = where.root / "passwd-s3fs"
        password.write_text(f"{keys.access_key}:{keys.secret_key}\n")
        password.chmod(0o600)
        command: list[str | Path] = ["s3fs", bucket, where.path, "-f"]
        for option in (
            f"url={endpoint.url}",
            f"passwd_file={password}",
            "use_path_request_style",
            "use_xattr",
            "max_stat_cache_size=0",
            "retries=2",
            *options,
        ):
            command += ["-o", option]
        super().__init__(command, where.path, where.output, environment(endpoint, where.root))
