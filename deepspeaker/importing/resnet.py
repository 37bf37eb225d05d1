"""ResNets of WeSpeaker (resnet in models/resnet.py)."""

import re

from deepspeaker.importing.names import Translation, by_rules, transposed
from deepspeaker.importing.settings import Settings, needed
from deepspeaker.importing.weights import File

SIGNATURE = "seg_1.weight"
BLOCKS = {  # model -> their kind, and how many each stage has
    "ResNet18": ("basic", [2, 2, 2, 2]), "ResNet34": ("basic", [3, 4, 6, 3]), "ResNet50": ("bottleneck", [3, 4, 6, 3]),
    "ResNet101": ("bottleneck", [3, 4, 23, 3]), "ResNet152": ("bottleneck", [3, 8, 36, 3]),
    "ResNet221": ("bottleneck", [6, 16, 48, 3]), "ResNet293": ("bottleneck", [10, 20, 64, 3])}
RULES = ((r"front\.0\.", "conv1."), (r"front\.1\.", "bn1."), (r"affine\.", "seg_1."))
IN_BLOCK = ((r"conv", "conv"), (r"norm", "bn"), (r"around\.", "shortcut."))


def translate(file: File, settings: Settings | None) -> Translation:
    """settings: of config.yaml, which they need."""
    settings = needed(settings, file.path, "a ResNet of WeSpeaker")
    blocks = [file.count(rf"layer{stage}\.\d+\.conv1\.weight") for stage in range(1, 5)]
    block = "bottleneck" if "layer1.0.conv3.weight" in file.weights else "basic"
    if (block, blocks) != BLOCKS.get(settings.model):
        raise settings.contradiction("model", settings.model, f"{blocks} {block} blocks", file.path)
    channels = [file.shape(f"layer{stage}.0.conv1.weight", 4)[0] for stage in range(1, 5)]
    options = {"channels": channels, "blocks": blocks, "pooling": "statistics_wespeaker",
               "embedding_dim": file.shape(SIGNATURE, 2)[0], "block": block}
    places = [f"layer{stage}.{n}." for stage, count in enumerate(blocks, 1) for n in range(count)]

    def name_there(name: str) -> str:
        if found := re.match(r"body\.(\d+)\.", name):
            return places[int(found[1])] + by_rules(IN_BLOCK)(name[found.end():])
        return by_rules(RULES)(name)

    return Translation(f"{settings.model} of WeSpeaker", "resnet", options, settings.features, name_there,
                       transposed)
