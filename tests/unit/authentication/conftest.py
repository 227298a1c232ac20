from authentication_fixtures import *  # noqa: F403
