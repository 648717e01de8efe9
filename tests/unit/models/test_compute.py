"""GMACs by the paper's convention."""

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from clip_scaling.errors import ConfigError
from clip_scaling.models.compute import gmacs_per_sample

# Cherti et al. 2022, the table of architectures: GMAC of both towers, of the image tower, of the text tower.
PAPER = {
    "ViT-B-32": (7.40, 4.41, 2.98),
    "ViT-B-16": (20.57, 17.58, 2.98),
    "ViT-L-14": (87.73, 81.08, 6.66),
    "ViT-H-14": (190.97, 167.40, 23.57),
    "ViT-g-14": (290.74, 267.18, 23.57),
    "ViT-bigG-14": (532.92, 483.96, 48.96),
}


def open_clip_config(name: str) -> dict:
    spec = find_spec("open_clip")
    assert spec and spec.submodule_search_locations
    return json.loads((Path(spec.submodule_search_locations[0]) / "model_configs" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", PAPER)
def test_gmacs_of_the_papers_models(name: str) -> None:
    gmacs = gmacs_per_sample(open_clip_config(name))
    for part, expected in zip(("total", "image", "text"), PAPER[name], strict=True):
        assert gmacs[part] == pytest.approx(expected, rel=2e-3), part


def test_gmacs_of_every_released_vit_row(published: Path) -> None:
    other_names = {"ViT-G-14": "ViT-bigG-14"}
    checked = 0
    for row in csv.DictReader((published / "arch_info.csv").open()):
        name = row["model"]
        if name.startswith("RN"):
            continue
        config = open_clip_config(other_names.get(name.removesuffix("-336"), name.removesuffix("-336")))
        config["vision_cfg"]["image_size"] = int(row["image_size"])
        assert gmacs_per_sample(config)["total"] == pytest.approx(float(row["gmacs"]), rel=2e-3), name
        checked += 1
    assert checked == 24


def test_gmacs_of_a_model_small_enough_to_count_by_hand() -> None:
    # Image: 4 patches + 1 token, width 2, one block, MLP 4, embed 3. Text: 3 tokens, the same block.
    config = {
        "embed_dim": 3,
        "vision_cfg": {"image_size": 4, "patch_size": 2, "width": 2, "layers": 1, "mlp_ratio": 2.0},
        "text_cfg": {"context_length": 3, "vocab_size": 9, "width": 2, "heads": 1, "layers": 1, "mlp_ratio": 2.0},
    }
    image = (4 * 5 * 4 + 2 * 5 * 2 * 4) + 2 * 3 + 4 * 3 * 4 * 2 + 2 * 25 * 2 + 5 * 5 * 2 * 4
    text = (4 * 3 * 4 + 2 * 3 * 2 * 4) + 2 * 3 + 2 * 9 * 2 + 5 * 3 * 2 * 3
    gmacs = gmacs_per_sample(config)
    assert gmacs["image"] * 1e9 == pytest.approx(image)
    assert gmacs["text"] * 1e9 == pytest.approx(text)


def test_a_tower_that_is_no_plain_transformer_is_refused() -> None:
    with pytest.raises(ConfigError, match="ResNet"):
        gmacs_per_sample(open_clip_config("RN50"))


def test_gmacs_of_cocas_decoder_are_those_that_torch_counts() -> None:
    # torch.utils.flop_counter over open_clip 3.3.0's coca_ViT-B-32, 76 tokens: linear layers of pooler 0.1735, decoder
    # 6.7948, vocabulary 1.8973 GMAC. It does not see the attention products: 12 layers of 2 x 75 x 75 x 512 and
    # 2 x 75 x 255 x 512, and 2 x 256 x 50 x 512 in the pooler, 0.3173 GMAC.
    gmacs = gmacs_per_sample(open_clip_config("coca_ViT-B-32"))
    assert gmacs["decoder"] == pytest.approx(0.1735 + 6.7948 + 1.8973 + 0.3173, rel=2e-3)
    assert gmacs["total"] == gmacs["image"] + gmacs["text"] + gmacs["decoder"]
