"""Importing this first imports open_clip without transformers and timm: 1.5 s of CPU less in every short job.

open_clip needs them for the towers of others only, and does without where they are not installed. The towers that a
grid trains are open_clip's own (compute.py refuses others); `scripts/evaluate_foreign.py` takes any and does not import
this.
"""

import sys

if not {"open_clip", "transformers", "timm"} & sys.modules.keys():
    for name in ("transformers", "timm"):
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it raises ImportError
    import open_clip  # noqa: F401

    for name in ("transformers", "timm"):
        del sys.modules[name]
