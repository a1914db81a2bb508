"""Pods made to keep the webhook busy: answered in little time, with short answers and log lines."""

import json
import time
from io import StringIO
from typing import Any

import pytest

from tests.webhook import reviews
from webhook.platform.settings import Platform
from webhook.review.decision import Decider
from webhook.serve.log import make_logger
from webhook.serve.metrics import Metrics
from webhook.serve.reviewer import Reviewer

BUCKET = {"s3.mount/bucket": "my-bucket"}
MANY = {"name": "x", "mountPath": "/m"}
PODS: dict[str, dict[str, Any]] = {
    "long key": reviews.pod({"s3.mount/" + "a" * 1_000_000: "x"}),
    "unknown keys": reviews.pod({f"s3.mount/pat{n}": "x" for n in range(50_000)}),
    "mounts": reviews.pod({f"s3.mount/bucket.m{n}": "bucket" for n in range(490)}),
    "names": reviews.pod(BUCKET | {"s3.mount/containers": ",".join(map(str, range(200_000)))}),
    "containers": reviews.pod(BUCKET, containers=[{"name": f"c{n}"} for n in range(20_000)]),
    "volumes": reviews.pod(BUCKET, volumes=[{"name": f"v{n}"} for n in range(20_000)]),
    "volume mounts": reviews.pod(
        BUCKET, containers=[{"name": "a", "volumeMounts": [MANY] * 20_000}]
    ),
    "malformed": reviews.pod(BUCKET, containers=[7] * 100_000),
    "long name": reviews.pod(BUCKET | {"s3.mount/path": "x"})
    | {"metadata": {"name": "n" * 1_000_000, "annotations": {"s3.mount/path": "x"}}},
}


@pytest.mark.parametrize("name", PODS)
def test_excess_costs_little(name: str) -> None:
    """Denied in well under the API server's patience; nothing grows with the excess."""
    log = StringIO()
    reviewer = Reviewer(Decider(Platform()), Metrics(), make_logger("INFO", log))
    body = json.dumps(reviews.review(PODS[name])).encode()
    began = time.process_time()
    answer = reviewer.review(body)
    assert time.process_time() - began < 1
    assert not reviews.response(answer)["allowed"]
    assert len(answer) < 20_000
    assert len(log.getvalue()) < 20_000
