"""All routes of the key manager."""

from dataclasses import dataclass

from civium.kernel.clock import Clock
from civium.keys.api import KeyAdministration, TrustStore
from civium.keys.http.access import ApplicationAccess
from civium.keys.http.client_crypto import add_client_crypto
from civium.keys.http.encryption import add_encryption
from civium.keys.http.life_cycle import add_life_cycle
from civium.keys.http.partner_certificates import add_partner_certificates
from civium.keys.http.pins import PinGuard
from civium.keys.http.router import KeyRouter
from civium.keys.http.signatures import add_signatures
from civium.keys.http.tokens import Licenses, add_tokens
from civium.keys.http.uses import UseLog
from civium.keys.http.verifier import Verifier
from civium.keys.http.zero_knowledge import add_zero_knowledge
from civium.platform.database import Database
from civium.platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the routes work with. ``authentication`` is that context's view of the key process."""

    db: Database
    keys: KeyAdministration
    authentication: KeyAdministration
    trust: TrustStore
    uses: UseLog
    pins: PinGuard
    clock: Clock
    settings: Settings


def key_router(of: Dependencies) -> KeyRouter:
    """Return the routes under ``/v1/keymanager``."""
    limits = of.settings.keymanager
    access = ApplicationAccess(limits.access_allowed, sandbox=of.settings.sandbox)
    verifier = Verifier(of.keys, of.trust, of.clock, accept_unknown=limits.accept_unknown_signers)
    router = KeyRouter(of.clock)
    add_life_cycle(router, of.keys, of.uses)
    add_encryption(router, of.keys, access, of.pins, of.uses)
    add_zero_knowledge(router, of.keys, of.authentication, access, of.uses)
    add_signatures(router, of.keys, access, of.uses, verifier, json_only=limits.sign_json_only)
    add_client_crypto(router, of.keys, access, of.uses)
    add_partner_certificates(router, of.trust, access, of.uses)
    add_tokens(router, of.keys, Licenses(of.db, of.keys, of.clock), of.uses)
    return router
