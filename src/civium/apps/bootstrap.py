"""What an installation needs before it serves: schema, reference data, and in sandbox mode a small country."""

import asyncio
import os
import uuid
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from civium.apps.installation import Installation, open_installation
from civium.apps.sandbox.client import OFFICER
from civium.apps.sandbox.registration import CENTRE, MACHINE, MACHINE_KEY_FILE, SUPERVISOR, load_machine_key
from civium.kernel.identifiers import CentreId, MachineId
from civium.keys.api import IDA_PARTNER_ID, KeyRef
from civium.platform import telemetry
from civium.platform.migrations import migrate
from civium.platform.objects import FileObjectStore
from civium.platform.permissions import Role
from civium.platform.postgres import OWNER, Cluster
from civium.platform.settings import Settings, load


async def prepare(settings: Settings) -> None:
    """Bring the schema up to date and seed what is missing. Idempotent; needs the database and the key process."""
    telemetry.correlation.set(f"start-{uuid.uuid4()}")
    FileObjectStore(settings.home / "objects").discard_unfinished()
    owner = Cluster(settings.home, settings.database).dsn(OWNER)
    await migrate(owner, compression=settings.database.compression)
    async with open_installation(settings) as installation:
        await installation.master_data.id_schema()
        certificate = await installation.core.keys.certificate(KeyRef("PARTNER", IDA_PARTNER_ID))
        await installation.partners.seed_online_verification_partner(IDA_PARTNER_ID, certificate.pem)
        if settings.sandbox:
            await _seed_sandbox(settings.home, installation)


async def _seed_sandbox(home: Path, installation: Installation) -> None:
    await installation.access.seed_sandbox()
    path = home / "sandbox" / MACHINE_KEY_FILE
    if not path.exists():
        _make_machine_key(path)
    public = load_machine_key(home).public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    master_data = installation.master_data
    await master_data.register_machine(
        MachineId(MACHINE), name="Sandbox machine", centre=CentreId(CENTRE), public_key=public
    )
    await master_data.register_operator(OFFICER.name, centre=CentreId(CENTRE), role=Role.REGISTRATION_OFFICER.value)
    await master_data.register_operator(SUPERVISOR, centre=CentreId(CENTRE), role=Role.REGISTRATION_SUPERVISOR.value)


def _make_machine_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def main() -> None:
    """Prepare the installation that the environment describes."""
    settings = load()
    telemetry.configure(settings.log_level)
    asyncio.run(prepare(settings))


if __name__ == "__main__":
    main()
