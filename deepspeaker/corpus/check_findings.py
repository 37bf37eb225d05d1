"""Faults that data can have, with severity and advice, and the report of those found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from deepspeaker.audio import SAMPLE_RATE
from deepspeaker.audio.decoding import OVERHANG
from deepspeaker.audio.frames import FRAME_LENGTH
from deepspeaker.datadir import MAX_UNUSABLE_SHARE
from deepspeaker.errors import EXAMPLES


class Kind(NamedTuple):
    """One kind of fault: an error breaks or falsifies a result, a warning does not."""

    error: bool
    what: str
    advice: str


FIX = "run utils/fix_data_dir.sh, which keeps the utterances that every file has"
LEFT_OUT = "stage 2 leaves them out; mend them, or remove them from wav.scp and run utils/fix_data_dir.sh"
KINDS = {
    "no_audio": Kind(True, "utterances of utt2spk without audio", FIX),
    "no_speaker": Kind(True, "utterances with audio that utt2spk does not have", FIX),
    "unused_recording": Kind(True, "recordings of wav.scp that no segment uses", FIX),
    "no_recording": Kind(True, "segments of recordings that wav.scp does not have", FIX),
    "missing": Kind(False, "sound files that are not there", LEFT_OUT),
    "unreadable": Kind(False, "sound files that cannot be read", LEFT_OUT),
    "truncated": Kind(False, "sound files that were cut short", f"copy them again; {LEFT_OUT}"),
    "bad_segment": Kind(False, f"segments that end more than {OVERHANG} s beyond their recording, or start there, or "
                        "name a channel that it does not have",
                        f"correct segments; {LEFT_OUT}"),
    "too_short": Kind(False, f"utterances shorter than one frame ({FRAME_LENGTH} s)", LEFT_OUT),
    "too_many_unusable": Kind(True, f"more than {100 * MAX_UNUSABLE_SHARE:.0f} % of the utterances are unusable",
                              "stage 2 would stop; see the findings about audio above"),
    "rate": Kind(False, f"sound files of another sampling rate than {SAMPLE_RATE} Hz",
                 "nothing has to be done, they are converted; speech of 8000 Hz stays telephone speech, though"),
    "channels": Kind(False, "sound files of several channels",
                     "nothing has to be done, the channels are mixed; if each is another speaker, split them before"),
    "duplicate": Kind(False, "sound files with the same content as another of the directory",
                      "keep one of each, unless they are meant to be the same"),
    "train_audio": Kind(True, "sound files with the same content as one of the training set",
                        "remove them from the training set, or from this one and its trials"),
    "one_utterance": Kind(False, "speakers with a single utterance",
                          "they serve the softmax phase only, and no target trial: give more utterances of them"),
    "train_speaker": Kind(True, "speakers that are in the training set, too",
                          "remove them from one of the two: results on known speakers say nothing about others"),
    "enroll_unknown": Kind(True, "models of enroll with utterances that utt2spk does not have",
                           "correct enroll or complete the data directory"),
    "enroll_speakers": Kind(True, "models of enroll with utterances of several speakers", "correct enroll"),
    "trial_list": Kind(True, "trial lists that cannot be read", "correct them"),
    "trial_unknown": Kind(True, "trials that name an id the data directory does not have",
                          "remove them, or complete the data directory; the first ids of trials are the models of "
                          "enroll where there is such a file"),
    "one_label": Kind(True, "lists whose trials are all target, or all nontarget", "error rates need both: add some"),
    "trial_label": Kind(True, "trials whose label contradicts utt2spk", "correct the label, or utt2spk"),
}


@dataclass
class Findings:
    """The number of findings of each kind in each directory, and the first examples."""

    directories: dict[Path, dict[str, int]] = field(default_factory=dict)  # counts: utterances, speakers, ...
    counts: dict[tuple[Path, str], int] = field(default_factory=dict)
    examples: dict[tuple[Path, str], list[str]] = field(default_factory=dict)

    def add(self, directory: Path, kind: str, example: str) -> None:
        """One more of a kind."""
        seen = self.examples.setdefault((directory, kind), [])
        if len(seen) < EXAMPLES:
            seen.append(example)
        self.counts[directory, kind] = self.counts.get((directory, kind), 0) + 1

    def rows(self) -> list[dict[str, Any]]:
        """One row per directory and kind, directory by directory, errors first."""
        order = list(self.directories)
        found = sorted(self.counts, key=lambda key: (order.index(key[0]), not KINDS[key[1]].error))
        return [{"directory": str(directory), "kind": kind, "level": "error" if KINDS[kind].error else "warning",
                 "count": self.counts[directory, kind], "what": KINDS[kind].what,
                 "examples": self.examples[directory, kind], "advice": KINDS[kind].advice}
                for directory, kind in found]

    def as_dict(self) -> dict[str, object]:
        """For --json."""
        rows = self.rows()
        return {"directories": {str(name): dict(counts) for name, counts in self.directories.items()},
                "findings": rows, **totals(rows)}

    def as_text(self) -> str:
        """For a person: the counts of each directory, then its findings with examples and what to do."""
        rows = self.rows()
        text = []
        for directory, counts in self.directories.items():
            text.append(f"{directory}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
            for row in rows:
                if row["directory"] == str(directory):
                    text += shown(row)
        found = totals(rows)
        text.append(f"{found['errors']} kinds of errors, {found['warnings']} kinds of warnings")
        return "\n".join(text)


def totals(rows: list[dict[str, Any]]) -> Mapping[str, int]:
    """Rows of each level."""
    return {f"{level}s": sum(row["level"] == level for row in rows) for level in ("error", "warning")}


def shown(row: Mapping[str, Any]) -> list[str]:
    """The lines of one finding."""
    more = row["count"] - len(row["examples"])
    lines = [f"  {row['level']:7} {row['count']:>7}  {row['what']}"]
    lines += [f"{'':19}{example}" for example in row["examples"]]
    if more:
        lines.append(f"{'':19}... and {more} more")
    return [*lines, f"{'':17}-> {row['advice']}"]
