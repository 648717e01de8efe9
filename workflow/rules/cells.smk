"""The cells of a trained study, and the functions that rules ask for paths, params and resources."""

from clip_scaling.compute import gmacs_per_sample
from clip_scaling.config import RECIPE_VERSION, IconifySource
from clip_scaling.grid import Cell
from clip_scaling.study import close_matches

CELLS = list(RESOLVED.cells)


wildcard_constraints:
    source="|".join(map(re.escape, STUDY.sources)),
    data="|".join(map(re.escape, STUDY.data)),
    cell="Model-[^/]+",
    image_size="[0-9]+",
    context_length="[0-9]+",
    learning_rate=r"[0-9.e+-]+",


def study_cell(name):
    """The cell of that name; a name that is not in the grid is refused with its nearest neighbours."""
    if name not in RESOLVED.cells:
        raise WorkflowError(f"{name!r} is not a cell of study {STUDY.study!r}.{close_matches(name, CELLS)}")
    return RESOLVED.cells[name]


def sweep_cell(model):
    """The cell that the learning rates of a model are compared on."""
    return Cell(model, STUDY.sweep.data, STUDY.sweep.samples_seen, STUDY.sweep.seed)


SWEEP_CELLS = {sweep_cell(model).name: sweep_cell(model) for model in STUDY.grid.models} if STUDY.sweep else {}


def cells_config(wildcards):
    """What the cells follow from, as JSON: the file's laws, title and resources change no table of cells.

    By a function: Snakemake would take the braces of a plain string for wildcards.
    """
    return canonical_json(
        STUDY.model_dump(mode="json", include={"study", "sources", "data", "grid", "recipe", "evaluation"})
    )


# ---------------------------------------------------------------- data


def archive_path(source):
    """Where a source's archive lies: the path in the config, or the file that `fetch_source` writes."""
    if not isinstance(source, IconifySource):
        return []
    return source.path or f"results/data/downloads/iconify-json-{source.version}.tgz"


def source_archive(wildcards):
    return archive_path(STUDY.sources[wildcards.source])


def fetched_source(wildcards):
    """The source whose archive has this version."""
    return next(s for s in STUDY.sources.values() if isinstance(s, IconifySource) and s.version == wildcards.version)


def archive_sha256(wildcards):
    return fetched_source(wildcards).sha256


def source_recipe(wildcards):
    """All of a source's settings but the place of its archive, which is known by its hash."""
    source = STUDY.sources[wildcards.source]
    return canonical_json(source.model_dump(exclude={"path"}))


def source_manifest(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/manifest.json"


def data_tokenizer(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/tokenizer/merges.txt.gz"


def subset_pairs(wildcards):
    return STUDY.data[wildcards.data].pairs


def evaluation_source(wildcards):
    return f"results/data/{RESOLVED.hold_out(wildcards.dataset)[0]}/manifest.json"


def evaluation_set(wildcards):
    return RESOLVED.hold_out(wildcards.dataset)[1]


# ---------------------------------------------------------------- cells


def packed_manifest(cell):
    """The packed pairs of a cell: its data, at its model's image size and context length."""
    model = RESOLVED.models[cell.model]
    size, context = model["vision_cfg"].get("image_size", 224), model["text_cfg"].get("context_length", 77)
    return f"results/data/{cell.data}/packed/{size}px-{context}tokens/manifest.json"


def train_input(wildcards):
    return packed_manifest(study_cell(wildcards.cell))


def sweep_input(wildcards):
    return packed_manifest(SWEEP_CELLS[wildcards.cell])


def recipe_params(cell, **changes):
    """All that decides a cell's numbers, in canonical form: recipe, model config, recipe version."""
    recipe = RESOLVED.recipe(cell).model_dump() | changes
    return canonical_json(
        {"recipe": recipe, "model_config": RESOLVED.models[cell.model], "recipe_version": RECIPE_VERSION}
    )


def train_recipe(wildcards):
    return recipe_params(study_cell(wildcards.cell))


def sweep_recipe(wildcards):
    return recipe_params(SWEEP_CELLS[wildcards.cell], learning_rate=float(wildcards.learning_rate))


def cell_compute(name):
    """Compute of a cell in GMACs."""
    cell = RESOLVED.cells[name]
    return gmacs_per_sample(RESOLVED.models[cell.model])["total"] * cell.samples_seen


# Longest cells first: the last job to start should be a short one. Data before any cell, or the cells that need the
# largest set would come last.
TRAIN_PRIORITY = {name: rank for rank, name in enumerate(sorted(CELLS, key=cell_compute), start=1)}
DATA_PRIORITY = len(CELLS) + 1


def train_priority(wildcards):
    return TRAIN_PRIORITY[study_cell(wildcards.cell).name]


def evaluate_tokenizer(wildcards):
    return data_tokenizer(study_cell(wildcards.cell))
