"""docs/apps.md followed on a cluster: its manifests, with the bucket and the store of the check.

Those are run whose image is Debian's; the others need a notebook server or PyTorch.
"""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.cluster import pods
from tests.cluster.cluster import Manifest, until
from tests.cluster.conftest import Place
from tests.sources import REPOSITORY

PAGE = (REPOSITORY / "docs" / "apps.md").read_text()
MANIFESTS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
IMAGE = "debian:bookworm-slim"
# What each leaves in the bucket, or prints.
LEAVES = {"hello": r"hello\.txt", "results": r"results-.*\.txt"}
PRINTS = {"reader": "/data/train/0001"}


def _template(manifest: Manifest) -> Manifest:
    whole: Manifest = manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]
    return whole


RECIPES = {
    each["metadata"]["name"]: each
    for each in MANIFESTS
    if _template(each)["spec"]["containers"][0]["image"] == IMAGE
}


@pytest.mark.parametrize("name", sorted({*LEAVES, *PRINTS}))
def test_a_recipe_of_the_page_for_applications(place: Place, name: str) -> None:
    """It is created as it stands there, ends well, and leaves or prints what the page says."""
    place.bucket.put("imagenet/train/0001", b"x")
    manifest = json.loads(json.dumps(RECIPES[name]))
    template = _template(manifest)
    notes = template["metadata"]["annotations"]
    for key in [key for key in notes if key.startswith(f"{pods.BUCKET}")]:
        suffix = key.removeprefix(pods.BUCKET)
        notes[key] = place.bucket.name
        notes[f"s3.mount/endpoint{suffix}"] = place.bucket.endpoint.url
        notes[f"s3.mount/secret{suffix}"] = pods.SECRET
    template["spec"]["securityContext"] = {"runAsUser": 0}
    template["spec"]["containers"][0] |= {"image": place.image}
    manifest["metadata"]["namespace"] = place.namespace
    place.cluster.create(manifest)
    until(f"{name} ends well", lambda: _ended_well(place), 90)
    if name in PRINTS:
        (pod,) = place.cluster.pods(place.namespace)
        log = place.cluster.kubectl(
            "-n", place.namespace, "logs", pod["metadata"]["name"], "-c", "app"
        )
        assert PRINTS[name] in log.out
    else:
        keys = place.bucket.keys()
        assert any(re.fullmatch(LEAVES[name], key) for key in keys), keys


def _ended_well(place: Place) -> bool:
    for pod in place.cluster.pods(place.namespace):
        for each in pod["status"].get("containerStatuses", []):
            ended = each.get("lastState", {}).get("terminated") or each["state"].get("terminated")
            if ended and each["name"] == "app":
                assert ended["exitCode"] == 0, ended
                return True
    return False
