"""States on disk: whole or not at all, the newest whole one is used, and old ones go."""

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from clip_scaling.errors import TrainingError
from clip_scaling.models.checkpoint import read_state
from clip_scaling.records.files import sha256_file
from clip_scaling.train.state import SavedState, StateFolder, StateWriter

from .conftest import Run


def content(value: int) -> dict:
    return {"weights": torch.full((100,), float(value))}


def test_a_states_name_holds_its_step_and_its_hash(tmp_path: Path) -> None:
    saved = StateFolder(tmp_path).save(7, content(7))
    assert saved.path.name == f"step-0000000007-{sha256_file(saved.path)}.pt"
    assert torch.equal(read_state(saved.path)["weights"], torch.full((100,), 7.0))


def test_the_last_ones_are_kept_and_older_ones_go(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, keep=2)
    for step in (1, 2, 3):
        folder.save(step, content(step))
    assert [state.step for state in folder.saved()] == [3, 2]


def test_the_byte_cap_spares_the_newest(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, keep=5, max_bytes=10)
    for step in (1, 2):
        folder.save(step, content(step))
    assert [state.step for state in folder.saved()] == [2]


def test_a_protected_state_stays(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, keep=1)
    folder.protected = 1
    for step in (1, 2, 3):
        folder.save(step, content(step))
    assert [state.step for state in folder.saved()] == [3, 1]


@pytest.mark.parametrize("damage", ["torn", "altered"])
def test_a_damaged_newest_state_is_told_and_the_one_before_it_used(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = StateFolder(tmp_path)
    folder.save(1, content(1))
    newest = folder.save(2, content(2)).path
    data = bytearray(newest.read_bytes())
    if damage == "torn":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    found = folder.newest_whole()
    assert found is not None and found.step == 1
    assert "torn or altered" in caplog.text and "step-0000000002" in caplog.text


def test_a_write_that_was_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    (tmp_path / ".step-0000000009.123.tmp").write_bytes(b"half")
    folder = StateFolder(tmp_path)
    assert folder.newest_whole() is None
    folder.save(1, content(1))
    assert [path.name[:15] for path in tmp_path.iterdir()] == ["step-0000000001"]


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(TrainingError, match="cannot be read as a state"):
        read_state(tmp_path / "state.pt")


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    from clip_scaling.train.state import write_state

    from ..data.conftest import full_disk

    state = {"weights": torch.zeros(100_000)}
    for write in (lambda: write_state(tmp_path / "state.pt", state), lambda: StateFolder(tmp_path).save(3, state)):
        with full_disk(1000), pytest.raises(OSError, match=r"too large.*(state\.pt|step-0000000003)"):
            write()
    assert list(tmp_path.iterdir()) == []


class Held(StateFolder):
    """A folder on a disk that takes its time."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.release = threading.Event()

    def save(self, step: int, state: dict[str, Any]) -> SavedState:
        assert self.release.wait(300)
        return super().save(step, state)


def test_a_state_is_written_while_the_run_goes_on(tmp_path: Path) -> None:
    folder = Held(tmp_path)
    writer = StateWriter(folder, is_ahead=True)
    writer.write(1, content(1))  # returns
    assert folder.saved() == []
    folder.release.set()
    writer.write(2, content(2))
    assert folder.saved()[-1].step == 1  # one at a time
    writer.wait()
    assert [state.step for state in folder.saved()] == [2, 1] and all(state.is_whole for state in folder.saved())


def test_a_write_that_failed_is_an_error_of_the_next(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = StateWriter(StateFolder(tmp_path / "file"), is_ahead=True)
    writer.write(1, content(1))
    with pytest.raises(FileExistsError):
        writer.write(2, content(2))
    writer.wait()  # once is enough


@pytest.mark.parametrize("policy", ["stop", "rollback"])
def test_states_written_ahead_are_those_of_a_run_that_waits(
    tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, is_ahead in (("waits", False), ("ahead", True)):
        run = Run(tmp_path / name, checkpoint_seconds=0.0, instability={"policy": policy, "window": 10})
        run.folder.keep = 100
        loop, state = run.loop(), run.engine.state
        monkeypatch.setattr(run.engine, "state", lambda state=state: copy.deepcopy(state()))  # as from a GPU
        loop.writer = StateWriter(run.folder, is_ahead)
        loop.run()
        states = [read_state(each.path) for each in run.folder.saved()]
        found.append([{**each, "progress": {**each["progress"], "seconds": 0}} for each in states])
    assert len(found[0]) == len(found[1]) >= 19
    for a, b in zip(*found, strict=True):
        assert a["progress"] == b["progress"]
        assert all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])
