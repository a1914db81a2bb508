"""Kubernetes' own schemas: is this manifest what the API server of that version takes?

The only module that knows kubernetes_validate, which reads megabytes at each call; here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from kubernetes_validate import utils

utils.schema_contents = cache(utils.schema_contents)
utils.all_versions = cache(utils.all_versions)

LATEST = str(utils.latest_version())


def validate(manifest: Mapping[str, Any], version: str) -> None:
    """Raise kubernetes_validate's ValidationError; unknown fields are errors."""
    utils.validate(manifest, version, strict=True)
