"""Another image, replicas that go, certificates gone: pods can be created all the while."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from certs.x509 import new_signer
from tests.cluster import pods
from tests.cluster.cluster import until
from tests.cluster.conftest import Place
from tests.cluster.creations import creations
from tests.cluster.installation import CONFIGURATION, SYSTEM, Installation

pytestmark = pytest.mark.alone
Record = Callable[[str, object], None]
CA = "s3mount-webhook-ca"


def test_upgrade_while_pods_are_created(
    product: Installation, place: Place, record_property: Record
) -> None:
    """To another image and back: no pod is refused, and new ones get the new image."""
    second = os.environ.get("E2E_SECOND_IMAGE")
    if not second:
        pytest.skip("needs E2E_SECOND_IMAGE, the image under another name")
    place.start("old")
    with creations(place) as made:
        product.use(second)
        product.apply()
        product.until_rolled_out()
        new = place.start("new")
        product.use(product.image)
        product.apply()
        product.until_rolled_out()
    record_property("measured", f"{made.count} pods created meanwhile")
    assert made.refused == []
    assert {each["image"] for each in new["spec"]["initContainers"]} == {second}
    place.sh("old", "echo served > /data/served")
    place.end("old", "new")


def test_upgrade_to_an_image_that_is_not_there(
    product: Installation, place: Place, record_property: Record
) -> None:
    """The new replica doesn't start, the old ones serve, and going back ends it."""
    with creations(place) as made:
        product.use(f"{product.image}-absent")
        product.apply()
        until("a replica that can't start", lambda: _waits_for_its_image(product), 120)
        enough = made.count + 100
        until("100 more pods", lambda: made.count >= enough, 120)
        product.use(product.image)
        product.apply()
        product.until_rolled_out()
    record_property("measured", f"{made.count} pods created meanwhile")
    assert made.refused == []


def _waits_for_its_image(product: Installation) -> bool:
    return any(
        status.get("state", {})
        .get("waiting", {})
        .get("reason", "")
        .endswith(("Pull", "PullBackOff"))
        for replica in product.replicas()
        for status in replica["status"].get("initContainerStatuses", [])
    )


def test_replica_deleted_during_creations(product: Installation, place: Place) -> None:
    """Of 100 pods that are created while replicas are deleted none is refused."""
    with creations(place) as made:
        for _ in range(2):
            enough = made.count + 50
            place.cluster.delete(SYSTEM, product.replicas()[0]["metadata"]["name"])
            until("50 more pods", lambda enough=enough: made.count >= enough, 120)
            product.until_rolled_out()
    assert made.refused == []


def test_webhook_scaled_to_zero(product: Installation, place: Place) -> None:
    """Pods with a bucket are refused, others aren't, and all is well when it is back."""
    product.scale(0)
    plain = pods.pod("plain", place.namespace, place.template(notes={"other": "annotation"}))
    try:
        until("refused", lambda: "inject.s3.mount" in place.refusal(), 30)
        assert place.cluster.refusal(plain) == ""
    finally:
        product.scale(2)
    until("admitted", lambda: place.refusal() == "", 60)


def test_ca_bundle_overwritten(product: Installation, place: Place) -> None:
    """The agent puts it right, and pods are admitted again."""
    before = product.ca_bundle()
    foreign = new_signer(datetime.now(UTC), timedelta(days=1)).authority.certificate
    patch = {
        "op": "replace",
        "path": "/webhooks/0/clientConfig/caBundle",
        "value": b64encode(foreign).decode(),
    }
    place.cluster.must(
        *("patch", "mutatingwebhookconfiguration", CONFIGURATION, "--type=json"),
        *("-p", json.dumps([patch])),
    )
    until("the agent's bundle", lambda: product.ca_bundle() == before, 90)
    until("admitted", lambda: place.refusal() == "", 30)


def test_ca_secret_deleted(product: Installation, place: Place) -> None:
    """It comes back, and no pod is refused meanwhile."""
    with creations(place) as made:
        place.cluster.must("-n", SYSTEM, "delete", "secret", CA)
        until("the Secret", lambda: place.cluster.get("secret", CA, SYSTEM), 120)
    assert made.count > 0
    assert made.refused == []
