"""Who may do what: the roles that tokens carry, and the permissions that routes ask for.

Role names are the wire's (id-repository-and-commons section 0.2). A route never names a role: it names one
permission, and :data:`GRANTS` is the one table from permission to roles.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Role(StrEnum):
    """The roles of MOSIP, as they stand in ``realm_access.roles`` of a token."""

    ABIS_PARTNER = "ABIS_PARTNER"
    AUTH_PARTNER = "AUTH_PARTNER"
    CREDENTIAL_ISSUANCE = "CREDENTIAL_ISSUANCE"
    CREDENTIAL_PARTNER = "CREDENTIAL_PARTNER"
    CREDENTIAL_REQUEST = "CREDENTIAL_REQUEST"
    DEVICE_PROVIDER = "DEVICE_PROVIDER"
    FTM_PROVIDER = "FTM_PROVIDER"
    GLOBAL_ADMIN = "GLOBAL_ADMIN"
    HOTLIST_ADMIN = "HOTLIST_ADMIN"
    ID_AUTHENTICATION = "ID_AUTHENTICATION"
    ID_REPOSITORY = "ID_REPOSITORY"
    INDIVIDUAL = "INDIVIDUAL"
    KEY_MAKER = "KEY_MAKER"
    MANUAL_ADJUDICATION = "MANUAL_ADJUDICATION"
    MASTERDATA_ADMIN = "MASTERDATA_ADMIN"
    METRICS = "METRICS"
    MISP = "MISP"
    MISP_PARTNER = "MISP_PARTNER"
    ONLINE_VERIFICATION_PARTNER = "ONLINE_VERIFICATION_PARTNER"
    PARTNER = "PARTNER"
    PARTNER_ADMIN = "PARTNER_ADMIN"
    PMS_ADMIN = "PMS_ADMIN"
    POLICYMANAGER = "POLICYMANAGER"
    PRE_REGISTRATION = "PRE_REGISTRATION"
    PRE_REGISTRATION_ADMIN = "PRE_REGISTRATION_ADMIN"
    PRINT_PARTNER = "PRINT_PARTNER"
    REGISTRATION_ADMIN = "REGISTRATION_ADMIN"
    REGISTRATION_OFFICER = "REGISTRATION_OFFICER"
    REGISTRATION_OPERATOR = "REGISTRATION_OPERATOR"
    REGISTRATION_PROCESSOR = "REGISTRATION_PROCESSOR"
    REGISTRATION_SUPERVISOR = "REGISTRATION_SUPERVISOR"
    RESIDENT = "RESIDENT"
    ZONAL_ADMIN = "ZONAL_ADMIN"
    ZONAL_APPROVER = "ZONAL_APPROVER"


class Permission(StrEnum):
    """What a token's caller may be allowed to do: ``context:resource:action``, alphabetical."""

    ACCESS_TOKEN_VALIDATE = "access:token:validate"  # noqa: S105 - the name of a permission
    ACCESS_USER_READ = "access:user:read"
    AUTHENTICATION_CERTIFICATE_READ = "authentication:certificate:read"
    IDENTITY_ADD = "identity:person:add"
    IDENTITY_LOCK = "identity:lock:change"
    IDENTITY_READ = "identity:person:read"
    IDENTITY_RID_READ = "identity:rid:read"
    IDENTITY_UPDATE = "identity:person:update"
    IDGENERATOR_USE = "masterdata:idgenerator:use"
    KEYS_AUTHORITY_READ = "keys:authority:read"
    KEYS_AUTHORITY_UPLOAD = "keys:authority:upload"
    KEYS_CERTIFICATE_READ = "keys:certificate:read"
    KEYS_CLIENT_CRYPTO_CHECK = "keys:clientcrypto:check"
    KEYS_CLIENT_CRYPTO_USE = "keys:clientcrypto:use"
    KEYS_DECRYPT = "keys:data:decrypt"
    KEYS_DOCUMENT_SIGN = "keys:document:sign"
    KEYS_ENCRYPT = "keys:data:encrypt"
    KEYS_FOREIGN_UPLOAD = "keys:foreign:upload"
    KEYS_HASH = "keys:password:hash"
    KEYS_KEY_MAKE = "keys:key:make"
    KEYS_LICENSE = "keys:license:change"
    KEYS_PARTNER_CERTIFICATE = "keys:partner:certificate"
    KEYS_PIN_USE = "keys:pin:use"
    KEYS_SIGN = "keys:data:sign"
    KEYS_TOKEN_MAKE = "keys:token:make"  # noqa: S105 - the name of a permission
    KEYS_VERIFY = "keys:signature:verify"
    KEYS_ZK_USE = "keys:zeroknowledge:use"
    MASTERDATA_READ = "masterdata:reference:read"
    METRICS_READ = "platform:metrics:read"
    PARTNER_ACTIVATE = "partners:partner:activate"
    PARTNER_API_KEY_CHANGE = "partners:apikey:change"
    PARTNER_CA_UPLOAD = "partners:ca:upload"
    PARTNER_CERTIFICATE_UPLOAD = "partners:certificate:upload"
    PARTNER_LIST = "partners:partner:list"
    PARTNER_MAPPING_APPROVE = "partners:mapping:approve"
    PARTNER_MAPPING_REQUEST = "partners:mapping:request"
    PARTNER_MISP = "partners:misp:change"
    PARTNER_READ = "partners:partner:read"
    PARTNER_REGISTER = "partners:partner:register"
    POLICY_MANAGE = "partners:policy:manage"
    POLICY_READ = "partners:policy:read"
    REGISTRATION_RID_GENERATE = "registration:rid:generate"
    REGISTRATION_REPROCESS = "registration:packet:reprocess"
    REGISTRATION_STATUS_READ = "registration:status:read"
    REGISTRATION_SYNC = "registration:packet:sync"
    REGISTRATION_TRANSACTION_READ = "registration:transaction:read"
    REGISTRATION_UPLOAD = "registration:packet:upload"
    SYNCDATA_READ = "masterdata:sync:read"
    VID_CREATE = "identity:vid:create"
    VID_LIST = "identity:vid:list"
    VID_READ = "identity:vid:read"
    VID_RENEW = "identity:vid:renew"
    VID_UPDATE = "identity:vid:update"


