"""The API of a cluster, as the executor needs it; errors of the client are translated here.

DagoramaError
|-- ClusterAway      it does not answer, or not now: ask again
`-- ClusterRefuses   it has understood, and says no
    `-- NotThere     there is no such object (any more)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.core.generic_client import BasicRequest, GenericSyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod, PodLog

from dagorama.errors import DagoramaError
from dagorama.workflows.executors.kubernetes.manifest import CONTAINER

#: An answer takes no longer.
_ANSWER_S = 10.0
#: A job that prints nothing is asked for its log anew after so long, since its connection may be dead.
_SILENT_S = 60.0
#: Answers that say "not now": too many requests, and those from 500 on.
_BUSY, _BROKEN_FROM = 429, 500
_NOT_FOUND, _CONFLICT = 404, 409
_MERGE = {"Content-Type": "application/merge-patch+json"}


class ClusterAway(DagoramaError):
    """The API of the cluster does not answer, or cannot just now."""


class ClusterRefuses(DagoramaError):
    """The API of the cluster refuses what was asked for."""

    def __init__(self, message: str, code: int = 0) -> None:
        """`message` is the cluster's own; `code` is that of HTTP, 0 for none."""
        super().__init__(message)
        self.code = code


class NotThere(ClusterRefuses):
    """The cluster has no such object."""


class Cluster:
    """Jobs, their pods, logs and events in one namespace."""

    def __init__(self, *, context: str = "", namespace: str = "") -> None:
        """Take the account of the worker's own pod, or else the kubeconfig; `ClusterRefuses` where there is none."""
        timeout = httpx2.Timeout(_ANSWER_S)
        try:
            config = KubeConfig.from_env().get(context or None)
            self._client = GenericSyncClient(ConnectionParams(timeout=timeout), config, namespace=namespace or None)
        except Exception as error:  # whatever is wrong with a file that people have written
            told = f"no cluster is configured, or not well, by {_configuration()}: {_problem_of(error)}"
            raise ClusterRefuses(f"{told}; mend that, or set KUBECONFIG to the file of a cluster") from None

    def close(self) -> None:
        """Close all connections."""
        self._client.close()  # type: ignore[no-untyped-call]

    @property
    def namespace(self) -> str:
        """Return where the Jobs are."""
        return str(self._client.namespace)

    def create_job(self, job: Mapping[str, Any]) -> bool:
        """Make a Job; return whether it was made, and not one of its name was there. Unknown fields are refused."""
        named = Job(metadata=ObjectMeta(name=job["metadata"]["name"]))
        request = self._client.prepare_request("post", obj=named, params={"fieldValidation": "Strict"})
        # The cluster's schema is asked, not that of the client, which would leave out what it does not know.
        return self._sent_unless_in_conflict(request, dict(job))

    def job(self, name: str) -> Job | None:
        """Return a Job; None where there is none."""
        try:
            with _translated():
                found: Job = self._client.request("get", res=Job, name=name)
                return found
        except NotThere:
            return None

    def delete_job(self, job: Job, *, waits_for_pods: bool) -> bool:
        """Delete a Job with its pods, as it was seen; return whether it had not changed since, or is gone already.

        With `waits_for_pods` the Job is there as long as its pods are.
        """
        assert job.metadata is not None
        request = self._client.prepare_request("delete", res=Job, name=job.metadata.name)
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground" if waits_for_pods else "Background",
            "preconditions": {"uid": job.metadata.uid, "resourceVersion": job.metadata.resourceVersion},
        }
        try:
            return self._sent_unless_in_conflict(request, options)
        except NotThere:
            return True

    def annotate_job(self, name: str, annotations: Mapping[str, str]) -> None:
        """Set annotations of a Job."""
        change = {"metadata": {"annotations": dict(annotations)}}
        with _translated():
            self._client.request("patch", res=Job, name=name, obj=change, headers=dict(_MERGE))

    def pods_of(self, job: Job) -> list[Pod]:
        """Return the pods of a Job, the newest last."""
        assert job.metadata is not None
        uid = job.metadata.uid
        request = self._client.prepare_request(
            "list", res=Pod, params={"labelSelector": f"job-name={job.metadata.name}"}
        )
        with _translated():
            found: list[Pod] = list(self._client.list(request))
        own = [pod for pod in found if pod.metadata and any(o.uid == uid for o in pod.metadata.ownerReferences or ())]
        return sorted(own, key=lambda pod: str(pod.metadata and pod.metadata.creationTimestamp))

    def warnings_of(self, name: str) -> list[str]:
        """Return what the cluster has warned of about an object, the latest last."""
        selector = f"involvedObject.name={name},type=Warning"
        request = self._client.prepare_request("list", res=Event, params={"fieldSelector": selector})
        with _translated():
            found: list[Event] = list(self._client.list(request))
        found.sort(key=lambda event: str(event.lastTimestamp or event.eventTime or ""))
        return [f"{event.reason}: {' '.join((event.message or '').split())}" for event in found]

    def _sent_unless_in_conflict(self, request: BasicRequest, data: dict[str, Any]) -> bool:
        request.data = data
        try:
            with _translated():
                _check(self._client.send(self._client.build_adapter_request(request)))
        except ClusterRefuses as error:
            if error.code != _CONFLICT:
                raise
            return False
        return True

    @contextmanager
    def log(self, pod: str, *, since: str, follow: bool) -> Iterator[Iterator[bytes]]:
        """Give the log of a pod from a time on, with the time before each line; followed as long as it is written."""
        params = {"container": CONTAINER, "timestamps": "true", "follow": "true" if follow else "false"}
        if since:
            params["sinceTime"] = since
        request = self._client.prepare_request("get", res=PodLog, name=pod, params=params)
        request.timeout = httpx2.Timeout(_ANSWER_S, read=_SILENT_S)
        with _translated():
            response = self._client.send(self._client.build_adapter_request(request), stream=True)
            try:
                if response.is_error:
                    response.read()
                _check(response)
                yield response.iter_bytes()
            finally:
                response.close()


