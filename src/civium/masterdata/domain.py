"""The checks that an identity must pass (section 7.4), the identity mapping, and the index of a key."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from civium.kernel.encoding import sha256
from civium.kernel.errors import Rejected
from civium.masterdata.api import IdentityMapping
from civium.masterdata.schema import AttributeKind, IdSchema, SchemaAttribute, compiled

_DATE = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2}")
_SHOWABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_SIMPLE_MEMBERS = ("language", "value")
_DOCUMENT_MEMBERS = ("format", "type", "value", "refNumber")
_BIOMETRICS_MEMBERS = ("format", "version", "value")

MAX_TEXT = 4096
"""Longest text that is matched against a pattern; longer ones are invalid, whatever the pattern."""

MAX_TEXTS = 64
"""Most entries of a text per language."""


def parse_mapping(text: str) -> IdentityMapping:
    """Return the typed view of an ``identity-mapping.json``; raises ValueError or KeyError when it is none."""
    whole = json.loads(text)
    return IdentityMapping(
        identity=_entries(whole["identity"]),
        documents=_entries(whole["documents"]),
        update_count_limits=MappingProxyType(dict(whole.get("attributeUpdateCountLimit", {}))),
    )


def _entries(entries: Mapping[str, Mapping[str, str]]) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({name: tuple(entry["value"].split(",")) for name, entry in entries.items()})


def key_index(public_key: bytes) -> str:
    """Return the index of a machine's key: lower-hex SHA-256 with a colon between bytes (section 8.8)."""
    return sha256(public_key).hex(":")


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """What an identity is checked against."""

    schema: IdSchema
    mapping: IdentityMapping
    languages: Collection[str]
    today: date

    def problems(self, identity: Mapping[str, Any], required: Collection[str]) -> list[Rejected]:
        """Return every rule that ``identity`` breaks: what is missing first, then what is invalid.

        Patterns that stand beside a ``$ref`` are not applied, as on the wire: only scalars are matched.
        Costs time linear in the size of the identity.
        """
        missing = [
            _missing(alternatives[0])
            for alternatives in (entry.split("|") for entry in required)
            if not any(identity.get(name) is not None for name in alternatives)
        ]
        found = [problem for name, value in identity.items() for problem in self._problems_of(name, value)]
        return missing + sorted(found, key=lambda problem: problem.code != _MISSING)

    def _problems_of(self, name: str, value: object) -> Iterator[Rejected]:
        attribute = self.schema.attributes.get(name)
        if attribute is None:
            yield _invalid(name if _SHOWABLE_NAME.fullmatch(name) else "")
        else:
            yield from self._attribute_problems(attribute, value)

    def _attribute_problems(self, attribute: SchemaAttribute, value: object) -> Iterator[Rejected]:
        match attribute.kind:
            case AttributeKind.SIMPLE:
                yield from self._simple_problems(attribute.name, value)
            case AttributeKind.STRING:
                if not isinstance(value, str) or not self._text_holds(attribute, value):
                    yield _invalid(attribute.name)
            case AttributeKind.NUMBER:
                if not _is_number(value):
                    yield _invalid(attribute.name)
            case AttributeKind.DOCUMENT:
                if not _document_holds(value):
                    yield _invalid(attribute.name)
            case AttributeKind.BIOMETRICS:
                if not _biometrics_hold(value):
                    yield _invalid(attribute.name)

    def _simple_problems(self, name: str, value: object) -> Iterator[Rejected]:
        if not isinstance(value, list) or len(value) > MAX_TEXTS or any(not isinstance(entry, dict) for entry in value):
            yield _invalid(name)
            return
        if any(entry in value[:index] for index, entry in enumerate(value)):
            yield _invalid(name)
        for index, entry in enumerate(value):
            for member in _SIMPLE_MEMBERS:
                if member not in entry:
                    yield _missing(f"{name}/{index}/{member}")
                elif not isinstance(entry[member], str) or len(entry[member]) > MAX_TEXT:
                    yield _invalid(f"{name}/{index}/{member}")
            if not entry.keys() <= set(_SIMPLE_MEMBERS):
                yield _invalid(f"{name}/{index}")
            if isinstance(entry.get("language"), str) and entry["language"] not in self.languages:
                yield _invalid(f"{name}/{index}/language")

    def _text_holds(self, attribute: SchemaAttribute, text: str) -> bool:
        if len(text) > MAX_TEXT:
            return False
        if any(not compiled(each.pattern).fullmatch(text) for each in attribute.validators if not each.language):
            return False
        return attribute.name not in self.mapping.attributes("dob") or self._is_past_date(text)

    def _is_past_date(self, text: str) -> bool:
        if not _DATE.fullmatch(text):
            return False
        year, month, day = (int(part) for part in text.split("/"))
        try:
            return date(year, month, day) <= self.today
        except ValueError:
            return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _document_holds(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() <= set(_DOCUMENT_MEMBERS)
        and all(isinstance(entry, str) or (name == "refNumber" and entry is None) for name, entry in value.items())
    )


def _biometrics_hold(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() <= set(_BIOMETRICS_MEMBERS)
        and all(
            _is_number(entry) and entry >= 0 if name == "version" else isinstance(entry, str)
            for name, entry in value.items()
        )
    )


_MISSING = "KER-IOV-005"


def _missing(path: str) -> Rejected:
    return Rejected(_MISSING, f"Missing input parameter - identity/{path}")


def _invalid(path: str) -> Rejected:
    return Rejected("KER-IOV-004", f"Invalid input parameter - identity/{path}".removesuffix("/"))
