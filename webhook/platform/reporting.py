"""The settings of the process that writes events. Immutable."""

from collections.abc import Mapping
from typing import Annotated

from webhook.parse import settingvalues
from webhook.parse.quantities import parse_seconds
from webhook.platform.environment import Settings, parsed, read, setting

MOUNT_FAILED = "S3MountFailed"
REMOUNTED = "S3Remounted"
CONFLICT = "S3ConflictKept"
FULL = "S3CacheFull"
CREDENTIALS = "S3CredentialsExpired"
REASONS = (MOUNT_FAILED, REMOUNTED, CONFLICT, FULL, CREDENTIALS)
_LEAST = 10


def _reasons(text: str) -> frozenset[str]:
    given = frozenset(settingvalues.parse_list(text))
    if unknown := sorted(given - set(REASONS)):
        raise ValueError(f"has no reason {unknown[0]!r}; there are {', '.join(REASONS)}")
    return given


def _interval(text: str) -> int:
    if (seconds := parse_seconds(text)) < _LEAST:
        raise ValueError(f"must be at least {_LEAST}s: each look costs every worker some CPU")
    return seconds


class Reporting(Settings):
    """Which events are written, and how often pods are looked at."""

    event_reasons: Annotated[frozenset[str], parsed(_reasons, "must be a comma list")] = setting(
        ",".join(REASONS),
        "comma list of the [events](monitoring.md#events-of-kubernetes) that are written; empty is"
        " none",
        shown="all",
    )
    event_interval: Annotated[int, parsed(_interval, "must be a duration in s, m or h")] = setting(
        "60s", "how often the metrics of each mount are read"
    )


def read_reporting(environ: Mapping[str, str]) -> Reporting:
    """Return the settings; SettingsError names every wrong variable."""
    return read(Reporting, environ)
