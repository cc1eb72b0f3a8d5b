"""Fingerprints of a model and its input, so that only features of the same kind are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from st_reid.models.checkpoints import CLASSIFIERS


def fingerprint(model: nn.Module, settings: Mapping[str, Any]) -> str:
    """Return a hash, 16 hexadecimal digits, of a model's weights and the settings of its input.

    Classifiers are left out, because features do not depend on them.
    """
    digest = hashlib.sha256(as_json(dict(settings)).encode())
    for name, value in sorted(model.state_dict().items()):
        if set(CLASSIFIERS) & set(name.split(".")):
            continue
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def digest_of(settings: Any) -> str:
    """Return a hash, 16 hexadecimal digits, of plain values."""
    return hashlib.sha256(as_json(settings).encode()).hexdigest()[:16]


def as_json(settings: Any) -> str:
    """Return plain values as JSON; equal values give equal JSON."""
    return json.dumps(settings, sort_keys=True, default=str)
