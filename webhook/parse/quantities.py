"""Kubernetes quantities (`1Gi`, `250m`) and durations (`60s`, `5m`) as integers, and back.

Formatted in the API server's canonical form: it rewrites every quantity it stores, and a second
review compares stored values with ours. Pure functions.
"""

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"(\d{1,20}(?:\.\d{0,9})?|\.\d{1,9})(?:([KMGTPE]i|[mkMGTPE])|[eE]([+-]?\d{1,2}))?",
    re.ASCII,
)
_DURATION = re.compile(r"(\d{1,10})(s|m|h)?", re.ASCII)
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_SUFFIXES: dict[str, Fraction | int] = {**_BINARY, **_DECIMAL, "m": Fraction(1, 1000)}
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}
# The API server keeps quantities in an int64.
_LARGEST = 2**63 - 1


def _quantity(text: str) -> Fraction:
    """Return the exact value of a quantity; ValueError for other text."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError
    digits, suffix, exponent = match.groups()
    value = Fraction(digits if not digits.endswith(".") else digits + "0")
    value *= _SUFFIXES[suffix] if suffix else _power_of_ten(int(exponent or 0))
    if value > _LARGEST:
        raise ValueError
    return value


def _power_of_ten(exponent: int) -> Fraction:
    return Fraction(10**exponent) if exponent >= 0 else Fraction(1, 10**-exponent)


def parse_bytes(text: str) -> int:
    """Return a quantity in bytes, rounded up; ValueError for other text."""
    return -(-_quantity(text) // 1)


def parse_millicores(text: str) -> int:
    """Return a quantity of CPU in millicores, rounded up; ValueError for other text."""
    return -(-(_quantity(text) * 1000) // 1)


def parse_seconds(text: str) -> int:
    """Return a duration in seconds: digits and `s` (default), `m` or `h`; ValueError otherwise."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError
    return int(match[1]) * _SECONDS[match[2]]


def format_bytes(value: int) -> str:
    """Return bytes in canonical form: the largest binary suffix that leaves a whole number."""
    for suffix, size in reversed(_BINARY.items()):
        if value and value % size == 0:
            return f"{value // size}{suffix}"
    return str(value)


def format_millicores(value: int) -> str:
    """Return millicores in canonical form: `2`, `1500m`."""
    return f"{value}m" if value % 1000 else str(value // 1000)
