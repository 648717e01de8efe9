"""What the store gives back is what was put into it, or it is computed again."""

from pathlib import Path

import torch

from clip_scaling.evaluate.features import Features
from clip_scaling.evaluate.store import Store
from clip_scaling.records.evaluation import Measured

from ..data.conftest import full_disk

KEY = {"checkpoint": "a"}


def features(value: float) -> Features:
    return Features(
        torch.full((4, 2), value), torch.zeros(4, dtype=torch.long), torch.empty(0, 2), torch.empty(0, dtype=torch.long)
    )


def test_changed_features_are_computed_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.features(KEY, lambda: features(1.0))
    assert store.features(KEY, lambda: features(2.0)).images[0, 0] == 1
    (path,) = tmp_path.glob("*.safetensors")
    content = path.read_bytes()
    one = torch.ones(1).numpy().tobytes()
    path.write_bytes(content.replace(one, torch.full((1,), 3.0).numpy().tobytes(), 1))
    assert store.features(KEY, lambda: features(2.0)).images[0, 0] == 2


def test_changed_scores_are_computed_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = [
        Measured(dataset="d", task="zeroshot_retrieval", metric="acc1", value=value, ci_low=0, ci_high=1, n=100)
        for value in (0.25, 0.5)
    ]
    store.scores(KEY, lambda: rows[:1])
    (path,) = tmp_path.glob("*.json")
    for old, new in (("0.25", "0.26"), ('"a"', '"b"'), ("{", "["), ("0.25", "{}")):
        store.scores(KEY, lambda: rows[:1])
        path.write_text(path.read_text().replace(old, new, 1))
        assert store.scores(KEY, lambda: rows[1:])[0].value == 0.5, (old, new)
        path.unlink()


def test_a_full_disk_keeps_nothing_and_the_evaluation_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = [Measured(dataset="d", task="zeroshot_retrieval", metric="r", value=0.5, ci_low=0, ci_high=1, n=100)]
    with full_disk(20):
        assert store.features(KEY, lambda: features(1.0)).images[0, 0] == 1
        assert store.scores(KEY, lambda: rows) == rows
    assert list(tmp_path.iterdir()) == []
