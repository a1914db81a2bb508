"""Everything this package raises on purpose.

CertsError
├── BadName        a name no certificate can carry
├── BadOutput      a directory that can't take the files
├── BadAuthority   PEM text that isn't a CA with its own key
├── Conflict       somebody else changed the object since it was read
├── Missing        the webhook configuration doesn't exist
└── Unreachable    the API server doesn't answer, or refuses

Messages name the thing and what to do about it; no key material ever gets into one.
"""


class CertsError(Exception):
    """The root: what `python -m certs` turns into one line and exit code 1."""


class BadName(CertsError):
    """A DNS name or address that can't be a subject alternative name."""


class BadOutput(CertsError):
    """The output directory can't be written, or holds files that must not be replaced."""


class BadAuthority(CertsError):
    """Text that isn't a usable certificate authority with its own private key."""


class Conflict(CertsError):
    """The object was changed, created or deleted by somebody else since it was read."""


class Missing(CertsError):
    """There is no webhook configuration, or no webhook in it: nobody to be trusted by."""


class Unreachable(CertsError):
    """The API server gave no answer or a refusal; the caller tries again later."""
