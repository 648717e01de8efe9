"""Parameters are the paper's; memory by hand."""

import pytest

from clip_scaling.models.size import ModelSize, memory_gb, model_size
from clip_scaling.study.resolved import ResolvedStudy

# Cherti et al. 2022, the table of architectures: millions of parameters.
PAPER = {"ViT-B-32": 151.28, "ViT-B-16": 149.62, "ViT-L-14": 427.62, "ViT-H-14": 986.11, "ViT-g-14": 1366.68}


def test_parameters_of_the_papers_models(laion: ResolvedStudy) -> None:
    for name, millions in PAPER.items():
        assert model_size(laion.models[name]).parameters / 1e6 == pytest.approx(millions, abs=0.005), name


def test_memory_by_hand() -> None:
    size = ModelSize(parameters=10**9, layer_channels=10**6, widest=10**5, embed_dim=500)
    # 16 GB of weights, gradients and moments; 100 samples x 68 MB in fp32; 1.6 kB x 1000 + 4 kB x 1000.
    expected = 16 + 100 * 0.068 + (16 * 100 * 1000 + 8 * 1000 * 500) / 1e9
    assert memory_gb(size, 100, 1000, 8, False, False, False) == pytest.approx(expected)
    # Sharded over 8, half precision, recomputed: (16 + 2) / 8 GB, and 2 MB + 3.4 MB a sample.
    expected = 18 / 8 + 100 * 0.0054 + (16 * 100 * 1000 + 8 * 1000 * 500) / 1e9
    assert memory_gb(size, 100, 1000, 8, True, True, True) == pytest.approx(expected)
