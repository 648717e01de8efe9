"""The model card of an exported cell: README.md with the header that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..records.data import SourceManifest
from ..records.evaluation import CheckpointMetrics
from ..records.laws import FittedLaw, LawFile
from ..records.metrics import is_loss, to_error
from ..records.training import TrainRecord
from ..report.labels import dataset_title, gmacs_text, metric_title, minus, source_title, with_interval
from ..report.views import headline_fits

USE = """```python
import open_clip, torch
from PIL import Image

model, _, preprocess = open_clip.create_model_and_transforms("{place}")
model.eval()  # open_clip leaves a new model in training mode
tokenizer = open_clip.get_tokenizer("{place}"){note}

with torch.no_grad():
    images = model.encode_image(preprocess(Image.open("picture.png")).unsqueeze(0), normalize=True)
    texts = model.encode_text(tokenizer(["a caption", "another"]), normalize=True)
    print(images @ texts.T)
```"""
OWN_TOKENIZER = """The vocabulary was learnt from the training captions; `get_tokenizer` needs `transformers` for it.
Without: `open_clip.SimpleTokenizer("{folder}/merges.txt.gz", context_length={context})` gives the same tokens."""


@dataclass(frozen=True)
class Exported:
    """The contents of a card.

    record: of its training. subset: the data's entry in the study file. evaluation: None before it was made.
    laws: law files of the study's targets that there are. source: manifest of the data's source. distribution: the
    `source` of the cell in law files. config: open_clip_config.json. place: `local-dir:...` or `hf-hub:...`.
    has_attribution: ATTRIBUTION.md lies beside the card.
    """

    study: str
    title: str
    record: TrainRecord
    subset: dict[str, Any]
    source: SourceManifest
    config: dict[str, Any]
    place: str
    licence: str
    distribution: str
    evaluation: CheckpointMetrics | None = None
    laws: Sequence[LawFile] = ()
    methods: Mapping[str, str] = field(default_factory=dict)
    has_attribution: bool = True


def model_card(about: Exported) -> str:
    """The whole text of README.md. The same cell gives the same text."""
    record = about.record
    header = {
        "license": about.licence,
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", "scaling-law"],
    }
    sections = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n# {record.cell}",
        f"A CLIP model of the study *{about.title or about.study}*, trained to measure how error falls with compute. "
        "It is one point of a scaling law, not a model to be deployed.",
        "## Use\n\n" + _use(about),
        "## Training data\n\n" + _data(about),
        "## Recipe\n\n" + _recipe(record),
        "## Results\n\n" + _results(about),
        "## Scaling laws of its study\n\n" + _laws(about),
        "## Limits\n\n" + _limits(about),
        "## Provenance\n\n" + _provenance(record),
    ]
    return "\n\n".join(sections) + "\n"


def _use(about: Exported) -> str:
    text = about.config["model_cfg"]["text_cfg"]
    own = "hf_tokenizer_name" in text
    found = [USE.format(place=about.place, note="  # needs transformers" if own else "")]
    if own:
        folder = about.place.partition(":")[2] if about.place.startswith("local-dir:") else "FOLDER"
        found.append(OWN_TOKENIZER.format(folder=folder, context=text.get("context_length", 77)))
    return "\n\n".join(found)


def _data(about: Exported) -> str:
    record, recipe = about.record, about.source.recipe
    said = f"`{record.data}`: {record.unique_pairs:,} pairs of the source `{about.source.name}` (kind "
    said += f"{recipe['kind']}"
    said += f", version {recipe['version']}" if "version" in recipe else ""
    chosen = [
        (key, value) for key, value in about.subset.items() if key not in ("source", "pairs") and value is not None
    ]
    said += "".join(f", {key} {_value(value)}" for key, value in chosen)
    said += f"), {record.samples_seen:,} samples seen, {record.epochs:.3g} epochs. "
    if recipe.get("licences"):
        said += f"Licences of the images: any of {', '.join(recipe['licences'])}. "
    said += "Authors and licences by set: [ATTRIBUTION.md](ATTRIBUTION.md). " if about.has_attribution else ""
    return said + f"Order of the pairs: digest `{record.order_digest}`."


def _recipe(record: TrainRecord) -> str:
    rows = [
        ("parameters", f"{record.parameters:,}"),
        ("compute", f"{gmacs_text(record.gmacs_per_sample)} a sample, {record.compute_gmacs:.3g} GMAC in all"),
        ("steps", f"{record.steps:,}"),
        ("seed", str(record.seed)),
        *((name, _value(value)) for name, value in sorted(record.recipe.items()) if value is not None),
    ]
    return _table(("what", "value"), rows)


def _results(about: Exported) -> str:
    if not about.evaluation or not about.evaluation.metrics:
        return "Not evaluated."
    rows = []
    for row in about.evaluation.metrics:
        value = with_interval(row.value, row.ci_low, row.ci_high)
        rows.append((dataset_title(row.dataset), metric_title(row.metric), value, f"{row.n:,}"))
    said = "Zero-shot unless the set's name says otherwise; 95 % intervals in brackets; accuracies and recalls as "
    return said + "fractions, losses in nats.\n\n" + _table(("set", "metric", "value", "n"), rows)


def _laws(about: Exported) -> str:
    measured = {(row.dataset, row.metric): row for row in (about.evaluation.metrics if about.evaluation else [])}
    rows = []
    for law in about.laws:
        fits = [fit for fit in headline_fits(law, about.methods) if fit.source == about.distribution]
        for fit in fits:
            row = measured.get((law.target, law.metric))
            error = "" if row is None else f"{to_error(law.metric, row.value):.3g}"
            alpha = with_interval(fit.alpha, fit.alpha_low, fit.alpha_high)
            said = _error_by_law(fit, about.record.compute_gmacs)
            name = f"{dataset_title(law.target)}, {metric_title(law.metric)}"
            unit = " (nats)" if is_loss(law.metric) else ""
            rows.append((name + unit, fit.method, alpha, str(fit.verdict), said, error))
    if not rows:
        return "None was fitted yet."
    said = f"Error *E* = *β C*^*α* of the cells of `{source_title(about.distribution)}`; *C* in forward GMAC. "
    said += "Both last columns are at this model's compute.\n\n"
    return said + _table(("target", "method", "α", "verdict", "the law's error", "this model's error"), rows)


def _error_by_law(fit: FittedLaw, compute: float) -> str:
    """The error that a power law gives at a compute (GMAC); empty for no such law."""
    if fit.form != "power" or fit.alpha is None or fit.beta is None:
        return ""
    return minus(f"{fit.beta * compute**fit.alpha:.3g}")


def _limits(about: Exported) -> str:
    config = about.config["model_cfg"]
    size = config["vision_cfg"].get("image_size", 224)
    context = config["text_cfg"].get("context_length", 77)
    return (
        f"- It saw {about.record.samples_seen:,} samples of one source: expect little on images unlike them.\n"
        f"- Images of {size} px, captions of at most {context - 2} tokens; the rest is cut off.\n"
        "- Measured on the sets above in fp32, on nothing else: not for bias, safety or robustness to misuse.\n"
        "- Text and images that training data repeat of an evaluation set: `snakemake contamination` in the study."
    )


def _provenance(record: TrainRecord) -> str:
    made = record.provenance
    edited = " with uncommitted changes" if made.uncommitted_changes else ""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(made.versions.items()))
    return (
        f"Code {made.commit or 'outside a checkout'}{edited}; {versions}; finished {made.finished_utc}; weights "
        f"sha256 `{record.weights_sha256}` (`clip_scaling.models.checkpoint.weights_sha256`). All else, and the "
        "sha256 of every file here: `provenance.json`."
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in sorted(value.items()))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
