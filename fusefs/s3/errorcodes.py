"""S3's error answers as our errors: a table from code and HTTP status.

Pure: it gets the strings, so that it doesn't know boto3. The codes are those of the S3 API
reference ("Error responses") and of MinIO, Ceph and SeaweedFS where they have their own.
"""

from fusefs import errors
from fusefs.errors import FsError

BY_CODE: dict[str, type[FsError]] = {
    "NoSuchKey": errors.NotFound,
    "NotFound": errors.NotFound,
    "NoSuchUpload": errors.NotFound,
    "NoSuchVersion": errors.NotFound,
    "PreconditionFailed": errors.Stale,
    "ConditionalRequestConflict": errors.Unavailable,
    "OperationAborted": errors.Unavailable,
    "AccessDenied": errors.AccessDenied,
    "AllAccessDisabled": errors.AccessDenied,
    "InvalidAccessKeyId": errors.AccessDenied,
    "SignatureDoesNotMatch": errors.AccessDenied,
    "InvalidToken": errors.AccessDenied,
    "ExpiredToken": errors.AccessDenied,
    "InvalidObjectState": errors.AccessDenied,
    "RequestTimeTooSkewed": errors.Unavailable,
    "MethodNotAllowed": errors.NotPermitted,
    "EntityTooLarge": errors.TooBig,
    "MaxMessageLengthExceeded": errors.TooBig,
    "MetadataTooLarge": errors.AttributeTooBig,
    "KeyTooLongError": errors.NameTooLong,
    "InvalidURI": errors.BadName,
    "InvalidRange": errors.Invalid,
    "QuotaExceeded": errors.NoSpace,
    "XMinioStorageFull": errors.NoSpace,
    "NotImplemented": errors.Unsupported,
}

BY_STATUS: dict[int, type[FsError]] = {
    400: errors.Unavailable,
    401: errors.AccessDenied,
    403: errors.AccessDenied,
    404: errors.NotFound,
    405: errors.NotPermitted,
    409: errors.Stale,
    412: errors.Stale,
    413: errors.TooBig,
    416: errors.Invalid,
    501: errors.Unsupported,
    507: errors.NoSpace,
}

# Worth asking again with fresh credentials: the store says that ours have run out.
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
# The key may have been replaced. HEAD answers have no body and so no code, just the status: 400 is
# how an expired token looks there.
REFUSED = frozenset(
    {"InvalidToken", "InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch"}
    | {"400", "401", "403"}
)
# The credentials are at fault, and nothing else can be.
LAPSED = EXPIRED | {code for code in REFUSED if not code.isdecimal()}

# A store that has too much to do sends these, whatever the status: worth asking again later.
PASSING = frozenset(
    {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "TooManyRequests"}
)
TOO_MANY = 429
# Another request on the same key was under way (a 409): this one is to be made again. An upload
# whose Complete is answered so is to be begun anew (API reference, CompleteMultipartUpload).
CONTENDED = frozenset({"ConditionalRequestConflict", "OperationAborted"})
# A 400 that may be the refusal of a header. 501 is one whatever its code says.
VAGUE = frozenset({"InvalidArgument", "InvalidRequest", "BadRequest", "UnsupportedHeader"})


# What a person has to know to end a refusal, where the code doesn't say it.
REASONS = {
    "RequestTimeTooSkewed": "clock skew: this machine's clock and the store's are too far apart",
    "InvalidObjectState": "the object is archived: restore it before it is read",
}
KMS = "the object's KMS key can't be used with these credentials, or at all"
NO_RIGHT = "these credentials have no right to it"


def error_for(code: str, status: int, what: str, message: str) -> FsError:
    """Return our error for an S3 error answer; `what` names operation, bucket and key."""
    if code == "NoSuchBucket":
        return errors.Unavailable(f"{what}: the bucket does not exist")
    kind = BY_CODE.get(code) or BY_STATUS.get(status, errors.Unavailable)
    said = f"{code}: {message}" if message and message != code else code
    reason = _reason(code, message)
    error = kind(f"{what}: {said} ({reason})" if reason else f"{what}: {said}")
    error.refusal = reason or (NO_RIGHT if isinstance(error, errors.AccessDenied) else "")
    return error


def _reason(code: str, message: str) -> str:
    """Return what is behind a refusal that its code says in the store's words only."""
    if code.startswith("KMS.") or (code == "AccessDenied" and "kms" in message.lower()):
        return KMS
    return REASONS.get(code, "")
