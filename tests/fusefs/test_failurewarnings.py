"""Why a call failed, in the log at its default level."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fusefs.disk.space import Space
from fusefs.errors import NoSpace, NotFound, Unavailable
from fusefs.failurewarnings import Refusals
from fusefs.s3.errorcodes import error_for

GET = "get_object s3://bucket/a/key"


@pytest.mark.parametrize(
    ("code", "status", "message", "said"),
    [
        ("AccessDenied", 403, "Access Denied", "no right"),
        ("403", 403, "Forbidden", "no right"),
        ("AccessDenied", 403, "not authorized to perform: kms:Decrypt on key 1", "KMS key"),
        ("KMS.DisabledException", 400, "key is disabled", "KMS key"),
        ("RequestTimeTooSkewed", 403, "The difference is too large.", "clock skew"),
        ("InvalidObjectState", 403, "The operation is not valid", "archived"),
    ],
)
def test_a_refusal_is_said_with_its_reason_and_key(
    caplog: pytest.LogCaptureFixture, code: str, status: int, message: str, said: str
) -> None:
    """No rights, a KMS key, a wrong clock, an archived object: each by its name."""
    Refusals().warn("READ", error_for(code, status, GET, message))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert said in record.getMessage()
    assert "s3://bucket/a/key" in record.__dict__["error"]
    assert record.__dict__["call"] == "read"


def test_a_reason_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A program that reads ten thousand such files fills no log; another reason is said at once."""
    refusals = Refusals()
    for number in range(1000):
        refusals.warn("read", error_for("AccessDenied", 403, f"{GET}{number}", ""))
    refusals.warn("read", error_for("InvalidObjectState", 403, GET, ""))
    assert len(caplog.records) == 2
    caplog.clear()
    often = Refusals(pause=0.0)
    often._left_out["the store refuses: these credentials have no right to it"] = 999
    often.warn("read", error_for("AccessDenied", 403, GET, ""))
    assert caplog.records[0].__dict__["more_of_it"] == 999


def test_a_full_cache_disk_is_said_with_its_numbers(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A disk smaller than what is to be left free refuses every write: the program sees ENOSPC."""
    refusals = Refusals()
    space = Space(tmp_path, 1 << 30, 64 << 20, fake_free=20 << 20)
    for _ in range(3):
        with pytest.raises(NoSpace) as refused:
            space.take(4096)
        refusals.warn("WRITE", refused.value)
    (record,) = caplog.records
    assert record.getMessage() == "no room in the cache directory for what a program writes"
    error = record.__dict__["error"]
    assert str(tmp_path) in error and f"{20 << 20} free on the disk" in error
    assert f"{64 << 20} to be left free (ensure_diskfree)" in error


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("read", NotFound("k")),
        ("read", Unavailable("away")),
        ("FLUSH", error_for("AccessDenied", 403, GET, "")),
        ("read", OSError(28, "full")),
    ],
)
def test_what_is_said_elsewhere_or_expected_is_not_said(
    caplog: pytest.LogCaptureFixture, call: str, error: Exception
) -> None:
    """What isn't there, an outage (metrics and probe), an upload (its own line)."""
    Refusals().warn(call, error)
    assert caplog.records == []


def test_clock_skew_is_called_so() -> None:
    """Not a matter of keys: EIO, and the text says which clock."""
    error = error_for("RequestTimeTooSkewed", 403, GET, "The difference is too large.")
    assert isinstance(error, Unavailable)
    assert "clock skew: this machine's clock and the store's" in str(error)
