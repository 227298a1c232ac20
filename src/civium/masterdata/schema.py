"""The ID schema: its text as it goes over the wire, and its typed view (sections 7.1, 7.2)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from civium.kernel.errors import Rejected
from civium.kernel.identifiers import Language


class AttributeKind(StrEnum):
    """The types that an attribute of the ID schema may have."""

    SIMPLE = "simple"
    """A text per language: list of ``{"language", "value"}``."""
    STRING = "string"
    NUMBER = "number"
    DOCUMENT = "document"
    BIOMETRICS = "biometrics"


@dataclass(frozen=True, slots=True)
class Validator:
    """A regular expression that the whole text must match; ``language`` limits it to texts of that language."""

    pattern: str
    language: Language | None = None


@dataclass(frozen=True, slots=True)
class SchemaAttribute:
    """One property of the ID schema. ``category`` (none, pvt, kyc, evidence, optional) decides its sub packet."""

    name: str
    kind: AttributeKind
    category: str
    format: str
    validators: tuple[Validator, ...] = ()
    bio_attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IdSchema:
    """A published ID schema: its JSON schema text as it goes over the wire, and its typed view."""

    id: str
    version: float
    title: str
    description: str
    text: str = field(repr=False)
    attributes: Mapping[str, SchemaAttribute] = field(repr=False)
    effective_from: str
    """The wire's instant format."""

    def of_kind(self, kind: AttributeKind) -> tuple[str, ...]:
        """Return the names of the attributes of ``kind``, in the order of the schema."""
        return tuple(name for name, attribute in self.attributes.items() if attribute.kind is kind)


_REFERENCES = {
    "#/definitions/simpleType": AttributeKind.SIMPLE,
    "#/definitions/documentType": AttributeKind.DOCUMENT,
    "#/definitions/biometricsType": AttributeKind.BIOMETRICS,
}


def parse_schema(answer: Mapping[str, Any]) -> IdSchema:
    """Return the schema in an answer of ``latestidschema``; raises Rejected KER-IOV-007 when it is none."""
    try:
        members = {name: answer[name] for name in ("id", "title", "description")}
        version, text, effective_from = (answer[name] for name in ("idVersion", "schemaJson", "effectiveFrom"))
    except KeyError:
        raise Rejected("KER-IOV-007", "Invalid ID schema") from None
    return typed_schema(**members, version=version, text=text, effective_from=effective_from)


def typed_schema(*, id: str, version: float, title: str, description: str, text: str, effective_from: str) -> IdSchema:
    """Return the typed view of a schema text; raises Rejected KER-IOV-007 when it is no ID schema."""
    try:
        properties = json.loads(text)["properties"]["identity"]["properties"]
        attributes = {name: _attribute(name, declared) for name, declared in properties.items()}
    except (ValueError, KeyError, TypeError, AttributeError, re.error) as problem:
        raise Rejected("KER-IOV-007", "Invalid ID schema") from problem
    return IdSchema(
        id=id,
        version=version,
        title=title,
        description=description,
        text=text,
        attributes=MappingProxyType(attributes),
        effective_from=effective_from,
    )


def _attribute(name: str, declared: Mapping[str, Any]) -> SchemaAttribute:
    validators = tuple(
        Validator(entry["validator"], Language(entry["langCode"]) if entry.get("langCode") else None)
        for entry in declared.get("validators", ())
        if entry.get("type") == "regex"
    )
    for validator in validators:
        compiled(validator.pattern)
    return SchemaAttribute(
        name=name,
        kind=_REFERENCES[declared["$ref"]] if "$ref" in declared else AttributeKind(declared["type"]),
        category=declared["fieldCategory"],
        format=declared.get("format", "none"),
        validators=validators,
        bio_attributes=tuple(declared.get("bioAttributes", ())),
    )


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the compiled pattern of a validator."""
    return re.compile(pattern)
