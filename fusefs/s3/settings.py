"""Where a bucket is and how to reach it. No requests, and no boto3."""

from dataclasses import dataclass
from pathlib import Path

from fusefs import __version__

# How long an outage is waited for: what a store needs to be restarted or replaced.
RETRY_FOR = 30.0
# What the log of the store has of us.
USER_AGENT = f"s3mount/{__version__}"


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the bucket is and how to talk to it; times in seconds.

    `retries` are boto3's tries of one request, over within a few seconds. `retry_for` is how long
    an outage of the store, or its silence, is waited for in all before the application gets an
    error; `read_timeout` is how long one try may wait for a byte, `connect_timeout` for a
    connection, as far as what is left of that time allows (see `retry`).
    """

    bucket: str
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    credentials_dir: Path | None = None
    path_style: bool = True  # for own endpoints; AWS gets virtual-hosted addresses
    anonymous: bool = False
    requester_pays: bool = False
    storage_class: str | None = None
    sse: str | None = None
    sse_kms_key: str | None = None
    acl: str | None = None
    retries: int = 5
    retry_for: float = RETRY_FOR
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    connections: int = 64
    direct: bool = True  # small requests past boto3, where they are plain

    @property
    def directory_bucket(self) -> bool:
        """Whether the bucket is one of S3 Express One Zone, which its name shows."""
        return self.bucket.endswith("--x-s3")
