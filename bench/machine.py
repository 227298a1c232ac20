"""The limits of this machine: what its cores can do of the cryptography that an authentication cannot avoid."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.figures import Figure
from civium.kernel.clock import monotonic

SECONDS = 0.4
"""How long each operation is repeated."""
CORES = os.cpu_count() or 1
AUTHENTICATION = "one authentication's cryptography"
_BODY = b"x" * 1024
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
_PKCS1 = padding.PKCS1v15()


@cache
def _operations() -> Mapping[str, Callable[[], object]]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key()
    wrapped = public.encrypt(bytes(32), _OAEP)
    signature = key.sign(_BODY, _PKCS1, hashes.SHA256())
    nonce = bytes(16)
    sealed = AESGCM(bytes(32)).encrypt(nonce, _BODY, None)

    def decrypt() -> bytes:
        return key.decrypt(wrapped, _OAEP)

    def sign() -> bytes:
        return key.sign(_BODY, _PKCS1, hashes.SHA256())

    def verify() -> None:
        public.verify(signature, _BODY, _PKCS1, hashes.SHA256())

    def open_box() -> bytes:
        return AESGCM(bytes(32)).decrypt(nonce, sealed, None)

    def authentication() -> None:
        decrypt()
        verify()
        open_box()
        sign()

    return {
        "RSA-2048 OAEP-SHA256 decrypt": decrypt,
        "RSA-2048 RS256 sign": sign,
        "RSA-2048 RS256 verify": verify,
        "AES-256-GCM open 1 KiB": open_box,
        AUTHENTICATION: authentication,
    }


def _rate(name: str) -> float:
    operation = _operations()[name]
    operation()
    count, began = 0, monotonic()
    while (elapsed := monotonic() - began) < SECONDS:
        for _ in range(10):
            operation()
        count += 10
    return count / elapsed


@dataclass(frozen=True, slots=True)
class Limits:
    """Operations per second, by name: of one core alone, and of all cores at once."""

    one: Mapping[str, float]
    all: Mapping[str, float]

    @property
    def authentications(self) -> float:
        """Authentications per second if all cores did nothing but their cryptography."""
        return self.all[AUTHENTICATION]

    def best(self, other: "Limits") -> "Limits":
        """Return the higher of two measurements, each: what else ran on the machine only ever lowers one."""
        return Limits(_higher(self.one, other.one), _higher(self.all, other.all))

    def figures(self) -> list[Figure]:
        """Return all of them."""
        return [
            Figure(f"{name}, {where}", rate, "1/s")
            for name in _operations()
            for where, rate in (("one core", self.one[name]), (f"{CORES} cores", self.all[name]))
        ]


def _higher(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: max(rate, second[name]) for name, rate in first.items()}


def measure() -> Limits:
    """Measure every operation on one core, then on all cores by a process each. About 5 s."""
    with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
        list(pool.map(_rate, [AUTHENTICATION] * CORES))  # starts the processes
        return Limits(
            {name: next(pool.map(_rate, [name])) for name in _operations()},
            {name: sum(pool.map(_rate, [name] * CORES)) for name in _operations()},
        )
