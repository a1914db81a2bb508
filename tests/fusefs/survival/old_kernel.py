"""A worker that doesn't ask the kernel for resending: what every worker is before Linux 6.9.

S3MOUNT_CONFIG=… python -m tests.fusefs.survival.old_kernel KEEPER-SOCKET STATUS-SOCKET PORT
"""

import sys

from fusefs import logs
from fusefs.cli import command
from fusefs.kernel.negotiation import Wishes
from fusefs.kernel.session import SessionSettings
from fusefs.run import servedmount, serving, worker

if __name__ == "__main__":
    logs.set_up()
    keeper, status, port = sys.argv[1:]
    session = SessionSettings(wishes=Wishes(passthrough=True, resend=False))
    options = servedmount.WorkerOptions(keeper, status, session)
    told = serving.ServingSettings(metrics_port=int(port))
    worker.leave(serving.worker(command._settings_of, told, options))
