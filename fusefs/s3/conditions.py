"""The conditions of requests, as headers by the feature that a store needs to honour them.

A condition is `IF_ABSENT` ("only if there is no such object", If-None-Match), an ETag without its
quotes ("only if it is still this one", If-Match), or None (always). Pure functions.
"""

from typing import Any

from fusefs.s3.etags import quoted
from fusefs.s3.storefeatures import StoreFeature

IF_ABSENT = "*"
HEADER_ABSENT = {"IfNoneMatch": IF_ABSENT}


def write_condition(condition: str | None) -> dict[StoreFeature, dict[str, str]]:
    """Return the header of a PUT's condition; the two kinds are features of their own."""
    if condition is None:
        return {}
    if condition == IF_ABSENT:
        return {StoreFeature.PUT_IF_NONE_MATCH: HEADER_ABSENT}
    return {StoreFeature.PUT_IF_MATCH: {"IfMatch": quoted(condition)}}


def condition_for(feature: StoreFeature, condition: str | None) -> dict[StoreFeature, Any]:
    """Return the header of another request's condition, which takes this one feature."""
    if not condition:
        return {}
    return {feature: HEADER_ABSENT if condition == IF_ABSENT else {"IfMatch": quoted(condition)}}
