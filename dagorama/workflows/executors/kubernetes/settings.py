"""The settings of the executor, which a worker has: `DAGORAMA_KUBERNETES` names a TOML file.

namespace = "work"
claim = "runs"                # the volume that is the root of runs here
[pod]                         # merged into each pod's spec, in the words of Kubernetes
serviceAccountName = "jobs"
[container]                   # and into its container
resources = {limits = {memory = "1Gi"}}
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dagorama.options import real_number

SETTINGS_ENVIRONMENT_FLAG = "DAGORAMA_KUBERNETES"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings; all may be left out."""

    #: Where Jobs are made; empty for that of the kubeconfig, or of the worker's own pod.
    namespace: str = ""
    #: The context of the kubeconfig; empty for the current one.
    context: str = ""
    #: For commands that name no image.
    image: str = ""
    #: The claim whose volume is the root of runs (`DAGORAMA_RUNS`); empty for none: then no job has files of a run.
    claim: str = ""
    #: Where the root of runs is in that volume; empty for the volume itself.
    claim_folder: str = ""
    #: A pod that could not be started for so long is given up.
    start_s: float = 600.0
    #: A cluster that has not answered for so long is given up.
    away_s: float = 600.0
    #: A Job that has ended is removed after so long, if nobody has taken its end.
    kept_s: float = 86_400.0
    #: Parts of the spec of each pod, and of its container.
    pod: Mapping[str, Any] = field(default_factory=dict)
    container: Mapping[str, Any] = field(default_factory=dict)


def read_settings() -> Settings:
    """Return the settings of this worker; `ValueError` that names the file for wrong ones."""
    name = os.environ.get(SETTINGS_ENVIRONMENT_FLAG)
    if not name:
        return Settings()
    try:
        given = tomllib.loads(Path(name).read_text(encoding="utf-8"))
        return Settings(**{key: _checked(key, value) for key, value in given.items()})
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except ValueError as error:
        problem = str(error)
    raise ValueError(f"{SETTINGS_ENVIRONMENT_FLAG}={name}: {problem}")


def _checked(key: str, value: object) -> Any:
    defaults = {one.name: getattr(Settings(), one.name) for one in fields(Settings)}
    if key not in defaults:
        raise ValueError(f"there is no setting {key!r}; there are {', '.join(defaults)}")
    default = defaults[key]
    if isinstance(default, float):
        seconds = real_number(value)
        if seconds is None or not 0 <= seconds < 2**31:
            raise ValueError(f"{key} must be a number of seconds, not {value!r}")
        return float(seconds)
    if isinstance(default, str) and not isinstance(value, str):
        raise ValueError(f"{key} must be a text, not {value!r}")
    if isinstance(default, dict) and not isinstance(value, dict):
        raise ValueError(f"{key} must be a table, begun with [{key}]")
    if key == "claim_folder" and (str(value).startswith("/") or ".." in str(value).split("/")):
        raise ValueError(f"claim_folder must be a path in the volume, without '..', not {value!r}")
    return value
