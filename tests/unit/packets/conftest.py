from packet_fixtures import *  # noqa: F403
