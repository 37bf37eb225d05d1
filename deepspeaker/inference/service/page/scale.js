// What a log-likelihood ratio means: a scale with the threshold, and a sentence.

const WIDTH = 400, EDGE = 24, LINE = 44, HEIGHT = 76, LEAST = 8; // units of the drawing; least end of the scale

export function threshold({ prior, miss, accept }) {
  return Math.log(accept) - Math.log(miss) - Math.log(prior / (1 - prior));
}

/** Whether ratios within these bounds lie on both sides of a threshold; else all decisions are the same. */
export function supported([low, high], limit) {
  return (low === null || low < limit) && (high === null || limit <= high);
}

export const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

/** How many times likelier it sounds if `same` is true than if `other` is, or the other way round. */
export function times(llr, same, other) {
  const ratio = Math.exp(Math.abs(llr));
  const number = ratio < 10 ? ratio.toFixed(1) : ratio < 1e6 ? Math.round(ratio).toLocaleString("en") : "over a million";
  return `${number} times likelier if ${llr < 0 ? other : same} than if ${llr < 0 ? same : other}`;
}

/** An SVG with the ratio and the threshold on a line of natural logarithms. */
export function draw(llr, limit) {
  const end = Math.ceil(Math.max(LEAST, Math.abs(llr), Math.abs(limit)) / 2) * 2;
  const at = (value) => EDGE + (value + end) / (2 * end) * (WIDTH - 2 * EDGE);
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "scale", role: "img", "aria-label":
    `log-likelihood ratio ${signed(llr)} on a scale from ${-end} to ${end}, threshold ${signed(limit)}` });
  const bar = (from, to, kind) => svg.append(shape("rect", { x: at(from), y: LINE - 7, width: at(to) - at(from), height: 14,
                                                            class: kind }));
  const write = (value, y, text) => svg.append(shape("text", { x: Math.min(WIDTH - 60, Math.max(60, at(value))), y }, text));
  bar(-end, limit, "below");
  bar(limit, end, "above");
  for (let tick = -end; tick <= end; tick += end / 2) {
    svg.append(shape("text", { x: at(tick), y: LINE + 22 }, tick < 0 ? `−${-tick}` : tick > 0 ? `+${tick}` : "0"));
  }
  svg.append(shape("line", { x1: at(limit), x2: at(limit), y1: LINE - 14, y2: LINE + 9, class: "limit" }));
  write(limit, 12, `threshold ${signed(limit)}`);
  svg.append(shape("circle", { cx: at(llr), cy: LINE, r: 7, class: "value" }));
  write(llr, 27, signed(llr));
  return svg;
}

function shape(kind, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}
