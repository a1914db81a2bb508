"""Runs a suite of others from a checkout: exit 0 if whatever failed is documented, else 1."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.foreign import pjdfstest, s3fs, xfstests
from tests.foreign.stand import stand
from tests.mounts.ours import DRIVERS

SUITES = {"pjdfstest": pjdfstest, "s3fs": s3fs, "xfstests": xfstests}


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.foreign", description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("checkout", type=Path, help="a clone of the suite's repository")
    parser.add_argument("--driver", choices=DRIVERS, default="native")
    parser.add_argument(
        "--endpoint-url", help="another store than our SeaweedFS; its keys in AWS_… variables"
    )
    parser.add_argument("--only", default="", help="part of the names of the tests to run")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # not without cleaning up
    suite = SUITES[chosen.suite]
    suite.prepare(chosen.checkout)
    with stand(chosen.endpoint_url) as at:
        outcome = suite.run(chosen.checkout, at, chosen.driver, chosen.only)
    return 0 if outcome.report() else 1


if __name__ == "__main__":
    sys.exit(main())
