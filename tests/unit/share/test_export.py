"""A trained cell leaves the project as a model that open_clip loads in a fresh process, and is the same model there."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from clip_scaling.cli.model import export
from clip_scaling.errors import ConfigError, EvaluationError
from clip_scaling.models.encode import load_cell
from clip_scaling.models.tokenizer import CLIP_ROWS, clip_merges, load_tokenizer, train_merges, write_merges
from clip_scaling.records.files import read_json, sha256_file, write_json
from clip_scaling.records.laws import CurvePoint, FittedLaw
from clip_scaling.share.export import write_model
from clip_scaling.share.hub_tokenizer import write_tokenizer

from ..records.filled import filled, law_file
from ..train.test_objective import COCA
from .conftest import CAPTIONS, CELL, MODEL, Trained, measured, train

TEXTS = [
    *CAPTIONS[:4],
    "",
    "!",
    "a!b  !!",
    "JOHN'S &amp; café",
    "much longer than the eight tokens that there is room for",
]
LOAD = """
import sys, open_clip, torch
from PIL import Image
from safetensors.torch import save_file
found = {}
for folder in sys.argv[1:]:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(open("texts.txt").read().split("\\n"))
    images = torch.stack([preprocess(Image.open(f"{n}.png")) for n in range(3)])
    with torch.no_grad():
        found |= {f"{folder}/images": model.encode_image(images, normalize=True), f"{folder}/tokens": tokens,
                  f"{folder}/texts": model.encode_text(tokens, normalize=True)}
