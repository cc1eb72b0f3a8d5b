"""The names in the checkpoints that the original authors released, and the names here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Original name -> the port's, by longest prefix; what follows the prefix is the same.
_PREFIXES = {"base.": "backbone.", "down_channel.": "head.reduce."}
_STAM_PREFIXES = {
    "Embeding.": "embed.",
    "TRAG.gamma_temporal.": "tra.relation.query.",
    "TRAG.beta_temporal.": "tra.relation.key.",
    "TRAG.gg_temporal.0.": "tra.relation.project.",
    "TRAG.gg_temporal.1.": "tra.relation_norm.",
    "TRAG.tte_para.0.": "tra.joint.",
    "TRAG.tte_para.1.": "tra.joint_norm.",
    "TRAG.te_para.0.": "tra.gate.",
    "TRAG.te_para.1.": "tra.gate_norm.",
    "TRAG.theta_channel.0.": "tra.theta.",
    "TRAG.channel_para.": "tra.rho.",
    "SRAG.alphi_appearance.": "sra.relation.query.",
    "SRAG.delta_appearance.": "sra.relation.key.",
    "SRAG.gg_spatial.0.": "sra.relation.project.",
    "SRAG.gg_spatial.1.": "sra.relation_norm.",
    "SRAG.spa_para.": "sra.gate.",
    "SRAG.app_channel.": "sra.rho.",
    "conv_block.": "out.",
}
for _k in range(3):
    _PREFIXES |= {f"layer{_k + 1}.{old}": f"head.stages.{_k}.{new}" for old, new in _STAM_PREFIXES.items()}
    _PREFIXES[f"bottleneck.{_k}."] = f"head.necks.{_k}."
    _PREFIXES[f"classifier.{_k}."] = f"head.classifiers.{_k}."


def port_key(key: str) -> str | None:
    """Return the port's name for an entry of a released state dict, or None where there is none."""
    key = key.removeprefix("module.")
    return next((new + key.removeprefix(old) for old, new in _PREFIXES.items() if key.startswith(old)), None)


def rename_psta(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Rename a released state dict of PSTA; any other comes back as it is."""
    if "down_channel.0.weight" not in state_dict:
        return state_dict
    return {port_key(key) or key: value for key, value in state_dict.items()}


_PCB_NAMES = (
    (re.compile(r"classifier(\d+)\.add_block\.([01])\."), r"embeddings.\1.\2."),
    (re.compile(r"classifier(\d+)\.classifier\.0\."), r"classifiers.\1."),
    (re.compile(r"model\."), "backbone."),
)
_PCB_UNUSED = "model.fc."  # ImageNet's classifier, which the released file contains


def pcb_key(key: str) -> str | None:
    """Return the port's name for an entry of a released state dict of ST-ReID's PCB, or None where there is none."""
    for pattern, replacement in _PCB_NAMES:
        if pattern.match(key):
            return pattern.sub(replacement, key, count=1)
    return None


def rename_pcb(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Rename a released state dict of ST-ReID's PCB; any other comes back as it is."""
    if "classifier0.add_block.0.weight" not in state_dict:
        return state_dict
    kept = {key: value for key, value in state_dict.items() if not key.startswith(_PCB_UNUSED)}
    return {pcb_key(key) or key: value for key, value in kept.items()}
