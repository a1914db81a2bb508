"""Applying, the variants of docs/install.md, removing: what is in the cluster afterwards."""

from __future__ import annotations

import json
import re

import pytest

from tests.cluster import pods
from tests.cluster.cluster import Cluster, until
from tests.cluster.conftest import Place
from tests.cluster.installation import LABEL, SYSTEM, Installation
from tests.sources import REPOSITORY

pytestmark = pytest.mark.alone
POLICIES = "validatingadmissionpolicy,validatingadmissionpolicybinding"


def test_applied_twice(product: Installation) -> None:
    """The second `kubectl apply` changes no object."""
    product.apply()
    before = product.changes()
    lines = product.apply().out.splitlines()
    changed = [line for line in lines if not line.endswith(" unchanged")]
    # kubectl sends the selector of a disruption budget each time: its patch strategy is `replace`.
    assert changed == ["poddisruptionbudget.policy/s3mount-webhook configured"]
    assert product.changes() == before


def test_guards_without_type_warnings(product: Installation, cluster: Cluster) -> None:
    """The API server's type checker has nothing to say about an expression."""

    def checked() -> list[dict[str, object]]:
        text = cluster.must("get", "validatingadmissionpolicy", "-l", LABEL, "-o", "json")
        statuses = [each.get("status", {}) for each in json.loads(text)["items"]]
        return statuses if all("typeChecking" in each for each in statuses) else []

    statuses = until("all policies checked", checked, 60)
    assert [each["typeChecking"] for each in statuses] == [{}] * len(statuses)


def test_overlay_small(product: Installation, place: Place) -> None:
    """One replica serves."""
    with product.variant("overlays/small"):
        assert len(product.replicas()) == 1
        place.start("small")
        place.end("small")


def test_overlay_strict(product: Installation, place: Place) -> None:
    """What no rule allows is refused, and the refusal names the policy."""
    with product.variant("overlays/strict"):
        product.restart()
        until("a refusal by the policy", lambda: "policy" in place.refusal(), 60)
        assert "denied the request" in place.refusal()
    product.restart()
    until("admitted", lambda: place.refusal() == "", 60)


def test_overlay_no_guards(product: Installation, place: Place) -> None:
    """Pods get their buckets where no admission policy is."""
    place.cluster.must("delete", POLICIES, "-l", LABEL)
    with product.variant("overlays/no-guards"):
        assert place.cluster.must("get", POLICIES, "-l", LABEL, "-o", "name") == ""
        place.start("unguarded")
        place.end("unguarded")


def test_overlay_no_hints(product: Installation, place: Place) -> None:
    """Nobody is warned of annotations in namespaces that have not opted in; pods get buckets."""
    name = f"{place.namespace}-off"
    place.cluster.create(pods.namespace(name, injection=False))
    pod = pods.pod("plain", name, place.template())

    def is_warned() -> bool:
        said = place.cluster.apply(pod, dry_run="server")
        assert said.code == 0, said.err
        return "s3.mount/injection" in said.err

    until("a warning", is_warned, 30)
    place.cluster.must("delete", POLICIES, "s3mount-hints")
    with product.variant("overlays/no-hints"):
        until("no warning", lambda: not is_warned(), 30)
        place.start("unhinted")
        place.end("unhinted")
    place.cluster.must("delete", "namespace", name, "--wait=false")


def test_lookups(product: Installation, place: Place) -> None:
    """The webhook sees the labels of namespaces: it says itself what Pod Security would refuse."""
    overlay = product.directory / "overlays" / "lookups"
    overlay.mkdir(exist_ok=True)
    lines = ["resources: [../../base]", "components: [../../complete, ../../lookups]"]
    (overlay / "kustomization.yaml").write_text("\n".join(lines) + "\n")
    name = f"{place.namespace}-base"
    place.cluster.create(pods.namespace(name, enforce="baseline"))
    with product.variant("overlays/lookups"):
        place.start("seen")
        body = pods.pod("refused", name, place.template())
        until("refused by us", lambda: "denied the request" in place.cluster.refusal(body), 30)
        assert "pod-security.kubernetes.io/enforce" in place.cluster.refusal(body)
        place.end("seen")
    place.cluster.must("delete", "namespace", name, "--wait=false")
    place.cluster.must("delete", "-f", str(product.directory / "lookups" / "rbac.yaml"))


def test_overlay_events(product: Installation, place: Place) -> None:
    """`describe` of a pod says why its mount failed, in an event of s3mount's."""
    page = (REPOSITORY / "docs" / "monitoring.md").read_text()
    removing = re.findall(r"`kubectl ((?:-n \S+ )?delete \S+ s3mount-events)`", page)
    with product.variant("overlays/events"):
        absent = place.template(notes=place.notes(bucket="nobody-has-this-bucket"))
        place.cluster.create(pods.pod("wrong", place.namespace, absent))
        until("S3MountFailed", lambda: _has_event(place, "wrong", "nobody-has-this-bucket"), 120)
        place.end("wrong")
        for command in removing:
            place.cluster.must(*command.split())
    assert len(removing) == 2


def _has_event(place: Place, pod: str, text: str) -> bool:
    which = f"involvedObject.name={pod},source=s3mount"
    found = place.cluster.must(
        *("-n", place.namespace, "get", "events", "--field-selector", which),
        *("-o", "jsonpath={range .items[*]}{.reason} {.message}{end}"),
    )
    return "S3MountFailed" in found and text in found


def test_uninstalled_and_installed_again(product: Installation, place: Place) -> None:
    """Nothing of the product is left, running pods keep their bucket, and the second one serves."""
    place.start("before")
    product.uninstall()
    assert product.left() == ""
    assert place.cluster.get("namespace", SYSTEM, "") is None
    place.sh("before", "echo kept > /data/kept")
    product.install()
    until("pods are admitted", lambda: place.refusal() == "", 60)
    place.start("after")
    assert place.sh("after", "cat /data/kept") == "kept\n"
    place.end("before", "after")
