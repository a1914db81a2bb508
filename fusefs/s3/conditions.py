"""The conditions of requests, as headers by the ability that a store needs to honour them.

A condition is `IF_ABSENT` ("only if there is no such object", If-None-Match), an ETag without its
quotes ("only if it is still this one", If-Match), or None (always). Pure functions.
"""

from typing import Any

from fusefs.s3.abilities import Ability
from fusefs.s3.etags import quoted

IF_ABSENT = "*"


def write_condition(condition: str | None) -> dict[Ability, dict[str, str]]:
    """Return the header of a PUT's condition; the two kinds are abilities of their own."""
    if condition is None:
        return {}
    if condition == IF_ABSENT:
        return {Ability.PUT_IF_NONE_MATCH: {"IfNoneMatch": "*"}}
    return {Ability.PUT_IF_MATCH: {"IfMatch": quoted(condition)}}


def condition_for(ability: Ability, condition: str | None) -> dict[Ability, Any]:
    """Return the header of another request's condition, which takes this one ability."""
    return dict.fromkeys([ability], *write_condition(condition).values()) if condition else {}
