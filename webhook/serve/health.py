"""Readiness of this replica: named conditions, and the reason why one doesn't hold.

Troubles are reported as well but don't make the replica unready: with a failure policy of Fail an
unready webhook stops every pod with a mount, which only helps if reviews would be wrong.

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
        """Make a condition fail, for this reason: not ready."""
        self._reasons[condition] = reason

    def pass_(self, condition: str) -> None:
        """Note that a condition holds again, without a trouble."""
        self._reasons.pop(condition, None)
        self._troubles.pop(condition, None)

    def trouble(self, condition: str, reason: str) -> None:
        """Report a trouble; readiness stays as it is."""
        self._troubles[condition] = reason

    def drain(self) -> None:
        """Note the shutdown: never ready again."""
        self.fail(DRAINING, "shutting down; reviews in flight are still answered")

    @property
    def draining(self) -> bool:
        return DRAINING in self._reasons

    @property
    def ready(self) -> bool:
        return not self._reasons

    def reasons(self) -> dict[str, str]:
        """Return the failing conditions with their reasons."""
        return dict(self._reasons)

    def troubles(self) -> dict[str, str]:
        """Return the troubles with their reasons; reviews go on."""
        return dict(self._troubles)
