"""Drives the unmodified public client (`mosip-auth-sdk`) in its own environment."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from civium.kernel.errors import CiviumError
from civium.kernel.identifiers import UIN, VID

PROGRAM = Path(__file__).with_name("sdk_client.py")
CALL_SECONDS = 60


class ClientFailed(CiviumError):
    """The public client ended with an error of its own."""


@dataclass(frozen=True, slots=True)
class PublicClient:
    """``python`` is the interpreter of the client's environment; ``folder`` holds its ``config.toml``."""

    python: Path
    folder: Path

    def call(self, name: str, identifier: UIN | VID, transaction: str, **arguments: Any) -> dict[str, Any]:
        """Make one call (``genotp``, ``auth`` or ``kyc``) and return the answer's JSON.

        A `kyc` answer also has ``opened``, the decrypted identity. Raises ClientFailed.
        """
        request = {
            "call": name,
            "individual_id": identifier.reveal(),
            "individual_id_type": type(identifier).__name__,
            "txn_id": transaction,
            **arguments,
        }
        done = subprocess.run(
            [self.python, "-I", PROGRAM, self.folder / "config.toml"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise ClientFailed(f"the public client ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
