// A recording from the microphone or a file: level meter while it is recorded, then what the server finds in it.

const LOUDEST = 0.99; // of full scale: from here on it is too loud
const TOO_LOUD = "Too loud: move away from the microphone.";
const LONGEST = 60; // seconds that are recorded at most
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };

function element(kind, properties = {}, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

export class Recorder {
  /** place: an element with data-title. check: blob -> promise of how good it is. changed: called when there is a recording
   * or none any more. */
  constructor(place, check, changed) {
    Object.assign(this, { check, changed, blob: null, number: 0, asking: false, dropped: false });
    this.button = element("button", { type: "button", textContent: "Record", onclick: () => this.press() });
    const file = element("input", { type: "file", accept: "audio/*,video/*" });
    file.onchange = () => {
      const [chosen] = file.files;
      file.value = ""; // so that the same file may be chosen again
      if (!chosen) return;
      this.dropped = Boolean(this.media);
      this.media?.stop();
      this.take(chosen);
    };
    this.meter = element("meter", { min: -60, max: 0, high: -3, value: -60, hidden: true });
    this.audio = element("audio", { controls: true, hidden: true });
    this.state = element("p", { className: "state" });
    this.state.setAttribute("aria-live", "polite");
    this.warnings = element("ul", { className: "warnings" });
    const title = element("h3", { textContent: place.dataset.title, id: `${place.id}-title` });
    place.setAttribute("role", "group");
    place.setAttribute("aria-labelledby", title.id);
    this.meter.setAttribute("aria-label", "Level, dB below full scale");
    this.audio.setAttribute("aria-label", place.dataset.title);
    place.append(title, element("div", { className: "controls" }, this.button,
      element("label", { className: "choose" }, "Choose a file", file)), this.meter, this.state, this.warnings, this.audio);
  }

  async press() {
    if (this.media) return this.media.stop();
    if (this.asking) return; // the first of two quick presses has asked for the microphone
    this.asking = true;
    this.clear();
    try {
      if (!navigator.mediaDevices) throw new Error("the browser gives the microphone only over https or on localhost");
      await this.record(await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS }));
    } catch (error) {
      this.fail(`No microphone: ${error.message}. Choose a file instead.`);
    } finally {
      this.asking = false;
    }
  }

  async record(stream) {
    const context = new AudioContext(), parts = [];
    const analyser = new AnalyserNode(context, { fftSize: 2048 });
    context.createMediaStreamSource(stream).connect(analyser);
    this.media = new MediaRecorder(stream);
    this.media.ondataavailable = (event) => parts.push(event.data);
    const start = performance.now(), clock = setInterval(() => this.listen(analyser, start), 50);
    this.media.onstop = () => {
      clearInterval(clock);
      stream.getTracks().forEach((track) => track.stop());
      context.close();
      const kind = this.media.mimeType;
      this.media = null;
      this.meter.hidden = true;
      this.button.classList.remove("recording");
      if (this.dropped) this.button.textContent = "Record again"; // a file was chosen instead
      else this.take(new Blob(parts, { type: kind }), this.loud ? [TOO_LOUD] : []);
    };
    this.loud = this.dropped = false;
    this.meter.hidden = false;
    this.button.textContent = "Stop";
    this.button.classList.add("recording");
    this.say("Recording: say a sentence or two.");
    this.media.start();
  }

  /** Show the level and the time. Only a change of the sentence is told to a screen reader. */
  listen(analyser, start) {
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
    this.meter.value = Math.max(-60, 10 * Math.log10(power + 1e-9));
    this.loud ||= samples.some((x) => Math.abs(x) >= LOUDEST);
    const seconds = (performance.now() - start) / 1000;
    this.button.textContent = `Stop (${Math.floor(seconds)} s)`;
    if (this.loud) this.say(TOO_LOUD);
    if (seconds >= LONGEST) this.media?.stop();
  }

  /** A new recording: ask the server how good it is. */
  async take(blob, known = []) {
    this.clear();
    const number = this.number;
    this.audio.src = URL.createObjectURL(blob);
    this.audio.hidden = false;
    this.button.textContent = "Record again";
    this.say("The server listens …");
    try {
      const { trust } = await this.check(blob);
      if (number !== this.number) return; // another one has come since
      this.say(`${trust.speech.toFixed(1)} s of speech in ${trust.seconds.toFixed(1)} s`);
      this.warnings.replaceChildren(...[...known, ...trust.warnings].map((text) => element("li", { textContent: text })));
      this.blob = blob;
    } catch (error) {
      if (number === this.number) this.fail(error.message);
    }
    this.changed();
  }

  clear() {
    this.number += 1;
    if (this.audio.src) URL.revokeObjectURL(this.audio.src);
    this.audio.hidden = true;
    this.button.textContent = "Record";
    this.audio.removeAttribute("src");
    this.blob = null;
    this.warnings.replaceChildren();
    this.say("");
    this.changed();
  }

  say(text) {
    if (this.state.textContent !== text) this.state.textContent = text;
    this.state.classList.remove("error");
  }

  fail(text) {
    this.say(text);
    this.state.classList.add("error");
  }
}

export { element };
