"""The policy in use by a running replica: the file's, reloaded when it changes.

Not here: parsing of the file (`policy.file`). Refreshed on the event loop's thread and read by
reviews on the same thread.
"""

from pathlib import Path

from webhook.errors import DocumentError, PolicyFileError
from webhook.parse.yamldocs import read_text
from webhook.policy.file import parse_policy
from webhook.policy.rules import Policy
from webhook.serve.health import Health
from webhook.serve.log import Logger
from webhook.serve.metrics import Metrics

CONDITION = "policy"


class LivePolicy:
    """The policy in use: the file's, or the last valid one while the file is invalid."""

    def __init__(
        self, path: Path, health: Health, metrics: Metrics, log: Logger, *, labels_known: bool
    ) -> None:
        self._path, self._health, self._metrics, self._log = path, health, metrics, log
        self._labels_known = labels_known
        self._text: str | None = read_text(str(path))
        self.current = self._checked(self._text)
        metrics.policy_loaded(valid=True)

    def refresh(self) -> None:
        """Reload the file; an invalid one is reported once and the old policy stays."""
        try:
            text = read_text(str(self._path))
        except DocumentError as error:
            self._text = None
            self._report(str(error))
            return
        if text != self._text:
            self._text = text
            self._take(text)

    def _take(self, text: str) -> None:
        try:
            self.current = self._checked(text)
        except PolicyFileError as error:
            self._report(str(error))
        else:
            self._health.pass_(CONDITION)
            self._metrics.policy_loaded(valid=True)
            self._log.info("policy reloaded", rules=len(self.current.rules))

    def _checked(self, text: str) -> Policy:
        policy = parse_policy(text, str(self._path))
        if policy.needs_labels and not self._labels_known:
            raise PolicyFileError(
                f"{self._path} has rules by namespaceLabels, which need S3MOUNT_LOOKUP_NAMESPACES"
            )
        return policy

    def _report(self, reason: str) -> None:
        if self._health.troubles().get(CONDITION) == reason:
            return
        # Not unready: the old policy is in use, and a typing error would stop every such pod.
        self._health.trouble(CONDITION, reason)
        self._metrics.policy_loaded(valid=False)
        self._log.error("new policy refused, the old one stays in use", reason=reason)
