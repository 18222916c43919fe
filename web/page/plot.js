// A curve over the steps of a run, as an SVG image with a sentence for those who do not see it.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [640, 150];
const [LEFT, RIGHT, TOP, BOTTOM] = [72, 632, 10, 122];

function element(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

/** A curve named `title` from step 0 to `steps`; `number` writes its values, `low` and `high` bound its axis unless they are nothing. */
export class Plot {
  constructor(place, { title, note, steps, number, low = null, high = null, target = null }) {
    Object.assign(this, { title, steps, number, low, high, target, points: [] });
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const name = document.createElement("span");
    name.textContent = title;
    if (note) {
      const said = document.createElement("span");
      said.className = "not-private";
      said.textContent = ` ${note}`;
      name.append(said);
    }
    this.now = document.createElement("span");
    this.now.className = "now";
    caption.append(name, this.now);
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("role", "img");
    figure.append(caption, this.svg);
    place.append(figure);
    this.draw();
  }

  add(step, value) {
    if (!Number.isFinite(value)) return;
    this.points.push([step, value]);
    this.draw();
  }

  draw() {
    const { points, svg, number } = this;
    const values = points.map(([, value]) => value);
    if (this.target !== null) values.push(this.target);
    const low = this.low ?? Math.min(...values, Infinity);
    const high = this.high ?? Math.max(...values, -Infinity);
    const [bottom, top] = Number.isFinite(low) && Number.isFinite(high) ? [low, high > low ? high : low + 1] : [0, 1];
    const x = (step) => LEFT + ((RIGHT - LEFT) * step) / Math.max(this.steps, 1);
    const y = (value) => BOTTOM - ((BOTTOM - TOP) * (Math.min(Math.max(value, bottom), top) - bottom)) / (top - bottom);
    svg.replaceChildren();
    element(svg, "line", { class: "axis", x1: LEFT, x2: RIGHT, y1: BOTTOM, y2: BOTTOM });
    element(svg, "line", { class: "axis", x1: LEFT, x2: LEFT, y1: TOP, y2: BOTTOM });
    if (points.length || this.high !== null) {
      element(svg, "text", { x: LEFT - 6, y: BOTTOM, "text-anchor": "end" }, number(bottom));
      element(svg, "text", { x: LEFT - 6, y: TOP + 8, "text-anchor": "end" }, number(top));
    }
    element(svg, "text", { x: LEFT, y: HEIGHT - 8 }, "step 0");
    element(svg, "text", { x: RIGHT, y: HEIGHT - 8, "text-anchor": "end" }, `${this.steps}`);
    if (this.target !== null) element(svg, "line", { class: "target", x1: LEFT, x2: RIGHT, y1: y(this.target), y2: y(this.target) });
    const line = points.map(([step, value], at) => `${at ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    if (line) element(svg, "path", { class: "curve", d: line });
    const last = points.at(-1);
    this.now.textContent = last ? number(last[1]) : "";
    const said = last ? `${number(last[1])} after ${last[0]} of ${this.steps} steps` : "nothing yet";
    svg.setAttribute("aria-label", `${this.title}: ${said}`);
  }
}
