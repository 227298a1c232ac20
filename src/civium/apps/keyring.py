"""The key process, as the supervisor starts it."""

from civium.keys.process import main as serve_keys
from civium.platform import telemetry
from civium.platform.settings import load


def main() -> None:
    """Serve the keys of the installation that the environment describes."""
    settings = load()
    telemetry.configure(settings.log_level)
    serve_keys(settings)


if __name__ == "__main__":
    main()
