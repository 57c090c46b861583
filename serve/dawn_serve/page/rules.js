// The settings of a panel: a rule with its options, a window, a cache and a guard, as the server lists them.

export function make(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

export function fill(select, names, chosen) {
  select.replaceChildren(...names.map(([value, text]) => {
    const option = make("option", text ?? value);
    option.value = value;
    return option;
  }));
  if (chosen !== undefined) select.value = chosen;
}

/** One option as fields of a form; `value()` is undefined where it is as it was. */
class Field {
  constructor(option, changed) {
    this.option = option;
    this.element = make("label", undefined, "field");
    this.element.title = option.help;
    this.element.append(make("span", option.name.replaceAll("_", " "), "name"));
    this.input = this.control();
    this.input.dataset.option = option.name;
    this.element.append(this.input);
    this.element.addEventListener("input", () => changed());
  }

  control() {
    const { type, choices, minimum, maximum } = this.option;
    if (type === "boolean") return this.choice(["true", "false"]);
    if (type === "string") return this.choice(choices);
    if (choices.length) return this.written(choices);
    const number = make("input");
    number.type = "number";
    number.step = type === "integer" ? "1" : "any";
    if (typeof minimum === "number") number.min = minimum;
    if (typeof maximum === "number") number.max = maximum;
    number.value = this.option.default ?? "";
    if (type === "number" && typeof maximum === "number" && maximum <= 1) this.slide(number);
    return number;
  }

  choice(values) {
    const select = make("select");
    fill(select, values.map((one) => [one]), String(this.option.default));
    return select;
  }

  /** A number, or one of some words. */
  written(words) {
    const text = make("input"), list = make("datalist");
    list.id = `words-${Field.count += 1}`;
    fill(list, words.map((one) => [one]));
    text.setAttribute("list", list.id);
    text.value = this.option.default ?? "";
    this.element.append(list);
    return text;
  }

  slide(number) {
    const range = make("input");
    Object.assign(range, { type: "range", min: 0, max: this.option.maximum, step: 0.005, value: number.value });
    range.setAttribute("aria-label", `${this.option.name.replaceAll("_", " ")}, coarse`);
    range.addEventListener("input", () => { number.value = range.value; });
    number.addEventListener("input", () => { range.value = number.value; });
    this.element.append(range);
  }

  value() {
    const { type, choices, default: usual } = this.option, given = this.input.value.trim();
    if (given === "" || given === String(usual ?? "")) return undefined;
    if (type === "boolean") return given === "true";
    if (type === "string" || choices.includes(given)) return given;
    return Number.isFinite(Number(given)) ? Number(given) : given; // the server says what is wrong
  }
}
Field.count = 0;

/** Fields of several options. */
export class Fields {
  constructor(place, options, changed) {
    this.fields = options.map((option) => new Field(option, changed));
    place.replaceChildren(...this.fields.map((field) => field.element));
  }

  /** What is not as it was, by name. */
  values() {
    const found = this.fields.map((field) => [field.option.name, field.value()]);
    return Object.fromEntries(found.filter(([, value]) => value !== undefined));
  }
}

const AS_USUAL = "";

/** A window, a cache or a guard: a name and options, written as the server reads them. */
class Part {
  constructor(place, name, known, usual, changed) {
    this.known = known;
    const row = make("div", undefined, "part"), label = make("label", undefined, "field");
    this.select = make("select");
    this.select.dataset.part = name;
    this.options = make("span", undefined, "fields");
    const names = known.map((one) => [one.name]);
    if (name === "guard") names.unshift(["none"]);
    fill(this.select, [[AS_USUAL, `as usual (${usual})`], ...names]);
    label.append(make("span", name, "name"), this.select);
    row.append(label, this.options);
    place.append(row);
    this.select.addEventListener("change", () => { this.list(changed); changed(); });
    this.list(changed);
  }

  list(changed) {
    const found = this.known.find((one) => one.name === this.select.value);
    this.fields = new Fields(this.options, found?.options ?? [], changed);
  }

  value() {
    const given = Object.entries(this.fields.values()).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
    if (this.select.value === AS_USUAL) return undefined;
    return given.length ? `${this.select.value}:${given.join(",")}` : this.select.value;
  }
}

/** All settings of one panel. */
export class Rule {
  /** @param changed Called when something is not as it was before. */
  constructor(root, rules, name, changed) {
    this.root = root;
    this.rules = rules;
    this.changed = () => { this.mark(); changed(); };
    this.select = root.querySelector(".policy");
    fill(this.select, rules.policies.map((one) => [one.name]), name);
    this.select.addEventListener("change", () => { this.list(); changed(); });
    root.querySelector(".reset").addEventListener("click", () => { this.list(); changed(); });
    this.list();
  }

  list() {
    const rule = this.rules.policies.find((one) => one.name === this.select.value);
    const others = this.root.querySelector(".others");
    this.root.querySelector(".summary").textContent = rule.summary;
    this.options = new Fields(this.root.querySelector(".options"), rule.options, this.changed);
    others.replaceChildren();
    const part = (name, known, usual) => [name, new Part(others, name, known, usual, this.changed)];
    this.parts = [];
    if (rule.window !== null) this.parts.push(part("window", this.rules.windows, rule.window));
    if (rule.cache !== null) this.parts.push(part("cache", this.rules.caches, rule.cache));
    if (rule.guards !== null) this.parts.push(part("guard", this.rules.guards, rule.guards.join(", ") || "none"));
    this.mark();
  }

  /** Fields of a request. */
  body() {
    const options = this.options.values(), found = { policy: this.select.value };
    if (Object.keys(options).length) found.options = options;
    for (const [name, part] of this.parts) {
      const value = part.value();
      if (value !== undefined) found[name] = value;
    }
    return found;
  }

  mark() {
    const body = this.body(), named = this.parts.filter(([name]) => name in body).map(([name]) => `${name} ${body[name]}`);
    this.root.querySelector(".parts").textContent = named.length ? `: ${named.join(", ")}` : "";
    this.root.querySelector(".reset").hidden = Object.keys(body).length === 1;
  }
}
