"""`make e2e`: run the checks on the cluster that KUBECONFIG names, and print one table.

First those that disturb the cluster or measure it, one by one; then the others, four at a time.
What is installed stays until the end, where it is removed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import Installation
from tests.cluster.modes import Mode
from tests.cluster.table import Table

NEEDS = """\
make e2e runs the checks of tests/cluster on a real cluster. It needs:
  KUBECONFIG   administrator of a cluster for tests (1.30 or newer), e.g. of `kind create cluster`
  IMAGE        the image under test, NAME:TAG, on its nodes: `kind load docker-image NAME:TAG`
and it takes, if they are set:
  E2E_SECOND_IMAGE  the image under another name, for the check of an upgrade
  E2E_NODE     a program that reaches the node; without it checks of kills and outages are left out
  E2E_S3_ENDPOINT, E2E_S3_ACCESS_KEY, E2E_S3_SECRET_KEY   an S3 server, in place of one of its own
  E2E_S3_HOST  the address of this machine on which pods reach a server of its own
  MODE         pod or node (docs/node.md): which is installed; E2E_KUBELET_DIRECTORY with it where
               the kubelet's directory is another than /var/lib/kubelet
  ONLY         an expression over the names of checks, as for pytest -k
docs/testing.md has the details. Nothing was run."""
TOGETHER = "4"  # checks at a time
PHASES = (["-m", "cluster and alone"], ["-m", "cluster and not alone", "-n", TOGETHER])
PASSED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def main(environ: Mapping[str, str]) -> int:
    """Run the checks; 0 where all passed, and where nothing could be run."""
    if not (environ.get("KUBECONFIG") and environ.get("IMAGE")):
        print(NEEDS)
        return 0
    words = [str(Path(__file__).parent), "-q", "--tb=short", "-p", "no:cacheprovider"]
    words += ["-k", environ["ONLY"]] if environ.get("ONLY") else []
    table = Table()
    codes = [pytest.main([*words, *phase], plugins=[table]) for phase in PHASES]
    cluster = Cluster(environ["KUBECONFIG"])
    with tempfile.TemporaryDirectory() as directory:
        mode = Mode.told(environ)
        Installation(cluster, Path(directory), environ["IMAGE"], mode).uninstall()
    print("", cluster.versions(), "", *table.lines(), sep="\n")
    return next((int(code) for code in codes if code not in PASSED), 0)


if __name__ == "__main__":
    sys.exit(main(os.environ))
