"""`kubectl s3mount`: the commands of a cluster, and those of one pod's mounts.

    kubectl s3mount status [-n N] [--json]              all mounts of the cluster
    kubectl s3mount POD status|fsck|conflicts|… …       `python -m fusefs …` in the pod's worker
    kubectl s3mount logs POD …                          the worker's log

kubectl finds it as `kubectl-s3mount` on PATH, which `pip install s3mount` puts there. Main thread
only.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from webhook.injected import WORKER

USAGE = """usage: kubectl s3mount status [-n NAMESPACE] [--context NAME] [--json]
       kubectl s3mount logs [-n NAMESPACE] POD [options of kubectl logs]
       kubectl s3mount [-n NAMESPACE] POD status|warm|fsck|abort-uploads|conflicts|explain …
"""
# Options of kubectl's own that may stand before the pod, each with a value.
BEFORE = ("-n", "--namespace", "--context", "--kubeconfig")


def command(arguments: Sequence[str]) -> list[str]:
    """Return the command line that does it; none for a usage error."""
    logs = arguments[:1] == ["logs"]
    rest = list(arguments[logs:])
    before: list[str] = []
    while rest and rest[0].partition("=")[0] in BEFORE:
        count = 1 if "=" in rest[0] else 2
        before, rest = [*before, *rest[:count]], rest[count:]
    if not logs and rest[:1] == ["status"]:
        return [sys.executable, "-m", "webhook", "status", *before, *rest[1:]]
    if logs and rest:
        return ["kubectl", "logs", *before, "-c", WORKER, *rest]
    if len(rest) < 2 or rest[0].startswith("-"):
        return []
    terminal = ["-it"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    pod, *words = rest
    inside = ["python", "-m", "fusefs", *words]
    return ["kubectl", "exec", *terminal, *before, pod, "-c", WORKER, "--", *inside]


def entry() -> NoReturn:
    """Become the command: the program `kubectl-s3mount`."""
    if sys.argv[1:] in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        sys.exit(0)
    wanted = command(sys.argv[1:])
    if not wanted:
        sys.stderr.write(USAGE)
        sys.exit(2)
    try:
        os.execvp(wanted[0], wanted)  # noqa: S606 - no shell, by a list of ours
    except FileNotFoundError:
        sys.exit(f"{wanted[0]} isn't on PATH")
