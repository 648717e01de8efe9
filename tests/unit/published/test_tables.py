import pandas as pd
import pytest
import yaml

from clip_scaling.errors import DataError
from clip_scaling.laws import fit
from clip_scaling.published.tables import (
    read_learning_curves,
    read_linear_probes,
    read_scenarios,
    read_zeroshot,
    targets,
)


@pytest.fixture(scope="module")
def probes(published):
    return read_linear_probes(published)


def test_the_zero_shot_table_has_every_run_on_every_target_but_vtab(published_table):
    assert published_table["dataset"].nunique() == 40
    assert "vtab" not in set(published_table["dataset"])
    cells = published_table.groupby("source")["cell"].nunique()
    assert cells.to_dict() == {"openclip": 29, "openai": 3}
    assert not published_table.duplicated(["cell", "dataset", "metric"]).any()


def test_text_retrieval_is_not_image_retrieval(published_table):
    rows = published_table[(published_table["cell"] == "Model-H-14_Data-2B_Samples-34B_lr-5e-4_bs-79k")]
    flickr = rows[rows["dataset"] == "flickr30k"].set_index("metric")["value"]
    assert flickr["image_retrieval_recall@5"] == pytest.approx(0.9410, abs=5e-5)  # the paper's table
    assert flickr["text_retrieval_recall@5"] == pytest.approx(0.9930, abs=5e-5)


def test_recipes_are_those_of_the_run_list(published_table):
    rows = published_table.drop_duplicates("cell").set_index("cell")
    run = rows.loc["Model-B-16_Data-400M_Samples-13B_lr-5e-4_bs-33k"]
    assert (run["global_batch_size"], run["learning_rate"], run["warmup_steps"]) == (33792, 0.0005, 10000)
    assert rows["global_batch_size"].notna().all()


@pytest.mark.parametrize(
    ("target", "openclip", "openai"),
    [  # Slopes and intercepts (log10) that the released linear-probe notebook prints.
        ("imagenet1k-10-shot", (-0.1314607, 1.05755934), (-0.17566435, 1.54138056)),
        ("imagenet1k-25-shot", (-0.12618628, 0.92703027), (-0.17877075, 1.50354337)),
        ("imagenet1k-full", (-0.12020044, 0.71410972), (-0.18009978, 1.36318424)),
        ("cifar100-10-shot", (-0.17437949, 1.41119465), (-0.19432683, 1.69820658)),
        ("cifar100-25-shot", (-0.18484099, 1.44546899), (-0.19827113, 1.65290788)),
        ("cifar100-full", (-0.17690599, 1.19607582), (-0.18168383, 1.3049806)),
        ("vtab", (-0.03789119, -0.12800883), (-0.05844628, 0.1239923)),
    ],
)
def test_the_linear_probe_laws_of_the_released_notebook_are_reproduced(probes, target, openclip, openai):
    for source, (alpha, intercept) in (("openclip", openclip), ("openai", openai)):
        law = fit(probes, target=f"linear_probe/{target}", metric="acc1", method="ols-all", source=source)
        assert law.alpha == pytest.approx(alpha, abs=2e-8)
        assert law.beta == pytest.approx(10**intercept, rel=1e-6)


def test_scenarios_are_the_paper_s_three_models_at_two_nominal_budgets(published):
    table = read_scenarios(published)
    ours = table[table["source"] == "openclip"]
    assert list(ours["samples_seen"].unique()) == [34_215_895_056, 68_431_790_112]
    assert dict(zip(ours["model"], ours["gmacs_per_sample"], strict=True)) == {
        "ViT-H-14": 190.97,
        "ViT-g-14": 290.74,
        "ViT-G-14": 532.92,
    }


def test_the_study_file_lists_every_target_of_the_tables(published, probes, repository):
    study = yaml.safe_load((repository / "config" / "published.yaml").read_text())
    listed = {(entry["dataset"], metric) for entry in study["targets"] for metric in entry["metrics"]}
    assert listed == set(targets(pd.concat([read_zeroshot(published), probes])))


def test_a_folder_without_the_tables_is_named(tmp_path):
    with pytest.raises(DataError, match="zeroshot_results.csv: no such file"):
        read_zeroshot(tmp_path)


def test_the_learning_curves_of_all_runs_end_at_their_released_accuracy(published, published_table):
    curves = read_learning_curves(published)
    assert len(curves) == 29 and sum(len(curve) for curve in curves.values()) == 3359
    rows = published_table[(published_table["dataset"] == "imagenet1k") & (published_table["metric"] == "acc1")]
    for row in rows[rows["source"] == "openclip"].itertuples():
        curve = curves[row.cell]
        assert curve["samples"].is_monotonic_increasing
        assert curve["samples"].iloc[-1] == pytest.approx(row.samples_seen)
        assert curve["imagenet_acc1"].iloc[-1] == pytest.approx(row.value, abs=0.0013)  # measured once more later
