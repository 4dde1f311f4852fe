"""The API of Domino, as the executor needs it, through the published client; errors of that are translated here.

DagoramaError
|-- DominoAway      it does not answer, or not now: ask again
`-- DominoRefuses   it has understood, and says no
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from domino import Domino
from domino.exceptions import DominoException, ReloginRequiredException
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import HTTPError, InvalidURL, RequestException

from dagorama.errors import DagoramaError
from dagorama.workflows.executors.domino.settings import API_KEY, Settings

#: A connection, and an answer, take no longer. The client itself would wait forever.
_TIMES_S = (10.0, 60.0)
#: Answers that say "not now", and those from 500 on.
_BUSY, _BROKEN_FROM = frozenset({408, 425, 429}), 500
_FORBIDDEN = frozenset({401, 403})
_SAID_CHARS_MAX = 500
_TAG = re.compile(r"<[^<>]*>")


class DominoAway(DagoramaError):
    """Domino does not answer, or cannot just now."""


class DominoRefuses(DagoramaError):
    """Domino refuses what was asked for."""


class _Adapter(HTTPAdapter):
    """Sends requests with limits of time, and to the server alone that the key is for; nothing is sent twice."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self._host = host

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        parts = urlsplit(request.url or "")
        host = f"{parts.scheme}://{parts.netloc}"
        if host != self._host.lower():  # requests takes the header of the key along when it is redirected
            raise InvalidURL(f"it redirects to {host}, which the key is not for")
        return super().send(request, *args, **{**kwargs, "timeout": kwargs.get("timeout") or _TIMES_S})


class _Client(Domino):  # type: ignore[misc, unused-ignore]
    """The published client, which neither waits forever nor sets up the logging of the whole process."""

    def __init__(self, settings: Settings) -> None:
        self._adapter = _Adapter(settings.host)
        super().__init__(f"{settings.owner}/{settings.project}", api_key=settings.api_key, host=settings.host)

    def _configure_logging(self) -> None:
        self._logger = logging.getLogger("domino")

    def authenticate(self, *args: Any, **kwargs: Any) -> None:
        super().authenticate(*args, **kwargs)
        for scheme in ("http://", "https://"):
            self.request_manager.request_session.mount(scheme, self._adapter)


#: It logs the text of each answer that is an error; what matters of these is in the errors here.
logging.getLogger("domino.http_request_manager").setLevel(logging.CRITICAL)


