"""What a relying party's developer writes: one call of the public client, as a program of its own.

Runs in the client's own environment (it pins an older cryptography than the platform) and imports nothing of
civium. Usage: ``python sdk_client.py CONFIG.toml`` with one JSON request on standard input; one JSON answer on
standard output.
"""

import json
import sys
import tomllib
from types import SimpleNamespace
from typing import Any

from mosip_auth_sdk import MOSIPAuthenticator
from mosip_auth_sdk.models import DemographicsModel


def authenticator(path: str) -> Any:
    """Return the client configured from a TOML file."""
    with open(path, "rb") as file:  # noqa: PTH123 - as its documentation does
        parts = tomllib.load(file)
    return MOSIPAuthenticator(config=SimpleNamespace(**{name: SimpleNamespace(**part) for name, part in parts.items()}))


def main() -> None:
    """Do what the request asks: ``{"call": "genotp" | "auth" | "kyc", ...arguments of that call}``."""
    request = json.load(sys.stdin)
    client = authenticator(sys.argv[1])
    call = request.pop("call")
    demographics = request.pop("demographics", None)
    if demographics is not None:
        request["demographic_data"] = DemographicsModel(**demographics)
    answer = getattr(client, call)(**request).json()
    if call == "kyc" and answer["response"].get("identity"):
        answer["opened"] = client.decrypt_response(answer)
    json.dump(answer, sys.stdout)


main()
