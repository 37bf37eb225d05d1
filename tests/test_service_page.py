"""The page of `deepspeaker serve` in a browser with a microphone: enrol, compare, identify, forget."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import soxr
from browser import Browser, browser, missing
from conftest import RATE, write_wav
from service import serving
from tools import model_file, voice

# A network of random weights knows a sound again, but not a voice: the same speaker says the same thing here.
SCALE, BETWEEN = 400.0, 0.98  # cosines of recordings of one sound lie above the second, of two speakers below it
CALIBRATION = {"prior": 0.01, "offset": -SCALE * BETWEEN + float(np.log(99)), "weights": {"score": SCALE}}
pytestmark = pytest.mark.skipif(missing() is not None, reason=f"{missing()} is not installed")


class Reader:
    """Who uses the page: presses buttons, speaks into the microphone, reads."""

    def __init__(self, window: Browser, microphone: Path) -> None:
        self.window, self.microphone = window, microphone

    def wait(self, condition: str, seconds: float = 20.0) -> object:
        """What an expression is as soon as it is true."""
        end = time.monotonic() + seconds
        while not (found := self.window.run(f"return {condition}")):
            assert time.monotonic() < end, (condition, self.window.run("return document.body.innerText"))
            time.sleep(0.1)
        return found

    def text(self, name: str) -> str:
        return self.window.run(f"return document.getElementById('{name}').innerText")

    def focus(self) -> str:
        return self.window.run("return document.activeElement.id")

    def press(self, name: str) -> None:
        """A button that is enabled, with the keyboard's focus on it."""
        self.wait(f"!document.getElementById('{name}').disabled")
        self.window.run(f"const b = document.getElementById('{name}'); b.focus(); b.click()")

    def speak(self, place: str, samples: np.ndarray, until: str = "s of speech in") -> str:
        """Record some seconds of what is said into the microphone; what the page then says."""
        write_wav(self.microphone, samples)
        button = f"document.querySelector('#{place} button')"
        self.window.run(f"{button}.click()")
        self.wait(f"{button}.innerText.startsWith('Stop')")
        self.wait(f"document.querySelector('#{place} meter').value > -50 || {float(np.abs(samples).max()) < 0.01:d}")
        self.wait(f"{button}.innerText.includes('(3 s)')")
        self.window.run(f"{button}.click()")
        return self.wait(f"(text => text.includes({until!r}) && text)(document.querySelector('#{place}').innerText)")


@pytest.fixture
def page(tmp_path):
    """The page of a server, as many pixels wide as asked for."""
    model = model_file(tmp_path / "model.pt", {"model.channels": [16, 32], "model.embedding_dim": 32}, seed=1,
                       calibration={"cosine": CALIBRATION})
    microphone = write_wav(tmp_path / "microphone.wav", voice(1))
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
             f"--use-file-for-fake-audio-capture={microphone}"]

    def look(width: int, use, *options: str) -> None:
        with serving(model, tmp_path / "people.db", *options) as server, browser(width, flags) as window:
            window.open(f"{server.address}/")
            use(Reader(window, microphone))
            assert [line for line in window.console() if "status of 4" not in line] == []

    return look


def keep(reader: Reader, name: str) -> None:
    """A screenshot of the whole page in the folder that KEEP_SCREENSHOTS names."""
    if folder := os.environ.get("KEEP_SCREENSHOTS"):
        Path(folder, f"{name}.png").write_bytes(reader.window.whole_page())


