"""CPU and memory of one container, as Kubernetes counts them. Immutable, pure."""

from dataclasses import dataclass

from webhook.parse.quantities import format_bytes, format_millicores


@dataclass(frozen=True)
class Resources:
    """Requests and limits of one container: CPU in millicores, memory in bytes; None is unset."""

    cpu_request: int | None = None
    cpu_limit: int | None = None
    memory_request: int | None = None
    memory_limit: int | None = None

    @property
    def unset(self) -> bool:
        """Whether no request and no limit is set."""
        return self == Resources()

    @property
    def guaranteed(self) -> bool:
        """Whether both limits are set and each request equals its limit: QoS class Guaranteed."""
        cpu, memory = self.cpu_limit, self.memory_limit
        return (
            None not in (cpu, memory)
            and self.cpu_request in (None, cpu)
            and self.memory_request in (None, memory)
        )

    def rendered(self) -> dict[str, dict[str, str]]:
        """Return the `resources` of a container; values that are unset are left out."""
        rows = {
            "requests": (self.cpu_request, self.memory_request),
            "limits": (self.cpu_limit, self.memory_limit),
        }
        found = {name: _quantities(cpu, memory) for name, (cpu, memory) in rows.items()}
        return {name: quantities for name, quantities in found.items() if quantities}


def _quantities(cpu: int | None, memory: int | None) -> dict[str, str]:
    found = {} if cpu is None else {"cpu": format_millicores(cpu)}
    return found if memory is None else found | {"memory": format_bytes(memory)}
