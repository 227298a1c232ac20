"""A PKCS#11 token, logged in: one thread per process talks to it, and a lost session is made anew.

Libraries fail when two threads of a process use them, and a login is the whole process's: so all work runs in one
thread, and more speed comes from more processes. A wrong PIN is tried once: a file beside the keystores remembers the
refusal, so that no restart spends the token's remaining tries.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import pkcs11
import structlog
from pkcs11 import exceptions
from pkcs11.constants import TokenFlag

from civium.kernel.errors import IntegrityError, Unavailable
from civium.kernel.secrets import Secret
from civium.keys.keystore import KeystoreClosed, write_whole

T = TypeVar("T")

LOST: Final = (
    exceptions.DeviceError,
    exceptions.DeviceRemoved,
    exceptions.FunctionFailed,
    exceptions.KeyHandleInvalid,
    exceptions.ObjectHandleInvalid,
    exceptions.OperationNotInitialized,
    exceptions.SessionClosed,
    exceptions.SessionHandleInvalid,
    exceptions.TokenNotPresent,
    exceptions.TokenNotRecognised,
    exceptions.UnwrappingKeyHandleInvalid,
    exceptions.UserNotLoggedIn,
    exceptions.WrappingKeyHandleInvalid,
)
"""What a call fails with when the session, the login or the token is gone; it is made once more after a new login."""
REFUSAL_FILE: Final = "pin-refused"
LABEL_BYTES: Final = 32


_thread = ThreadPoolExecutor(1, "pkcs11")
_log = structlog.get_logger(__name__)


class Token:
    """One token by its label. ``login`` counts the logins: handles of objects are good for one login only."""

    def __init__(self, library: Path, label: str, pin: Secret[str], home: Path) -> None:
        """Log in. Raises KeystoreClosed: no library, no such token, wrong PIN."""
        self._path = library
        self._label = label
        self._pin = pin
        self._refusal = home / REFUSAL_FILE
        self._session: pkcs11.Session | None = None
        self.login = 0
        _thread.submit(self._open).result()

    def run(self, work: Callable[[pkcs11.Session], T]) -> T:
        """Do ``work`` in the token's thread; again after a new login when the session was lost.

        Raises what ``work`` raises, Unavailable while the token is away, KeystoreClosed when it refuses the PIN.
        """
        return _thread.submit(self._attempt, work).result()

    def close(self) -> None:
        """Log out."""
        _thread.submit(self._close).result()

    def _attempt(self, work: Callable[[pkcs11.Session], T]) -> T:
        try:
            if self._session is not None:
                return work(self._session)
        except LOST as problem:
            _log.warning("token_lost", error=type(problem).__name__)
        except exceptions.GeneralError:
            # What a library answers both to bad input and to a removed token: the session tells which.
            if self._alive():
                raise
            _log.warning("token_lost", error="GeneralError")
        self._close()
        try:
            pkcs11.lib(str(self._path)).reinitialize()
            self._open()
            assert self._session is not None
            return work(self._session)
        except (KeystoreClosed, *LOST) as problem:
            self._close()
            if isinstance(problem, KeystoreClosed) and self._refusal.exists():
                raise
            raise Unavailable("the token does not answer") from problem

    def _alive(self) -> bool:
        try:
            if self._session is not None:
                self._session.generate_random(64)
        except exceptions.PKCS11Error:
            return False
        return self._session is not None

    def _open(self) -> None:
        if self._refusal.exists():
            raise KeystoreClosed(
                f"the token refused the PIN and it is not tried again: correct keys.pkcs11_pin, then delete "
                f"{self._refusal}"
            )
        token = self._find()
        if token.flags & (TokenFlag.USER_PIN_LOCKED | TokenFlag.USER_PIN_FINAL_TRY):
            raise KeystoreClosed(
                f"the PIN of token {self._label!r} is locked or has one try left: use the token's own tool first"
            )
        try:
            self._session = token.open(rw=True, user_pin=self._pin.reveal())
        except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange, exceptions.PinLocked):
            write_whole(self._refusal, b"")
            raise KeystoreClosed(
                f"token {self._label!r} refuses the PIN; it was tried once and will not be tried again: correct "
                f"keys.pkcs11_pin, then delete {self._refusal}"
            ) from None
        except exceptions.UserAlreadyLoggedIn:
            self._session = token.open(rw=True)
        self.login += 1

    def _find(self) -> pkcs11.Token:
        try:
            library = pkcs11.lib(str(self._path))
            if not list(library.get_tokens(token_label=self._label)):
                # A token that came after the library was loaded. Other sessions of this process log in again.
                library.reinitialize()
            return library.get_token(token_label=self._label)
        except exceptions.NoSuchToken:
            raise KeystoreClosed(
                f"{self._path} has no token {self._label!r}: insert it, or run 'civium keys init --pkcs11'"
            ) from None
        except exceptions.MultipleTokensReturned:
            raise KeystoreClosed(
                f"{self._path} has several tokens {self._label!r}: give them different labels"
            ) from None
        except (exceptions.PKCS11Error, OSError, RuntimeError) as problem:
            raise KeystoreClosed(f"{self._path} does not work as a PKCS#11 library: {problem}") from problem

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except exceptions.PKCS11Error as problem:
                _log.debug("token_session_gone", error=type(problem).__name__)


class _Info(ctypes.Structure):
    """CK_TOKEN_INFO."""

    _fields_ = (
        ("label", ctypes.c_char * LABEL_BYTES),
        ("maker", ctypes.c_char * 32),
        ("model", ctypes.c_char * 16),
        ("serial", ctypes.c_char * 16),
        ("flags", ctypes.c_ulong),
        ("limits", ctypes.c_ulong * 10),
        ("versions", ctypes.c_ubyte * 4),
        ("time", ctypes.c_char * 16),
    )


def initialise(library: Path, label: str, *, pin: Secret[str], officer_pin: Secret[str]) -> None:
    """Make a token with this label in the library's first free slot, and set its user PIN.

    Call it in a process that has not used the library yet. Raises KeystoreClosed when there is no free slot or a
    token of this label, IntegrityError when the library fails.
    """
    api = ctypes.CDLL(str(library))
    if len(label.encode()) > LABEL_BYTES:
        raise KeystoreClosed(f"a token's label has at most {LABEL_BYTES} bytes")

    def call(name: str, *arguments: object) -> None:
        result = getattr(api, name)(*arguments)
        if result != 0:
            raise IntegrityError(f"{library}: {name} failed with {result:#x}")

    call("C_Initialize", None)
    try:
        slot = _free_slot(call, label)
        officer, user = officer_pin.reveal().encode(), pin.reveal().encode()
        call("C_InitToken", slot, officer, ctypes.c_ulong(len(officer)), label.encode().ljust(LABEL_BYTES))
        slot = _slot_of(call, label)
        session = ctypes.c_ulong()
        call("C_OpenSession", slot, ctypes.c_ulong(0x6), None, None, ctypes.byref(session))
        call("C_Login", session, ctypes.c_ulong(0), officer, ctypes.c_ulong(len(officer)))
        call("C_InitPIN", session, user, ctypes.c_ulong(len(user)))
        call("C_Logout", session)
        call("C_CloseSession", session)
    finally:
        call("C_Finalize", None)


_Call = Callable[..., None]


def _slots(call: _Call) -> list[tuple[ctypes.c_ulong, _Info]]:
    count = ctypes.c_ulong()
    call("C_GetSlotList", ctypes.c_ubyte(1), None, ctypes.byref(count))
    slots = (ctypes.c_ulong * count.value)()
    call("C_GetSlotList", ctypes.c_ubyte(1), slots, ctypes.byref(count))
    found = []
    for number in slots[: count.value]:
        info = _Info()
        call("C_GetTokenInfo", ctypes.c_ulong(number), ctypes.byref(info))
        found.append((ctypes.c_ulong(number), info))
    return found


def _named(info: _Info, label: str) -> bool:
    return (
        bool(info.flags & TokenFlag.TOKEN_INITIALIZED) and bytes(info.label).decode(errors="replace").rstrip() == label
    )


def _free_slot(call: _Call, label: str) -> ctypes.c_ulong:
    slots = _slots(call)
    if any(_named(info, label) for _, info in slots):
        raise KeystoreClosed(f"there is a token {label!r} already")
    for slot, info in slots:
        if not info.flags & TokenFlag.TOKEN_INITIALIZED:
            return slot
    raise KeystoreClosed("no slot with an uninitialised token is free")


def _slot_of(call: _Call, label: str) -> ctypes.c_ulong:
    return next(slot for slot, info in _slots(call) if _named(info, label))
