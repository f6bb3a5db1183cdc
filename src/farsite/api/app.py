"""The HTTP application: routers, limits, identity and error form put together."""

from fastapi import FastAPI

from farsite import __version__
from farsite.api import problem
from farsite.api.auth import Authenticate, KnownCallers
from farsite.api.context import Context
from farsite.api.limits import Limits
from farsite.api.native import (
    access,
    alarm_wishes,
    alarms,
    availability,
    backups,
    brokers,
    catalogue,
    configurations,
    control_plane,
    first_contact,
    group_upgrades,
    healing,
    health,
    hosts,
    intake,
    management,
    nodes,
    ns,
    nsds,
    operations,
    packages,
    placement_policies,
    subscriptions,
    upgrades,
    vim_audit,
    vims,
    vnf_credentials,
    vnfs,
)
from farsite.api.shedding import Shedding
from farsite.api.sol003 import vnffm, vnflcm
from farsite.api.sol005 import vnfpkgm
from farsite.api.tacker import discovery
from farsite.api.tacker import vims as tacker_vims
from farsite.api.tacker.dialect import TackerDialect
from farsite.api.wire import ROOT


def make_app(context: Context) -> FastAPI:
    """The application that serves a context."""
    app = FastAPI(
        title="Farsite",
        version=__version__,
        summary="Multi-site NFV orchestrator",
        description="Native API under /farsite/v1; ETSI NFV-SOL 003 VNF lifecycle management: "
        "/vnflcm/v2, fault management: /vnffm/v1.",
        openapi_url=f"{ROOT}/openapi.json",
        # The interactive pages load scripts from elsewhere, which an orchestrator's network may not.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=problem.DOCUMENTED,
        strict_content_type=True,
    )
    app.state.context = context
    app.state.known_callers = KnownCallers(context)
    problem.install(app)
    # Routes are tried in order, and of these ten thousand may come in a second.
    app.include_router(intake.router)
    for part in (
        vims,
        packages,
        nsds,
        vnfs,
        management,
        ns,
        operations,
        alarms,
        subscriptions,
        access,
        nodes,
    ):
        app.include_router(part.router)
    for part in (
        alarm_wishes,
        availability,
        brokers,
        catalogue,
        configurations,
        backups,
        control_plane,
        first_contact,
        hosts,
        vim_audit,
        healing,
        placement_policies,
        upgrades,
        group_upgrades,
        vnf_credentials,
    ):
        app.include_router(part.router)
    app.include_router(discovery.router)
    app.include_router(tacker_vims.router)
    app.include_router(health.router)
    app.include_router(vnflcm.router)
    app.include_router(vnffm.router)
    app.include_router(vnffm.versions_router)
    app.include_router(vnfpkgm.router)
    # The last added is the outermost: load, bounds, identity, and whatever goes wrong is answered.
    app.add_middleware(Authenticate, known=app.state.known_callers)
    app.add_middleware(Limits, settings=context.settings)
    app.add_middleware(Shedding, overload=context.overload)
    app.add_middleware(problem.CatchEverything)
    app.add_middleware(TackerDialect)
    return app
