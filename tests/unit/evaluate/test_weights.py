"""What trainers wrap weights in is taken off; wrong places are named with the next step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from clip_scaling.errors import EvaluationError
from clip_scaling.evaluate.foreign import foreign_model, foreign_models, load_foreign, named_set

from .test_foreign import SMALL


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small-wrapped.json"
    path.write_text(json.dumps(SMALL))
    return path


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return open_clip.model.CLIP(**SMALL).state_dict()


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "clip.net."])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model", "model_state_dict"])
def test_wrappers_are_taken_off(config: Path, tmp_path: Path, prefix: str, wrapper: str) -> None:
    own = state()
    saved: dict[str, Any] = {prefix + name: value for name, value in own.items()}
    torch.save({wrapper: saved, "epoch": 3, "optimizer": {}} if wrapper else saved, tmp_path / "w.pt")
    encoder, _ = load_foreign(foreign_model(str(config), tmp_path / "w.pt", {}))
    assert all(torch.equal(value, own[name]) for name, value in encoder.model.state_dict().items())


def test_a_compiled_tower_inside_is_known(config: Path, tmp_path: Path) -> None:
    own = state()
    saved = {name.replace("visual.", "visual._orig_mod.", 1): value for name, value in own.items()}
    torch.save(saved, tmp_path / "w.pt")
    encoder, _ = load_foreign(foreign_model(str(config), tmp_path / "w.pt", {}))
    assert encoder.model.state_dict().keys() == own.keys()


def test_what_is_beside_a_prefix_is_named(config: Path, tmp_path: Path) -> None:
    saved = {f"model.{name}": value for name, value in state().items()} | {"loss.weight": torch.zeros(1)}
    torch.save({"state_dict": saved}, tmp_path / "w.pt")
    with pytest.raises(EvaluationError, match="weights do not fit the model"):
        load_foreign(foreign_model(str(config), tmp_path / "w.pt", {}))
    torch.save({"epoch": 3, "optimizer": {"lr": 1.0}}, tmp_path / "none.pt")
    with pytest.raises(EvaluationError, match="no weights under state_dict, model, .*it has epoch, optimizer"):
        load_foreign(foreign_model(str(config), tmp_path / "none.pt", {}))


def test_a_folder_of_weights_names_its_files(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    torch.save(state(), folder / "open_clip_pytorch_model.bin")
    with pytest.raises(EvaluationError, match=r"a folder, not a file of weights.*has open_clip_pytorch_model.bin"):
        load_foreign(foreign_model(str(config), folder, {}))


def test_a_model_of_another_vocabulary_is_sent_to_its_own_script(config: Path, tmp_path: Path) -> None:
    small = SMALL | {"text_cfg": SMALL["text_cfg"] | {"vocab_size": 600}}
    (tmp_path / "small-600.json").write_text(json.dumps(small))
    torch.save(open_clip.model.CLIP(**small).state_dict(), tmp_path / "w.pt")
    # By its config, and by its weights where the config does not say.
    for model in (tmp_path / "small-600.json", config):
        with pytest.raises(EvaluationError, match=r"not CLIP's own: 600 tokens, not 49408.*scripts/evaluate.py"):
            load_foreign(foreign_model(str(model), tmp_path / "w.pt", {}))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("broken.json", "{\n", "not JSON"), ("none.json", None, "no such file"), ("list.json", "[]", "no open_clip model"),
     ("folder.json", "", "a folder")],
)  # fmt: skip
def test_a_config_that_is_none_is_never_to_be_deleted(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    path = tmp_path / name
    if content == "":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(EvaluationError, match=rf"{name}: .*{said}") as found:
        foreign_model(str(path), tmp_path / "w.pt", {})
    assert "elete" not in str(found.value) and "snakemake" not in str(found.value)


def test_a_config_of_the_hub_is_called_as_its_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "open_clip_config.json").write_text(json.dumps({"model_cfg": SMALL}))
        foreign = foreign_model(str(tmp_path / name / "open_clip_config.json"), tmp_path / name / "w.pt", {})
        assert foreign.model == name


def test_runs_with_one_file_name_are_two_cells(config: Path, tmp_path: Path) -> None:
    paths = [tmp_path / run / "checkpoints" / "epoch_latest.pt" for run in ("runA", "runB")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.touch()
    found = foreign_models(str(config), paths, {})
    assert [foreign.cell for foreign in found] == ["runA_epoch_latest", "runB_epoch_latest"]
    with pytest.raises(EvaluationError, match="are one file"):
        foreign_models(str(config), [paths[0], paths[0]], {})


def test_a_hub_name_without_network_says_what_to_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(model: str) -> None:
        raise FileNotFoundError("cannot reach the Hub")

    monkeypatch.setattr(open_clip, "get_model_config", unreachable)
    with pytest.raises(EvaluationError, match=r"cannot be fetched \(cannot reach the Hub\).*open_clip_config.json"):
        load_foreign(foreign_model("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", tmp_path / "w.pt", {}))


def test_only_a_manifest_of_an_evaluation_set_is_opened(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"pairs": 10, "shards": [], "source": "x"}))
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    for path, said in (
        (tmp_path, "a folder, .*Name its manifest: .*manifest.json"),
        (tmp_path / "manifest.json", "the manifest of training data"),
        (tmp_path / "other.json", "another JSON file"),
        (tmp_path / "broken.json", "not JSON"),
        (tmp_path / "none.json", "No such file"),
    ):
        with pytest.raises(EvaluationError, match=said):
            named_set(path)
