"""The exceptions of the webhook; problems of a pod aren't among them.

    WebhookError
    ├── EnvelopeError      the request is not a valid AdmissionReview: HTTP 4xx
    ├── NotAddOnlyError    our patch would remove or change a part of the user's pod: our bug
    ├── SettingsError      environment variables have invalid values: start refused
    ├── PolicyFileError    the policy file is invalid: start refused, or the old policy kept
    ├── CertificateError   the TLS directory holds no usable pair (yet)
    ├── ClusterError       kubectl can't be run, or was refused something
    └── DocumentError      a file given to the command line can't be read

A pod that can't get its mounts raises nothing: its `Problem`s are values that are collected and
answered all at once (see `problems`).
"""


class WebhookError(Exception):
    """Root of all exceptions of this package; the text is for the operator."""


class EnvelopeError(WebhookError):
    """The request can't be answered as an AdmissionReview.

    `status` is the HTTP status to answer with: 400, 408, 413 or 415.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class NotAddOnlyError(WebhookError):
    """The changed pod lacks or alters a part of the user's: never sent, reported as a bug."""


class SettingsError(WebhookError):
    """Environment variables have invalid values: one text for each."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        return "\n- ".join([f"{len(self.problems)} settings are wrong:", *self.problems])


class PolicyFileError(WebhookError):
    """The policy file is invalid; the text names the place in it."""


class CertificateError(WebhookError):
    """The TLS directory has no certificate and key that belong together."""


class ClusterError(WebhookError):
    """kubectl can't be run, or was refused something; the message is its own."""


class DocumentError(WebhookError):
    """A manifest given to the command line can't be read."""
