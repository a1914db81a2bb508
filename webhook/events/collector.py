"""The process that writes events: it watches pods, reads the metrics of those with buckets.

It has a service account of its own, which may list pods and write events, and answers nobody: no
token of the cluster's is in a pod with a bucket, in the webhook or in a privileged process for
this. Pods are watched by a thread (`Mirror`); metrics are read by a few; all else is the main
thread's. A second such process would write each event twice.
"""

import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

from webhook.events.findings import Finding, Known, Values
from webhook.events.mountedpods import PODS, MountedPod
from webhook.events.mountvalues import read_values
from webhook.events.recorder import Recorder, Sending
from webhook.platform.reporting import Reporting
from webhook.serve.cluster import Api, ClusterApi, Mirror
from webhook.serve.log import Logger, forward_libraries, make_logger

# Between two looks at the mirrored pods, which cost nobody anything.
ROUND = 5.0
_AT_ONCE = 8
# Of the metrics one look has; the rest is read at the next.
_LOOK_SECONDS = 30.0


class Cluster(Api, Sending, Protocol):
    """What is asked of the API server."""


Reading = Callable[[str, int], Values]


class Collector:
    """Looks at all pods with buckets, again and again."""

    def __init__(
        self,
        settings: Reporting,
        pods: Mirror[MountedPod],
        recorder: Recorder,
        log: Logger,
        reading: Reading = read_values,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._pods, self._recorder, self._log = settings, pods, recorder, log
        self._reading, self._clock = reading, clock
        self._since = clock()
        self._known: dict[str, Known] = {}
        self._due = self._since

    def look(self) -> None:
        """Look at all pods once, and write what is new."""
        pods = self._pods.all()
        if pods is None:
            return
        alive = {pod.uid: pod for pod in pods}
        self._known = {uid: self._known.get(uid) or Known(self._since) for uid in alive}
        for pod in pods:
            self._note(pod, self._known[pod.uid].ended(pod))
        if self._clock() >= self._due:
            self._due = self._clock() + self._settings.event_interval
            self._read(pods)
        self._recorder.forget(alive)
        self._recorder.flush()

    def _read(self, pods: list[MountedPod]) -> None:
        """Read the metrics of all that serve them."""
        until = self._clock() + max(_LOOK_SECONDS, self._settings.event_interval)
        serving = [pod for pod in pods if pod.ip and pod.port]
        random.shuffle(serving)  # where time is short, no pod is always the last

        def read(pod: MountedPod) -> Values | None:
            try:
                return self._reading(pod.ip, pod.port or 0) if self._clock() < until else None
            except OSError as error:
                self._log.debug("no metrics", namespace=pod.namespace, pod=pod.name, why=str(error))
                return None

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for pod, values in zip(serving, pool.map(read, serving), strict=True):
                if values is not None:
                    self._note(pod, self._known[pod.uid].counted(pod, values))

    def _note(self, pod: MountedPod, found: Iterator[Finding]) -> None:
        for finding in found:
            if finding.reason in self._settings.event_reasons:
                self._recorder.note(pod, finding)


def run(settings: Reporting, log_level: str, heartbeat: Path | None) -> None:
    """Write events until a signal ends the process."""
    # The first process of a container isn't ended by a signal that it doesn't handle.
    signal.signal(signal.SIGTERM, _end)
    log = make_logger(log_level)
    forward_libraries(log)
    api = ClusterApi()
    pods = Mirror(api, "/api/v1/pods", PODS, log)
    pods.start()
    collector = Collector(settings, pods, Recorder(api, log), log)
    log.info("writing events", reasons=sorted(settings.event_reasons))
    while True:
        collector.look()
        if heartbeat is not None:
            heartbeat.touch()
        time.sleep(ROUND)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)
