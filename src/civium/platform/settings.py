"""Every setting of the platform, in one typed class.

Sources, strongest first: environment (``CIVIUM_<NAME>``, nested with ``__``), ``civium.toml`` in the home directory.
An unknown key is refused. The defaults are those of production; sandbox mode is a start-up choice.
"""

import os
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from civium.kernel.errors import CiviumError
from civium.platform.permissions import Role

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class UnknownSettingError(CiviumError):
    """The environment names a setting that does not exist."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpSettings(_Section):
    """Where the server listens and what a request may cost."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    max_body_bytes: int = 6 * 1024 * 1024
    max_json_depth: int = 32
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    require_client_certificate: bool = False
    trusted_proxies: tuple[str, ...] = ()


class DatabaseSettings(_Section):
    """The embedded PostgreSQL server under the home directory."""

    binaries: Path | None = None
    pool_size: int = 8
    durable: bool = True
    compression: bool = True
    context_roles: bool = False


class KeySettings(_Section):
    """The key process and what unseals its keystores."""

    passphrase: SecretStr | None = None
    second_passphrase: SecretStr | None = None
    pkcs11_library: Path | None = None
    pkcs11_token: str = "civium"  # noqa: S105 - a label
    pkcs11_pin: SecretStr | None = None
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    zk_pool_size: int = 10_000


class KeyManagerSettings(_Section):
    """What the endpoints under ``/v1/keymanager`` allow (keys-and-crypto section 13).

    ``access_allowed`` replaces who may use an application's private keys: token subjects by application id, or by
    ``application:reference``. ``accept_unknown_signers`` lets jwtVerify take a certificate that nobody vouches for.
    ``private_list_hosts`` are hosts inside our own network from which revocation lists may be fetched.
    """

    access_allowed: dict[str, frozenset[str]] = {}
    pin_minimum_length: int = Field(default=6, ge=4)
    sign_json_only: bool = False
    accept_unknown_signers: bool = False
    private_list_hosts: frozenset[str] = frozenset()


class MailSettings(_Section):
    """The SMTP server that takes mail, and the sender's address."""

    host: str = "127.0.0.1"
    port: int = 0
    username: str | None = None
    password: SecretStr | None = None
    starttls: bool = True
    sender: str = "no-reply@civium.invalid"


class AuthenticationSettings(_Section):
    """What authentication allows (id-authentication sections 2, 7 and 11)."""

    allowed_domain_uris: tuple[str, ...] = ("http://127.0.0.1:8080",)
    allowed_environments: tuple[str, ...] = ("Staging", "Developer", "Pre-Production", "Production")
    accept_empty_authorization: bool = False
    request_age_seconds: int = 30
    request_adjustment_seconds: int = 30
    otp_requests_per_minute: int = 5
    otp_expiry_seconds: int = 180
    otp_attempts: int = 5
    otp_freeze_minutes: int = 30
    partner_snapshot_max_age_seconds: int = 60


class CertificateClient(_Section):
    """A service that proves itself with a TLS client certificate in place of a token.

    ``name`` is what the certificate must carry: ``dns:<name>`` or ``uri:<name>`` among its alternative names, or
    ``subject:<RFC 4514 text>``.
    """

    name: str = Field(pattern=r"^(dns|uri|subject):.+$")
    client: str = Field(min_length=1)
    roles: tuple[Role, ...]


class TrustedIssuer(_Section):
    """Another issuer of access tokens, such as a realm of Keycloak.

    Tokens carry exactly ``issuer``, and one of ``audiences`` in ``aud`` or as ``client_claim``. ``roles_claim`` is a
    path with dots. ``ca`` is the file of a private authority of the TLS server; verification has no off switch.
    """

    issuer: str = Field(min_length=1)
    jwks_uri: str
    audiences: tuple[str, ...] = Field(min_length=1)
    roles_claim: str = "realm_access.roles"
    client_claim: str = "azp"
    subject_claim: str = "preferred_username"
    ca: Path | None = None

    @field_validator("jwks_uri")
    @classmethod
    def _protected(cls, uri: str) -> str:
        parts = urlsplit(uri)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("must begin with https:// (http:// is for this machine only)")
        return uri


class AccessSettings(_Section):
    """Who may call besides the log-ins that are registered (keys-and-crypto section 11).

    ``issuer`` is the ``iss`` of our own tokens where the outside knows us by another address than ``http.host``.
    ``trusted_origins`` are the web pages of other sites that may act for a browser's user. ``failures_per_address``
    are the wrong log-ins that one network address has in five minutes.
    """

    issuer: str | None = None
    issuers: tuple[TrustedIssuer, ...] = ()
    certificates: tuple[CertificateClient, ...] = ()
    trusted_origins: tuple[str, ...] = ()
    failures_per_address: int = Field(default=100, ge=1)


