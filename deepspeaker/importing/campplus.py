"""CAM++ of 3D-Speaker and WeSpeaker, whose weights have the same names (campplus in models/campplus.py)."""

import re

from torch import Tensor

from deepspeaker.errors import UserError
from deepspeaker.importing.names import Translation, by_rules, transposed
from deepspeaker.importing.settings import Settings, needed
from deepspeaker.importing.weights import File

SIGNATURE = "xvector.block1.tdnnd1.cam_layer.linear_local.weight"
SPEAKER3D: dict[str, object] = {  # its files have no configuration; the floor is that of samples within -1..1
    "sample_rate": 16000, "num_mel_bins": 80, "mel_floor": 128.0}
RULES = (
    (r"front\.0\.", "head.conv1."), (r"front\.1\.", "head.bn1."),
    (r"head_end\.0\.", "head.conv2."), (r"head_end\.1\.", "head.bn2."),
    (r"entrance\.", "xvector.tdnn.linear."), (r"entrance_norm\.", "xvector.tdnn.nonlinear.batchnorm."),
    (r"last_norm\.", "xvector.out_nonlinear.batchnorm."),
    (r"affine\.", "xvector.dense.linear."), (r"norm\.", "xvector.dense.nonlinear.batchnorm."))
IN_HEAD = ((r"conv", "conv"), (r"norm", "bn"), (r"around\.", "shortcut."))
IN_LAYER = ((r"norm([12])\.", r"nonlinear\1.batchnorm."), (r"narrow\.", "linear1."),
            (r"conv\.", "cam_layer.linear_local."), (r"mask\.gate\.0\.", "cam_layer.linear1."),
            (r"mask\.gate\.2\.", "cam_layer.linear2."))
AT_END = ((r"0\.", "nonlinear.batchnorm."), (r"2\.", "linear."))


def translate(file: File, settings: Settings | None) -> Translation:
    """settings: of WeSpeaker's config.yaml; None for 3D-Speaker. The weights of the two tell themselves apart, their
    front-ends do not."""
    if file.of_wespeaker:
        settings = needed(settings, file.path, "a CAM++ of WeSpeaker")
    elif settings:
        raise UserError(f"{file.path} has the weights of a CAM++ as 3D-Speaker leaves them, without a classifier: "
                        f"import it without {settings.path}, which stands for another front-end")
    layers = [file.count(rf"xvector\.block{block}\.tdnnd\d+\.linear1\.weight") for block in (1, 2, 3)]
    bottleneck, growth = file.shape(SIGNATURE, 3)[1::-1]
    options = {"head_channels": file.shape("head.conv1.weight", 4)[0],
               "channels": file.shape("xvector.tdnn.linear.weight", 3)[0], "growth": growth, "bottleneck": bottleneck,
               "layers": layers, "dilations": [1, 2, 2],
               "pooling": "statistics_wespeaker" if settings else "statistics_3dspeaker",
               "embedding_dim": file.shape("xvector.dense.linear.weight", 3)[0]}
    if settings and settings.model != "CAMPPlus":
        raise settings.contradiction("model", settings.model, "those of CAMPPlus", file.path)
    project, features = ("WeSpeaker", settings.features) if settings else ("3D-Speaker", SPEAKER3D)
    return Translation(f"CAM++ of {project}", "campplus", options, features, _name_there, _here)


def _name_there(name: str) -> str:
    if found := re.match(r"head_blocks\.(\d+)\.", name):
        number = int(found[1])
        return f"head.layer{number // 2 + 1}.{number % 2}." + by_rules(IN_HEAD)(name[found.end():])
    if found := re.match(r"blocks\.(\d+)\.layers\.(\d+)\.", name):
        return f"xvector.block{int(found[1]) + 1}.tdnnd{int(found[2]) + 1}." + by_rules(IN_LAYER)(name[found.end():])
    if found := re.match(r"blocks\.(\d+)\.end\.", name):
        return f"xvector.transit{int(found[1]) + 1}." + by_rules(AT_END)(name[found.end():])
    return by_rules(RULES)(name)


def _here(name: str, value: Tensor) -> Tensor:
    if name.startswith("affine."):
        return value.squeeze(2)
    return value.unsqueeze(3) if value.dim() == 3 else transposed(name, value)
