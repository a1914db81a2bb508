"""ETags as they come and go: kept without quotes, sent with them. Pure.

A weak one (`W/"…"`) is what a compressing proxy makes of the store's own. Conditions compare
strongly (RFC 9110, 8.8.3.2), so it is sent back as the store knows it: without the mark.
"""


def opaque(etag: str) -> str:
    """Return an ETag of an answer without quotes and without the mark of a weak one."""
    return etag.strip().removeprefix("W/").strip('"')


def quoted(etag: str) -> str:
    """Return an ETag as a condition takes it."""
    return f'"{etag}"'
