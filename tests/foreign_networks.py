"""Networks of WeSpeaker and 3D-Speaker with random weights, and a second opinion on what they compute: written from the
papers and from the names and shapes of public files, weight by weight, for one utterance, in double precision."""

import math

import torch
import torch.nn.functional as F
import yaml

WIDE = {"ResNet34": [3, 4, 6, 3], "ResNet50": [3, 4, 6, 3]}  # blocks of each stage


class Drawing:
    """Names -> random weights, as files have them."""

    def __init__(self, seed):
        self.weights, self.rng = {}, torch.Generator().manual_seed(seed)

    def weight(self, name, *shape):
        fan = math.prod(shape[1:]) or 1
        self.weights[name] = torch.randn(shape, generator=self.rng, dtype=torch.float64) * fan ** -0.5

    def layer(self, name, *shape, bias=False):
        self.weight(f"{name}.weight", *shape)
        if bias:
            self.weights[f"{name}.bias"] = torch.randn(shape[0], generator=self.rng, dtype=torch.float64) * 0.1

    def norm(self, name, size, affine=True):
        for part, low in ([("weight", 0.5), ("bias", -0.5)] if affine else []) + [("running_mean", -0.5),
                                                                                 ("running_var", 0.5)]:
            self.weights[f"{name}.{part}"] = low + torch.rand(size, generator=self.rng, dtype=torch.float64)
        self.weights[f"{name}.num_batches_tracked"] = torch.tensor(3.0)  # WeSpeaker averages it like all others


def norm(w, name, x):
    """x: channels first."""
    size = [-1] + [1] * (x.dim() - 1)
    y = (x - w[f"{name}.running_mean"].view(size)) / (w[f"{name}.running_var"].view(size) + 1e-5).sqrt()
    return y * w[f"{name}.weight"].view(size) + w[f"{name}.bias"].view(size) if f"{name}.weight" in w else y


