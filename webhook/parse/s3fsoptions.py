"""The s3fs options that `s3.mount/options` may contain.

The mount itself gives them their meaning; names and values are checked here as well, so that
`kubectl apply` reports a typing error instead of a container that doesn't start. Options that would
override an annotation that the policy checks (bucket, endpoint, credentials, owner, read-only) are
refused, and the error names that annotation. Names as in s3fs(1) and mount.fuse(8). Pure functions.
"""

import difflib
import re

from webhook.parse.optionvalues import (
    ANYTHING,
    DIRECTORY,
    DIRTY,
    ENCRYPTION,
    FLAG,
    SWITCH,
    ValueRule,
    choice,
    megabytes,
    number,
    seconds,
)

# name -> the annotation to use: these would override what the policy has checked.
ANNOTATED = {
    "bucket": "s3.mount/bucket",
    "url": "s3.mount/endpoint",
    "host": "s3.mount/endpoint",
    "servicepath": "s3.mount/endpoint",
    "endpoint": "s3.mount/region",
    "region": "s3.mount/region",
    "passwd_file": "s3.mount/secret",
    "profile": "s3.mount/secret",
    "iam_role": "s3.mount/secret",
    "ecs": "s3.mount/secret",
    "ibm_iam_auth": "s3.mount/secret",
    "credlib": "s3.mount/secret",
    "public_bucket": "s3.mount/secret",
    "ro": "s3.mount/read-only",
    "rw": "s3.mount/read-only",
    "uid": "s3.mount/uid",
    "gid": "s3.mount/gid",
    "umask": "s3.mount/file-mode",
    "mp_umask": "s3.mount/dir-mode",
    "use_cache": "s3.mount/cache-size",
    "ensure_diskfree": "s3.mount/cache-size",
}
_PARALLEL = number(1, 256)
_RULES: tuple[tuple[ValueRule, str], ...] = (
    (
        FLAG,
        """
        _netdev allow_other async async_read atime auto auto_cache big_writes check_cache_dir_exist
        compat_dir complement_stat default_permissions defaults del_cache direct_io dirsync
        enable_content_md5 enable_noobj_cache enable_unsigned_payload exec hard_remove imdsv1only
        kernel_cache large_read listobjectsv2 no_time_stamp_msg noatime noauto nodev nodiratime
        nodnscache nofail nonempty nosscache nosuid notsup_compat_dir noua nouser noxmlns
        readdir_ino relatime requester_pays sigv4 streamupload use_ino use_path_request_style
        use_session_token user users
        """,
    ),
    (
        ANYTHING,
        """
        bucket_size curldbg fd_page_size fsname instance_name ipresolve logfile
        set_check_cache_sigusr1 subtype
        """,
    ),
    (SWITCH, "use_rrs use_xattr"),
    (ENCRYPTION, "use_sse"),
    (DIRECTORY, "tmpdir"),
    (DIRTY, "max_dirty_data"),
    (number(1, 100), "retries"),
    (number(0, 100_000_000), "max_stat_cache_size"),
    (number(1, 2**32 - 2), "list_object_max_keys"),
    (
        number(0, 2**32 - 2),
        "congestion_threshold max_background max_read max_readahead max_write",
    ),
    (_PARALLEL, "max_thread_count multireq_max parallel_count parallel_upload"),
    (seconds(1, 3600), "connect_timeout readwrite_timeout"),
    (
        seconds(0),
        """
        ac_attr_timeout attr_timeout entry_timeout negative_timeout stat_cache_expire
        stat_cache_interval_expire
        """,
    ),
    (megabytes(5, 5120), "multipart_copy_size multipart_size multipart_threshold"),
    (megabytes(0, 5120), "singlepart_copy_limit"),
    (choice("2", "1"), "ssl_verify_hostname"),
    (
        choice(
            *("standard", "standard_ia", "onezone_ia", "reduced_redundancy"),
            *("intelligent_tiering", "glacier", "glacier_ir", "deep_archive"),
        ),
        "storage_class",
    ),
    (
        choice(
            *("private", "public-read", "public-read-write", "authenticated-read"),
            *("aws-exec-read", "bucket-owner-read", "bucket-owner-full-control"),
        ),
        "default_acl",
    ),
    (
        choice(
            *("info", "information", "debug", "dbg", "warn", "warning", "err", "error"),
            *("crit", "critical", "silent"),
        ),
        "dbglevel",
    ),
)
# Known to the mount, which would not start with them.
_REFUSED = """
    ahbe_conf allow_root cipher_suites createbucket credlib_opts dev disable_noobj_cache
    free_space_ratio ibm_iam_endpoint load_sse_c mime no_check_certificate nocopyapi noexec
    nomixupload nomultipart norenameapi proxy proxy_cred_file sigv2 ssl_client_cert suid sync
    update_parent_dir_stat use_wtf8
    """
_BY_NAME = {name: rule for rule, names in _RULES for name in names.split()}
KNOWN = frozenset(_BY_NAME)
REFUSED = frozenset(_REFUSED.split())
_VALUE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff\\]*")
LONGEST = 2048


def parse_options(text: str) -> str:
    """Return the list for the mount, without blanks; ValueError names a refused option."""
    if len(text) > LONGEST:
        raise ValueError(f"must be at most {LONGEST} characters long")
    options = [option.strip() for option in text.split(",") if option.strip()]
    for option in options:
        _check(option)
    return ",".join(options)


def option_values(options: str) -> dict[str, str]:
    """Return the values of the options that have one, from a checked list."""
    pairs = (option.partition("=") for option in options.split(","))
    return {name: value for name, equals, value in pairs if equals}


def _check(option: str) -> None:
    name, equals, value = option.partition("=")
    if name in ANNOTATED:
        raise ValueError(f"{name} is set by the annotation {ANNOTATED[name]}")
    if name in REFUSED:
        raise ValueError(f"{name} is refused by the mount; docs/options.md says why")
    if name not in KNOWN:
        near = difflib.get_close_matches(name[:40], KNOWN, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown option {name[:40]!r}; {hint}known: {', '.join(sorted(KNOWN))}")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} must not contain control characters or backslashes")
    rule = _BY_NAME[name]
    if not rule.allows(value if equals else None):
        raise ValueError(f"the value of {name} must be {rule.text}")
