"""Whether a directory has anything in S3: one LIST.

Not here: what this mount has not stored yet (`tree`). Any thread; no state.
"""

from fusefs.errors import AccessDenied
from fusefs.s3.store import Store


def has_content(store: Store, prefix: str) -> bool:
    """Return whether a directory, by its key, has more than its marker; raises FsError.

    Asked without a delimiter, for SeaweedFS returns prefixes a while after their last key is gone;
    with one where a policy allows no other LIST (`s3:delimiter`).
    """
    try:
        page = store.list_page(prefix, "", None, 2)
    except AccessDenied:
        page = store.list_page(prefix, "/", None, 2)
    return bool(page.prefixes) or any(found.key != prefix for found in page.objects)
