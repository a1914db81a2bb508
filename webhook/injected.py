"""The names by which the sidecars of a pod are known, to those that write them and those that look.

Public and stable. What else is in the sidecars is the business of `pod.containers` alone. Pure
functions.
"""

import json
from typing import Any

KEEPER = "s3-mount-keeper"
WORKER = "s3-mount-worker"
# The worker's port.
METRICS = "s3mount-metrics"
# The variable of both containers that describes the pod's mounts, as JSON.
CONFIG = "S3MOUNT_CONFIG"


def literal(text: str) -> str:
    """Return text escaped for the kubelet, which expands `$(NAME)` in args and env."""
    return text.replace("$", "$$")


def configured_mounts(value: str) -> Any:
    """Return the mounts in the value of `CONFIG`; ValueError, TypeError or KeyError without them.

    Each has at least a `name`; RecursionError for a document that nests without end.
    """
    return json.loads(value.replace("$$", "$"))["mounts"]
