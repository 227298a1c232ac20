from registration_fixtures import *  # noqa: F403
