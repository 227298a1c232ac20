"""What a context hands to the application: its routes, subscriptions and background work."""

from dataclasses import dataclass

from civium.platform.http import Router
from civium.platform.jobs import Job
from civium.platform.outbox import Consumer


@dataclass(frozen=True, slots=True)
class Module:
    """One context, wired. Built by the context's ``wiring.py``; mounted by `apps`."""

    name: str
    routers: tuple[Router, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    jobs: tuple[Job, ...] = ()
