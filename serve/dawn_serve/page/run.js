// One answer: its steps as the events tell them, and what stands where after each of them.

export const REASONS = {
  sure: "confident enough by itself", induced: "depends on something certain",
  free: "depends on nothing decided with it", chosen: "chosen by the rule",
  best: "the most confident, as the rule chose none", confirmed: "tried, and predicted again",
};

// Decided and taken back in one step is told in that order.
const ORDER = { revoked: 0, held: 1, waits: 1, commit: 2 };

export class Run {
  /** @param ends Ids that end an answer. */
  constructor(ends) {
    this.ends = new Set(ends);
    this.steps = [];
    this.given = [];
    this.positions = [];
    this.texts = {};
    this.end = null; // the last event, once it is there
    this.history = []; // by position: what happened to it, in order
    this.sinks = []; // by step: the positions that everything attends to
  }

  get begin() { return this.positions.length ? this.positions[0] : this.given.length; }

  take(name, data) {
    if (name === "end") this.end = data;
    Object.assign(this.texts, data.texts);
    if (name === "begin") {
      this.given = data.given;
      this.positions = data.positions;
      this.history = data.given.map(() => []);
    }
    if (name === "commit" && data.window !== undefined) this.note(data);
  }

  note(step) {
    const number = this.steps.push(step) - 1, touched = new Set();
    const tell = (position, event) => {
      this.history[position] ??= []; // a scheme may decide more than is wanted
      this.history[position].push({ step: number, ...event });
      touched.add(position);
    };
    for (const position of step.revoked) tell(position, { kind: "revoked" });
    for (const [position, guard] of step.held || []) tell(position, { kind: "held", guard });
    for (const [position, by] of step.waits || []) tell(position, { kind: "waits", by });
    for (const { position, ...commit } of step.commits) tell(position, { kind: "commit", ...commit });
    for (const position of touched) {
      this.history[position].sort((a, b) => a.step - b.step || ORDER[a.kind] - ORDER[b.kind]);
    }
    this.sinks.push(new Set(step.sinks || this.sinks[number - 1] || []));
  }

  /** The commit that stands at a position after some steps, or null. */
  committed(position, taken) {
    let found = null;
    for (const event of this.history[position] || []) {
      if (event.step >= taken) break;
      if (event.kind === "commit") found = event;
      if (event.kind === "revoked") found = null;
    }
    return found;
  }

  /** Percent at which an open position was predicted last, or null. */
  confidence(position, taken) {
    for (let step = taken - 1; step >= 0; step -= 1) {
      for (const [where, value] of this.steps[step].confidence) if (where === position) return value;
    }
    return null;
  }

  /** Percent of all positions that have been predicted within some steps. */
  confidences(taken) {
    return new Map(this.steps.slice(0, taken).flatMap((step) => step.confidence));
  }

  textOf(token) { return this.texts[token] ?? `${token} `; }

  textAt(position, taken = this.steps.length) {
    const token = this.given[position] ?? this.committed(position, taken)?.token;
    return token === undefined || token === null ? null : this.textOf(token);
  }

  /** The first position of the answer that holds an end token after some steps; one after all if none does. */
  endAt(taken) {
    const after = this.positions.length ? this.positions[this.positions.length - 1] + 1 : 0;
    return this.positions.find((position) => this.ends.has(this.committed(position, taken)?.token)) ?? after;
  }

  /** Numbers of the answer as far as it is known; those of the server once it has ended. */
  facts() {
    const last = this.steps[this.steps.length - 1], how = this.end?.dawn, stop = this.endAt(this.steps.length);
    const decided = this.positions.filter((one) => one < stop && this.committed(one, this.steps.length)).length;
    const tokens = how?.tokens_decided ?? decided, forwards = how?.forwards ?? this.steps.length;
    const seconds = how?.seconds ?? last?.seconds ?? 0;
    return {
      forwards, tokens, perForward: forwards ? tokens / forwards : 0, perSecond: seconds ? tokens / seconds : 0,
      seconds, engineSeconds: how?.engine_seconds ?? last?.engine_seconds ?? 0,
      fed: how?.rows_fed ?? this.steps.reduce((sum, step) => sum + step.fed, 0),
      ended: this.end ? this.end.finish_reason : null,
      note: [how?.fallback ? `${how.policy} decided, as the answer is short` : "", how?.doubt].filter(Boolean).join("; "),
    };
  }
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;
export const plural = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** What happened to a position in a step, in words. */
export function say(run, event) {
  const when = `step ${event.step + 1}`;
  if (event.kind === "revoked") return `${when}: taken back`;
  if (event.kind === "held") return `${when}: held back by the guard ${event.guard}`;
  if (event.kind === "waits") return `${when}: had to wait for ${named(run, event.by)}`;
  const because = event.because === undefined ? "" : `: ${named(run, event.because)}`;
  return `${when}: ${percent(event.confidence)}, ${event.reason} (${REASONS[event.reason]}${because})`;
}

/** A position with the text that is there in the end, if one is. */
export function named(run, position) {
  const text = run.textAt(position);
  return text === null ? `position ${position}` : `position ${position}, ${JSON.stringify(text)}`;
}

/** How many of a step were decided for each reason, in words. */
export function reasonsOf(step) {
  const counts = {};
  for (const { reason } of step.commits) counts[reason] = (counts[reason] || 0) + 1;
  return Object.entries(counts).map(([reason, number]) => `${number} ${reason}`).join(", ");
}
