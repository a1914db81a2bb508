"""A worker's user in a pod: uid 65534, no capabilities, no way to get any.

Such a user may not even reach the Python of these tests, which may lie in a home directory. It gets
the same one by binds in a mount namespace of its own, as a container has one.
"""

from __future__ import annotations

import shlex
import sys
import sysconfig
from pathlib import Path
from typing import TypedDict

from tests.mounts.mount import REPOSITORY

UID = 65534
UNPRIVILEGED = (
    f"--reuid={UID}",
    f"--regid={UID}",
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--no-new-privs",
)


class Nobody(TypedDict):
    """How a `Pod` runs its worker."""

    run_as: list[str]
    python: str
    worker_uid: int


def nobody(base: Path) -> Nobody:
    """Return what makes the worker of a pod below `base` an unprivileged process."""
    places = {
        Path(sys.base_prefix): base / "python",
        Path(sysconfig.get_path("purelib")): base / "packages",
        REPOSITORY: base / "code",
    }
    for place in places.values():
        place.mkdir()
    binds = [
        f"mount --bind {shlex.quote(str(what))} {shlex.quote(str(place))}"
        for what, place in places.items()
    ]
    prefix = base / "python"
    environment = {
        "PYTHONPATH": f"{base}/code:{base}/packages",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_LIBRARY_PATH": f"{prefix}/lib",
    }
    told = [f"{name}={value}" for name, value in environment.items()]
    script = " && ".join([*binds, f"cd {shlex.quote(str(base))}", 'exec setpriv "$@"'])
    namespace = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh"]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "run_as": [*namespace, *UNPRIVILEGED, "env", *told],
        "python": f"{prefix}/bin/{version}",
        "worker_uid": UID,
    }
