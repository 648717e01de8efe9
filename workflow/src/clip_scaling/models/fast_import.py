"""Import of open_clip without what its own towers do not use. Import this first: it saves a short job 2.9 s of CPU.

- transformers and timm (1.5 s): for the towers of others only; open_clip does without where they are not installed. The
  towers that a grid trains are open_clip's own (compute.py refuses others); `scripts/evaluate_foreign.py` takes any and
  does not import this.
- torch._dynamo (1.4 s): torchvision asks it for one function, for its detection operators. Optimizers and torch.compile
  import it later, whole.
"""

import sys
from types import ModuleType

ABSENT = ("transformers", "timm")
DYNAMO = ("torch._dynamo", "torch._dynamo.utils")


def _is_compile_supported(device_type: str) -> bool:
    return False


if not {"open_clip", "torchvision", *ABSENT, *DYNAMO} & sys.modules.keys():
    import torch  # noqa: F401

    for name in DYNAMO:
        sys.modules[name] = ModuleType(name)
    sys.modules["torch._dynamo.utils"].is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    for name in ABSENT:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        import open_clip  # noqa: F401
    finally:
        for name in (*ABSENT, *DYNAMO):
            del sys.modules[name]
