"""`fusefs mount --driver native` over a directory: the supervisor with a pod's two commands.

python -m tests.fusefs.survival.supervised BASE [EXTRA-AS-JSON]
"""

import json
import logging
import sys
from pathlib import Path

from fusefs.run.supervisor import Supervisor
from tests.fusefs.survival.pod import Pod

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    extra = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    pod = Pod(Path(sys.argv[1]), **extra)
    command = Supervisor(pod.keeper_command(), pod.worker_command(), pod.environment)
    sys.exit(command.run())