save_file(found, "found.safetensors")
"""


def call(trained: Trained, folder: Path, cell: str = CELL, hub: str = "") -> None:
    """`clip-scaling export`."""
    config = trained.root / "config" / "offline.yaml"
    export(argparse.Namespace(cell=cell, configfile=config, root=trained.root, output=folder, hub=hub, license="mit"))


@pytest.mark.slow
def test_a_fresh_process_computes_the_same_features_from_the_exported_folder(trained: Trained, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for number, (size, mode) in enumerate([((16, 16), "RGB"), ((40, 30), "RGB"), ((21, 50), "RGBA")]):
        shape = (size[1], size[0], len(mode))
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy(), mode).save(tmp_path / f"{number}.png")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    expected: dict[str, torch.Tensor] = {}
    coca = COCA | {
        part: COCA[part] | {"vocab_size": 600, "context_length": 8} for part in ("text_cfg", "multimodal_cfg")
    }
    for objective in ("clip", "siglip", "coca"):
        train(trained.root, coca if objective == "coca" else MODEL, objective)
        call(trained, tmp_path / objective)
        encoder, _ = load_cell(trained.checkpoint, trained.merges)
        assert encoder is not None
        images = torch.stack([encoder.preprocess.pixels(Image.open(tmp_path / f"{n}.png")) for n in range(3)])
        tokens = encoder.tokenizer(TEXTS)
        with torch.no_grad():
            expected |= {
                f"{objective}/images": encoder.model.encode_image(encoder.preprocess.normalise(images), normalize=True),
                f"{objective}/texts": encoder.model.encode_text(tokens, normalize=True),
                f"{objective}/tokens": tokens,
            }
    subprocess.run([sys.executable, "-c", LOAD, "clip", "siglip", "coca"], cwd=tmp_path, check=True)
    found = load_file(tmp_path / "found.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if name.endswith("tokens"):
            assert found[name].equal(tensor), name
        else:
            assert (found[name] - tensor).abs().max() <= 1e-6, name
            assert (tensor - tensor[0]).abs().max() > 1e-3, f"{name}: all alike, which would show nothing"


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Ours, and the one that open_clip finds in a folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_merges(folder / "merges.txt.gz", train_merges(CAPTIONS, 600))
    options = write_tokenizer(folder, folder / "merges.txt.gz", 12)
    config = {"model_cfg": {"text_cfg": {"context_length": 12, "hf_tokenizer_name": "x", "tokenizer_kwargs": options}}}
    write_json(folder / "open_clip_config.json", config)
    return load_tokenizer(folder / "merges.txt.gz", 12), open_clip.get_tokenizer(f"local-dir:{folder}")


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cn", "Cs", "Co"]), max_size=40))
def test_the_exported_tokenizer_gives_the_same_tokens_for_any_text(tokenizers: tuple[Any, Any], text: str) -> None:
    ours, exported = tokenizers
    assert exported([text]).equal(ours([text]))


def test_clips_own_vocabulary_is_left_to_open_clip(trained: Trained, tmp_path: Path) -> None:
    write_merges(trained.merges, clip_merges())
    train(trained.root, MODEL | {"text_cfg": MODEL["text_cfg"] | {"vocab_size": CLIP_ROWS}})
    write_model(trained.checkpoint, trained.merges, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    found = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")(TEXTS)
    assert found.equal(load_tokenizer(trained.merges, 8)(TEXTS))


def test_the_card_tells_data_recipe_results_and_law(trained: Trained, tmp_path: Path) -> None:
    row = measured("scenes-captions", "contrastive_loss", 4.25, 4.12, 4.37)
    write_json(trained.results / "evaluate" / CELL / "metrics.json", {"cell": CELL, "metrics": [row]})
    line = [filled(CurvePoint, compute_gmacs=1.0, error=8.0)]
    fit = filled(FittedLaw, source="offline", method="ols-all", form="power", beta=8.0, curve=line, alpha=-0.5,
                 alpha_low=-0.61, alpha_high=-0.39)  # fmt: skip
    law = law_file("scenes-captions", "contrastive_loss", fits=[fit])
    law.write(trained.results / law.place)
    call(trained, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["library_name"] == "open_clip" and header["license"] == "mit" and "clip" in header["tags"]
    assert "1,000 pairs of the source `scenes`" in card and "8,064 samples seen" in card
    assert "| scenes-captions | contrastive loss | 4.25 [4.12, 4.37] | 100 |" in card
    # 8 x 4.032^-0.5 = 3.98
    assert "| ols-all | −0.50 [−0.61, −0.39] | law | 3.98 | 4.25 |" in card
    assert (tmp_path / "out" / "ATTRIBUTION.md").read_text() == "# Attribution\n\nDrawn by this program.\n"


def test_the_snippet_on_the_card_runs(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(trained, tmp_path / "FOLDER")
    snippet = re.search(r"```python\n(.*?)```", (tmp_path / "FOLDER" / "README.md").read_text(), re.DOTALL)
    assert snippet
    Image.new("RGB", (20, 20), "red").save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(snippet[1], names)
    assert names["images"].shape == (1, 16) and names["texts"].shape == (2, 16)
    other = re.search(r"`(open_clip.SimpleTokenizer\(.*?\))`", (tmp_path / "FOLDER" / "README.md").read_text())
    assert other
    assert eval(other[1], names)(TEXTS).equal(names["tokenizer"](TEXTS))


def test_provenance_lists_every_other_file_with_its_hash(trained: Trained, tmp_path: Path) -> None:
    call(trained, tmp_path / "out")
    about = read_json(tmp_path / "out" / "provenance.json")
    files = {entry["path"]: entry["sha256"] for entry in about["files"]}
    assert files.keys() == {path.name for path in (tmp_path / "out").iterdir()} - {"provenance.json"}
    assert files["open_clip_model.safetensors"] == sha256_file(tmp_path / "out" / "open_clip_model.safetensors")
    assert about["training"]["order_digest"] == "a" * 64 and about["study"]["study"] == "offline"


def test_for_the_hub_the_tokenizer_is_looked_for_in_the_repository(trained: Trained, tmp_path: Path) -> None:
    call(trained, tmp_path / "out", hub="someone/small-clip")
    config = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())
    assert config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] == "someone/small-clip"
    assert 'create_model_and_transforms("hf-hub:someone/small-clip")' in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_be_exported_is_refused_with_the_reason(trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(
        ConfigError, match=r"not a cell of study 'offline'\. Close matches: Model-ViT-nano-8_Data-Scenes"
    ):
        call(trained, out, CELL.replace("8K", "9K"))
    with pytest.raises(
        EvaluationError, match=r"not trained yet. Run `snakemake --cores all results/offline/train/Model"
    ):
        call(trained, out, CELL.replace("8K", "32K"))
    with pytest.raises(ConfigError, match="--hub name: write OWNER/NAME"):
        call(trained, out, hub="name")
    out.mkdir()
    (out / "file").touch()
    with pytest.raises(ConfigError, match="there is something already"):
        call(trained, out)
    (out / "file").unlink()
    train(trained.root, state="diverged")
    with pytest.raises(EvaluationError, match="diverged in training"):
        call(trained, out)
    train(trained.root)
    write_merges(trained.merges, ["a b</w>"])
    with pytest.raises(EvaluationError, match="trained with another tokenizer"):
        call(trained, out)
    assert not list(out.iterdir())


def test_others_may_read_the_weights(trained: Trained, tmp_path: Path) -> None:
    write_model(trained.checkpoint, trained.merges, tmp_path / "out")
    # safetensors lets nobody but the owner read what it writes.
    assert oct((tmp_path / "out" / "open_clip_model.safetensors").stat().st_mode)[-3:] == "644"
