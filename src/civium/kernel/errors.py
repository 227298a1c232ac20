"""The one hierarchy of errors that the platform raises on purpose.

A rejected input carries the code and message of the wire specification. Everything else that reaches the edge is
answered as a bare internal error with a correlation id; its details go to the log only.
"""


class CiviumError(Exception):
    """Base of every error raised on purpose. Its text never holds personal data."""


class Rejected(CiviumError):
    """An input was refused with a specified code.

    ``code`` and ``message`` are the wire's; ``action`` is the advice that some codes carry (``actionMessage``).
    """

    def __init__(self, code: str, message: str, action: str | None = None) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.action = action


class RejectedMany(CiviumError):
    """Several inputs were refused at once; the order of ``rejections`` is the order on the wire."""

    def __init__(self, rejections: list[Rejected]) -> None:
        super().__init__("; ".join(str(rejection) for rejection in rejections))
        self.rejections = rejections


class IntegrityError(CiviumError):
    """Stored data was changed, moved, truncated or put back to an old version."""


class Unavailable(CiviumError):
    """A dependency (database, key process, object store, mail) cannot be reached; trying later may help."""
