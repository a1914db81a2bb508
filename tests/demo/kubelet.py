"""Plays the kubelet: runs the native sidecars of a pod as processes of this machine.

Volumes are directories below `root`; wherever a container's command, arguments, environment or
probe begins with a path at which it mounts a volume, that directory takes the path's place. Used
from one thread.
"""

from __future__ import annotations

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
        child = Child(command, self._root / f"{name}.log", self._environment(container), REPOSITORY)
        self.children[name] = child
        self._await_startup(container, child)

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
        values = self._mapped(container, list(named.values()))
        return base | dict(zip(named, values, strict=True))

    def _mapped(self, container: Container, words: list[str]) -> list[str]:
        mounts = sorted(container.get("volumeMounts", ()), key=lambda m: -len(m["mountPath"]))
        return [self._replace(mounts, word) for word in words]

    def _replace(self, mounts: list[Mapping[str, Any]], word: str) -> str:
        for mount in mounts:
            path = mount["mountPath"]
            if word == path or word.startswith(f"{path}/"):
                return f"{self._directory(mount)}{word[len(path) :]}"
        return word

    def _directory(self, mount: Mapping[str, Any]) -> Path:
        return self._root / "volumes" / str(mount["name"]) / str(mount.get("subPath", ""))