class Settings(BaseSettings):
    """The effective settings of one installation."""

    model_config = SettingsConfigDict(env_prefix="CIVIUM_", env_nested_delimiter="__", extra="forbid", frozen=True)

    _toml: ClassVar[Path | None] = None

    home: Path = Path(".civium")
    mode: Literal["production", "sandbox"] = "production"
    languages: tuple[str, ...] = ("eng", "ara")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    fault: str | None = None

    http: HttpSettings = HttpSettings()
    database: DatabaseSettings = DatabaseSettings()
    keys: KeySettings = KeySettings()
    keymanager: KeyManagerSettings = KeyManagerSettings()
    mail: MailSettings = MailSettings()
    authentication: AuthenticationSettings = AuthenticationSettings()
    access: AccessSettings = AccessSettings()

    @property
    def url(self) -> str:
        """Where the platform answers."""
        scheme = "http" if self.http.tls_certificate is None else "https"
        host = f"[{self.http.host}]" if ":" in self.http.host else self.http.host
        return f"{scheme}://{host}:{self.http.port}"

    @property
    def sandbox(self) -> bool:
        """Whether this installation is a sandbox: made-up people only, mail caught, faults allowed."""
        return self.mode == "sandbox"

    @model_validator(mode="after")
    def _client_certificates_are_checked(self) -> Self:
        if (self.access.certificates or self.http.require_client_certificate) and self.http.client_ca is None:
            raise ValueError("http.client_ca is needed to tell clients by their certificates")
        if self.http.client_ca is not None and self.http.tls_certificate is None:
            raise ValueError("http.tls_certificate and http.tls_key are needed for client certificates")
        return self

    @model_validator(mode="after")
    def _production_is_strict(self) -> Self:
        if self.sandbox:
            return self
        if self.fault is not None:
            raise ValueError("fault points exist in sandbox mode only: remove CIVIUM_FAULT")
        if self.http.host not in LOOPBACK and self.http.tls_certificate is None:
            raise ValueError("http.tls_certificate and http.tls_key are needed to listen beyond this machine")
        if not self.database.durable:
            raise ValueError("database.durable can be false in sandbox mode only")
        strict = AuthenticationSettings()
        for limit in ("otp_requests_per_minute", "otp_attempts"):
            if getattr(self.authentication, limit) > getattr(strict, limit):
                raise ValueError(f"authentication.{limit} can be above {getattr(strict, limit)} in sandbox mode only")
        most = AccessSettings().failures_per_address
        if self.access.failures_per_address > most:
            raise ValueError(f"access.failures_per_address can be above {most} in sandbox mode only")
        if self.authentication.otp_freeze_minutes < strict.otp_freeze_minutes:
            raise ValueError(
                f"authentication.otp_freeze_minutes can be below {strict.otp_freeze_minutes} in sandbox mode only"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment, then the TOML file."""
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if cls._toml is not None:
            sources.append(TomlConfigSettingsSource(settings_cls, cls._toml))
        return tuple(sources)


def _refuse_unknown_names() -> None:
    known = {"CIVIUM_HOME"}
    for name, field in Settings.model_fields.items():
        known.add(f"CIVIUM_{name}".upper())
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            known |= {f"CIVIUM_{name}__{inner}".upper() for inner in field.annotation.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith("CIVIUM_") and name not in known)
    if unknown:
        raise UnknownSettingError(f"no such setting: {', '.join(unknown)} ('civium config' prints all)")


def load(**overrides: Any) -> Settings:
    """Return the effective settings; raises pydantic.ValidationError or UnknownSettingError naming each wrong key.

    The domain URIs that authentication allows are the server's own address unless they are set.
    """
    _refuse_unknown_names()
    home = Path(overrides.get("home") or os.environ.get("CIVIUM_HOME", ".civium")).absolute()
    toml = home / "civium.toml"
    Settings._toml = toml if toml.is_file() else None  # noqa: SLF001 - the class reads it while it loads
    try:
        settings = Settings(**{**overrides, "home": home})
    finally:
        Settings._toml = None  # noqa: SLF001
    if "allowed_domain_uris" in settings.authentication.model_fields_set:
        return settings
    own = settings.authentication.model_copy(update={"allowed_domain_uris": (settings.url,)})
    return settings.model_copy(update={"authentication": own})
