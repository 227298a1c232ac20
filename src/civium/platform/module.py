"""What a context hands to the application: its routes, subscriptions and background work."""

from dataclasses import dataclass

from civium.platform.http import Router
from civium.platform.jobs import Job
from civium.platform.outbox import Consumer
from civium.platform.rewrapping import Rewrap


@dataclass(frozen=True, slots=True)
class Module:
    """One context, wired. Built by the context's ``wiring.py``; mounted by `apps`."""

    name: str
    routers: tuple[Router, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    jobs: tuple[Job, ...] = ()
    rewraps: tuple[Rewrap, ...] = ()
    """Everything sealed that it stores, to be sealed anew when keys change."""
