"""Values that cannot be printed, logged or serialised by accident.

Invariant: ``repr``, ``str``, ``format``, pickling and JSON of a :class:`Sensitive` never show its content. Reading
it is the explicit call :meth:`Sensitive.reveal`, which is easy to find in a review.
"""

import hmac
from typing import Generic, NoReturn, TypeVar, final

T = TypeVar("T", str, bytes)

MASK = "********"


class Sensitive(Generic[T]):
    """A value whose content only :meth:`reveal` gives."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value: T = value

    @final
    def reveal(self) -> T:
        """Return the content. Every call is a place where clear data exists: keep it short."""
        return self._value

    @final
    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK})"

    @final
    def __str__(self) -> str:
        return MASK

    @final
    def __format__(self, format_spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        """Compare in constant time; another type is never equal."""
        if not isinstance(other, Sensitive) or type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(_octets(self._value), _octets(other._value))

    def __hash__(self) -> int:
        return hash((type(self), self._value))

    @final
    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not serialisable; reveal() it on purpose")


def _octets(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


class Secret(Sensitive[T]):
    """A credential: password, API key, licence key, passphrase, key material."""

    __slots__ = ()


class OTP(Sensitive[str]):
    """A one-time password."""

    __slots__ = ()
