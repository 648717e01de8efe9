"""Importing this first imports open_clip without transformers: 1.3 s of CPU less in every short job.

open_clip needs transformers for Hugging Face towers only, and does without where it is not installed. The towers that a
grid trains are open_clip's own (compute.py refuses others); `scripts/evaluate_foreign.py` takes any and does not import
this.
"""

import sys

if "transformers" not in sys.modules:
    sys.modules["transformers"] = None  # type: ignore[assignment]  # an import of it raises ImportError
    import open_clip  # noqa: F401

    del sys.modules["transformers"]
