// A run on screen: its numbers, the text after any step, the steps, and what is pointed at.

import { MOST, drawGraph, edgesOf } from "./graph.js";
import { make } from "./rules.js";
import { REASONS, Run, named, plural, reasonsOf, say } from "./run.js";

// Colours of the steps, violet to yellow; behind text they are mixed with the ground of the scheme.
const RAMPS = {
  light: [[94, 60, 153], [62, 101, 178], [40, 140, 150], [90, 175, 95], [235, 205, 60]],
  dark: [[160, 115, 240], [95, 145, 240], [45, 170, 180], [90, 180, 95], [205, 178, 60]],
};
const dark = matchMedia("(prefers-color-scheme: dark)");
const stops = () => RAMPS[dark.matches ? "dark" : "light"];
function ramp(share) {
  const colours = stops(), along = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
  const low = Math.min(Math.floor(along), colours.length - 2), part = along - low;
  return colours[low].map((value, n) => Math.round(value + part * (colours[low + 1][n] - value)));
}

const shown = (text) => text.replace(/\n/g, "\u21b5\n").replace(/\t/g, "\u21e5");
const END = "\u22a3"; // stands for a token that ends the answer
const MOST_NAMED = 5;
const FRAME = 33; // milliseconds between pictures where steps come faster
const FACTS = [
  ["forwards", (facts) => facts.forwards], ["tokens", (facts) => facts.tokens],
  ["tokens a forward", (facts) => facts.perForward.toFixed(2)],
  ["tokens a second", (facts) => Math.round(facts.perSecond)],
  ["seconds", (facts) => facts.seconds.toFixed(3)], ["in the engine", (facts) => facts.engineSeconds.toFixed(3)],
  ["positions fed", (facts) => facts.fed],
  ["ended by", (facts, over) => facts.ended ?? (over ? "being stopped" : "\u2026")],
];

/** How many edges the graph of a step has, in words. */
function dependencies({ edges, edge_count: count }) {
  if (edges === null) return "this rule draws no graph";
  const drawn = count > MOST ? `, the strongest ${MOST} drawn` : "";
  return `${count} ${count === 1 ? "dependency" : "dependencies"}${drawn}`;
}

export class Panel {
  /**
   * @param wishes Says what is wanted of all panels: `pace` and `replay`, milliseconds for a step as it comes
   *   (0: at once) and afterwards; `prompt`, whether it is shown.
   */
  constructor(root, wishes) {
    this.root = root;
    this.wishes = wishes;
    this.find = (name) => root.querySelector(`.${name}`);
    this.run = null; // on screen
    this.asked = null; // the last that was asked for
    this.spans = new Map();
    this.taken = 0;
    this.at = null;
    this.timer = null;
    this.follows = false; // whether steps are shown one after the other by themselves
    this.over = true; // whether no further one comes
    this.listen();
  }

  // A new run is asked for, begins, grows and ends. Until it begins the one before stays.

  /**
   * @param ends Ids that end an answer.
   * @param request What is sent, to be shown.
   */
  ask(ends, request) {
    this.asked = { run: new Run(ends), request };
    this.root.setAttribute("aria-busy", "true");
    this.say("");
  }

  begin() {
    this.stop();
    this.run = this.asked.run;
    this.taken = 0;
    this.at = null;
    this.over = false;
    this.root.classList.add("ran");
    this.find("answer").textContent = "";
    this.find("request").textContent = this.asked.request;
    this.follow(true);
  }

  take(name, data) {
    if (name === "begin") this.begin();
    this.run.take(name, data);
    if (name === "begin") this.layOut();
    if (name === "end") this.find("answer").textContent = data.text;
    this.find("slider").max = this.run.steps.length;
    this.paintFacts();
    this.paintStrip();
    if (this.follows) this.advance(this.wishes.pace());
  }

  /** Nothing more comes of a run, whole or not. */
  finish() {
    this.root.removeAttribute("aria-busy");
    this.over = true;
    if (!this.run) return;
    this.paintFacts();
    this.paintStep();
    if (this.follows) this.advance(this.wishes.pace());
  }

  /** How the last run that was asked for ended, in words. */
  summary() {
    if (this.asked?.run !== this.run) return "not answered";
    const { forwards, tokens, ended } = this.run.facts();
    return `${ended ?? "stopped"}, ${plural(tokens, "token")} in ${plural(forwards, "forward")}`;
  }

  /** Says what went wrong, or nothing. */
  say(text) {
    this.find("problem").textContent = text;
    this.find("problem").hidden = !text;
  }

  /** Shows the next step that came, and the one after it no sooner than the pace allows. */
  advance(pace) {
    if (this.timer !== null) return;
    if (this.taken < this.run.steps.length) {
      this.go(pace ? this.taken + 1 : this.run.steps.length);
      this.timer = setTimeout(() => { this.timer = null; if (this.follows) this.advance(pace); }, pace || FRAME);
    } else if (this.over) {
      this.follow(false);
    }
  }

  // Going through the steps.

