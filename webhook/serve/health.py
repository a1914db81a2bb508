"""Whether this replica should get reviews: a few named conditions, and why one doesn't hold.

Troubles are told beside them and take nobody out of the Service: with a failure policy of Fail an
unready webhook stops every pod with a mount, which only helps where a review would be wrong.

Written by the certificate watch, the policy watch and the shutdown, read by `/readyz`. Setting a
condition is one assignment into a dictionary: safe from any thread.
"""

DRAINING = "draining"


class Health:
    """Not ready while any condition has a reason against it."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._troubles: dict[str, str] = {}

    def fail(self, condition: str, reason: str) -> None:
        """From now on not ready, for this reason."""
        self._reasons[condition] = reason

    def pass_(self, condition: str) -> None:
        """This condition holds again, and nothing is the matter with it."""
        self._reasons.pop(condition, None)
        self._troubles.pop(condition, None)

    def trouble(self, condition: str, reason: str) -> None:
        """From now on as ready as before, and somebody should look at this."""
        self._troubles[condition] = reason

    def drain(self) -> None:
        """Shutting down: never ready again."""
        self.fail(DRAINING, "shutting down; reviews in flight are still answered")

    @property
    def draining(self) -> bool:
        return DRAINING in self._reasons

    @property
    def ready(self) -> bool:
        return not self._reasons

    def reasons(self) -> dict[str, str]:
        """Condition and reason of everything that keeps this replica from being ready."""
        return dict(self._reasons)

    def troubles(self) -> dict[str, str]:
        """Condition and reason of what somebody should look at though reviews go on."""
        return dict(self._troubles)
