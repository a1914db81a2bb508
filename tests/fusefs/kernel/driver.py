"""One mount served in this process: device, mount(2), session, and the end of all three.

Without a keeper, for tests. In pods `keeper` mounts and `worker` serves.

Threading: `NativeMount` may be used from any thread; `unmount` may race with the mount's own end.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from fusefs.errors import SetupError
from fusefs.interface import Calls, Invalidations
from fusefs.kernel import mountcalls
from fusefs.kernel.backing import Backings
from fusefs.kernel.notify import Notifier
from fusefs.kernel.readers import Ending
from fusefs.kernel.session import KernelSession, SessionSettings


@dataclass(frozen=True, slots=True)
class DeviceRegistry:
    """Registers passthrough files in this process, which has the privilege."""

    device: int

    def register(self, descriptor: int, tag: str) -> int:
        """Return the backing id of an open file; the tag is dropped: there is no successor."""
        return mountcalls.register_backing(self.device, descriptor)

    def unregister(self, backing: int) -> None:
        """Release a backing id."""
        mountcalls.unregister_backing(self.device, backing)


class NativeMount:
    """A mounted filesystem; `wait` returns when it is unmounted or aborted."""

    def __init__(self, mountpoint: str, device: int, session: KernelSession) -> None:
        self.mountpoint = mountpoint
        self._device = device
        self._session = session

    @property
    def invalidations(self) -> Invalidations:
        """The receiver of the filesystem's invalidations."""
        return self._session.invalidations

    def wait(self, timeout: float | None = None) -> Ending | None:
        """Wait for the end of the mount, close the device; None after `timeout` seconds."""
        ending = self._session.wait(timeout)
        if ending is not None and self._device >= 0:
            os.close(self._device)
            self._device = -1
        return ending

    def unmount(self) -> None:
        """Unmount lazily; open files stay usable until they are closed."""
        try:
            mountcalls.unmount(self.mountpoint)
        except OSError as error:
            raise SetupError(f"cannot unmount {self.mountpoint}: {error.strerror}") from error


def works_here() -> bool:
    """Return whether this process may open the device and mount(2) with it."""
    return os.access(mountcalls.DEVICE, os.R_OK | os.W_OK) and mountcalls.may_mount()


def mount(
    build: Callable[[Invalidations], Calls],
    mountpoint: str,
    settings: SessionSettings | None = None,
    *,
    read_only: bool = False,
    allow_other: bool = True,
) -> NativeMount:
    """Mount what `build` returns and serve it; `SetupError` where the kernel refuses."""
    settings = settings or SessionSettings()
    try:
        device = mountcalls.open_device()
    except OSError as error:
        raise SetupError(f"cannot open {mountcalls.DEVICE}: {error.strerror}") from error
    backings = Backings(DeviceRegistry(device) if settings.wishes.passthrough else None)
    notifier = Notifier(device, backings.kernel_ids)
    try:
        session = KernelSession(device, build(notifier), settings, notifier, backings)
        mountcalls.mount(device, mountpoint, read_only=read_only, allow_other=allow_other)
    except OSError as error:
        os.close(device)
        raise SetupError(f"cannot mount at {mountpoint}: {error.strerror}") from error
    except BaseException:
        os.close(device)
        raise
    session.start()
    return NativeMount(mountpoint, device, session)
