"""ECAPA-TDNNs of WeSpeaker (ecapa in models/ecapa.py).

A Res2 layer passes on its first part here, its last one there: the layers before and behind it have their parts in
another order. The first layer of the attention is two here; of networks without global context the second is 0.
"""

import re

import torch
from torch import Tensor

from deepspeaker.errors import UserError
from deepspeaker.importing.names import Translation, by_rules
from deepspeaker.importing.settings import Settings, needed
from deepspeaker.importing.weights import File

SIGNATURE = "layer2.se_res2block.1.convs.0.weight"
ATTENTION = "pool.linear1.weight"
DILATIONS = [2, 3, 4]
RULES = (
    (r"front\.0\.", "layer1.conv."), (r"front\.2\.", "layer1.bn."), (r"aggregate\.", "conv."),
    (r"pool\.(frame|context)\.", "pool.linear1."), (r"pool\.score\.", "pool.linear2."), (r"pooled_norm\.", "bn."),
    (r"affine\.", "linear."), (r"norm\.", "bn2."))
IN_BLOCK = (
    (r"([02])\.0\.", r"\1.conv."), (r"([02])\.2\.", r"\1.bn."), (r"1\.parts\.(\d+)\.0\.", r"1.convs.\1."),
    (r"1\.parts\.(\d+)\.2\.", r"1.bns.\1."), (r"3\.gate\.0\.", "3.linear1."), (r"3\.gate\.2\.", "3.linear2."))


def translate(file: File, settings: Settings | None) -> Translation:
    """settings: of config.yaml, which they need."""
    settings = needed(settings, file.path, "an ECAPA-TDNN of WeSpeaker")
    channels = file.shape("layer1.conv.weight", 3)[0]
    aggregation, attended = file.shape("conv.weight", 3)[0], file.shape(ATTENTION, 3)[1]
    context = attended == 3 * aggregation
    if attended not in (aggregation, 3 * aggregation):
        raise UserError(f"{file.path}: {ATTENTION}: expected {aggregation} or {3 * aggregation} columns, found "
                        f"{attended}")
    wanted = f"ECAPA_TDNN{'_GLOB' * context}_c{channels}"
    if settings.model != wanted:
        raise settings.contradiction("model", settings.model, f"those of {wanted}", file.path)
    parts = file.count(r"layer2\.se_res2block\.1\.convs\.\d+\.weight") + 1
    bottleneck = file.shape("layer2.se_res2block.3.linear1.weight", 2)[0]
    options = {"channels": channels, "scale": parts, "dilations": DILATIONS, "bottleneck": bottleneck,
               "aggregation": aggregation, "pooling": "attentive_wespeaker",
               "embedding_dim": file.shape("linear.weight", 2)[0], "block_input": "previous",
               "last_norm": "bn2.weight" in file.weights}

    def value_here(name: str, value: Tensor) -> Tensor:
        if name == "pool.frame.weight":
            return value[:, :aggregation, 0]
        if name == "pool.context.weight":
            return value[:, aggregation:, 0] if context else torch.zeros(len(value), 2 * aggregation)
        if name == "pool.score.weight":
            return value.squeeze(2)
        if re.match(r"blocks\.\d+\.0\.", name) and value.dim():
            return value.roll(channels // parts, 0)
        if re.match(r"blocks\.\d+\.2\.0\.weight", name):
            return value.roll(channels // parts, 1)
        return value

    return Translation(f"{settings.model} of WeSpeaker", "ecapa", options, settings.features, _name_there,
                       value_here)


def _name_there(name: str) -> str:
    if found := re.match(r"blocks\.(\d+)\.", name):
        return f"layer{int(found[1]) + 2}.se_res2block." + by_rules(IN_BLOCK)(name[found.end():])
    return by_rules(RULES)(name)
