"""What can go wrong in the webhook, apart from what is wrong with a pod.

    WebhookError
    ├── EnvelopeError      the request is no AdmissionReview we can answer: HTTP 4xx
    ├── NotAddOnlyError    a patch of ours would take something from the user: our bug
    ├── SettingsError      the environment holds values we can't work with: start refused
    ├── PolicyFileError    the policy file is invalid: start refused, or the old one kept
    ├── CertificateError   the TLS directory holds no usable pair (yet)
    └── DocumentError      a file given to the command line can't be read

A pod that can't be mounted as asked raises nothing: its `Problem`s are values that are collected
and answered all at once (see `problems`).
"""


class WebhookError(Exception):
    """Root of everything this package raises on purpose; the text is for the operator."""


class EnvelopeError(WebhookError):
    """The request can't be answered as an AdmissionReview.

    `status` is the HTTP status to answer with: 400, 408, 413 or 415.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class NotAddOnlyError(WebhookError):
    """The changed pod lacks or alters something of the user's: never sent, reported as a bug."""


class SettingsError(WebhookError):
    """Environment variables hold values the webhook can't work with: one text for each."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        return "\n- ".join([f"{len(self.problems)} settings are wrong:", *self.problems])


class PolicyFileError(WebhookError):
    """The policy file can't be read as a policy; the text names the place in it."""


class CertificateError(WebhookError):
    """The TLS directory has no certificate and key that belong together."""


class DocumentError(WebhookError):
    """A manifest given to the command line can't be read."""
