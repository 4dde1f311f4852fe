"""The application: pages, the JSON API, files, and the layers around them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from dagorama.ui import pages, streaming
from dagorama.ui.answering import HANDLERS
from dagorama.ui.api import serving as api
from dagorama.ui.live import Live
from dagorama.ui.pages.rendering import ROOT
from dagorama.ui.refreshing import Refreshes
from dagorama.ui.security import layers
from dagorama.ui.sessions import Sessions
from dagorama.ui.settings import UISettings

#: A file is kept by browsers for so long where its address names its content.
KEPT = "public, max-age=31536000, immutable"


def make_app(settings: UISettings) -> Starlette:
    """Return the application. It asks the broker that the environment names."""
    sessions = Sessions(settings.token)
    live = Live()
    middleware = [*layers(settings, sessions), Middleware(Refreshes, live)]
    app = Starlette(routes=routes(), middleware=middleware, exception_handlers=HANDLERS)
    app.state.settings = settings
    app.state.sessions = sessions
    app.state.live = live
    return app


def routes() -> list[BaseRoute]:
    """Return all routes."""
    return [
        Mount("/static", Files(directory=ROOT / "static"), name="static"),
        *api.routes(),
        *streaming.routes(),
        *pages.routes(),
    ]


class Files(StaticFiles):
    """The files below static/."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file; browsers ask again for one whose address does not name its content."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = KEPT if scope["query_string"].startswith(b"v=") else "no-cache"
        return answer
