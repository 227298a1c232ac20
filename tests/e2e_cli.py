"""Running the command line in tests."""

import os
import subprocess
import sys
from pathlib import Path


def civium(
    *arguments: str, home: Path, stdin: str = "", timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CIVIUM_")}
    return subprocess.run(
        [sys.executable, "-m", "civium.apps.cli", *arguments],
        env={**inherited, "CIVIUM_HOME": str(home), "COLUMNS": "200", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def of(platform) -> dict[str, str]:
    return {"CIVIUM_HTTP__PORT": str(platform.port)}
