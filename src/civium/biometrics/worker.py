"""The biometric worker process: reads requests on its standard input, answers on its standard output, knows no more.

It holds clear images for the length of one request. It cannot write to disk (file size limit 0), leaves no core file,
and its address space is limited. End of input ends it, and while it computes the kernel does, so that it never outlives
its parent.
"""

import os
import resource
import signal
import struct
import sys
from typing import BinaryIO, Final, TypeAlias

import msgspec

from civium.biometrics import extraction, quality
from civium.biometrics.domain import BiometricRecord, InvalidBiometrics, Quality
from civium.platform.tether import tie_to_parent

_MEMORY: Final = 1 << 30


class Extract(msgspec.Struct, frozen=True, tag=True):
    """Ask for the template of a finger."""

    record: BiometricRecord


class Compare(msgspec.Struct, frozen=True, tag=True):
    """Ask for the best score of each person."""

    probe: dict[str, bytes]
    gallery: list[dict[str, bytes]]


class Measure(msgspec.Struct, frozen=True, tag=True):
    """Ask for the quality of a record."""

    record: BiometricRecord


class Extracted(msgspec.Struct, frozen=True, tag=True):
    """A template."""

    template: bytes


class Compared(msgspec.Struct, frozen=True, tag=True):
    """A score per person."""

    scores: list[int]


class Measured(msgspec.Struct, frozen=True, tag=True):
    """A quality."""

    quality: Quality


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The input was malformed; ``rule`` names what it broke."""

    rule: str


Request: TypeAlias = Extract | Compare | Measure
Reply: TypeAlias = Extracted | Compared | Measured | Refused

FRAME: Final = struct.Struct(">I")
"""The length that stands before each message."""


def answer(request: Request) -> Reply:
    """Return the reply to one request."""
    try:
        match request:
            case Extract(record):
                return Extracted(extraction.template(record))
            case Compare(probe, gallery):
                return Compared(extraction.best_scores(probe, gallery))
            case Measure(record):
                return Measured(quality.measure(record))
    except InvalidBiometrics as problem:
        return Refused(str(problem))


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until their stream ends."""
    decoder, encoder = msgspec.msgpack.Decoder(Request), msgspec.msgpack.Encoder()
    while len(head := requests.read(FRAME.size)) == FRAME.size:
        reply = encoder.encode(answer(decoder.decode(requests.read(FRAME.unpack(head)[0]))))
        replies.write(FRAME.pack(len(reply)) + reply)
        replies.flush()


def _confine() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def main() -> None:
    """Serve the parent. The native library may print: its standard output goes nowhere."""
    tie_to_parent(signal.SIGKILL)
    _confine()
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
