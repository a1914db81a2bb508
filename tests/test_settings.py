"""A setting goes from an annotation into the pod's configuration and from there into the mount.

Webhook and mount import nothing of each other; each has one table of settings, and here they are
compared. A new one is a row on each side.
"""

import argparse
import json

import pytest

from fusefs.cli import command
from fusefs.keeper import cacheprotocol, protocol
from fusefs.run import podconfig
from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.pod.containers import sidecars
from webhook.review.decision import Decider, Injected
from webhook.spec import mountspec
from webhook.spec.annotations import ANNOTATIONS, SETTINGS

# Options of `mount` that no pod is given, and why.
NOT_FOR_PODS = {
    "--abort-uploads": "a day suits every pod",
    "--log-format": "a pod's log is read by programs",
    "--profile": "a pod has no AWS configuration files",
    "--allow-other": "the worker always does",
    "--background-fill": "a quarter suits every cache size; to switch it off for comparing",
    "--sdk-only": "for comparing, on one machine",
    "--without": "for comparing, and for finding out which of these is at fault",
    "--drain-time": "of the worker, not of a mount",
    "--driver": "the keeper has mounted already",
    "--metrics-port": "of the worker, not of a mount",
    "--fake-disk-free": "a hook for tests",
    "--read-only": "a configuration says readOnly",
    "--help": "for people",
}


def configured(**annotations: str) -> dict[str, object]:
    """The configuration of a mount with these annotations, as its worker reads it."""
    pod = reviews.pod(
        {f"s3.mount/{key.replace('_', '-')}": value for key, value in annotations.items()}
    )
    wanted, problems = mountspec.read(mountspec.asking(pod), Platform())
    assert problems == []
    _, worker = sidecars(wanted, Platform(), ambient=False, metrics_port=None)
    (variable,) = (item for item in worker["env"] if item["name"] == "S3MOUNT_CONFIG")
    (mount,) = json.loads(variable["value"].replace("$$", "$"))["mounts"]
    found: dict[str, object] = mount
    return found


def options_of_mount() -> set[str]:
    """Every long option of `fusefs mount`."""
    parser = argparse.ArgumentParser(add_help=True)
    command._add_mount(parser)
    return {name for action in parser._actions for name in action.option_strings if "--" in name}


AN_ARN = "arn:aws:s3:eu-central-1:123456789012:accesspoint"


@pytest.mark.parametrize("arn", [AN_ARN + "/data", AN_ARN + ":data"])
def test_an_arn_keeps_its_prefix_apart(arn: str) -> None:
    """In either of its forms: the mount asks the access point for what is below the prefix."""
    config = configured(bucket=arn, prefix="sets/2024")
    mount = command._settings_of(podconfig.arguments(config))
    assert (mount.store.bucket, mount.prefix) == (AN_ARN + "/data", "sets/2024/")


@pytest.mark.parametrize(
    ("endpoint", "fine"),
    [
        ("https://accesspoint.vpce-1a2b-3c4d.s3.eu-central-1.vpce.amazonaws.com", True),
        ("https://minio.example.com:9000", False),
        ("https://amazonaws.com.example.com", False),
    ],
)
def test_an_arn_is_known_to_endpoints_of_aws_only(endpoint: str, fine: bool) -> None:
    """Another store would be asked for a host that doesn't exist, at the first start."""
    keys = {"s3.mount/bucket": AN_ARN + "/data", "s3.mount/endpoint": endpoint}
    _, problems = mountspec.read(mountspec.asking(reviews.pod(keys)), Platform())
    assert ([p.where for p in problems] == []) is fine


def test_parts_that_dont_fit_into_memory_are_denied() -> None:
    """The mount would not start with them."""
    keys = {"s3.mount/bucket": "my-bucket", "s3.mount/memory-limit": "256Mi"}
    for size, fine in ((64, True), (512, False)):
        pod = reviews.pod(keys | {"s3.mount/options": f"multipart_size={size}"})
        decision = Decider(Platform()).decide(pod, "shop")
        assert isinstance(decision, Injected) is fine


def test_every_annotation_reaches_the_mount() -> None:
    """Whatever is written on a pod becomes a command line that the mount understands."""
    given = {a.field: a.example for a in ANNOTATIONS if a.per_mount}
    given |= {"endpoint": "https://s3.eu-central-1.amazonaws.com", "containers": "app"}
    config = configured(**given)
    assert set(SETTINGS.values()) <= set(config)
    mount = command._settings_of(podconfig.arguments(config))
    assert (mount.on_conflict, mount.store.retry_for, mount.full_wait) == ("overwrite", 120, 60)
    assert mount.negative_ttl == 10


def test_nothing_that_wasnt_written_is_passed_on() -> None:
    """The defaults of such settings are the mount's own."""
    assert not set(SETTINGS.values()) & set(configured(bucket="my-bucket"))


def test_both_tables_have_the_same_settings() -> None:
    """The webhook can write what the mount can read, and writes nothing else."""
    given = {a.field: a.example for a in ANNOTATIONS if a.setting}
    written = set(configured(bucket="my-bucket", **given))
    assert written == {*podconfig.OPTIONS, *podconfig.OTHERS} - {"arguments", "nodeCache"}


def test_the_socket_of_the_nodes_cache_reaches_the_mount() -> None:
    """Only where mounts share one."""
    platform = Platform(keeper="node")
    wanted, _ = mountspec.read(mountspec.asking(reviews.pod()), platform)
    (worker,) = sidecars(wanted, platform, ambient=False, metrics_port=None, shares=True)
    (mount,) = json.loads(worker["env"][0]["value"])["mounts"]
    settings = command._settings_of(podconfig.arguments(mount))
    name = cacheprotocol.NAME.format("default")
    assert str(settings.node_cache) == f"{protocol.RUN_DIRECTORY}/{name}"


def test_every_option_of_the_mount_is_for_pods_or_has_a_reason() -> None:
    """A new option of the command line is one for pods too, or somebody has said why not."""
    assert options_of_mount() - set(NOT_FOR_PODS) == set(podconfig.OPTIONS.values()) - {"-o"}
