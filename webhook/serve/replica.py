"""One replica: built bottom up from its settings, and served until a signal ends it.

Runs on the main thread; the metrics port and the mirrors of the cluster have threads of their own.
"""

from collections.abc import Callable
from contextlib import ExitStack

from webhook import __version__
from webhook.errors import SettingsError
from webhook.platform.nodekey import read_node_key
from webhook.platform.settings import Platform
from webhook.policy.rules import Policy
from webhook.review.decision import Decider
from webhook.review.lookup import FixedFacts, Lookup
from webhook.serve.app import make_app
from webhook.serve.endpoint import Endpoint
from webhook.serve.health import Health
from webhook.serve.heap import freeze, return_large_blocks
from webhook.serve.listener import listen
from webhook.serve.livepolicy import LivePolicy
from webhook.serve.log import Logger, forward_libraries, make_logger
from webhook.serve.metrics import Metrics
from webhook.serve.metricsport import MetricsPort
from webhook.serve.reviewer import Reviewer
from webhook.serve.server import make_server, wait_for_certificate, watching
from webhook.serve.settings import Serving
from webhook.serve.tls import LiveCertificate


def run(serving: Serving, platform: Platform) -> None:
    """Serve until a signal and the end of the drain; WebhookError if it can't start."""
    return_large_blocks()
    log = make_logger(serving.log_level)
    forward_libraries(log)
    with ExitStack() as stack:
        service = _Service(serving, log)
        stack.enter_context(MetricsPort(service.metrics, serving.host, serving.metrics_port))
        key = None if serving.node_key_file is None else read_node_key(serving.node_key_file)
        if platform.by_node and key is None:
            raise SettingsError("S3MOUNT_NODE_KEY_FILE is needed for S3MOUNT_KEEPER=node")
        decider = Decider(platform, service.policy(), _lookup(serving, log, stack), key)
        reviewer = Reviewer(decider, service.metrics, log)
        context = service.certificate()
        lifespan = watching(service.watched)
        endpoint = Endpoint(reviewer, service.health, service.metrics, serving.limits)
        app = make_app(endpoint, service.health, lifespan)
        log.info("serving", version=__version__, host=serving.host, port=serving.port)
        door = stack.enter_context(listen(serving.host, serving.port))
        server = make_server(app, serving, service.health, log, context, door)
        freeze()
        server.run([door])
    log.info("stopped")


class _Service:
    """The parts that watch files, with their common health and metrics."""

    def __init__(self, serving: Serving, log: Logger) -> None:
        self._serving = serving
        self._log = log
        self.health = Health()
        self.metrics = Metrics()
        self.metrics.watch_ready(lambda: self.health.ready)
        self.watched: list[Callable[[], None]] = []

    def policy(self) -> Callable[[], Policy]:
        """Return a function that returns the policy in use."""
        serving = self._serving
        if serving.policy_file is None:
            self.metrics.policy_loaded(valid=True)
            return Policy
        live = LivePolicy(
            serving.policy_file,
            self.health,
            self.metrics,
            self._log,
            labels_known=serving.lookup_namespaces,
        )
        self.watched.append(live.refresh)
        return lambda: live.current

    def certificate(self) -> LiveCertificate | None:
        """Return the certificate, after waiting for the first one; None for plain HTTP."""
        serving = self._serving
        if serving.tls_dir is None:
            self._log.warning("serving plain HTTP, which no API server calls", port=serving.port)
            return None
        live = LiveCertificate(
            serving.tls_dir,
            self.health,
            self.metrics,
            self._log,
            need_ready=serving.require_ready_file,
        )
        wait_for_certificate(live, serving.tls_wait)
        self.watched.append(live.refresh)
        return live


def _lookup(serving: Serving, log: Logger, stack: ExitStack) -> Lookup:
    namespaces, secrets = serving.lookup_namespaces, serving.lookup_secrets
    if not namespaces and not secrets:
        return FixedFacts()
    # Imported late: most installations don't need it, and it takes a third of the memory.
    from webhook.serve.cluster import ClusterApi, ClusterLookup

    found = ClusterLookup(ClusterApi(), log, namespaces=namespaces, secrets=secrets)
    stack.callback(found.stop)
    return found
