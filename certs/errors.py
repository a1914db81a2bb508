"""The exceptions of this package.

CertsError
├── BadName        a name that no certificate can have
├── BadOutput      a directory that can't take the files
├── BadAuthority   PEM text that isn't a CA with its own key
├── Conflict       the object was changed since it was read
├── Missing        an object or kind of the manifests doesn't exist
└── Unreachable    the API server doesn't answer, or refuses

Messages name the object and the remedy; they never contain key material.
"""


class CertsError(Exception):
    """The root; `python -m certs` prints it as one line and exits with 1."""


class BadName(CertsError):
    """A DNS name or address that can't be a subject alternative name."""


class BadOutput(CertsError):
    """The output directory can't be written, or holds files that must not be replaced."""


class BadAuthority(CertsError):
    """Text that isn't a usable certificate authority with its own private key."""


class Conflict(CertsError):
    """The object was changed, created or deleted since it was read."""


class Missing(CertsError):
    """No webhook configuration, no webhook in it, or no kind for the announced images."""


class Unreachable(CertsError):
    """The API server gave no answer or a refusal; the caller retries later."""