_ALL = frozenset(Role)
_PARTNERS = frozenset(
    {
        Role.ABIS_PARTNER,
        Role.AUTH_PARTNER,
        Role.CREDENTIAL_PARTNER,
        Role.DEVICE_PROVIDER,
        Role.FTM_PROVIDER,
        Role.MANUAL_ADJUDICATION,
        Role.MISP_PARTNER,
        Role.ONLINE_VERIFICATION_PARTNER,
        Role.PARTNER,
        Role.PARTNER_ADMIN,
        Role.PRINT_PARTNER,
    }
)
_REGISTRATION_STAFF = frozenset({Role.REGISTRATION_ADMIN, Role.REGISTRATION_OFFICER, Role.REGISTRATION_SUPERVISOR})
_REGISTER = frozenset({Role.REGISTRATION_PROCESSOR, Role.ID_REPOSITORY})

_KEY_CALLERS = frozenset(
    {
        Role.ZONAL_ADMIN,
        Role.GLOBAL_ADMIN,
        Role.INDIVIDUAL,
        Role.ID_AUTHENTICATION,
        Role.REGISTRATION_ADMIN,
        Role.REGISTRATION_SUPERVISOR,
        Role.REGISTRATION_OFFICER,
        Role.REGISTRATION_PROCESSOR,
        Role.PRE_REGISTRATION_ADMIN,
        Role.RESIDENT,
    }
)
"""Callers of the key manager on the wire (keys-and-crypto section 7): they may do what needs public keys only."""
_KEY_USERS = _KEY_CALLERS - {Role.INDIVIDUAL, Role.REGISTRATION_OFFICER}
"""Those of them that services have; each application still admits single callers only (section 13 no. 4)."""
_KEY_MAKERS = frozenset({Role.KEY_MAKER, Role.GLOBAL_ADMIN, Role.ZONAL_ADMIN})
_DATA_SERVICES = frozenset({Role.ID_REPOSITORY, Role.CREDENTIAL_REQUEST, Role.HOTLIST_ADMIN})

