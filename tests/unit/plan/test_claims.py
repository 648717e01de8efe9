"""One driver at a time makes a folder of data."""

from __future__ import annotations

import threading
from pathlib import Path

from clip_scaling.plan.claims import Claims, folders_of


def test_a_folder_that_another_holds_is_named_with_its_holder_and_nothing_is_kept(tmp_path: Path) -> None:
    first, second = Claims(tmp_path, "first"), Claims(tmp_path, "second")
    assert first.take(["b"]) is None and first.held == ["b"]
    assert second.take(["c", "a", "b"]) == "b" and second.held == []
    assert "study 'first', process" in second.holder("b")
    assert first.take(["a"]) is None  # the second holds nothing


def test_who_waits_goes_on_when_the_folder_is_released(tmp_path: Path) -> None:
    first, second = Claims(tmp_path, "first"), Claims(tmp_path, "second")
    first.take(["a"])
    waiting = threading.Thread(target=second.wait, args=("a",))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    first.release("a")
    waiting.join()
    assert second.take(["a"]) is None


def test_folders_are_those_below_results_data() -> None:
    outputs = ["results/data/icons/manifest.json", "results/data/eval-x/a/b", "results/tiny/train.json"]
    assert folders_of(outputs, "results/data") == {"icons", "eval-x"}