def _configuration() -> str:
    """Return where the configuration of the cluster is."""
    account = Path(SERVICE_ACCOUNT)
    return str(account) if (account / "token").exists() else os.environ.get("KUBECONFIG", DEFAULT_KUBECONFIG)


def _problem_of(error: Exception) -> str:
    """Return in one line what is wrong with a configuration, without what stands there: it may be a secret."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:  # of YAML, whose errors quote the line
        return f"line {mark.line + 1} is no YAML: {getattr(error, 'problem', '')}"
    told = f"it has no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())[:500]


def _check(response: httpx2.Response) -> None:
    GenericSyncClient.raise_for_status(response)  # type: ignore[no-untyped-call]


@contextmanager
def _translated() -> Iterator[None]:
    """Translate the errors of the client."""
    try:
        yield
    except ApiError as error:
        raise _refusal(error.status.code or error.response.status_code, error.status.message or str(error)) from None
    except httpx2.HTTPStatusError as error:
        raise _refusal(error.response.status_code, _plain(error.response)) from None
    except (FileNotFoundError, PermissionError) as error:  # of the program, or the file, that gives the account
        raise ClusterRefuses(f"the account in {_configuration()} cannot be had: {error}") from None
    except (httpx2.HTTPError, OSError) as error:
        raise ClusterAway(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from None
    except (ConfigError, RuntimeError) as error:  # the latter of a client that was closed
        raise ClusterRefuses(str(error)) from None
    except (KeyError, ValueError) as error:  # what answers is no such API, or half of it
        raise ClusterAway(f"its answer cannot be read: {type(error).__name__}: {error}") from None


def _refusal(code: int, message: str) -> DagoramaError:
    shown = " ".join(message.split())[:1000]
    if code == _BUSY or code >= _BROKEN_FROM:
        return ClusterAway(f"{code} {shown}")
    return NotThere(shown, code) if code == _NOT_FOUND else ClusterRefuses(shown, code)


def _plain(response: httpx2.Response) -> str:
    """Return the text of an answer that is not as the API answers, such as that of a proxy."""
    try:
        return str(json.loads(response.content)["message"])
    except (ValueError, KeyError, TypeError, httpx2.StreamError):
        return f"{response.status_code} {response.reason_phrase}"