GRANTS: Mapping[Permission, frozenset[Role]] = MappingProxyType(
    {
        Permission.ACCESS_TOKEN_VALIDATE: _ALL,
        Permission.ACCESS_USER_READ: frozenset({Role.GLOBAL_ADMIN, Role.ZONAL_ADMIN}),
        Permission.AUTHENTICATION_CERTIFICATE_READ: _ALL,
        Permission.IDENTITY_ADD: _REGISTER,
        Permission.IDENTITY_LOCK: frozenset({Role.RESIDENT, Role.ID_REPOSITORY}),
        Permission.IDENTITY_READ: _REGISTER | _REGISTRATION_STAFF | {Role.RESIDENT, Role.ID_AUTHENTICATION},
        Permission.IDENTITY_RID_READ: frozenset({Role.RESIDENT, Role.ID_REPOSITORY}),
        Permission.IDENTITY_UPDATE: _REGISTER,
        Permission.IDGENERATOR_USE: _REGISTER,
        Permission.KEYS_AUTHORITY_READ: frozenset({Role.PARTNER_ADMIN}),
        Permission.KEYS_AUTHORITY_UPLOAD: frozenset({Role.ZONAL_ADMIN, Role.GLOBAL_ADMIN, Role.PARTNER_ADMIN}),
        Permission.KEYS_CERTIFICATE_READ: _ALL,
        Permission.KEYS_CLIENT_CRYPTO_CHECK: _KEY_CALLERS,
        Permission.KEYS_CLIENT_CRYPTO_USE: _KEY_USERS,
        Permission.KEYS_DECRYPT: _KEY_USERS | _DATA_SERVICES,
        Permission.KEYS_DOCUMENT_SIGN: _KEY_USERS | {Role.PRINT_PARTNER, Role.CREDENTIAL_REQUEST},
        Permission.KEYS_ENCRYPT: _KEY_CALLERS | _DATA_SERVICES,
        Permission.KEYS_FOREIGN_UPLOAD: _KEY_MAKERS | {Role.PARTNER_ADMIN},
        Permission.KEYS_HASH: _KEY_USERS,
        Permission.KEYS_KEY_MAKE: _KEY_MAKERS,
        Permission.KEYS_LICENSE: _KEY_USERS,
        Permission.KEYS_PARTNER_CERTIFICATE: frozenset(
            {Role.ZONAL_ADMIN, Role.GLOBAL_ADMIN, Role.PARTNER_ADMIN, Role.PARTNER}
        ),
        Permission.KEYS_PIN_USE: _KEY_USERS,
        Permission.KEYS_SIGN: _KEY_USERS | {Role.CREDENTIAL_ISSUANCE},
        Permission.KEYS_TOKEN_MAKE: frozenset(
            {Role.ZONAL_ADMIN, Role.GLOBAL_ADMIN, Role.ID_AUTHENTICATION, Role.RESIDENT}
        ),
        Permission.KEYS_VERIFY: _KEY_CALLERS,
        Permission.KEYS_ZK_USE: _KEY_USERS,
        Permission.MASTERDATA_READ: _ALL,
        Permission.METRICS_READ: frozenset({Role.METRICS, Role.GLOBAL_ADMIN}),
        Permission.PARTNER_ACTIVATE: frozenset({Role.PARTNER_ADMIN}),
        Permission.PARTNER_API_KEY_CHANGE: _PARTNERS,
        Permission.PARTNER_CA_UPLOAD: frozenset({Role.PARTNER_ADMIN}),
        Permission.PARTNER_CERTIFICATE_UPLOAD: _PARTNERS,
        Permission.PARTNER_LIST: frozenset({Role.PARTNER_ADMIN, Role.ID_REPOSITORY, Role.CREDENTIAL_ISSUANCE}),
        Permission.PARTNER_MAPPING_APPROVE: frozenset({Role.PARTNER_ADMIN}),
        Permission.PARTNER_MAPPING_REQUEST: _PARTNERS,
        Permission.PARTNER_MISP: frozenset({Role.PARTNER_ADMIN, Role.MISP_PARTNER, Role.MISP}),
        Permission.PARTNER_READ: _PARTNERS | {Role.RESIDENT},
        Permission.PARTNER_REGISTER: _ALL,
        Permission.POLICY_MANAGE: frozenset({Role.PARTNER_ADMIN, Role.POLICYMANAGER}),
        Permission.POLICY_READ: _PARTNERS | {Role.POLICYMANAGER},
        Permission.REGISTRATION_RID_GENERATE: frozenset({Role.REGISTRATION_PROCESSOR, Role.RESIDENT}),
        Permission.REGISTRATION_REPROCESS: frozenset({Role.REGISTRATION_ADMIN}),
        Permission.REGISTRATION_STATUS_READ: _REGISTRATION_STAFF | {Role.RESIDENT},
        Permission.REGISTRATION_SYNC: _REGISTRATION_STAFF | {Role.REGISTRATION_PROCESSOR},
        Permission.REGISTRATION_TRANSACTION_READ: frozenset(
            {Role.REGISTRATION_PROCESSOR, Role.REGISTRATION_ADMIN, Role.RESIDENT}
        ),
        Permission.REGISTRATION_UPLOAD: _REGISTRATION_STAFF | {Role.REGISTRATION_PROCESSOR},
        Permission.SYNCDATA_READ: _REGISTRATION_STAFF
        | {Role.REGISTRATION_PROCESSOR, Role.REGISTRATION_OPERATOR, Role.GLOBAL_ADMIN},
        Permission.VID_CREATE: _REGISTER | {Role.RESIDENT},
        Permission.VID_LIST: _REGISTER | {Role.RESIDENT},
        Permission.VID_READ: _REGISTER | {Role.RESIDENT, Role.ID_AUTHENTICATION},
        Permission.VID_RENEW: frozenset({Role.RESIDENT, Role.ID_REPOSITORY}),
        Permission.VID_UPDATE: _REGISTER | {Role.RESIDENT, Role.ID_AUTHENTICATION},
    }
)
