"""The program's main module, in the worker processes that it launches: they have its definitions, too.

multiprocessing would import it before any code of ours runs, and an error would be a traceback of each process, and its
end. Here a worker imports it, in the same way, and can say why it cannot start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from multiprocessing import current_process, spawn

from dagorama.code.main_guard import MAIN_GUARD
from dagorama.worker.importing import CannotImport

#: What is told to a new process about the main module is under keys that begin like this.
_KEY = "init_main_from_"


def split_preparation(preparation: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Part the words of multiprocessing to a new process: the ones about the main module, and the rest."""
    main = {key: value for key, value in preparation.items() if key.startswith(_KEY)}
    return main, {key: value for key, value in preparation.items() if key not in main}


def main_of_program() -> dict[str, object]:
    """Return all that a worker process needs for `import_main`; empty where the main module cannot be imported.

    That is so in a notebook, for `python -c`, `python -` and `python program.pyz`, and for the `__main__.py` of a
    package, in which there may well be no guard.
    """
    main, _ = split_preparation(spawn.get_preparation_data(""))
    name, path = main.get(f"{_KEY}name"), main.get(f"{_KEY}path")
    if isinstance(name, str) and (name == "__main__" or name.endswith(".__main__")):
        return {}
    if isinstance(path, str) and not os.path.isfile(path):
        return {}
    return main


def import_main(main: Mapping[str, object]) -> None:
    """Import the main module under another name, so that its guard is closed; raise `CannotImport` where it fails."""
    me = current_process()
    # As while multiprocessing does it: nothing may be started meanwhile. See dagorama.code.main_guard.
    me._inheriting = True  # type: ignore[attr-defined]
    try:
        spawn.prepare(dict(main))
    except SystemExit as error:
        ended = ImportError(f"it calls sys.exit() when it is imported; put what it does below `{MAIN_GUARD}`")
        raise CannotImport(_shown(main), ended.with_traceback(error.__traceback__)) from None
    except Exception as error:
        raise CannotImport(_shown(main), error) from error
    finally:
        del me._inheriting  # type: ignore[attr-defined]


def _shown(main: Mapping[str, object]) -> str:
    return "the main module " + " ".join(str(value) for value in main.values())
