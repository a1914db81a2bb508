"""Times as HTTP has them: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7). Pure.

Each answer has two, so the form that all stores write is cut up here; any other is the standard
library's, which takes ten times as long.
"""

from datetime import UTC, datetime

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec "


def moment(text: str) -> datetime:
    """Return the time in a header; ValueError for what is none."""
    try:
        if len(text) == 29 and text.endswith(" GMT"):
            return datetime(
                int(text[12:16]),
                MONTHS.index(text[8:12]) // 4 + 1,
                int(text[5:7]),
                int(text[17:19]),
                int(text[20:22]),
                int(text[23:25]),
                tzinfo=UTC,
            )
    except ValueError:
        pass
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(text)
