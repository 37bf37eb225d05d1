"""The classifier of the softmax phase in checkpoints: the training speakers' names and, in the same order, its rows."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from deepspeaker.checkpoint import Content
from deepspeaker.errors import UserError
from deepspeaker.losses.softmax import Softmax


def as_content(loss: nn.Module, speakers: Sequence[str]) -> Content:
    """What a checkpoint keeps of the loss besides the network: names and weights (N, E) of a classifier, otherwise
    nothing."""
    return {"classifier": {"speakers": [*speakers], **loss.state_dict()}} if isinstance(loss, Softmax) else {}


def take_rows(loss: nn.Module, speakers: Sequence[str], content: Content, path: Path) -> str:
    """Copy the rows of those speakers that the classifier of the checkpoint has, too; the others stay as they are.

    Returns what becomes of the checkpoint's classifier, for the log. UserError if it is damaged.
    """
    if not isinstance(loss, Softmax):
        return "its classifier is left behind"
    if "classifier" not in content:
        return f"its classifier is replaced by a new one of {len(speakers)} speakers"
    names, weight = _read(content["classifier"], loss.weight, path)
    row = {name: n for n, name in enumerate(names)}
    kept = [n for n, name in enumerate(speakers) if name in row]
    with torch.no_grad():
        loss.weight[torch.tensor(kept, dtype=torch.long)] = weight[[row[speakers[n]] for n in kept]]
    return (f"its classifier keeps {len(kept)} speakers, drops {len(names) - len(kept)} and gets "
            f"{len(speakers) - len(kept)} new ones")


def _read(found: object, like: Tensor, path: Path) -> tuple[list[str], Tensor]:
    """The names and weights of a checkpoint's classifier; weights of the kind of `like`, but any number of rows."""
    names, weight = (found.get("speakers"), found.get("weight")) if isinstance(found, dict) else (None, None)
    expected = f"names of speakers and as many rows of {like.shape[1]} weights ({like.dtype})"
    advice = "start from another checkpoint"
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)
            and isinstance(weight, Tensor) and weight.dtype == like.dtype and weight.layout == torch.strided):
        raise UserError(f"{path}: its classifier is damaged: expected {expected}, found other values: {advice}")
    if weight.shape != (len(names), like.shape[1]):
        raise UserError(f"{path}: its classifier is damaged: expected {expected}, found {len(names)} names and weights "
                        f"of the shape {tuple(weight.shape)}: {advice}")
    return names, weight
