"""The webhook's metrics as data: name, type, help, labels.

docs/metrics.md is made of this table, and dashboards and alerts are checked against it. Names as
Prometheus asks for: total for what only grows, the unit before it. Label values come from
short closed lists, never from users.

Not here: counting and the text format (`metrics`).
"""

from dataclasses import dataclass
from enum import Enum

PREFIX = "s3mount_webhook_"
# Seconds: the API server waits 5; a review takes about one millisecond.
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)


class Kind(Enum):
    """The types of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


_SUFFIX = {Kind.COUNTER: "_total", Kind.INFO: "_info"}


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def exposed(self) -> str:
        """The name that queries use; of a histogram, what `_bucket` and so on are appended to."""
        return PREFIX + self.name + _SUFFIX.get(self.kind, "")


BUILD = MetricRow("build", Kind.INFO, "Version of the webhook.", ("version",))
REVIEWS = MetricRow(
    "reviews",
    Kind.COUNTER,
    "Reviews by decision (injected, unchanged, skipped, denied, error) and reason; an error is a"
    " bug of ours.",
    ("decision", "reason"),
)
REVIEW_SECONDS = MetricRow(
    "review_seconds", Kind.HISTOGRAM, "Time from the body's last byte to the answer."
)
REJECTED = MetricRow(
    "rejected_requests",
    Kind.COUNTER,
    "HTTP requests that were no readable review, by status.",
    ("status",),
)
WARNINGS = MetricRow("warnings", Kind.COUNTER, "Admission warnings given.", ("reason",))
CERTIFICATE_REFUSED = MetricRow(
    "certificate_refused", Kind.COUNTER, "New certificates refused because they were broken."
)
CERTIFICATE_EXPIRY = MetricRow(
    "certificate_expiry_timestamp_seconds",
    Kind.GAUGE,
    "When the certificate in use expires, as Unix time; 0 where that isn't known."
    " Days left: (value - time()) / 86400.",
)
POLICY_VALID = MetricRow(
    "policy_valid",
    Kind.GAUGE,
    "1 while the policy file in place is the policy in use; 0 while an older one is.",
)
POLICY_RELOADS = MetricRow(
    "policy_reloads", Kind.COUNTER, "Policy reloads by result: loaded, refused.", ("result",)
)
READY = MetricRow("ready", Kind.GAUGE, "1 while this replica answers /readyz with 200.")

ROWS = (
    *(BUILD, READY, REVIEWS, REVIEW_SECONDS, WARNINGS, REJECTED),
    *(CERTIFICATE_EXPIRY, CERTIFICATE_REFUSED, POLICY_VALID, POLICY_RELOADS),
)
