"""A trained model as a command: `python -m deepspeaker`, or `deepspeaker` where it is installed."""

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from deepspeaker import __version__
from deepspeaker.errors import UserError, one_line

EPILOG = """exit status: 0 same speaker, or done; 1 different, or unknown; 2 an error, told in a sentence
WAV, FLAC, OGG, MP3 and, with PyAV, M4A and all that FFmpeg reads; '-' is standard input. A decision is made at the
prior of a target and the costs of the two errors; the default is the prior that the model's calibration is best for."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status."""
    args = parser().parse_args(words)
    try:
        _check_encoding(sys.argv[1:] if words is None else words)
        from deepspeaker.inference import commands

        answer = getattr(commands, args.run)(args)
        print(json.dumps(answer.json, ensure_ascii=False) if args.json else answer.text, flush=True)
        return answer.status
    except KeyboardInterrupt:
        print("deepspeaker: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        expected = isinstance(error, (UserError, OSError))
        reason = error if expected else f"{type(error).__name__}: {error} (a defect; --debug shows where)"
        print(f"deepspeaker: {one_line(reason)}", file=sys.stderr)
        return 2


def _check_encoding(words: Sequence[str]) -> None:
    """UserError for what could neither be printed nor written into a table."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"{ascii(word)}: expected a name in UTF-8: rename it") from None


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("model", type=Path, metavar="MODEL", help="model.pt that stage 6 left in exp/NAME")
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("--debug", action="store_true", help="show a traceback with an error")
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default="cpu", help="where the network runs, such as cuda (cpu)")
    decisions = argparse.ArgumentParser(add_help=False, parents=[device])
    decisions.add_argument("--prior", type=float, help="of a target, between 0 and 1")
    decisions.add_argument("--cost-miss", type=float, default=1.0, help="of rejecting the speaker (1)")
    decisions.add_argument("--cost-fa", type=float, default=1.0, help="of accepting another (1)")

    top = argparse.ArgumentParser(prog="deepspeaker", description=__doc__, epilog=EPILOG,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=__version__)
    sub = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: str, about: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made = sub.add_parser(name, parents=[common, *parents], help=about, description=about, epilog=EPILOG,
                              formatter_class=argparse.RawDescriptionHelpFormatter)
        made.set_defaults(run=run)
        return made

    verify = command("verify", "verify", "Is the first file's speaker that of each other file?", decisions)
    verify.add_argument("first", metavar="A.wav")
    verify.add_argument("others", nargs="+", metavar="B.wav")
    enroll = command("enroll", "enroll", "Add recordings of a speaker, new or known, to a database, made where there "
                                         "is none.", device)
    enroll.add_argument("database", metavar="DB")
    enroll.add_argument("name", metavar="NAME")
    enroll.add_argument("wavs", nargs="+", metavar="WAV")
    listing = command("list", "list_speakers", "Who is enrolled?", device)
    listing.add_argument("database", metavar="DB")
    identify = command("identify", "identify", "Which enrolled speaker is it, or none of them?", decisions)
    identify.add_argument("database", metavar="DB")
    identify.add_argument("wav", metavar="WAV")
    identify.add_argument("--top", type=int, default=5, metavar="N", help="speakers to print, the likeliest first (5)")
    embed = command("embed", "embed", "Write the embeddings of many files: a .npy array with a row each, or Kaldi's "
                                      ".scp with an .ark beside it. Files that fail are named and leave NaN in .npy.",
                    device)
    embed.add_argument("wavs", nargs="+", metavar="WAV")
    embed.add_argument("--any-sound", action="store_true", help="noise and music, too, which are otherwise refused")
    embed.add_argument("-o", dest="output", type=Path, required=True, metavar="OUT.{npy,scp}")
    export = command("export", "export", "Write the network as ONNX and compare the two over ten lengths; needs onnx, "
                                         "onnxscript and onnxruntime.")
    export.add_argument("output", type=Path, metavar="OUT.onnx")
    export.add_argument("--front-end", action="store_true", help="begin at samples (S,), not features (B, T, F)")
    return top
