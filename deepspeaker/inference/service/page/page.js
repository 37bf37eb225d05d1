// The page: asks the server, and shows its answers at the prior and the costs that are set.

import { Recorder, element } from "./recorder.js";
import { draw, signed, supported, threshold, times } from "./scale.js";

const UNSURE = 700; // milliseconds in which a second press counts as the first
const get = (id) => document.getElementById(id);
const sliders = { prior: get("prior"), miss: get("miss"), accept: get("accept") };
let model = null, token = "", shown = []; // shown: functions that write a result anew when the threshold moves

/** The server's JSON; an Error with its sentence. */
async function ask(method, path, files = []) {
  const form = new FormData();
  for (const [name, blob] of files) form.append(name, blob, "recording");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer, found;
  try {
    answer = await fetch(`v1/${path}`, { method, headers, body: files.length ? form : undefined });
    found = await answer.json();
  } catch {
    throw new Error("The server does not answer.");
  }
  if (answer.status === 401) get("access").hidden = false;
  if (!answer.ok) throw new Error(found?.error ?? `The server answers ${answer.status}.`);
  return found;
}

function settings() {
  const prior = 1 / (1 + Math.exp(-sliders.prior.value));
  return { prior, miss: 10 ** sliders.miss.value, accept: 10 ** sliders.accept.value };
}

function percent(share) {
  const value = 100 * share;
  return `${value < 1 || value > 99 ? value.toFixed(2) : value.toFixed(0)} %`;
}

/** Write the settings, and every result at them. */
function decide() {
  const set = settings(), limit = threshold(set);
  const texts = { prior: percent(set.prior), miss: set.miss.toPrecision(2), accept: set.accept.toPrecision(2) };
  for (const [name, text] of Object.entries(texts)) {
    get(`${name}-text`).textContent = name === "prior" ? text : Number(text);
    sliders[name].setAttribute("aria-valuetext", text);
  }
  get("threshold").textContent = `Accepted from a log-likelihood ratio of ${signed(limit)}.` + unsupported(limit);
  shown.forEach((write) => write(limit));
}

function unsupported(limit) {
  if (!model || supported(model.bounds, limit)) return "";
  return ` The model's development data cannot support a decision here: ${
    limit > 0 ? "nothing" : "everything"} is accepted.`;
}

/** The settings at which the model was calibrated. */
function reset() {
  sliders.prior.value = Math.log(model.prior / (1 - model.prior));
  sliders.miss.value = sliders.accept.value = 0;
  decide();
}

/** A button that does `work`; its result, written by what `work` returns, or its error stands in `place`. The keyboard's
 * focus stays on the button, or goes to the result if the button is disabled afterwards. */
function does(button, place, work) {
  let last = null;
  place.tabIndex = -1;
  button.onclick = async () => {
    const focused = document.activeElement === button;
    button.disabled = true;
    shown = shown.filter((write) => write !== last);
    try {
      const write = await work();
      last = (limit) => place.replaceChildren(...write(limit));
      shown.push(last);
      decide();
    } catch (error) {
      place.replaceChildren(element("p", { className: "error", textContent: error.message }));
    } finally {
      ready();
      if (focused) (button.disabled ? place : button).focus();
    }
  };
}

function verdict(yes, text) {
  return element("p", { className: `verdict ${yes ? "yes" : "no"}`, textContent: text });
}

function explained(llr, limit, same, other) {
  return [draw(llr, limit), element("p", { textContent: `What is heard is ${times(llr, same, other)} (log-likelihood ratio ${
    signed(llr)}). With your settings at least ${signed(limit)} is needed.${unsupported(limit)}` })];
}

async function compare() {
  const found = await ask("POST", "verifications", [["first", first.blob], ["second", second.blob]]);
  const { llr } = found.verdicts[0];
  return (limit) => [verdict(llr >= limit, llr >= limit ? "Same speaker" : "Different speakers"),
                     ...explained(llr, limit, "one person speaks in both", "two people do")];
}

async function identify() {
  const { best } = await ask("POST", "identifications?top=5", [["recording", unknown.blob]]);
  const { name, llr } = best[0];
  return (limit) => [
    verdict(llr >= limit, llr >= limit ? name : "Unknown speaker"),
    ...explained(llr, limit, `${name} speaks`, "somebody else does"),
    element("ol", {}, ...best.map((one) => element("li", { textContent: `${one.name}: ${signed(one.llr)}` })))];
}

async function enrol() {
  const name = get("name").value.normalize("NFC").trim();
  const found = await ask("PUT", `speakers/${encodeURIComponent(name)}`, [["recordings", sample.blob]]);
  sample.clear();
  await list();
  return () => [verdict(true, `${found.name} is enrolled, with ${amount(found)}.`),
                element("p", { textContent: "Another recording, of another day if possible, makes decisions better." })];
}

function amount({ recordings, speech }) {
  return `${recordings} recording${recordings === 1 ? "" : "s"} and ${speech.toFixed(1)} s of speech`;
}

async function list() {
  const { speakers } = await ask("GET", "speakers");
  get("people").replaceChildren(...speakers.map(person));
  if (!speakers.length) get("people").append(element("li", { textContent: "Nobody yet." }));
}

/** A line of the list; its button forgets the person when it is pressed twice. */
function person(one) {
  const button = element("button", { type: "button", className: "quiet", textContent: "Forget" });
  button.setAttribute("aria-label", `Forget ${one.name}`);
  let sure = 0;
  button.onclick = async () => {
    if (performance.now() < sure) return; // the second click of a double one
    if (!button.classList.contains("sure")) {
      button.classList.add("sure");
      button.textContent = `Forget ${one.name} for good`;
      button.setAttribute("aria-label", button.textContent);
      sure = performance.now() + UNSURE;
      return;
    }
    const place = get("people-result");
    try {
      await ask("DELETE", `speakers/${encodeURIComponent(one.name)}`);
      await list();
      place.replaceChildren(element("p", { textContent: `${one.name} is forgotten.` }));
      place.focus(); // the button that had it is gone
    } catch (error) {
      place.replaceChildren(element("p", { className: "error", textContent: error.message }));
    }
  };
  return element("li", {}, element("span", {}, one.name, element("small", { textContent: amount(one) })), button);
}

/** Buttons are enabled when there is what they need. */
function ready() {
  get("compare").disabled = !first.blob || !second.blob;
  get("identify").disabled = !unknown.blob;
  get("enrol").disabled = !sample.blob || !get("name").value.trim();
}

async function start() {
  try {
    model = await ask("GET", "model");
    await list();
  } catch (error) {
    get("model").textContent = error.message;
    return;
  }
  const source = model.origin.network ?? model.network;
  get("model").textContent = `${source}, ${model.backend}, ${model.dimensions} dimensions, calibrated for a prior of ${
    percent(model.prior)}; fingerprint ${model.fingerprint.slice(0, 12)}`;
  get("database").textContent = model.database;
  get("access").hidden = true;
  reset();
}

const check = (blob) => ask("POST", "embeddings", [["recording", blob]]);
const [first, second, unknown, sample] = ["first", "second", "unknown", "sample"].map(
  (id) => new Recorder(get(id), check, ready));
get("host").textContent = location.host;
get("name").oninput = ready;
get("reset").onclick = reset;
get("access").onsubmit = (event) => {
  event.preventDefault();
  token = get("token").value.trim();
  start();
};
Object.values(sliders).forEach((slider) => { slider.oninput = decide; });
does(get("compare"), get("compare-result"), compare);
does(get("identify"), get("identify-result"), identify);
does(get("enrol"), get("enrol-result"), enrol);
start();
