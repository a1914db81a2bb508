"""What is on its way to the store, as the diagnosis reports it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fusefs.errors import FsError
from fusefs.mount.diagnosis import diagnosis
from fusefs.objects import Headers
from tests.fusefs.s3.conftest import MIB, Open, Quirky
from tests.proxy.exchange import on
from tests.proxy.faults import Hold, Status


def reported(fs: Quirky) -> list[dict[str, object]]:
    """What SIGUSR2 logs of uploads."""
    lines = diagnosis(fs.mounted)
    return [dict(fields) for what, fields in lines if what == "an upload in progress"]


def test_an_object_that_is_sent_whole_is_reported(quirky: Open) -> None:
    """While it is, with its size and for how long."""
    fs = quirky()
    hold = Hold()
    fs.proxy.inject(hold, on("PutObject", "small"), times=None)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(fs.mounted.store.put, "small", b"12345", Headers(), None)
        hold.wait_for(1)
        (line,) = reported(fs)
        hold.let_go()
        sent.result()
    assert (line["key"], line["bytes"], line["parts"]) == ("small", 5, 0)
    assert 0 <= line["seconds"] < 60  # type: ignore[operator]
    assert reported(fs) == []


def test_an_upload_is_reported_from_its_beginning_to_its_end(quirky: Open) -> None:
    """With the parts that have arrived."""
    fs = quirky()
    uploads = fs.mounted.store.uploads
    upload = uploads.create("large", Headers())
    parts = [uploads.part("large", upload, 1, bytes(5 * MIB))]
    (line,) = reported(fs)
    assert (line["key"], line["upload"]) == ("large", upload)
    assert (line["bytes"], line["parts"]) == (5 * MIB, 1)
    uploads.complete("large", upload, parts, None)
    assert reported(fs) == []


def test_an_upload_that_is_given_up_is_forgotten(quirky: Open) -> None:
    """Whether or not the store hears of it."""
    fs = quirky()
    uploads = fs.mounted.store.uploads
    upload = uploads.create("large", Headers())
    fs.proxy.inject(Status(403, "AccessDenied"), on("AbortMultipartUpload"), times=None)
    with pytest.raises(FsError):
        uploads.abort("large", upload)
    assert reported(fs) == []
