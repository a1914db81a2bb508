"""The names that a scraper sees, and which of them a query of Prometheus has."""

import re

from fusefs.mount import metrictable as mounts
from webhook.serve import metrictable as webhook

# Of prometheus_client's collector of the process.
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}


def names() -> set[str]:
    """Return every name that is served."""
    found = {f"{mounts.PREFIX}build_info", *PROCESS}
    found |= {row.exposed for row in mounts.PROCESS_ROWS}
    for row in (*mounts.ROWS, *webhook.ROWS):
        if row.kind.value == "histogram":
            found |= {f"{row.exposed}_{part}" for part in ("bucket", "sum", "count")}
        else:
            found.add(row.exposed)
    return found


def used(query: str) -> set[str]:
    """Return the metrics a query asks for; they have a prefix that nothing else in it has."""
    outside = re.sub(r'"[^"]*"', "", query)
    return set(re.findall(r"\b(?:s3mount|process)_\w+", outside))


def unknown(query: str) -> set[str]:
    """Return the metrics a query asks for and nobody serves."""
    return used(query) - names()