@pytest.mark.parametrize("width", [390, pytest.param(1100, marks=pytest.mark.long)])
def test_from_enrolment_to_forgetting(page, width):
    def use(reader: Reader) -> None:
        reader.wait("document.getElementById('model').innerText.includes('rescnn')")
        assert "people.db" in reader.text("database") or reader.window.run(
            "return document.getElementById('database').textContent") == "people.db"
        for name, speaker in (("Ann", 1), ("Bob", 2)):
            reader.speak("sample", voice(speaker, 0, 8.0))
            reader.window.run(f"const n = document.getElementById('name'); n.value = '{name}'; n.oninput()")
            reader.press("enrol")
            reader.wait(f"document.getElementById('enrol-result').innerText.includes('{name} is enrolled')")
            assert f"{name}\n1 recording and" in reader.text("people")
            assert reader.focus() == "enrol-result"
        reader.speak("first", voice(1, 0, 8.0))
        reader.speak("second", voice(1, 0, 8.0))
        reader.press("compare")
        reader.wait("document.getElementById('compare-result').innerText.startsWith('Same speaker')")
        assert reader.focus() == "compare"
        keep(reader, f"same-{width}")
        reader.window.run("const p = document.getElementById('prior'); p.value = -7; p.oninput()")
        reader.window.run("const a = document.getElementById('accept'); a.value = 3; a.oninput()")
        assert reader.text("threshold").startswith(f"Accepted from a log-likelihood ratio of +{7 + np.log(1000):.2f}.")
        reader.window.run("document.getElementById('reset').click()")
        assert reader.text("threshold") == "Accepted from a log-likelihood ratio of +4.60."
        reader.speak("second", voice(2, 0, 8.0))
        reader.press("compare")
        reader.wait("document.getElementById('compare-result').innerText.startsWith('Different speakers')")
        reader.speak("unknown", voice(2, 0, 8.0))
        reader.press("identify")
        reader.wait("document.getElementById('identify-result').innerText.startsWith('Bob')")
        keep(reader, f"all-{width}")
        forget = "document.querySelector('#people button[aria-label*=Ann]').click()"
        reader.window.run(f"{forget}; {forget}")  # a double click
        time.sleep(1.0)
        assert "Ann" in reader.text("people")
        reader.window.run(forget)
        reader.wait("document.getElementById('people-result').innerText === 'Ann is forgotten.'")
        assert reader.focus() == "people-result"
        assert "Ann" not in reader.text("people") and "Bob" in reader.text("people")
        assert reader.window.run("return document.documentElement.scrollWidth") <= width

    page(width, use)


def test_what_is_wrong_with_a_recording_is_said(page, tmp_path):
    """Chromium's microphone cannot be too loud; a file can."""
    telephone = soxr.resample(soxr.resample(voice(1), RATE, 8000), 8000, RATE)
    files = {"clipped": (8 * voice(1)).clip(-1, 1), "only 1.": voice(1, seconds=1.5),
             "noise": voice(1) + 0.01 * np.random.default_rng(0).standard_normal(3 * RATE), "telephone": telephone}

    def use(reader: Reader) -> None:
        assert "no speech found" in reader.speak("first", np.zeros(8 * RATE, np.float32), "no speech")
        for word, samples in files.items():
            reader.window.choose("#second input", write_wav(tmp_path / f"{word}.wav", samples))
            reader.wait(f"document.querySelector('#second .warnings').innerText.includes('{word}')")
        assert reader.window.run("return document.getElementById('compare').disabled")  # there is no first recording
        (tmp_path / "text.wav").write_text("this is no sound")
        reader.window.choose("#second input", tmp_path / "text.wav")
        reader.wait("document.querySelector('#second .error')?.innerText.includes('is not audio that can be read')")

    page(390, use)


def test_a_token_is_asked_for(page, tmp_path):
    (tmp_path / "token").write_text("a-token-of-many-letters\n")

    def use(reader: Reader) -> None:
        reader.wait("document.getElementById('model').innerText.startsWith('expected the header')")
        reader.window.run("document.getElementById('token').value = 'a-token-of-many-letters'; "
                          "document.querySelector('#access button').click()")
        reader.wait("document.getElementById('model').innerText.includes('rescnn')")
        assert reader.window.run("return document.getElementById('access').hidden && document.cookie === ''")

    page(390, use, "--token-file", tmp_path / "token")


def test_quick_presses_the_keyboard_and_files_that_are_chosen_again(page, tmp_path):
    sound = write_wav(tmp_path / "sound.wav", voice(1, 0, 5.0))

    def use(reader: Reader) -> None:
        run = reader.window.run
        heard = "document.querySelector('#first .state').innerText.includes('s of speech in 5.0')"
        reader.wait("document.getElementById('model').innerText.includes('rescnn')")
        run("window.streams = []; const devices = navigator.mediaDevices, ask = devices.getUserMedia.bind(devices);"
            "devices.getUserMedia = async (kind) => { streams.push(await ask(kind)); return streams.at(-1); }")
        run("const b = document.querySelector('#first button'); b.click(); b.click()")
        reader.wait("document.querySelector('#first button').innerText.includes('(1 s)')")
        reader.window.choose("#first input", sound)  # instead of what is recorded
        reader.wait(heard)
        assert run("return streams.map((each) => each.getTracks()[0].readyState)") == ["ended"]
        run("document.querySelector('#first .state').innerText = ''")
        reader.window.choose("#first input", sound)
        reader.wait(heard)
        reader.window.choose("#second input", sound)
        run("window.compare = document.getElementById('compare')")
        reader.wait("!compare.disabled")
        run("compare.focus(); compare.click()")
        reader.wait("document.getElementById('compare-result').innerText.startsWith('Same speaker')")
        assert run("return document.activeElement === compare")

    page(390, use)
