"""Plays the kubelet: runs the native sidecars of a pod as processes of this machine.

Volumes are directories below `root`; wherever a container's command, arguments, environment (also
within JSON) or probe has a word that begins with a path at which it mounts a volume, that directory
takes the path's place. Processes run as their container's user, without capabilities where it drops
them, if that user may run this Python at all. Used from one thread.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from tests.mounts.mount import REPOSITORY
from tests.mounts.table import connection_of, detach
from tests.servers.child import Child, ChildError

RUN_DIRECTORY = "/run/s3mount"  # where both sidecars expect the volume of their sockets
Container = Mapping[str, Any]
Secrets = Mapping[str, Mapping[str, str]]


class Kubelet:
    """The sidecars of one pod; `secrets` are those of its namespace, by name."""

    def __init__(self, pod: Mapping[str, Any], root: Path, secrets: Secrets) -> None:
        self._spec = pod["spec"]
        self._root = root
        self.children: dict[str, Child] = {}
        for volume in self._spec.get("volumes", ()):
            self._make_volume(volume, secrets)

    def _make_volume(self, volume: Mapping[str, Any], secrets: Secrets) -> None:
        directory = self._root / "volumes" / volume["name"]
        directory.mkdir(parents=True)
        directory.chmod(0o777)  # as the kubelet makes an emptyDir
        if "secret" in volume:
            for name, value in secrets[volume["secret"]["secretName"]].items():
                (directory / name).write_text(value)

    def sidecars(self) -> list[Container]:
        """Return the init containers that stay, in their order."""
        containers = self._spec.get("initContainers", ())
        return [c for c in containers if c.get("restartPolicy") == "Always"]

    def start(self, container: Container) -> None:
        """Run a sidecar and wait until its startup probe succeeds."""
        name = container["name"]
        for mount in container.get("volumeMounts", ()):
            self._directory(mount).mkdir(parents=True, exist_ok=True)
        command = self._mapped(container, [*container["command"], *container.get("args", ())])
        command = [*self._as_user(container), *command, *self._for_root(container)]
        child = Child(command, self._root / f"{name}.log", self._environment(container), REPOSITORY)
        self.children[name] = child
        self._await_startup(container, child)

    @staticmethod
    def _as_user(container: Container) -> list[str]:
        """Return what comes before a command to run it with its container's rights."""
        user = container["securityContext"].get("runAsUser", 0)
        return _setpriv(user) if user and may_run(user) else []

    def _for_root(self, container: Container) -> list[str]:
        """Where the worker has to run as root, the keeper is told to expect root."""
        workers = [c["securityContext"].get("runAsUser", 0) for c in self.sidecars()]
        limited = any(user and not may_run(user) for user in workers)
        return ["--worker-uid", "0"] if limited and "keeper" in container.get("args", ()) else []

    def kill(self, name: str) -> None:
        """Kill a sidecar with -9 and start it again, as the kubelet does with a dead container."""
        self.children[name].kill()
        (container,) = [c for c in self.sidecars() if c["name"] == name]
        self.start(container)

    def _await_startup(self, container: Container, child: Child) -> None:
        probe = container["startupProbe"]
        period, failures = probe.get("periodSeconds", 10), probe.get("failureThreshold", 3)
        command = self._mapped(container, probe["exec"]["command"])
        deadline = monotonic() + period * failures
        while subprocess.run(
            command,
            check=False,
            env=self._environment(container),
            cwd=REPOSITORY,
            capture_output=True,
            timeout=probe.get("timeoutSeconds", 1),
        ).returncode:
            if child.returncode is not None or monotonic() > deadline:
                raise ChildError(f"{container['name']} didn't start: {child.tail()}")
            sleep(0.1)

    def path_of(self, container: str, inside: str) -> Path:
        """Return the directory of this machine that a container of the pod sees at a path."""
        everyone = [*self._spec["containers"], *self._spec.get("initContainers", ())]
        (found,) = [c for c in everyone if c["name"] == container]
        return Path(*self._mapped(found, [inside]))

    def stop(self) -> dict[str, int]:
        """End the sidecars in reverse order, with SIGTERM, and return their exit statuses."""
        return {name: child.stop(30) for name, child in reversed(self.children.items())}

    def remaining_mounts(self) -> list[Path]:
        """Return directories of volumes on which something is still mounted."""
        places = [self._root / "volumes", *(self._root / "volumes").glob("*/*")]
        return [place for place in places if connection_of(place) is not None]

    def clean_up(self) -> None:
        """Leave no process and no mount behind, whatever happened."""
        for child in reversed(self.children.values()):
            if child.returncode is None:
                child.stop(10)
        for place in self.remaining_mounts():
            detach(place)

    def _environment(self, container: Container) -> dict[str, str]:
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        base = {"PATH": programs, "HOME": str(self._root), "LANG": "C.UTF-8"}
        named = {item["name"]: item.get("value", "") for item in container.get("env", ())}
        values = [self._mapped_value(container, value) for value in named.values()]
        found = base | dict(zip(named, values, strict=True))
        for mount in container.get("volumeMounts", ()):
            if mount["mountPath"] == RUN_DIRECTORY:
                found["S3MOUNT_RUN_DIRECTORY"] = str(self._directory(mount))
        return found

    def _mapped_value(self, container: Container, value: str) -> str:
        try:
            document = json.loads(value)
        except ValueError:
            return self._mapped(container, [value])[0]
        return json.dumps(self._mapped_json(container, document))

    def _mapped_json(self, container: Container, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._mapped_json(container, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._mapped_json(container, item) for item in value]
        return self._mapped(container, [value])[0] if isinstance(value, str) else value

    def _mapped(self, container: Container, words: list[str]) -> list[str]:
        mounts = sorted(container.get("volumeMounts", ()), key=lambda m: -len(m["mountPath"]))
        return [self._replace(mounts, word) for word in words]

    def _replace(self, mounts: list[Mapping[str, Any]], word: str) -> str:
        for mount in mounts:
            path = mount["mountPath"]
            if word == path or word.startswith(f"{path}/"):
                return f"{self._directory(mount)}{word[len(path) :]}"
        # A word with blanks is a shell's script.
        return (
            " ".join(self._replace(mounts, each) for each in word.split()) if " " in word else word
        )

    def _directory(self, mount: Mapping[str, Any]) -> Path:
        return self._root / "volumes" / str(mount["name"]) / str(mount.get("subPath", ""))


def _setpriv(user: int) -> list[str]:
    ids = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    # setpriv starts its command while it may still do anything; env starts ours when it may not.
    return ["setpriv", *ids, "--bounding-set=-all", "--no-new-privs", "env"]


@functools.cache
def may_run(user: int) -> bool:
    """Say whether a user may run this Python with this checkout: both may lie in a private home."""
    check = [*_setpriv(user), sys.executable, "-c", "import boto3, fusefs.run.worker"]
    done = subprocess.run(check, check=False, cwd=REPOSITORY, capture_output=True, timeout=30)
    return done.returncode == 0
