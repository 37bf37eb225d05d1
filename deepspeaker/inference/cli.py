"""Use a trained speaker-verification model: verify, enrol and identify speakers, or compute embeddings."""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from deepspeaker import __version__
from deepspeaker.errors import AllFailed, UserError, one_line

EPILOG = """exit status: 0 same speaker, or done; 1 different or unknown speaker; 2 error
audio: WAV, FLAC, MP3, M4A, WebM and whatever else libsndfile or FFmpeg reads; '-' is standard input
decisions: a log-likelihood ratio is compared with the threshold that follows from --prior and the two costs"""


class _UsageError(Exception):
    """Arguments that do not parse."""

    def __init__(self, usage: str, reason: str) -> None:
        super().__init__(reason)
        self.usage = usage


class _Parser(argparse.ArgumentParser):
    """Raises, so that main says what is wrong with the arguments as it says everything else."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(self.format_usage(), message)


def main(words: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    words = sys.argv[1:] if words is None else words
    as_json, debug = "--json" in words, "--debug" in words
    try:
        args = parser().parse_args(words)
        as_json, debug = args.json, args.debug
        _check_encoding(words)
        from deepspeaker.gpu import explained
        from deepspeaker.inference import commands

        with explained("work on the CPU (--device cpu)", "nothing was written"):
            answer: commands.Answer = getattr(commands, args.run)(args)
        _print(json.dumps(answer.json, ensure_ascii=False) if as_json else answer.text)
        return answer.status
    except KeyboardInterrupt:
        print("deepspeaker: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, _UsageError):
            print(error.usage, end="", file=sys.stderr)
        expected = isinstance(error, (UserError, OSError, _UsageError))
        reason = one_line(error if expected else f"{type(error).__name__}: {error} (a bug; --debug shows a traceback)")
        print(f"deepspeaker: {reason}", file=sys.stderr)
        if as_json:
            failed = {"failed": error.failed} if isinstance(error, AllFailed) else {}
            with suppress(OSError):  # the error may be that standard output cannot be written
                _print(json.dumps({"error": reason, **failed}, ensure_ascii=False))
        return 2


def _print(text: str) -> None:
    """Print to standard output, if it is open, at once. Whoever reads may leave before the end, as `head` does."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_encoding(words: Sequence[str]) -> None:
    """UserError for a name that is not UTF-8, which could be neither printed nor stored."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"{ascii(word)}: expected a name in UTF-8: rename it") from None


def parser() -> _Parser:
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    common.add_argument("--debug", action="store_true", help="print a traceback when an error occurs")
    model = _Parser(add_help=False)
    model.add_argument("model", type=Path, metavar="MODEL", help="model file, exp/NAME/model.pt of the recipe")
    device = _Parser(add_help=False, parents=[model])
    device.add_argument("--device", default="cpu", help="device that runs the network, such as cuda (default: cpu)")
    listening = _Parser(add_help=False, parents=[device])
    listening.add_argument("--channel", type=int, metavar="N", help="channel to take of a file with several, 0: the "
                           "first, which is the left one (default: their mean); of a file with one, this is taken")
    decisions = _Parser(add_help=False, parents=[listening])
    decisions.add_argument("--prior", type=float, help="prior probability that the speakers are the same, "
                           "0 to 1 (default: the one that the model was calibrated for)")
    decisions.add_argument("--cost-miss", type=float, default=1.0, help="cost of rejecting the speaker (default: 1)")
    decisions.add_argument("--cost-fa", type=float, default=1.0, help="cost of accepting another speaker (default: 1)")

    top = _Parser(prog="deepspeaker", description=__doc__, epilog=EPILOG,
                  formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=__version__)
    sub = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: str, about: str, *parents: _Parser) -> _Parser:
        made = sub.add_parser(name, parents=[common, *parents], help=about, description=about, epilog=EPILOG,
                              formatter_class=argparse.RawDescriptionHelpFormatter)
        made.set_defaults(run=run)
        return made

    verify = command("verify", "verify", "Compare the speaker of the first file with those of the others.", decisions)
    verify.add_argument("first", metavar="A.wav")
    verify.add_argument("others", nargs="+", metavar="B.wav")
    enroll = command("enroll", "enroll", "Add recordings of a speaker to a database. A new speaker is added; a "
                                         "missing database is created.", listening)
    enroll.add_argument("database", metavar="DB")
    enroll.add_argument("name", metavar="NAME")
    enroll.add_argument("wavs", nargs="+", metavar="WAV")
    listing = command("list", "list_speakers", "List the enrolled speakers.", device)
    listing.add_argument("database", metavar="DB")
    remove = command("remove", "remove", "Forget a speaker: all recordings are deleted, and the file keeps no trace.",
                     device)
    remove.add_argument("database", metavar="DB")
    remove.add_argument("name", metavar="NAME")
    rename = command("rename", "rename", "Give a speaker another name.", device)
    rename.add_argument("database", metavar="DB")
    rename.add_argument("old", metavar="OLD")
    rename.add_argument("new", metavar="NEW")
    identify = command("identify", "identify", "Name the enrolled speaker of a file, or answer 'unknown'.", decisions)
    identify.add_argument("database", metavar="DB")
    identify.add_argument("wav", metavar="WAV")
    identify.add_argument("--top", type=int, default=5, metavar="N",
                          help="number of speakers to print, the likeliest first (default: 5)")
    embed = command("embed", "embed", "Write the embeddings of files. A .npy file is an array with a row per file, NaN "
                    "if it fails; an .scp file, Kaldi's, has an .ark beside it and omits files that fail.", listening)
    embed.add_argument("wavs", nargs="+", default=[], metavar="WAV",
                       help="sound files, unless --list or --scp names them").required = False
    embed.add_argument("--list", metavar="FILE", help="embed the files that a text file names, one a line, instead of "
                                                      "WAVs; '-' is standard input")
    embed.add_argument("--scp", metavar="FILE", help="the same with lines 'ID PATH', as in Kaldi's wav.scp; the output "
                                                     "has these ids")
    embed.add_argument("--any-sound", action="store_true",
                       help="embed noise and music as well, which are refused by default")
    embed.add_argument("-o", dest="output", type=Path, required=True, metavar="OUT.{npy,scp}",
                       help="output file; its ending selects the format")
    calibrate = command("calibrate", "calibrate", "Calibrate a model on recordings of your own and write it with the "
                        "new calibration. DATA_DIR has wav.scp and utt2spk and may have segments, spk2gender and "
                        "trials, which are made where there are none.", device)
    calibrate.add_argument("data", type=Path, metavar="DATA_DIR")
    calibrate.add_argument("-o", dest="output", type=Path, required=True, metavar="OUT.pt", help="model file to write")
    calibrate.add_argument("--prior", type=float, help="prior probability that the speakers are the same, at which "
                           "decisions will be made by default (default: the model's)")
    calibrate.add_argument("--no-pipes", action="store_true",
                           help="refuse a wav.scp with commands instead of running them")
    export = command("export", "export", "Write the network as an ONNX graph and compare their embeddings for ten "
                                         "lengths of input. Needs onnx, onnxscript and onnxruntime.", model)
    export.add_argument("output", type=Path, metavar="OUT.onnx")
    export.add_argument("--front-end", action="store_true",
                        help="input of the graph: samples (S,) instead of features (B, T, F)")
    serve = command("serve", "serve", "Answer over HTTP, and show a page to try the model with. Needs fastapi, uvicorn "
                    "and python-multipart. A missing database is made when the first speaker is enrolled.", device)
    serve.add_argument("database", metavar="DB")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, which only this "
                                                           "machine can reach; any other one needs --token-file)")
    serve.add_argument("--port", type=int, default=8000, help="port to listen on, 0: any free one (default: 8000)")
    serve.add_argument("--token-file", type=Path, metavar="FILE", help="file with a token, which requests must send in "
                       "the header 'Authorization: Bearer TOKEN'")
    serve.add_argument("--workers", type=int, metavar="N", help="threads that compute (default: one per core)")
    taken = command("import", "import_network", "Take over the network of another project: CAM++ of 3D-Speaker, and "
                    "ResNet, ECAPA-TDNN and CAM++ of WeSpeaker. The output embeds and scores by cosine; run.sh --init "
                    "calibrates it or trains it further.")
    taken.add_argument("file", type=Path, metavar="FILE", help="its weights, such as campplus_cn_en_common.pt")
    taken.add_argument("--config", type=Path, metavar="YAML", help="WeSpeaker's config.yaml, which its weights "
                       "need; 3D-Speaker's have none")
    taken.add_argument("-o", dest="output", type=Path, required=True, metavar="OUT.pt", help="checkpoint to write")
    taken.add_argument("--source", default="", metavar="TEXT", help="where the weights come from, kept in the output")
    taken.add_argument("--licence", default="", metavar="TEXT", help="their licence, kept in the output")
    return top