  go(taken, at = this.at) {
    if (!this.run) return;
    this.taken = Math.min(Math.max(taken, 0), this.run.steps.length);
    this.at = at;
    this.paint();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.follow(false);
  }

  follow(on) {
    this.follows = on;
    this.find("play").textContent = on ? "pause" : "play";
    this.find("play").setAttribute("aria-pressed", String(on));
    this.find("step").setAttribute("aria-live", on ? "off" : "polite"); // not each of many
  }

  play() {
    if (!this.run) return;
    if (this.follows) { this.stop(); return; }
    if (this.taken === this.run.steps.length) this.go(0);
    this.follow(true);
    const pace = this.wishes.replay();
    this.timer = setTimeout(() => { this.timer = null; this.advance(pace); }, pace);
  }

  listen() {
    const steps = {
      first: () => 0, back: () => this.taken - 1, on: () => this.taken + 1, last: () => this.run?.steps.length ?? 0,
    };
    for (const [name, where] of Object.entries(steps)) {
      this.find(name).addEventListener("click", () => { this.stop(); this.go(where()); });
    }
    this.find("play").addEventListener("click", () => this.play());
    this.find("slider").addEventListener("input", (event) => { this.stop(); this.go(Number(event.target.value)); });
    const text = this.find("text");
    text.addEventListener("pointerover", (event) => this.point(event));
    text.addEventListener("click", (event) => this.point(event));
    text.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") this.go(this.taken, null); });
    text.addEventListener("blur", () => this.go(this.taken, null));
    text.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.paintGraph()).observe(this.find("stage"));
    dark.addEventListener("change", () => { if (this.run) this.paint(); });
  }

  point(event) {
    const position = event.target.dataset.position;
    if (position !== undefined) this.go(this.taken, Number(position));
  }

  press(event) {
    if (!this.run) return;
    const places = [...this.spans.keys()], here = places.indexOf(this.at ?? this.run.begin);
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!moves || here < 0) return;
    event.preventDefault();
    this.stop();
    const next = this.at === null ? here : here + moves[1];
    this.go(this.taken + moves[0], places[Math.min(Math.max(next, 0), places.length - 1)]);
  }

  // Painting.

  /** Makes a span for each position that is shown. */
  layOut() {
    if (!this.run) return;
    const places = this.run.given.flatMap((token, position) => (
      position < this.run.begin && !this.wishes.prompt() ? [] : [position]));
    this.spans = new Map(places.map((position) => {
      const span = make("span");
      span.dataset.position = position;
      return [position, span];
    }));
    this.find("text").replaceChildren(...this.spans.values());
    this.paint();
  }

  paint() {
    const slider = this.find("slider");
    slider.max = this.run.steps.length;
    slider.value = this.taken;
    this.paintFacts();
    this.paintText();
    this.paintStep();
    this.paintLegend();
    this.paintStrip();
    this.paintTip();
    this.paintGraph();
  }

  paintFacts() {
    const facts = this.run.facts(), list = this.find("facts");
    if (!list.children.length) {
      for (const [name] of FACTS) {
        const item = make("li", `${name} `), value = make("b");
        value.dataset.fact = name.replaceAll(" ", "-");
        item.append(value);
        list.append(item);
      }
      list.append(make("li", "", "note"));
    }
    list.lastChild.textContent = facts.note;
    FACTS.forEach(([, value], number) => { list.children[number].lastChild.textContent = value(facts, this.over); });
  }

  share(step) {
    const count = this.run.steps.length;
    return count > 1 ? step / (count - 1) : 0;
  }

  paintText() {
    const { run, taken } = this, last = run.steps[taken - 1], end = run.endAt(taken);
    const waits = new Set((last?.waits || []).map(([position]) => position));
    const held = new Set((last?.held || []).map(([position]) => position));
    const gone = new Set(last?.revoked || []), sinks = run.sinks[taken - 1] || new Set();
    const predicted = run.confidences(taken);
    for (const [position, span] of this.spans) {
      const found = run.committed(position, taken), kinds = [];
      span.style.cssText = "";
      if (run.given[position] !== null) {
        span.textContent = shown(run.textOf(run.given[position]));
        kinds.push("given");
      } else if (found) {
        span.textContent = run.ends.has(found.token) ? END : shown(run.textOf(found.token));
        span.dataset.step = found.step + 1;
        span.style.backgroundColor = `rgb(${ramp(this.share(found.step)).join(" ")} / 40%)`;
        if (found.step === taken - 1) kinds.push("new", found.reason);
      } else {
        span.textContent = "\u00b7";
        span.style.setProperty("--sure-of", (predicted.get(position) ?? 0) / 100);
        kinds.push("open");
      }
      if (!found) delete span.dataset.step;
      if (last?.window && position >= last.window[0] && position < last.window[1]) kinds.push("window");
      if (position >= end && run.given[position] === null && found) kinds.push("tail");
      if (sinks.has(position)) kinds.push("sink");
      if (waits.has(position)) kinds.push("wait");
      if (held.has(position)) kinds.push("held");
      if (gone.has(position)) kinds.push("gone");
      if (position === this.at) kinds.push("at");
      span.className = kinds.join(" ");
    }
  }

  paintStep() {
    const { run, taken } = this, last = run.steps[taken - 1], count = run.steps.length;
    if (!last) {
      const none = this.over ? "no step was taken" : "waiting for the first step";
      this.find("step").textContent = count ? `before the first of ${plural(count, "step")}` : none;
      return;
    }
    const parts = [`step ${taken} of ${count}`];
    if (last.window) parts.push(`window ${last.window[0]} to ${last.window[1] - 1}`);
    parts.push(`${last.commits.length} decided${last.commits.length ? ` (${reasonsOf(last)})` : ""}`);
    if (last.waits) parts.push(`${last.waits.length} had to wait`);
    if (last.held) parts.push(`${last.held.length} held back`);
    if (last.revoked.length) parts.push(`${last.revoked.length} taken back`);
    parts.push(dependencies(last));
    this.find("step").textContent = parts.join(" \u00b7 ");
  }

  paintLegend() {
    const totals = {}, legend = this.find("legend"), { run } = this;
    for (const step of run.steps) for (const { reason } of step.commits) totals[reason] = (totals[reason] || 0) + 1;
    legend.replaceChildren();
    if (!run.steps.length) return;
    const colours = make("li", "decided in the first step "), bar = make("span", undefined, "ramp");
    bar.style.background = `linear-gradient(90deg, ${stops().map((one) => `rgb(${one.join(" ")})`).join(", ")})`;
    colours.append(bar, " in the last");
    legend.append(colours);
    for (const reason of Object.keys(REASONS).filter((one) => totals[one])) {
      const item = make("li", undefined, reason);
      item.append(make("i"), `${reason} `, make("b", String(totals[reason])), `: ${REASONS[reason]}`);
      legend.append(item);
    }
    if (run.endAt(run.steps.length) in run.history) legend.append(make("li", `${END} end of the answer`));
    const lines = [["edge", "depends on", run.steps.some((one) => one.edges?.length)],
      ["wait", "had to wait for", run.steps.some((one) => one.waits)],
      ["because", "induced by", run.steps.some((one) => one.commits.some((commit) => commit.because !== undefined))]];
    for (const [kind, text] of lines.filter(([, , there]) => there)) {
      const item = make("li", undefined, kind);
      item.append(make("i", undefined, "stroke"), text);
      legend.append(item);
    }
  }

  /** A bar for each step, as high as it decided much. */
  paintStrip() {
    const strip = this.find("strip"), { steps } = this.run;
    const most = Math.max(1, ...steps.map((step) => step.commits.length));
    while (strip.children.length > steps.length) strip.lastChild.remove();
    while (strip.children.length < steps.length) strip.append(make("i"));
    steps.forEach((step, number) => {
      const bar = strip.children[number];
      bar.style.height = `${Math.round(100 * step.commits.length / most)}%`;
      bar.style.backgroundColor = `rgb(${ramp(this.share(number)).join(" ")})`;
      bar.classList.toggle("ahead", number >= this.taken);
    });
  }

  paintTip() {
    const tip = this.find("tip"), span = this.spans.get(this.at), { run, taken } = this;
    tip.hidden = !span;
    if (!span) return;
    const found = run.committed(this.at, taken), given = run.given[this.at] !== null;
    const text = run.textAt(this.at, taken);
    tip.replaceChildren(make("b", text === null ? "open" : JSON.stringify(text)), ` position ${this.at}`);
    if (given) tip.append(make("p", "given"));
    const now = run.confidence(this.at, taken);
    if (!given && !found && now !== null) tip.append(make("p", `predicted at ${now} %`));
    for (const event of run.history[this.at] || []) if (event.step < taken) tip.append(make("p", say(run, event)));
    const edges = (run.steps[taken - 1]?.edges || []).filter(([from]) => from === this.at);
    const others = edges.slice(0, MOST_NAMED).map(([, to, weight]) => `${named(run, to)} (${weight.toFixed(2)})`);
    if (edges.length > MOST_NAMED) others.push(`${edges.length - MOST_NAMED} more`);
    if (others.length) tip.append(make("p", `depended on ${others.join("; ")}`));
    if (run.sinks[taken - 1]?.has(this.at)) tip.append(make("p", "a sink in this step: everything attends to it"));
    this.placeTip(tip, span);
  }

  placeTip(tip, span) {
    const frame = this.find("stage").getBoundingClientRect(), box = span.getClientRects()[0];
    if (!box) return;
    const left = Math.min(Math.max(box.x - frame.x, 0), Math.max(frame.width - tip.offsetWidth, 0));
    tip.style.left = `${left}px`;
    tip.style.top = `${box.bottom - frame.y + 6}px`;
  }

  paintGraph() {
    if (!this.run) return;
    const step = this.run.steps[this.taken - 1];
    drawGraph(this.find("graph"), this.find("stage"), this.spans, step ? edgesOf(step) : [], this.at);
  }
}
