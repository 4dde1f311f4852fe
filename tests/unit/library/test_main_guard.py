"""What the main module is to other processes."""

import sys
from multiprocessing import current_process
from types import ModuleType

import pytest

from dagorama.code.main_guard import (
    check_is_in_reach,
    check_is_no_import,
    started_out_of_reach,
    worker_here,
    workers_launched,
)
from dagorama.errors import MainGuardMissing, OutOfReach
from dagorama_broker.launch import BrokerNotStarted, launch_broker


def test_nothing_is_started_while_a_program_is_only_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """multiprocessing marks its process for as long as it imports the program."""
    check_is_no_import("a worker is run")
    monkeypatch.setattr(current_process(), "_inheriting", True, raising=False)
    with pytest.raises(MainGuardMissing, match=r'a worker is run while .* `if __name__ == "__main__":`'):
        check_is_no_import("a worker is run")
    with pytest.raises(BrokerNotStarted, match='`if __name__ == "__main__":`'), launch_broker(port=0):
        pass


@pytest.mark.parametrize(
    ("definition", "with_main", "refused"),
    [
        ("shop:Basket", False, False),
        ("__main__:Here", True, False),
        ("__main__:Here.Inner", True, False),
        ("__main__:Here", False, True),
        ("__main__:OfAnotherProgram", True, True),
    ],
)
def test_a_definition_must_be_in_reach_of_somebody(
    definition: str, with_main: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launched workers reach what they import; a worker in this process, all that is here; others are not known."""
    main = ModuleType("__main__")
    main.__dict__["Here"] = object()
    monkeypatch.setitem(sys.modules, "__main__", main)
    check_is_in_reach(definition)
    with workers_launched(with_main=with_main):
        with worker_here():
            check_is_in_reach(definition)
            assert started_out_of_reach() == set()
        if refused:
            with pytest.raises(OutOfReach, match=definition):
                check_is_in_reach(definition)
        else:
            check_is_in_reach(definition)
        assert (definition in started_out_of_reach()) == definition.startswith("__main__:")
    check_is_in_reach(definition)
