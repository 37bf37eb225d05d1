"""The subcommands: each takes the parsed arguments and returns its text, its JSON and its exit status."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepspeaker.errors import AllFailed, UserError, need, one_line
from deepspeaker.inference import answers, bulk
from deepspeaker.inference import speaker_database as database
from deepspeaker.inference.answers import Judged
from deepspeaker.inference.model import Model, load
from deepspeaker.inference.sound_files import STDIN
from deepspeaker.scoring.decisions import supported

SERVE_PACKAGES = ("fastapi", "uvicorn", "python_multipart")
YES, NO, FAILED = 0, 1, 2  # exit statuses


class Answer(NamedTuple):
    text: str
    json: dict[str, object]  # printed instead of the text with --json
    status: int = YES


def verify(args: Namespace) -> Answer:
    """Compare the first file with each of the others."""
    model, (first, *others) = _model(args), _distinct([args.first, *args.others])
    limit = model.threshold(args.prior, args.cost_miss, args.cost_fa)
    enrolled = model.listen(first, args.channel)
    found = answers.verify(model, limit, (first, enrolled),
                           [(other, model.listen(other, args.channel)) for other in others])
    lines = [f"{'same' if v.same else 'different'}: {first} and {v.second}: log-likelihood ratio {v.llr:+.2f}, "
             f"threshold {limit:+.2f}" for v in found.verdicts]
    lines += [*_unsupported(model.bounds, limit, args.prior or model.prior),
              *_trust_lines({first: found.trust} | {v.second: v.trust for v in found.verdicts})]
    return Answer("\n".join(lines), found.model_dump(), YES if all(v.same for v in found.verdicts) else NO)


def enroll(args: Namespace) -> Answer:
    database.check_name(args.name)  # before any work
    model = _model(args)
    heard = [model.listen(wav, args.channel) for wav in _distinct(args.wavs)]
    speaker = database.enroll(args.database, model, args.name, heard)
    found = answers.added(speaker, dict(zip(args.wavs, heard, strict=True)))
    return Answer("\n".join([f"{speaker.name}: {_amount(speaker)}", *_trust_lines(found.files)]), found.model_dump())


def remove(args: Namespace) -> Answer:
    speaker = database.remove(args.database, _model(args), args.name)
    return Answer(f"{speaker.name}: removed {_amount(speaker)}", speaker._asdict())


def rename(args: Namespace) -> Answer:
    database.check_name(args.new)  # before any work
    speaker = database.rename(args.database, _model(args), args.old, args.new)
    return Answer(f"{speaker.name}: {_amount(speaker)}, enrolled as {args.old} before",
                  {**speaker._asdict(), "old": args.old})


def list_speakers(args: Namespace) -> Answer:
    found = database.speakers(args.database, _model(args))
    lines = [f"{speaker.name}: {_amount(speaker)}, since {speaker.added}" for speaker in found]
    return Answer("\n".join([*lines, f"{len(found)} speakers"]), {"speakers": [s._asdict() for s in found]})


def identify(args: Namespace) -> Answer:
    if args.top < 1:
        raise UserError(f"--top: expected at least 1, found {args.top}")
    model = _model(args)
    limit, people = model.threshold(args.prior, args.cost_miss, args.cost_fa), database.recordings(args.database, model)
    found = answers.identify(model, limit, people, model.listen(args.wav, args.channel), args.top)
    lines = [found.speaker or "unknown",
             *(f"  {best.name}: log-likelihood ratio {best.llr:+.2f}" for best in found.best),
             f"  threshold {limit:+.2f}", *_unsupported(model.bounds, limit, args.prior or model.prior),
             *_trust_lines({args.wav: found.trust})]
    return Answer("\n".join(lines), found.model_dump(), NO if found.speaker is None else YES)


def embed(args: Namespace) -> Answer:
    from tqdm import tqdm

    bulk.check_name(args.output)
    names, wavs = _to_embed(args)
    model = _model(args)
    found: dict[int, np.ndarray] = {}  # by position in wavs
    failures: dict[int, str] = {}
    with tqdm(total=len(wavs), unit="file", dynamic_ncols=True, disable=len(wavs) == 1) as bar:
        for i, result in bulk.embed_all(model, wavs, args.any_sound, args.channel):
            if isinstance(result, UserError):
                failures[i] = str(result)
            else:
                found[i] = result
            bar.update()
    failed = {names[i] if args.scp else wavs[i]: failures[i] for i in sorted(failures)}
    for name, reason in failed.items():
        print(one_line(f"{name}: {reason}" if args.scp else reason), file=sys.stderr)
    if not found:
        raise AllFailed(f"none of {len(wavs)} files could be embedded: nothing was written", failed)
    bulk.write_embeddings(args.output, names, found)
    size = len(next(iter(found.values())))
    return Answer(f"{args.output}: {len(found)} embeddings of {size} dimensions; {len(failures)} files failed", {
        "output": str(args.output), "dimensions": size, "embedded": len(found), "failed": failed},
        FAILED if failures else YES)


def _to_embed(args: Namespace) -> tuple[list[str], list[str]]:
    """Ids and files; a .npy file needs no ids, so the files stand for them."""
    if sum(map(bool, (args.wavs, args.list, args.scp))) != 1:
        raise UserError("expected either sound files, or --list FILE, or --scp FILE")
    if args.scp:
        table = bulk.read_scp(args.scp)
        return list(table), _distinct([*table.values()])
    wavs = _distinct(bulk.read_list(args.list) if args.list else args.wavs)
    return bulk.ids(wavs) if args.output.suffix == ".scp" else wavs, wavs


def calibrate(args: Namespace) -> Answer:
    from deepspeaker.inference import calibrate as calibration

    model = _model(args)
    done = calibration.calibrate(model, args.data, args.output, args.prior, not args.no_pipes)
    p = done.prior
    lines = [f"{args.output}: calibrated on {done.trials} trials of {done.calibration.speakers} speakers",
             f"{'':24}{'before':>8}{'after':>8}"]
    for name, key in (("Cllr, bits", "cllr"), (f"actDCF, prior {p:g}", f"act_dcf_{p}"),
                      ("misses, %", f"miss_at_prior_{p}"), ("false accepts, %", f"false_accept_at_prior_{p}")):
        was = f"{done.before[key]:8.3f}" if done.before else f"{'-':>8}"
        lines.append(f"{name:24}{was}{done.after[key]:8.3f}")
    lines += ["after: each trial by a calibration that has not heard one of its speakers", *done.lines]
    lines += [f"left out: {utterance}: {why}" for utterance, why in done.failed.items()]
    lines += _unsupported(done.calibration.bounds, model.threshold(p), p)
    if done.warning:
        lines.append(f"warning: {done.warning}")
    return Answer("\n".join(lines), {"output": str(args.output), **done._asdict(),
                                     "calibration": done.calibration._asdict()})


def _unsupported(bounds: tuple[float, float], threshold: float, prior: float) -> list[str]:
    """A sentence where the development set supports no decision at this threshold."""
    if supported(bounds, threshold):
        return []
    what = "nothing is accepted" if threshold > 0 else "everything is accepted"
    low, high = bounds
    return [f"  the development set cannot support a decision at prior {prior:g}: {what}; log-likelihood "
            f"ratios lie between {low:+.2f} and {high:+.2f}"]


def export(args: Namespace) -> Answer:
    from deepspeaker.inference.export_onnx import export_onnx

    done = export_onnx(load(args.model), args.output, args.front_end)
    kind = "samples" if args.front_end else "features"
    lines = [f"{args.output}: from {kind} to embeddings; largest difference {done.difference:.1e} over lengths from "
             f"{done.seconds[0]:g} to {done.seconds[-1]:g} s", done.deployment]
    return Answer("\n".join(lines), {"output": str(args.output), **done._asdict()})


def import_network(args: Namespace) -> Answer:
    from deepspeaker.importing.network import import_network

    done = import_network(args.file, args.output, args.config, args.source, args.licence)
    f, values = done.config.features, [round(float(value), 3) for value in done.embedding]
    lines = [f"{args.output}: {done.origin['network']}, {done.weights:,} weights, embeddings of {len(values)} "
             "dimensions",
             f"from {args.file}, SHA-256 {done.origin['sha256']}",
             *(f"{name}: {done.origin[name]}" for name in ("source", "licence") if done.origin[name]),
             f"front-end: {f.sample_rate} Hz, {f.num_mel_bins} mel bins, {f.window} window, energies of at least "
             f"{f.mel_floor:.3g}, minus the mean",
             f"fingerprint: {done.fingerprint[:16]}; a second of synthetic speech becomes "
             + " ".join(f"{value:+.3f}" for value in values[:8]) + " ..."]
    return Answer("\n".join(lines), {
        "output": str(args.output), "weights": done.weights, "dimensions": len(values), **done.origin,
        "features": f.model_dump(), "fingerprint": done.fingerprint, "embedding": values})


def serve(args: Namespace) -> Answer:
    """Print the address and answer requests until a signal ends the process."""
    need(SERVE_PACKAGES, "serve")
    from deepspeaker.inference.service.server import Server

    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers: expected at least 1, found {args.workers}")
    server = Server(_model(args), Path(args.database), args.host, args.port, args.token_file, args.workers)
    started = {"address": server.address, "model": str(args.model), "database": args.database}
    print(json.dumps(started) if args.json else f"{args.model} answers at {server.address}; Ctrl-C ends it", flush=True)
    server.run()
    return Answer("", {})


def _model(args: Namespace) -> Model:
    return load(args.model, args.device)


def _distinct(wavs: list[str]) -> list[str]:
    if wavs.count(STDIN) > 1:
        raise UserError("standard input ('-') can be given only once")
    return wavs


def _trust_lines(judged: Mapping[str, Judged]) -> list[str]:
    lines = []
    for name, trust in judged.items():
        lines.append(f"  {name}: {trust.speech:.1f} s of speech in {trust.seconds:.1f} s, level {trust.level:.0f} dB, "
                     f"{100 * trust.clipped:.1f} % clipped")
        lines += [f"    warning: {warning}" for warning in trust.warnings]
    return lines


def _amount(speaker: database.Speaker) -> str:
    return f"{speaker.recordings} recordings with {speaker.speech:.1f} s of speech"
