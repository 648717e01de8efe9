"""Two runs never have one name, whatever their files are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clip_scaling.errors import EvaluationError
from clip_scaling.evaluate.naming import checkpoint_names, refuse_clashes, refuse_twice
from clip_scaling.records.files import sha256_file


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/w/weights.pt"], ["weights"]),
        (["/logs/runA/checkpoints/epoch_latest.pt"], ["runA_epoch_latest"]),
        (
            ["/logs/runA/checkpoints/epoch_latest.pt", "/logs/runB/checkpoints/epoch_latest.pt"],
            ["runA_epoch_latest", "runB_epoch_latest"],
        ),
        (["/x/a/epoch_3.pt", "/x/b/epoch_3.pt", "/x/last.pt"], ["a_epoch_3", "b_epoch_3", "last"]),
        (["/x/a/run/w.pt", "/x/b/run/w.pt"], ["a_run_w", "b_run_w"]),
        (["/x/a/w.pt", "/x/a/w.bin", "/x/w.pt"], None),
        (["/m/mini/open_clip_model.safetensors"], ["mini_open_clip_model"]),
        (
            ["/c/models--laion--CLIP-ViT-B-32/snapshots/1a2b/open_clip_model.safetensors"],
            ["laion_CLIP-ViT-B-32_open_clip_model"],
        ),
        (["openai", "laion400m_e32"], ["openai", "laion400m_e32"]),
    ],
)
def test_a_name_has_as_much_of_the_path_as_is_needed(paths: list[str], names: list[str] | None) -> None:
    if names is None:
        with pytest.raises(EvaluationError, match=r"/x/a/w.pt and /x/a/w.bin have one name"):
            checkpoint_names(paths)
        return
    assert list(checkpoint_names(paths).values()) == names


def test_one_file_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "a.pt").touch()
    (tmp_path / "b.pt").symlink_to(tmp_path / "a.pt")
    with pytest.raises(EvaluationError, match="a.pt and .*b.pt are one file"):
        refuse_twice([tmp_path / "a.pt", tmp_path / "b.pt"])


def test_results_of_other_weights_are_not_written_over(tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"1")
    (tmp_path / "w.json").write_text(json.dumps({"checkpoint_sha256": sha256_file(weights)}))
    refuse_clashes({"w": weights}, tmp_path)
    weights.write_bytes(b"2")
    with pytest.raises(EvaluationError, match=r"w.json has the results of other weights than .*w.pt"):
        refuse_clashes({"w": weights}, tmp_path)
