"""docs/policy.md: a change is used at once, a broken file never."""

from io import StringIO
from pathlib import Path

import pytest

from webhook.errors import DocumentError, PolicyFileError
from webhook.serve.health import Health
from webhook.serve.livepolicy import LivePolicy
from webhook.serve.log import make_logger
from webhook.serve.metrics import Metrics

DENY = "default: deny\n"
LABELS = "rules: [{name: x, namespaceLabels: {a: b}, buckets: []}]\n"


class Watched:
    """A policy file under watch, and what the watch leaves behind."""

    def __init__(self, path: Path, *, labels_known: bool = False) -> None:
        self.path, self.health, self.metrics, self.log = path, Health(), Metrics(), StringIO()
        log = make_logger("INFO", self.log)
        self.live = LivePolicy(path, self.health, self.metrics, log, labels_known=labels_known)

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self.live.refresh()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text("rules: []\n")
    return tmp_path / "policy.yaml"


def test_change_is_used(path: Path) -> None:
    """The next review sees the new policy."""
    watched = Watched(path)
    before = watched.live.current
    watched.write(DENY)
    assert watched.live.current != before
    assert watched.health.ready


def test_broken_change_keeps_the_old_policy(path: Path) -> None:
    """Readiness stays and names it, as metric and one log line do; repairing the file ends it."""
    watched = Watched(path)
    before = watched.live.current
    for _ in range(3):
        watched.write("rules: 7")
    assert watched.live.current == before
    assert watched.health.ready
    assert "rules must be a list" in watched.health.troubles()["policy"]
    assert "policy_valid 0.0" in watched.metrics.rendered()
    assert len(watched.log.getvalue().splitlines()) == 1
    watched.write(DENY)
    assert watched.health.troubles() == {}
    assert "policy_valid 1.0" in watched.metrics.rendered()


def test_going_back_to_the_policy_in_use_repairs(path: Path) -> None:
    """The file as it was before the mistake is taken again."""
    watched = Watched(path)
    watched.write("rules: 7")
    watched.write("rules: []\n")
    assert watched.health.troubles() == {}


def test_vanished_file_keeps_the_old_policy(path: Path) -> None:
    """A file that is gone for a moment changes nothing but what is told."""
    watched = Watched(path)
    before = watched.live.current
    path.unlink()
    watched.live.refresh()
    assert watched.live.current == before
    assert "can't read" in watched.health.troubles()["policy"]
    watched.write("rules: []\n")
    assert watched.health.troubles() == {}


def test_broken_file_at_start_is_an_error(path: Path) -> None:
    """There is no policy to fall back to."""
    path.write_text("rules: 7")
    with pytest.raises(PolicyFileError):
        Watched(path)
    with pytest.raises(DocumentError):
        Watched(path.with_name("missing.yaml"))


def test_rules_by_label_need_the_lookup(path: Path) -> None:
    """A rule that could never be judged is refused at start."""
    path.write_text(LABELS)
    with pytest.raises(PolicyFileError, match="S3MOUNT_LOOKUP_NAMESPACES"):
        Watched(path)
    assert Watched(path, labels_known=True).live.current.needs_labels
