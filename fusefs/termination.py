"""The termination message of a container, which `kubectl describe pod` shows.

Source: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/ (the
default path, at most 4096 bytes). Standard library only. Outside of a container there is no
such file, and nothing is written.
"""

import os

PATH = os.environ.get("S3MOUNT_TERMINATION_LOG", "/dev/termination-log")
LONGEST = 2048  # bytes; all containers of a pod share 12 KiB


def write(message: str) -> None:
    """Write the reason of the end; the last one counts."""
    try:
        with open(PATH, "r+b", buffering=0) as file:  # noqa: PTH123 - pathlib is large
            file.truncate(0)
            file.write(message.encode()[:LONGEST])
    except OSError:
        return
