"""Where a bucket's requests go, for which region they are signed and by whom, where that is plain.

boto3 works this out from profiles, chains of credentials and rules for every kind of bucket, which
costs half a second and 25 MiB. In the ordinary case it needs none of them: static keys, no
configuration files, a plain bucket name, an endpoint or a region of AWS. That case is here, with
boto3's own answers (compared by test); all others are `None`, and boto3's. No requests. Pure but
for a look at two files and the keys.
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

# Of the environment of AWS's SDKs, what is known here, or comes after static keys; with any other
# variable boto3 decides.
KNOWN = frozenset(
    {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"}
    | {"AWS_REGION", "AWS_CA_BUNDLE", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_ROLE_ARN"}
    | {"AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED"}
    | {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"}
)
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
CONFIGURATION = (".aws/config", ".aws/credentials")
DEFAULT_REGION = "us-east-1"
# Names that mean something: directory buckets, Outposts, access points, tables.
SPECIAL = re.compile(r"^arn:|--[a-z]+-s3$|-s3alias$")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
# Regions in the partitions whose domain is known here, but for what stands for none.
REGION = re.compile(
    r"(?:us|us-gov|eu|ap|sa|ca|me|af|il|mx)-(?:north|south|east|west|central)(?:east|west)?-\d"
)
CHINA = re.compile(r"cn-(?:north|northwest)-\d")
# What an endpoint of somebody else may call its region.
SOME_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
PSEUDO_REGION = re.compile(r"fips|^aws-|^s3-external")
# As botocore demands; an underscore in it, it says, makes a URL invalid.
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
AWS_HOST = re.compile(r"\.amazonaws\.|\.api\.aws$")


@dataclass(frozen=True, slots=True)
class Place:
    """`url` is the bucket's, `endpoint` what boto3 calls the client's."""

    url: str
    endpoint: str
    region: str


def place_of(settings: StoreSettings, environment: Mapping[str, str]) -> Place | None:
    """Return what boto3 would find out; None where it has to be asked."""
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
    """Whether environment and home directory leave nothing to look up."""
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
        # boto3 asks the oldest region without its name.
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
    """Return who has the keys to sign with, where they are static; None where boto3 finds them."""
    if directory is not None:
        return directory.current
    access, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret:
        return None
    keys = Keys(access, secret, environment.get("AWS_SESSION_TOKEN") or None)
    return lambda: keys


def authorities(environment: Mapping[str, str]) -> str | None:
    """Return the file of the certificates that boto3 trusts; None for the system's."""
    told = environment.get("AWS_CA_BUNDLE") or environment.get("REQUESTS_CA_BUNDLE")
    if told:
        return told
    # Found, not imported: both packages have theirs under the same name.
    for package in ("certifi", "botocore"):
        found = find_spec(package)
        if found is not None and found.origin is not None:
            return str(Path(found.origin).with_name("cacert.pem"))
    return None
