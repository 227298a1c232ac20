"""The rules about the repository as a whole: sizes, pins, leaked credentials; and how checks are reported."""

import base64
import secrets
import sys
from pathlib import Path

import pytest

from tools import checks
from tools.checks import Check
from tools.lint.leaks import in_text, leak
from tools.lint.pins import pin
from tools.lint.sizes import size

HASH = f"--hash=sha256:{'0123456789abcdef' * 4}"
ROOT = Path(__file__).resolve().parents[3]


class TestSize:
    def test_a_long_file_and_a_large_server(self, tmp_path: Path) -> None:
        package = tmp_path / "src" / "civium"
        package.mkdir(parents=True)
        (package / "short.py").write_text("x = 1\n" * 5)
        (package / "long.py").write_text("x = 1\n" * 6)
        assert [each.path for each in size(tmp_path, file_lines=5, server_lines=11)] == ["src/civium/long.py"]
        assert [each.path for each in size(tmp_path, file_lines=6, server_lines=10)] == ["src/civium"]

    def test_vectors_and_builds_do_not_count(self, tmp_path: Path) -> None:
        for folder in ("tests/vectors/keys", "docs/_build"):
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "long.md").write_text("\n" * 10)
        assert not list(size(tmp_path, file_lines=5))


class TestPin:
    PROJECT = """
        [project]
        dependencies = ["alpha-beta>=2"]
        [dependency-groups]
        dev = ["gamma>=1"]
        """

    def _messages(self, root: Path, runtime: str, development: str = f"gamma==1.5 {HASH}\n") -> list[str]:
        (root / "pyproject.toml").write_text(self.PROJECT)
        (root / "requirements.txt").write_text(runtime)
        (root / "requirements-dev.txt").write_text(development)
        return [each.message for each in pin(root)]

    def test_what_is_right_passes(self, tmp_path: Path) -> None:
        text = f"Alpha_Beta==2.1 ; python_full_version < '4' \\\n    {HASH} \\\n    {HASH}\n    # via civium\n"
        assert self._messages(tmp_path, text) == []

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (f"--index-url somewhere\nalpha-beta==2.1 {HASH}\n", "names a host"),
            (f"alpha-beta==2.1 {HASH}\nother @ https://x.invalid/other.whl {HASH}\n", "names a host"),
            (f"-e .\nalpha-beta==2.1 {HASH}\n", "names a host"),
            (f"--find-links=wheels\nalpha-beta==2.1 {HASH}\n", "names a host"),
            ("alpha-beta==2.1\n", "no exact version with a hash"),
            (f"alpha-beta>=2.1 {HASH}\n", "no exact version with a hash"),
            (f"alpha-beta==1.9 {HASH}\n", "asked for and not pinned"),
            ("", "asked for and not pinned"),
            (f"alpha-beta==2.1 {HASH}\ngamma==1.4 {HASH}\n", "differs from requirements.txt"),
        ],
    )
    def test_a_bad_twin_is_found(self, tmp_path: Path, text: str, says: str) -> None:
        assert any(says in message for message in self._messages(tmp_path, text))

    def test_further_lists_are_compared_with_their_pins(self, tmp_path: Path) -> None:
        (tmp_path / "requirements-client.in").write_text("delta==1  # the client\n")
        (tmp_path / "requirements-client.txt").write_text(f"delta==2 {HASH}\n")
        assert self._messages(tmp_path, f"alpha-beta==2.1 {HASH}\n") == [
            "'delta==1' is asked for and not pinned: run tools/pin"
        ]


class TestLeak:
    @pytest.mark.parametrize(
        "line",
        [
            "-----BEGIN PRIVATE KEY-----",
            'KEY = """-----BEGIN RSA PRIVATE KEY-----\\n',
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
            'db_password = "hunter2"',
            "smtp_password = 'correct-horse'",
            'API_KEY: "abcd1234"',
            f"token = {secrets.token_hex(32)}a1",
            f'x = "{base64.b64encode(bytes(range(60))).decode()}"',
        ],
    )
    def test_a_bad_twin_is_found(self, line: str) -> None:
        assert [each.line for each in in_text("x.py", f"first\n{line}\n")] == [2]

    @pytest.mark.parametrize(
        "line",
        [
            "password = settings.password",
            'password = "{password}"',
            'API_KEY = "api-key"',
            "https://example.invalid/a/very/long/path/that/is/not/random/at/all/Really/1",
            "a" * 80,
            "marker = '-----BEGIN CERTIFICATE-----'",
            'password = "hunter2"  # lint: allow leak - well known in the sandbox',
        ],
    )
    def test_what_is_right_passes(self, line: str) -> None:
        assert not list(in_text("x.py", line))

    def test_an_escape_needs_a_reason(self) -> None:
        assert list(in_text("x.py", 'password = "hunter2"  # lint: allow leak'))

    def test_tests_may_hold_made_up_ones(self, tmp_path: Path) -> None:
        for folder in ("tests", "src"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "x.toml").write_text('password = "hunter2"\n')
        assert [each.path for each in leak(tmp_path)] == ["src/x.toml"]


class TestChecks:
    def test_a_failure_shows_its_output_and_fails_the_run(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good = Check("good", [sys.executable, "-c", "print('quiet')"])
        bad = Check("bad", [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"])
        monkeypatch.setattr(checks, "CHECKS", (good, bad))
        assert checks.main() == 1
        told = capsys.readouterr().out
        assert "✓ good" in told
        assert "✗ bad" in told
        assert "the reason" in told
        assert "quiet" not in told

    def test_all_good(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checks, "CHECKS", (Check("good", [sys.executable, "-c", ""]),))
        assert checks.main() == 0

    def test_a_missing_program_is_a_failure(self) -> None:
        assert not checks.run(Check("absent", ["/nowhere/program"])).passed

    def test_without_network_an_audit_is_skipped_but_a_finding_is_not(self) -> None:
        def audit(output: str, status: int) -> checks.Result:
            program = f"print({output!r}); raise SystemExit({status})"
            return checks.run(Check("audit", [sys.executable, "-c", program], checks.AUDIT.skip_if))

        assert audit("error:\nConnectionError: x", 1).skipped
        assert audit("No known vulnerabilities found\nx Dependency not found and could not be audited", 0).skipped
        assert not audit("Found 1 known vulnerability\ny Dependency not found and could not be audited", 1).skipped
        assert audit("No known vulnerabilities found", 0).passed

    def test_every_file_that_is_spelled_exists(self) -> None:
        for check in checks.CHECKS:
            if check.name == "spelling":
                assert [name for name in check.argv[1:] if not (ROOT / name).exists()] == []
