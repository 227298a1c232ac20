"""A server of ours with one guarded route, in a process of its own: `python mtls_server.py <settings as JSON>`."""

import asyncio
import socket
import sys

import uvicorn

from civium.platform.http import Caller, CallerParameter, ErrorCodes, Router, allow
from civium.platform.http.access import Unauthenticated
from civium.platform.http.app import create_app
from civium.platform.http.server import server_config
from civium.platform.permissions import Permission, Role
from civium.platform.settings import Settings

TOKEN = "the one good token"


class OneToken:
    """Knows one token."""

    async def verify(self, token):
        if token != TOKEN:
            raise Unauthenticated
        return Caller("bearer", "bearer", frozenset(Role))


def probe():
    routes = Router("/v1/probe", ErrorCodes("PRB-001", "PRB-500"))

    @routes.enveloped("POST", "/thing", allow(Permission.METRICS_READ))
    async def thing(caller: CallerParameter):
        """Tell who asks."""
        return {"subject": caller.subject, "client": caller.client_id}

    return routes


async def main():
    settings = Settings.model_validate_json(sys.argv[1])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        app = create_app([probe()], OneToken(), settings)
        await uvicorn.Server(server_config(app, settings.http)).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main())