def conv2d(w, name, x, stride=(1, 1)):
    kernel = w[f"{name}.weight"]
    return F.conv2d(x[None], kernel, stride=stride, padding=kernel.shape[2] // 2)[0]


def conv1d(w, name, x, dilation=1, stride=1):
    kernel = w[f"{name}.weight"]
    return F.conv1d(x[None], kernel, w.get(f"{name}.bias"), stride, dilation * (kernel.shape[2] // 2), dilation)[0]


def linear(w, name, x):
    return w[f"{name}.weight"].reshape(len(w[f"{name}.weight"]), -1) @ x + w.get(f"{name}.bias", 0)


def statistics(x, epsilon):
    """(..., T) -> mean and deviation over T - 1, flat."""
    x = x.flatten(0, -2)
    return torch.cat([x.mean(1), (x.var(1) + epsilon).sqrt()])


def draw_resnet(model, width, bins, size, seed=0):
    d, before = Drawing(seed), width
    d.layer("conv1", width, 1, 3, 3)
    d.norm("bn1", width)
    for stage, count in enumerate(WIDE[model]):
        inner = width * 2 ** stage
        for n in range(count):
            name, after = f"layer{stage + 1}.{n}", inner * (4 if model == "ResNet50" else 1)
            kernels = [(inner, before, 1), (inner, inner, 3), (after, inner, 1)] if model == "ResNet50" else [
                (inner, before, 3), (inner, inner, 3)]
            for i, (out, of, kernel) in enumerate(kernels, 1):
                d.layer(f"{name}.conv{i}", out, of, kernel, kernel)
                d.norm(f"{name}.bn{i}", out)
            if n == 0 and (stage or before != after):
                d.layer(f"{name}.shortcut.0", after, before, 1, 1)
                d.norm(f"{name}.shortcut.1", after)
            before = after
    d.layer("seg_1", size, 2 * before * (bins // 8), bias=True)
    return d.weights


def resnet(w, model, features):
    x = F.relu(norm(w, "bn1", conv2d(w, "conv1", features.T[None])))
    for stage, count in enumerate(WIDE[model], 1):
        for n in range(count):
            name, stride = f"layer{stage}.{n}", (2, 2) if stage > 1 and n == 0 else (1, 1)
            strides = [(1, 1), stride, (1, 1)] if model == "ResNet50" else [stride, (1, 1)]
            y = x
            for i, step in enumerate(strides, 1):
                y = norm(w, f"{name}.bn{i}", conv2d(w, f"{name}.conv{i}", y, step))
                y = F.relu(y) if i < len(strides) else y
            if f"{name}.shortcut.0.weight" in w:
                x = norm(w, f"{name}.shortcut.1", conv2d(w, f"{name}.shortcut.0", x, stride))
            x = F.relu(x + y)
    return linear(w, "seg_1", statistics(x, 1e-7))


def draw_ecapa(channels, bins, size, context, last_norm, seed=0):
    d = Drawing(seed)
    d.layer("layer1.conv", channels, bins, 5, bias=True)
    d.norm("layer1.bn", channels)
    part = channels // 8
    for name in (f"layer{n}.se_res2block" for n in (2, 3, 4)):
        for end in (0, 2):
            d.layer(f"{name}.{end}.conv", channels, channels, 1, bias=True)
            d.norm(f"{name}.{end}.bn", channels)
        for i in range(7):
            d.layer(f"{name}.1.convs.{i}", part, part, 3, bias=True)
            d.norm(f"{name}.1.bns.{i}", part)
        d.layer(f"{name}.3.linear1", 4, channels, bias=True)
        d.layer(f"{name}.3.linear2", channels, 4, bias=True)
    d.layer("conv", 24, 3 * channels, 1, bias=True)
    d.layer("pool.linear1", 128, 72 if context else 24, 1, bias=True)
    d.layer("pool.linear2", 24, 128, 1, bias=True)
    d.norm("bn", 48)
    d.layer("linear", size, 48, bias=True)
    if last_norm:
        d.norm("bn2", size)
    return d.weights


def ecapa(w, features):
    def layer(name, x, dilation=1):
        return norm(w, f"{name}.bn", F.relu(conv1d(w, f"{name}.conv", x, dilation)))

    x, outputs = layer("layer1", features.T), []
    for n, dilation in ((2, 2), (3, 3), (4, 4)):
        name = f"layer{n}.se_res2block"
        parts = layer(f"{name}.0", x).chunk(8)
        done, carried = [], 0
        for i in range(7):
            convolved = conv1d(w, f"{name}.1.convs.{i}", parts[i] + carried, dilation)
            carried = norm(w, f"{name}.1.bns.{i}", F.relu(convolved))
            done.append(carried)
        y = layer(f"{name}.2", torch.cat([*done, parts[7]]))
        gate = torch.sigmoid(linear(w, f"{name}.3.linear2", F.relu(linear(w, f"{name}.3.linear1", y.mean(1)))))
        x = x + y * gate[:, None]
        outputs.append(x)
    x = F.relu(conv1d(w, "conv", torch.cat(outputs)))
    seen = x
    if w["pool.linear1.weight"].shape[1] > len(x):
        seen = torch.cat([x, x.mean(1, keepdim=True).expand_as(x), (x.var(1, keepdim=True) + 1e-7).sqrt().expand_as(x)])
    share = conv1d(w, "pool.linear2", torch.tanh(conv1d(w, "pool.linear1", seen))).softmax(1)
    mean = (share * x).sum(1)
    deviation = ((share * x ** 2).sum(1) - mean ** 2).clamp_min(1e-7).sqrt()
    found = linear(w, "linear", norm(w, "bn", torch.cat([mean, deviation])))
    return norm(w, "bn2", found) if "bn2.weight" in w else found


DENSE = ((12, 1), (24, 2), (16, 2))  # layers and dilation of each block


def draw_campplus(bins, size, seed=0, head=4, channels=8, growth=4, bottleneck=8):
    d = Drawing(seed)
    d.layer("head.conv1", head, 1, 3, 3)
    d.norm("head.bn1", head)
    for name in ("layer1.0", "layer1.1", "layer2.0", "layer2.1"):
        for i in (1, 2):
            d.layer(f"head.{name}.conv{i}", head, head, 3, 3)
            d.norm(f"head.{name}.bn{i}", head)
        if name.endswith("0"):
            d.layer(f"head.{name}.shortcut.0", head, head, 1, 1)
            d.norm(f"head.{name}.shortcut.1", head)
    d.layer("head.conv2", head, head, 3, 3)
    d.norm("head.bn2", head)
    d.layer("xvector.tdnn.linear", channels, head * bins // 8, 5)
    d.norm("xvector.tdnn.nonlinear.batchnorm", channels)
    for b, (count, _) in enumerate(DENSE, 1):
        for name in (f"xvector.block{b}.tdnnd{n}" for n in range(1, count + 1)):
            d.norm(f"{name}.nonlinear1.batchnorm", channels)
            d.layer(f"{name}.linear1", bottleneck, channels, 1)
            d.norm(f"{name}.nonlinear2.batchnorm", bottleneck)
            d.layer(f"{name}.cam_layer.linear_local", growth, bottleneck, 3)
            d.layer(f"{name}.cam_layer.linear1", bottleneck // 2, bottleneck, 1, bias=True)
            d.layer(f"{name}.cam_layer.linear2", growth, bottleneck // 2, 1, bias=True)
            channels += growth
        d.norm(f"xvector.transit{b}.nonlinear.batchnorm", channels)
        d.layer(f"xvector.transit{b}.linear", channels // 2, channels, 1)
        channels //= 2
    d.norm("xvector.out_nonlinear.batchnorm", channels)
    d.layer("xvector.dense.linear", size, 2 * channels, 1)
    d.norm("xvector.dense.nonlinear.batchnorm", size, affine=False)
    return d.weights


def campplus(w, features, epsilon=0.0):
    """epsilon: of the variance; 3D-Speaker has none."""
    x = F.relu(norm(w, "head.bn1", conv2d(w, "head.conv1", features.T[None])))
    for name in ("head.layer1.0", "head.layer1.1", "head.layer2.0", "head.layer2.1"):
        stride = (2, 1) if name.endswith("0") else (1, 1)
        y = F.relu(norm(w, f"{name}.bn1", conv2d(w, f"{name}.conv1", x, stride)))
        y = norm(w, f"{name}.bn2", conv2d(w, f"{name}.conv2", y))
        if name.endswith("0"):
            x = norm(w, f"{name}.shortcut.1", conv2d(w, f"{name}.shortcut.0", x, stride))
        x = F.relu(x + y)
    x = F.relu(norm(w, "head.bn2", conv2d(w, "head.conv2", x, (2, 1)))).flatten(0, 1)
    x = F.relu(norm(w, "xvector.tdnn.nonlinear.batchnorm", conv1d(w, "xvector.tdnn.linear", x, stride=2)))
    for b, (count, dilation) in enumerate(DENSE, 1):
        for name in (f"xvector.block{b}.tdnnd{n}" for n in range(1, count + 1)):
            y = conv1d(w, f"{name}.linear1", F.relu(norm(w, f"{name}.nonlinear1.batchnorm", x)))
            y = F.relu(norm(w, f"{name}.nonlinear2.batchnorm", y))
            around = torch.cat([part.mean(1, keepdim=True).expand_as(part) for part in y.split(100, 1)], 1)
            context = y.mean(1, keepdim=True) + around
            context = F.relu(conv1d(w, f"{name}.cam_layer.linear1", context))
            mask = torch.sigmoid(conv1d(w, f"{name}.cam_layer.linear2", context))
            x = torch.cat([x, conv1d(w, f"{name}.cam_layer.linear_local", y, dilation) * mask])
        x = conv1d(w, f"xvector.transit{b}.linear", F.relu(norm(w, f"xvector.transit{b}.nonlinear.batchnorm", x)))
    pooled = statistics(F.relu(norm(w, "xvector.out_nonlinear.batchnorm", x)), epsilon)
    return norm(w, "xvector.dense.nonlinear.batchnorm", linear(w, "xvector.dense.linear", pooled))


def settings(network, size, **changes):
    """A config.yaml as WeSpeaker's releases have it, with other values of keys such as model_args.feat_dim."""
    pooling = "ASTP" if network.startswith("ECAPA") else "TSTP"
    tables = {"data_type": "shard", "model": network, "loss": "CrossEntropyLoss",
              "model_args": {"embed_dim": size, "feat_dim": 80, "pooling_func": pooling, "two_emb_layer": False},
              "dataset_args": {"fbank_args": {"dither": 1.0, "frame_length": 25, "frame_shift": 10, "num_mel_bins": 80},
                               "resample_rate": 16000, "num_frms": 200, "speed_perturb": True}}
    for path, value in changes.items():
        *sections, key = path.split("__")
        table = tables
        for section in sections:
            table = table.setdefault(section, {})
        if value is None:
            del table[key]
        else:
            table[key] = value
    return tables


CASES = {  # name -> weights, the second opinion, config.yaml
    "resnet34": (lambda: draw_resnet("ResNet34", 2, 80, 6), lambda w, x: resnet(w, "ResNet34", x),
                 settings("ResNet34", 6)),
    "resnet50": (lambda: draw_resnet("ResNet50", 2, 80, 6), lambda w, x: resnet(w, "ResNet50", x),
                 settings("ResNet50", 6)),
    "ecapa": (lambda: draw_ecapa(16, 80, 6, True, False), ecapa, settings("ECAPA_TDNN_GLOB_c16", 6)),
    "ecapa without context": (lambda: draw_ecapa(16, 80, 6, False, True), ecapa,
                              settings("ECAPA_TDNN_c16", 6, model_args__emb_bn=True)),
    "campplus": (lambda: draw_campplus(80, 6), campplus, None),
    "campplus of wespeaker": (lambda: draw_campplus(80, 6), lambda w, x: campplus(w, x, 1e-7),
                              settings("CAMPPlus", 6))}


def files(folder, name):
    """A case as files in a folder: weights as releases have them, config.yaml or None."""
    draw, _, tables = CASES[name]
    weights = {key: value.float() for key, value in draw().items()}
    if tables:
        weights["projection.weight"] = torch.ones(21, 6)
    else:  # 3D-Speaker's counts are whole numbers
        weights = {key: value.long() if key.endswith("tracked") else value for key, value in weights.items()}
    torch.save(weights, folder / "avg_model.pt")
    if tables:
        (folder / "config.yaml").write_text(yaml.dump(tables))
    return weights, folder / "avg_model.pt", folder / "config.yaml" if tables else None
