"""The naming rules of S3 for buckets and access points.

Sources: the S3 user guide, "General purpose bucket naming rules", "Directory bucket naming rules"
and "Access points naming". No request checks whether a bucket exists. Pure functions.
"""

import ipaddress
import re

_LABELS = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Region and account are in the ARN; outposts and multi-region points need signatures boto3 lacks.
_ACCESS_POINT = re.compile(
    r"arn:aws[a-z-]*:s3:[a-z0-9-]{4,30}:\d{12}:accesspoint[/:][a-z0-9][a-z0-9-]{1,48}[a-z0-9]",
    re.ASCII,
)
# The zone is use1-az4, or usw2-lax1-az1 of a Local Zone.
_DIRECTORY = re.compile(r"[a-z0-9][a-z0-9-]*[a-z0-9]--[a-z0-9]+(-[a-z0-9]+){1,2}--x-s3")
_RESERVED_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
# Object lambda and table buckets can't be listed and written like a bucket.
_RESERVED_SUFFIXES = ("--ol-s3", ".mrap", "--table-s3")


def parse_bucket(text: str) -> str:
    """Return a bucket name, access point alias or access point ARN; ValueError has the rule."""
    if text.startswith("arn:"):
        return _parse_arn(text)
    if not _LABELS.fullmatch(text):
        raise ValueError(
            "must be 3 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a "
            "letter or digit"
        )
    if ".." in text:
        raise ValueError("must not contain two dots in a row")
    if text.startswith(_RESERVED_PREFIXES):
        raise ValueError(f"must not begin with {_either(_RESERVED_PREFIXES)}: S3 reserves it")
    if text.endswith(_RESERVED_SUFFIXES):
        raise ValueError(f"must not end with {_either(_RESERVED_SUFFIXES)}: not plain storage")
    if text.endswith("--x-s3") and not _DIRECTORY.fullmatch(text):
        raise ValueError("a directory bucket is named BASE--ZONE--x-s3, as in data--use1-az4--x-s3")
    if _is_address(text):
        raise ValueError("must not look like an IP address")
    return text


def _parse_arn(text: str) -> str:
    if _ACCESS_POINT.fullmatch(text):
        # S3 has two forms; with a prefix appended only this one can be parsed again.
        return text.replace(":accesspoint:", ":accesspoint/")
    raise ValueError(
        "an ARN must be that of an access point in one region: "
        "arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME"
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _either(choices: tuple[str, ...]) -> str:
    return ", ".join(choices[:-1]) + " or " + choices[-1]
