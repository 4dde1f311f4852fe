"""Tiers: resource classes by name, as the settings of a machine or a team have them.

`DAGORAMA_TIERS` names a TOML file with a table for each:

    [Large]
    queue = "large"         # workers with --include-queue large take it
    taint = "gpu"           # workers with --toleration gpu may
    running_max = 2         # at most so many tasks of the tier at once
    resource_limits = {as = 8589934592}
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dagorama.limits import Limit
from dagorama.options import checked_name, whole_number
from dagorama.workflows.problems import Place, Problem, WorkflowError

TIERS_ENVIRONMENT_FLAG = "DAGORAMA_TIERS"
_OPTIONS = ("queue", "taint", "running_max", "resource_limits")


@dataclass(frozen=True, kw_only=True)
class Tier:
    """One resource class."""

    name: str
    queue: str = ""
    taint: str = ""
    limits: tuple[Limit, ...] = ()
    resource_limits: tuple[tuple[str, int], ...] = ()


def configured_tiers() -> dict[str, Tier]:
    """Return the tiers by their names in small letters, none without a setting; `WorkflowError` for a wrong file."""
    setting = os.environ.get(TIERS_ENVIRONMENT_FLAG)
    if not setting:
        return {}
    try:
        tables = tomllib.loads(Path(setting).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(setting, f"{TIERS_ENVIRONMENT_FLAG} names a file that cannot be read: {error}") from None
    tiers: dict[str, Tier] = {}
    for name, table in tables.items():
        if name.lower() in tiers:
            raise _wrong(setting, f"the tier {name!r} is there twice, as capital letters make no difference")
        try:
            tiers[name.lower()] = _tier(name, table)
        except ValueError as error:
            raise _wrong(setting, f"the tier {name!r} is wrong: {error}") from None
    return tiers


def _tier(name: str, table: object) -> Tier:
    if not isinstance(table, Mapping):
        raise ValueError(f"it must be a table, begun with [{name}]")
    unknown = [option for option in table if option not in _OPTIONS]
    if unknown:
        raise ValueError(f"there is no option {unknown[0]!r}; there are {', '.join(_OPTIONS)}")
    resources = table.get("resource_limits", {})
    if not isinstance(resources, Mapping) or any(whole_number(most) is None for most in resources.values()):
        raise ValueError("resource_limits must be a table of whole numbers")
    return Tier(
        name=name,
        queue=checked_name("queue", table["queue"]) if "queue" in table else "",
        taint=checked_name("taint", table["taint"]) if "taint" in table else "",
        limits=(Limit(f"tier {name}", max=table["running_max"]),) if "running_max" in table else (),
        resource_limits=tuple(sorted((str(key), int(most)) for key, most in resources.items())),
    )


def _wrong(file: str, message: str) -> WorkflowError:
    return WorkflowError([Problem(place=Place(file=file), message=message)])