class Platform:
    """One project at Domino: its runs, models and apps."""

    def __init__(self, settings: Settings) -> None:
        """Ask for the version of the server, which must not be too old for the client."""
        self._settings = settings
        with self._translated():
            self._client = _Client(settings)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def runs(self) -> list[Mapping[str, Any]]:
        """Return all runs of the project."""
        with self._translated():
            return [_run(told) for told in self._client.runs_list()["data"]]

    def start(self, command: Sequence[str], *, is_direct: bool, title: str, tier: str) -> str:
        """Start a run, and return its id; `tier` is a name as Domino writes it, or empty for that of the project."""
        with self._translated():
            started = self._client.runs_start(list(command), is_direct=is_direct, title=title, tier=tier or None)
            return str(started["runId"])

    def run(self, run_id: str) -> Mapping[str, Any]:
        """Return a run as it stands."""
        with self._translated():
            return _run(self._client.runs_status(run_id))

    def stop(self, run_id: str) -> None:
        """Have a run stop, and Domino keep the files that it has written."""
        with self._translated():
            self._client.job_stop(run_id)

    def output(self, run_id: str) -> str:
        """Return all that a run has printed, as Domino has it: in HTML."""
        with self._translated():
            return str(self._client.get_run_log(run_id, include_setup_log=False))

    def tiers(self) -> dict[str, str]:
        """Return the hardware tiers of the project: their ids by their names."""
        with self._translated():
            found = [one["hardwareTier"] for one in self._client.hardware_tiers_list()]
            return {str(tier["name"]): str(tier["id"]) for tier in found}

    # -- models and apps -----------------------------------------------------------------------------------------------

    def environments(self) -> list[Mapping[str, Any]]:
        """Return the environments that the user may use, each with `id`, `name` and `visibility`."""
        with self._translated():
            return _rows(self._client.environments_list())

    def models(self) -> list[Mapping[str, Any]]:
        """Return the models of the project, each with `id` and `name`."""
        with self._translated():
            return [{**model, "id": _id_of(model)} for model in _rows(self._client.models_list())]

    def publish_model(self, *, file: str, function: str, environment: str, name: str, description: str) -> str:
        """Publish a new model, and return its id."""
        with self._translated():
            told = self._client.model_publish(file, function, environment, name, description)
            return _id_of(told.get("data", told))

    def publish_version(self, model: str, *, file: str, function: str, environment: str, description: str) -> None:
        """Publish a new version of a model."""
        with self._translated():
            self._client.model_version_publish(model, file, function, environment, description)

    def latest_version(self, model: str) -> str:
        """Return the id of the latest version of a model: Domino tells that first."""
        with self._translated():
            return _id_of(_rows(self._client.model_versions_get(model))[0])

    def model_status(self, model: str, version: str) -> tuple[str, str]:
        """Return how the build of a version stands, and how its deployment does, in small letters.

        The client has no call for these two.
        """
        told = []
        with self._translated():
            for question in ("getBuildStatus", "getModelDeploymentStatus"):
                url = f"{self._settings.host}/v4/models/{model}/{version}/{question}"
                told.append(str(self._client.request_manager.get(url).json()["status"]).lower())
        return told[0], told[1]

    def publish_app(self, *, tier: str) -> str:
        """Start the app of the project, after stopping it where it runs, and return its id; `tier` is one, or empty."""
        with self._translated():
            self._client.app_publish(hardware_tier_id=tier or None)
            return str(self._client.app_id)

    def app_status(self, app: str) -> str:
        """Return how an app stands, in small letters."""
        with self._translated():
            return str(self._client.app_get_status(app)).lower()

    # -- errors --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate the errors of the client; the key is in no message."""
        try:
            yield
        except ReloginRequiredException:
            raise DominoRefuses(f"it wants its user to log in again: renew {API_KEY}") from None
        except HTTPError as error:
            raise self._refusal(error.response) from None
        except InvalidURL as error:
            raise DominoRefuses(self._shown(str(error))) from None
        except (RequestException, OSError) as error:
            raise DominoAway(self._shown(f"{type(error).__name__}: {_reason(error)}")) from None
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:  # an answer of another form
            told = f"its answer cannot be read: {type(error).__name__}: {error}"
            raise DominoAway(self._shown(told)) from None
        except DominoException as error:
            raise DominoRefuses(self._shown(str(error))) from None
        except DagoramaError:
            raise
        except Exception as error:  # the client raises plain ones, as for a server that is too old
            raise DominoRefuses(self._shown(str(error) or type(error).__name__)) from None

    def _refusal(self, response: Response | None) -> DagoramaError:
        assert response is not None  # the client raises it for an answer
        code = response.status_code
        said = self._shown(_said(response.text) or response.reason or "it does not say why")
        if code in _BUSY or code >= _BROKEN_FROM:
            return DominoAway(f"{code} {said}")
        return DominoRefuses(f"{code} {said}{f' (is {API_KEY} right?)' if code in _FORBIDDEN else ''}")

    def _shown(self, text: str) -> str:
        """Return a text of the server or the client for a message: in one line, not too long, and without the key."""
        return " ".join(text.replace(self._settings.api_key, "***").split())[:_SAID_CHARS_MAX]


def _run(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a run, which has an id, a status and a title at least."""
    texts = {"id": str(told["id"]), "status": str(told["status"]), "title": str(told.get("title") or "")}
    return {**told, **texts}


def _rows(told: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list, which some answers have in an envelope."""
    return [dict(row) for row in (told["data"] if isinstance(told, Mapping) else told)]


def _id_of(told: Mapping[str, Any]) -> str:
    """Return the id of an object, which older answers call `_id`."""
    return str(told["_id"] if "_id" in told else told["id"])


def _said(text: str) -> str:
    """Return what an error says: the message of an object, or the text of a page."""
    try:
        told = json.loads(text)
    except ValueError:
        return _TAG.sub(" ", text)
    if isinstance(told, Mapping):
        told = told.get("message") or told.get("errors") or told
    return told if isinstance(told, str) else json.dumps(told)


def _reason(error: Exception) -> str:
    """Return why a connection has failed, without the objects that stand for it in the client's words."""
    inner = getattr(error.args[0], "reason", error) if error.args else error
    text = str(inner)
    return text.rpartition(">: ")[2] if ">: " in text else text
