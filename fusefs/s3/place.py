"""The endpoint, the signing region and the keys of a bucket, found without boto3 in the plain case.

boto3 derives them from profiles, chains of credentials and rules for every kind of bucket, which
costs half a second and 25 MiB. The plain case needs none of these: static keys, no configuration
files, a plain bucket name, an endpoint or a region of AWS. For it this module returns what boto3
would (compared by test); for every other case it returns None, and boto3 decides. It sends no
requests and is pure but for a check whether two files exist, and the keys.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from fusefs.s3.credentials import CredentialsDirectory, Keys
from fusefs.s3.settings import StoreSettings

# Variables of AWS's SDKs that are read here, or that rank below static keys; with any other AWS_
# variable in the environment, boto3 decides.
KNOWN = frozenset(
    {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"}
    | {"AWS_REGION", "AWS_CA_BUNDLE", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_ROLE_ARN"}
    | {"AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED"}
    | {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"}
)
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
CONFIGURATION = (".aws/config", ".aws/credentials")
DEFAULT_REGION = "us-east-1"
# Names with a special meaning: directory buckets, Outposts, access points, tables.
SPECIAL = re.compile(r"^arn:|--[a-z]+-s3$|-s3alias$")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# Regions of the partitions whose domain is known here; pseudo regions do not match.
REGION = re.compile(
    r"(?:us|us-gov|eu|ap|sa|ca|me|af|il|mx)-(?:north|south|east|west|central)(?:east|west)?-\d"
)
CHINA = re.compile(r"cn-(?:north|northwest)-\d")
# Region names that an endpoint outside AWS may have.
SOME_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
PSEUDO_REGION = re.compile(r"fips|^aws-|^s3-external")
# Host names that botocore accepts: it rejects a URL whose host has an underscore.
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
AWS_HOST = re.compile(r"\.amazonaws\.|\.api\.aws$")


@dataclass(frozen=True, slots=True)
class Place:
    """The bucket's URL, the client's endpoint URL as boto3 gives it, and the signing region."""

    url: str
    endpoint: str
    region: str


def place_of(settings: StoreSettings, environment: Mapping[str, str]) -> Place | None:
    """Return the place that boto3 would find; None where only boto3 can."""
    odd = settings.profile or settings.anonymous or not settings.direct
    if odd or SPECIAL.search(settings.bucket) or not BUCKET.fullmatch(settings.bucket):
        return None
    if not _is_plain(environment):
        return None
    region = settings.region or environment.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
    if settings.endpoint_url is not None:
        return _own(settings, settings.endpoint_url, region)
    return _aws(settings.bucket, region)


def _is_plain(environment: Mapping[str, str]) -> bool:
    """Return whether environment and home directory hold nothing that only boto3 reads."""
    if any(name.startswith("AWS_") and name not in KNOWN for name in environment):
        return False
    if any(value and name.lower() in PROXIES for name, value in environment.items()):
        return False
    home = Path(environment.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - as botocore
    return not any((home / name).exists() for name in CONFIGURATION)


def _own(settings: StoreSettings, endpoint: str, region: str) -> Place | None:
    parts = urlsplit(endpoint)
    plain = parts.scheme in ("http", "https") and parts.path in ("", "/") and "@" not in endpoint
    if not plain or parts.query or parts.fragment or not settings.path_style:
        return None
    host = parts.hostname or ""
    if not HOST.fullmatch(host) or AWS_HOST.search(host) or not SOME_REGION.fullmatch(region):
        return None
    if PSEUDO_REGION.search(region):
        return None
    url = f"{parts.scheme}://{parts.netloc}/{settings.bucket}"
    return Place(url, endpoint, region)


def _aws(bucket: str, region: str) -> Place | None:
    if REGION.fullmatch(region):
        # boto3 leaves the oldest region's name out of the host.
        host = "s3.amazonaws.com" if region == DEFAULT_REGION else f"s3.{region}.amazonaws.com"
    elif CHINA.fullmatch(region):
        host = f"s3.{region}.amazonaws.com.cn"
    else:
        return None
    named = HOST_LABEL.fullmatch(bucket)
    url = f"https://{bucket}.{host}" if named else f"https://{host}/{bucket}"
    return Place(url, f"https://{host}", region)


def static_keys(
    directory: CredentialsDirectory | None, environment: Mapping[str, str]
) -> Callable[[], Keys] | None:
    """Return a function that returns the static keys; None where boto3 has to find keys."""
    if directory is not None:
        return directory.current
    access, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret:
        return None
    keys = Keys(access, secret, environment.get("AWS_SESSION_TOKEN") or None)
    return lambda: keys


def authorities(environment: Mapping[str, str]) -> str | None:
    """Return the path of the CA bundle that boto3 uses; None for the system's."""
    bundle = environment.get("AWS_CA_BUNDLE") or environment.get("REQUESTS_CA_BUNDLE")
    if bundle:
        return bundle
    # Located, not imported: both packages have the file under the same name.
    for package in ("certifi", "botocore"):
        found = find_spec(package)
        if found is not None and found.origin is not None:
            return str(Path(found.origin).with_name("cacert.pem"))
    return None
