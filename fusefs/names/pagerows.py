"""Rows of pages: what can be shown of a LIST's answer, and a page with more rows.

Pure functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fusefs import keys
from fusefs.names.pages import PAGE_MOST, PageRows, Row, name_of, order, raw
from fusefs.objects import ObjectInfo, Page


@dataclass(frozen=True, slots=True)
class ShownRows:
    """What a LIST returned: rows in S3's order, the directory's marker, how many aren't shown."""

    rows: list[Row]
    marker: ObjectInfo | None
    unshown: int


def shown_rows(page: Page, prefix: str) -> ShownRows:
    """Return the rows of an answer about `prefix`, in S3's order: `a-b` comes before `a/`."""
    marker: ObjectInfo | None = None
    rows: list[Row] = []
    for info in page.objects:
        key = info.key[len(prefix) :]
        if not key:
            marker = info
        else:
            rows.append((key, None if key.endswith("/") else info))
    rows += [(below[len(prefix) :], None) for below in page.prefixes]
    shown = {key: info for key, info in rows if keys.shown(name_of(key)[0])}
    return ShownRows(sorted(shown.items(), key=order), marker, len(rows) - len(shown))


def with_rows(page: PageRows, added: Sequence[Row], prefix: str) -> list[PageRows]:
    """Return a page with more rows, as pages that aren't too long; marks stay."""
    rows = [(page.key(at), page.info(at, prefix), page.flags[at]) for at in range(len(page))]
    rows += [(key, info, 0) for key, info in added]
    rows.sort(key=lambda row: raw(row[0]))
    made = []
    for start in range(0, len(rows), PAGE_MOST):
        part = rows[start : start + PAGE_MOST]
        made.append(PageRows([(key, info) for key, info, _ in part]))
        made[-1].flags[:] = bytes(flags for *_, flags in part)
    return made
