"""What an auth credential carries: the policy's attributes and biometrics, and nothing else (sections 3.4, 3.5)."""

import json
from collections.abc import Mapping
from importlib.resources import files

import msgspec

from civium.biometrics.api import Modality, compose_single, credential_key, parse_cbeff
from civium.identity.api import Attributes
from civium.masterdata.api import IdentityMapping

BIOMETRIC_GROUP = "CBEFF"


class BiometricFilter(msgspec.Struct, frozen=True):
    """The biometrics of one modality."""

    type: Modality


class Source(msgspec.Struct, frozen=True):
    """Where an attribute comes from: a key of the identity mapping, for biometrics with the modalities let through."""

    attribute: str
    filter: tuple[BiometricFilter, ...] = ()


class ShareableAttribute(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of a sharing policy; ``group`` None is demographic."""

    attribute_name: str
    source: tuple[Source, ...]
    group: str | None = None


class SharingPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """What may reach authentication (section 3.7)."""

    shareable_attributes: tuple[ShareableAttribute, ...]

    def demographics(self, identity: Attributes, mapping: IdentityMapping) -> dict[str, str]:
        """Return the texts of the demographic attributes, by their names in the ID schema."""
        selected = {}
        for shareable in self.shareable_attributes:
            if shareable.group is not None:
                continue
            for source in shareable.source:
                for name in mapping.attributes(source.attribute) or (source.attribute,):
                    if identity.get(name) is not None:
                        selected[name] = attribute_text(identity[name])
        return selected

    def biometrics(self, files_by_category: Mapping[str, bytes]) -> dict[str, str]:
        """Return one CBEFF document per biometric, by its name in the credential.

        A modality that no filter names is not released; exceptions carry nothing and are left out. Raises
        InvalidBiometrics.
        """
        selected = {}
        for shareable in self.shareable_attributes:
            if shareable.group != BIOMETRIC_GROUP:
                continue
            for source in shareable.source:
                modalities = {each.type for each in source.filter}
                document = files_by_category.get(source.attribute)
                for record in parse_cbeff(document) if document is not None else ():
                    if record.modality in modalities and not record.exception:
                        selected[credential_key(record)] = compose_single(record).decode()
        return selected


def attribute_text(value: object) -> str:
    """Return an attribute as authentication expects it: a text as it is, anything else as JSON text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def auth_policy() -> SharingPolicy:
    """Return the shipped policy for authentication."""
    return msgspec.json.decode(files(__package__).joinpath("auth_policy.json").read_bytes(), type=SharingPolicy)
