"""The command line: builds the objects bottom up and runs one command.

    python -m webhook serve [--tls-dir DIR] [--host HOST] [--port PORT] [--metrics-port PORT]
    python -m webhook inject -f FILE [--namespace NAMESPACE]

Everything else is set by the environment, see docs/annotations.md and docs/policy.md.
"""

import argparse
import os
import sys
from pathlib import Path

from webhook import __version__, cli
from webhook.app import make_app
from webhook.decision import Decider
from webhook.errors import WebhookError
from webhook.health import Health
from webhook.log import forward_libraries, make_logger
from webhook.metrics import Metrics, MetricsPort
from webhook.reviews import Reviewer
from webhook.server import make_server, wait_for_certificate, watching
from webhook.serving import Serving, read_serving
from webhook.settings import read_platform
from webhook.tls import LiveCertificate


def main() -> int:
    """Run the command given; the exit code is 2 for wrong settings."""
    arguments = _parser().parse_args()
    try:
        code: int = arguments.run(arguments)
    except WebhookError as error:
        sys.stderr.write(f"webhook: {error}\n")
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m webhook", description="S3 mounts for pods")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer the API server's admission reviews")
    serve.add_argument("--tls-dir", type=Path, help="directory with tls.crt, tls.key and ca.crt")
    serve.add_argument("--host", help="address to listen on")
    serve.add_argument("--port", type=int, help="port to listen on")
    serve.add_argument("--metrics-port", type=int, help="port of /metrics, plain HTTP")
    serve.set_defaults(run=_serve)
    inject = commands.add_parser("inject", help="print manifests with their mounts in place")
    _add_file(inject)
    inject.set_defaults(run=_inject)
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", required=True, help="manifests, - for stdin")
    parser.add_argument("--namespace", default="default", help="of objects that don't name theirs")


def _inject(arguments: argparse.Namespace) -> int:
    decider = Decider(read_platform(os.environ))
    return cli.inject(arguments.filename, arguments.namespace, decider)


def _serve(arguments: argparse.Namespace) -> int:
    serving = read_serving(
        os.environ,
        tls_dir=arguments.tls_dir,
        host=arguments.host,
        port=arguments.port,
        metrics_port=arguments.metrics_port,
    )
    run(serving, Decider(read_platform(os.environ)))
    return 0


def run(serving: Serving, decider: Decider) -> None:
    """Serve until a signal has come and the drain is over."""
    log = make_logger(serving.log_level)
    forward_libraries(log)
    health, metrics = Health(), Metrics()
    metrics.watch_ready(lambda: health.ready)
    context, watched = None, []
    with MetricsPort(metrics, serving.host, serving.metrics_port):
        if serving.tls_dir is None:
            log.warning("serving plain HTTP: no API server will talk to this", port=serving.port)
        else:
            tls = LiveCertificate(
                serving.tls_dir, health, metrics, log, need_ready=serving.need_ready
            )
            wait_for_certificate(tls, serving.tls_wait)
            context = tls.context
            watched.append(tls.refresh)
        app = make_app(
            Reviewer(decider, metrics, log), health, metrics, serving.limits, watching(watched)
        )
        log.info("serving", version=__version__, host=serving.host, port=serving.port)
        make_server(app, serving, health, log, context).run()
        log.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
