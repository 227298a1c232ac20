"""A real SoftHSM token in a folder of its own. The library reads its settings once per process: one token store each."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from civium.kernel.secrets import Secret
from civium.keys.opening import TokenAccess

LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")
PACKAGES = Path(__file__).parents[1] / "tools" / "packages"
PIN = "4711-not-a-secret"


def need_softhsm() -> None:
    """Install Debian's SoftHSM when we are root; else fail with the line that does."""
    done = subprocess.run([str(PACKAGES), "softhsm2"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(done.stderr.strip())


def make_token(label: str, pin: str = PIN) -> TokenAccess:
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "officer-pin", "--pin", pin],
        check=True,
        capture_output=True,
    )
    return TokenAccess(LIBRARY, label, Secret(pin))


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The token store of this test process."""
    need_softhsm()
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "conf")
    yield folder
    os.environ.pop("SOFTHSM2_CONF", None)


@pytest.fixture
def new_token(softhsm: Path) -> TokenAccess:
    return make_token(secrets.token_hex(8))
