"""Files that the superuser has restored, and gives to the owner of their folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dagorama_broker.care.faults import CareError
from dagorama_broker.care.owning import Place

USER, GROUP = 65534, 65533

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser gives files to others")


def owners(*paths: Path) -> list[int]:
    """Return whose these are; of a link, whose that is."""
    return [path.lstat().st_uid for path in paths]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of another user, in which the superuser makes values, beside a file that is nobody else's."""
    folder = tmp_path / "theirs"
    (folder / "values" / "ab").mkdir(parents=True)
    os.chown(folder, USER, GROUP)
    (folder / "values" / "ab" / "value").write_text("restored")
    (tmp_path / "secret").write_text("not theirs")
    return folder


def test_what_was_made_is_given(folder: Path) -> None:
    """Directories and files; a link leads to nobody else's."""
    (folder / "values" / "link").symlink_to(folder.parent / "secret")
    Place(folder / "values").hand_over(folder / "values")
    made = [folder / "values", folder / "values" / "ab", folder / "values" / "ab" / "value"]
    assert owners(*made, folder.parent / "secret") == [USER, USER, USER, 0]


@pytest.mark.parametrize("where", ["values/ab/other", "values/other", "other.db"])
def test_a_file_that_may_be_anybodys_is_not_given(folder: Path, where: str) -> None:
    """The owner of the folder may have put it there meanwhile: it is another name of a file that they cannot read."""
    os.link(folder.parent / "secret", folder / where)
    made = folder / "values" if where.startswith("values") else folder / where
    with pytest.raises(CareError, match=f"{where} is no plain file with one name.*Remove it"):
        Place(folder / "broker.db").hand_over(made)
    assert owners(folder.parent / "secret") == [0]


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK])
def test_a_pipe_or_socket_is_not_waited_for(folder: Path, kind: int) -> None:
    """It is no file that was restored."""
    os.mknod(folder / "values" / "other", kind | 0o600)
    with pytest.raises(CareError, match="other is no plain file"):
        Place(folder / "broker.db").hand_over(folder / "values")
