"""The command line: builds the objects bottom up and runs one command.

    python -m webhook serve [--tls-dir DIR] [--host HOST] [--port PORT] [--metrics-port PORT]
    python -m webhook inject -f FILE [--namespace NAMESPACE]
    python -m webhook explain -f FILE [--namespace NAMESPACE]
    python -m webhook check-policy FILE [-f FILE] [--namespace NAMESPACE]
    python -m webhook annotations [--markdown]
    python -m webhook settings [--markdown]
    python -m webhook status [--namespace NAMESPACE] [--json]
    python -m webhook events [--heartbeat FILE]

Settings come from the environment, see docs/settings.md.
"""

import argparse
import os
import sys
from pathlib import Path

from webhook import __version__
from webhook.errors import WebhookError
from webhook.offline import clusterstatus, commands
from webhook.offline.commands import Terminal
from webhook.parse.settingvalues import parse_labels, parse_port
from webhook.platform.reporting import read_reporting
from webhook.platform.settings import read_platform
from webhook.policy.file import read_policy
from webhook.policy.rules import Policy
from webhook.review.decision import Decider
from webhook.review.lookup import FixedFacts
from webhook.serve import reference as settings
from webhook.serve.settings import read_serving, read_settings
from webhook.spec import reference as annotations


def main() -> int:
    """Run the command given; the exit code is 2 for wrong settings and unreadable files."""
    arguments = _parser().parse_args()
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except WebhookError as error:
        sys.stderr.write(f"webhook: {error}\n")
        return 2
    except RecursionError:
        sys.stderr.write("webhook: a document is nested deeper than any Kubernetes object\n")
        return 2
    except BrokenPipeError:
        _abandon_output()  # its reader has closed it
        return 0
    except OSError as error:
        if arguments.run in (_serve, _events):
            raise  # no file or output of a person
        _abandon_output()
        where = error.filename or "standard output"
        sys.stderr.write(f"webhook: {where}: {error.strerror or error}; send it elsewhere\n")
        return 2
    return code


def _abandon_output() -> None:
    # Python would report what can't be written once more at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m webhook", description="S3 mounts for pods")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="answer the API server's admission reviews"))
    inject = commands.add_parser("inject", help="print manifests with their mounts in place")
    inject.set_defaults(run=_inject)
    _add_file(inject, required=True)
    explain = commands.add_parser("explain", help="print what would be decided, and why")
    explain.set_defaults(run=_explain)
    _add_file(explain, required=True)
    check = commands.add_parser("check-policy", help="check a policy file, and manifests under it")
    check.add_argument("policy", type=Path, help="the policy file")
    check.set_defaults(run=_check_policy)
    _add_file(check, required=False)
    reference = commands.add_parser("annotations", help="print the annotation reference")
    reference.add_argument("--markdown", action="store_true", help="as docs/annotations.md")
    reference.set_defaults(run=_annotations)
    variables = commands.add_parser("settings", help="print the reference of the settings")
    variables.add_argument("--markdown", action="store_true", help="as docs/settings.md")
    variables.set_defaults(run=_settings)
    events = commands.add_parser("events", help="write events on the pods with buckets")
    events.add_argument("--heartbeat", type=Path, help="touched every few seconds, for a probe")
    events.set_defaults(run=_events)
    _add_status(commands.add_parser("status", help="show all mounts of a cluster, by kubectl"))
    return parser


def _add_status(status: argparse.ArgumentParser) -> None:
    status.add_argument("-n", "--namespace", help="only the pods of one")
    status.add_argument("--context", help="of kubectl's configuration")
    status.add_argument("--kubeconfig", help="that configuration, a file")
    status.add_argument("--kubectl", default="kubectl", help="the program")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    given = {"--context": arguments.context, "--kubeconfig": arguments.kubeconfig}
    before = [word for name, value in given.items() if value for word in (name, value)]
    kubectl = clusterstatus.Kubectl(arguments.kubectl, before)
    found = clusterstatus.mounts(kubectl, arguments.namespace)
    sys.stdout.write(clusterstatus.shown(found, arguments.json))
    return 0 if all(mount.values.get("well", 1) == 1 for mount in found) else 1


def _events(arguments: argparse.Namespace) -> int:
    # Imported late, as it brings the client of the cluster.
    from webhook.events.collector import run

    settings = read_reporting(os.environ)
    run(settings, read_serving(os.environ).log_level, arguments.heartbeat)
    return 0


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--tls-dir", type=Path, help="directory with tls.crt, tls.key and ca.crt")
    serve.add_argument("--policy-file", type=Path, help="which namespace may mount what")
    serve.add_argument("--host", help="address to listen on")
    serve.add_argument("--port", type=parse_port, help="port to listen on")
    serve.add_argument("--metrics-port", type=parse_port, help="port of /metrics, plain HTTP")
    serve.set_defaults(run=_serve)


def _add_file(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("-f", "--filename", required=required, help="manifests, - for stdin")
    parser.add_argument("--namespace", default="default", help="of objects that don't name theirs")
    parser.add_argument("--namespace-labels", metavar="KEY=VALUE,...", help="labels it has")
    if required:
        parser.add_argument("--policy-file", type=Path, help="the policy; the shipped one if unset")


def _serve(arguments: argparse.Namespace) -> int:
    # Imported late: the offline commands don't need the web framework.
    from webhook.serve.replica import run

    given = {
        name: getattr(arguments, name)
        for name in ("tls_dir", "policy_file", "host", "port", "metrics_port")
    }
    run(*read_settings(os.environ, **given))
    return 0


def _decider(arguments: argparse.Namespace, policy: Policy) -> Decider:
    text = arguments.namespace_labels
    labels = None if text is None else dict(parse_labels(text))
    return Decider(read_platform(os.environ), lambda: policy, FixedFacts(labels))


def _offline(arguments: argparse.Namespace) -> Decider:
    path = arguments.policy_file or read_serving(os.environ).policy_file
    return _decider(arguments, Policy() if path is None else read_policy(path))


def _terminal() -> Terminal:
    return Terminal(sys.stdout, sys.stderr)


def _inject(arguments: argparse.Namespace) -> int:
    decider = _offline(arguments)
    return commands.inject(arguments.filename, arguments.namespace, decider, _terminal())


def _explain(arguments: argparse.Namespace) -> int:
    decider = _offline(arguments)
    return commands.explain(arguments.filename, arguments.namespace, decider, _terminal())


def _check_policy(arguments: argparse.Namespace) -> int:
    policy = read_policy(arguments.policy)
    if arguments.filename is None:
        commands.check_policy(policy, _terminal())
        return 0
    commands.warn_of_policy(policy, _terminal())
    decider = _decider(arguments, policy)
    return commands.explain(arguments.filename, arguments.namespace, decider, _terminal())


def _annotations(arguments: argparse.Namespace) -> int:
    sys.stdout.write(annotations.markdown() if arguments.markdown else annotations.plain())
    return 0


def _settings(arguments: argparse.Namespace) -> int:
    sys.stdout.write(settings.markdown() if arguments.markdown else settings.plain())
    return 0


if __name__ == "__main__":
    sys.exit(main())
