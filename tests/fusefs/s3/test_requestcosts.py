"""What one small request costs in this wing: so many of Python's calls, without retries."""

from __future__ import annotations

from fusefs.objects import Headers
from fusefs.s3.conditions import IF_ABSENT
from tests.fusefs.pythoncalls import calls
from tests.fusefs.unmounted import Unmounted

HEADERS = Headers({"mtime": "1.5", "mode": "33188"}, {"ContentType": "text/plain"})
# Counted: 57, 47 and 47; once: 116, 72 and 80.
PUT_MOST, HEAD_MOST, REMOVE_MOST = 60, 50, 50


def test_a_small_request_takes_few_calls(unmounted: Unmounted) -> None:
    """A PUT, a HEAD and a DELETE under their conditions, signed, sent, counted and understood."""
    store = unmounted.mounted.store
    for key in ("before", "key"):  # credentials and conditions are there the second time
        puts = calls(store.put, key, bytes(16384), HEADERS, IF_ABSENT)
        etag = store.head(key).etag
        heads = calls(store.head, key)
        removes = calls(store.remove, key, etag)
    assert len(puts) <= PUT_MOST, puts
    assert len(heads) <= HEAD_MOST, heads
    assert len(removes) <= REMOVE_MOST, removes
