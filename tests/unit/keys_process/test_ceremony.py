import json
import os
import subprocess
import sys

import pytest

from civium.kernel.clock import FixedClock, SystemClock
from civium.kernel.errors import CiviumError
from civium.kernel.secrets import Secret
from civium.keys import ceremony, root
from civium.keys.api import KERNEL_SIGN, SignatureInvalid, jws
from civium.keys.keystore import KeystoreClosed
from civium.keys.opening import Unsealing
from civium.keys.operations import Keystores
from civium.keys.plan import ROOT

ONE, TWO = Secret("first custodian's words"), Secret("second custodian's words")
BOTH = Unsealing(ONE, TWO)
PEOPLE = ("Amina O.", "Björn K.")
SERVE = "from civium.keys.process import main; from civium.platform.settings import load; main(load())"


@pytest.fixture(scope="module")
def held(tmp_path_factory, module_clock):
    home = tmp_path_factory.mktemp("ceremony") / "keys"
    return home, ceremony.hold(home, BOTH, PEOPLE, zk_pool_size=4, clock=module_clock)


@pytest.fixture(scope="module")
def module_clock():
    return FixedClock(SystemClock().now())


def test_both_passphrases_open_and_nothing_less(held, module_clock):
    home, _ = held
    Keystores(home, BOTH, zk_pool_size=4, clock=module_clock).close()
    for wrong in (
        Unsealing(ONE, Secret("not the second one")),
        Unsealing(Secret("not the first one"), TWO),
        Unsealing(TWO, ONE),
        Unsealing(ONE, None),
        Unsealing(None, TWO),
        Unsealing(ONE, ONE),
        Unsealing(),
    ):
        with pytest.raises(KeystoreClosed) as refused:
            Keystores(home, wrong, zk_pool_size=4, clock=module_clock)
        assert "custodian's words" not in str(refused.value)
    Keystores(home, BOTH, zk_pool_size=4, clock=module_clock).close()


def test_the_record_tells_what_happened_and_is_signed(held, module_clock):
    home, done = held
    content = (home / ceremony.RECORD_FILE).read_bytes()
    signature = (home / ceremony.SIGNATURE_FILE).read_text()
    told = json.loads(content)
    assert told["participants"] == list(PEOPLE)
    assert told["control"] == "two passphrases"
    assert told["at"].endswith("Z")
    with Keystores(home, BOTH, zk_pool_size=4, clock=module_clock) as stores:
        signer = stores.core.hierarchy.current(KERNEL_SIGN)
        assert {
            "context": "core",
            "applicationId": "ROOT",
            "referenceId": "",
            "sha256": stores.core.hierarchy.current(ROOT).thumbprint.hex(),
        } in told["fingerprints"]
    assert {each["context"] for each in told["fingerprints"]} == {"core", "auth"}
    jws.verify(signature, content, certificate=signer.certificate)
    with pytest.raises(SignatureInvalid):
        jws.verify(signature, content.replace(b"Amina", b"Omina"), certificate=signer.certificate)
    assert done.content == content


def test_a_ceremony_makes_new_keystores_only_and_needs_two_people(held, tmp_path, module_clock):
    home, _ = held
    with pytest.raises(KeystoreClosed, match="already"):
        ceremony.hold(home, BOTH, PEOPLE, zk_pool_size=4, clock=module_clock)
    for people in ((), ("one",), ("one", "one"), ("one", " ")):
        with pytest.raises(CiviumError, match="two participants"):
            ceremony.hold(tmp_path, BOTH, people, zk_pool_size=4, clock=module_clock)
    for how in (Unsealing(ONE), Unsealing(), Unsealing(ONE, Secret("short"))):
        with pytest.raises(CiviumError):
            ceremony.hold(tmp_path, how, PEOPLE, zk_pool_size=4, clock=module_clock)
    assert root.kind(tmp_path) is None


def test_the_key_process_starts_with_both_only(held):
    home, _ = held
    environment = {**os.environ, "CIVIUM_HOME": str(home.parent), "CIVIUM_KEYS__PASSPHRASE": ONE.reveal()}
    run = [sys.executable, "-c", SERVE]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "SECOND_PASSPHRASE" in done.stderr
    assert ONE.reveal() not in done.stderr + done.stdout
    ready, told = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE.replace("main(load())", f"main(load(), ready={told})")],
        env={**environment, "CIVIUM_KEYS__SECOND_PASSPHRASE": TWO.reveal(), "CIVIUM_KEYS__ZK_POOL_SIZE": "4"},
        pass_fds=(told,),
    )
    os.close(told)
    with os.fdopen(ready) as pipe:
        assert pipe.readline() == "ready\n"
    process.terminate()
    assert process.wait(20) == 0
