"""The auth policy agreed with a relying party (id-authentication section 16)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec


class Factor(StrEnum):
    """What a person may prove their identity with, by its name in policies and lock codes."""

    DEMO = "demo"
    OTP = "otp"
    PIN = "pin"
    BIO = "bio"


class TokenType(StrEnum):
    """Whom the token that a relying party gets is pairwise to."""

    PARTNER = "partner"
    POLICY = "policy"
    RANDOM = "random"


class _Allowed(msgspec.Struct, frozen=True, rename="camel"):
    auth_type: str
    auth_sub_type: str | None = None
    mandatory: bool = False


class _Attribute(msgspec.Struct, frozen=True, rename="camel"):
    attribute_name: str


class _Wire(msgspec.Struct, frozen=True, rename="camel"):
    auth_token_type: str = TokenType.RANDOM
    allowed_auth_types: tuple[_Allowed, ...] = ()
    allowed_kyc_attributes: tuple[_Attribute, ...] = ()
    kyc_languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """What a relying party may ask for. Types are lower case: policies are compared without regard to case."""

    token_type: TokenType
    allowed: frozenset[str]
    mandatory: tuple[str, ...]
    kyc_attributes: tuple[str, ...]
    kyc_languages: tuple[str, ...]

    @classmethod
    def parse(cls, policy: Mapping[str, Any]) -> "AuthPolicy":
        """Read a policy's JSON; an unknown token type counts as ``random`` (section 12.4).

        A policy of another kind (MISP, data share) allows nothing. Raises msgspec.ValidationError for wrong types.
        """
        wire = msgspec.convert(policy, _Wire)
        token_type = wire.auth_token_type.lower()
        return cls(
            token_type=TokenType(token_type) if token_type in set(TokenType) else TokenType.RANDOM,
            allowed=frozenset(entry.auth_type.lower() for entry in wire.allowed_auth_types),
            mandatory=tuple(entry.auth_type.lower() for entry in wire.allowed_auth_types if entry.mandatory),
            kyc_attributes=tuple(attribute.attribute_name for attribute in wire.allowed_kyc_attributes),
            kyc_languages=wire.kyc_languages,
        )

    def languages(self, system: tuple[str, ...]) -> tuple[str, ...]:
        """Return the languages of KYC answers: the policy's if one of them is the system's, else the system's."""
        return self.kyc_languages if set(self.kyc_languages) & set(system) else system
