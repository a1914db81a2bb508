"""Which s3fs option names `s3.mount/options` may carry.

The mount itself gives them their meaning; here is only which names pass at admission, so that a
typing error is told at `kubectl apply` and not by a container that won't start. Options that would
reach past an annotation the policy looks at (bucket, endpoint, credentials, owner, read-only) are
refused and point to that annotation. Names as in s3fs(1) and mount.fuse(8). Pure functions.
"""

import difflib
import re

# name -> the annotation to use: these would say a second time what the policy has judged.
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
_NAMES = """
    _netdev ac_attr_timeout allow_other async async_read atime attr_timeout auto auto_cache
    big_writes bucket_size check_cache_dir_exist compat_dir complement_stat
    congestion_threshold connect_timeout curldbg dbglevel default_acl default_permissions
    defaults del_cache direct_io dirsync enable_content_md5 enable_noobj_cache
    enable_unsigned_payload entry_timeout exec fd_page_size fsname hard_remove imdsv1only
    instance_name ipresolve kernel_cache large_read list_object_max_keys listobjectsv2 logfile
    max_background max_dirty_data max_read max_readahead max_stat_cache_size max_thread_count
    max_write multipart_copy_size multipart_size multipart_threshold multireq_max
    negative_timeout no_time_stamp_msg noatime noauto nodev nodiratime nodnscache nofail
    nonempty nosscache nosuid notsup_compat_dir noua nouser noxmlns parallel_count
    parallel_upload readdir_ino readwrite_timeout relatime requester_pays retries
    set_check_cache_sigusr1 sigv4 singlepart_copy_limit ssl_verify_hostname stat_cache_expire
    stat_cache_interval_expire storage_class streamupload subtype tmpdir use_ino
    use_path_request_style use_rrs use_session_token use_sse use_xattr user users
    """
# Known to the mount, which would not start with them.
_REFUSED = """
    ahbe_conf allow_root cipher_suites createbucket credlib_opts dev disable_noobj_cache
    free_space_ratio ibm_iam_endpoint load_sse_c mime no_check_certificate nocopyapi noexec
    nomixupload nomultipart norenameapi proxy proxy_cred_file sigv2 ssl_client_cert suid sync
    update_parent_dir_stat use_wtf8
    """
KNOWN = frozenset(_NAMES.split())
REFUSED = frozenset(_REFUSED.split())
_VALUE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]*")
LONGEST = 2048


def parse_options(text: str) -> str:
    """The list as the mount takes it, blanks removed; ValueError names what can't stay."""
    if len(text) > LONGEST:
        raise ValueError(f"must be at most {LONGEST} characters long")
    options = [option.strip() for option in text.split(",") if option.strip()]
    for option in options:
        _check(option)
    return ",".join(options)


def _check(option: str) -> None:
    name, _, value = option.partition("=")
    if name in ANNOTATED:
        raise ValueError(f"{name} is set by the annotation {ANNOTATED[name]}")
    if name in REFUSED:
        raise ValueError(f"{name} is refused by the mount; docs/options.md says why")
    if name not in KNOWN:
        near = difflib.get_close_matches(name[:40], KNOWN, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown option {name[:40]!r}; {hint}known: {', '.join(sorted(KNOWN))}")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} must not contain control characters")
