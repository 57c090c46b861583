// The form and the panels put together: what is asked, of whom, and when again.

import { Refusal, events, getJson, keepKey } from "./api.js";
import { Panel } from "./panel.js";
import { Fields, Rule } from "./rules.js";

const $ = (id) => document.getElementById(id);
const SETTLED = 300; // milliseconds without a change before it runs again
const SETTINGS = ["temperature", "top_p", "top_k", "seed", "fallback_length"];
const OTHER = "threshold"; // the rule of the second panel, unless it is that of the first

let rules = null, sampling = null, panels = [], aborted = null, later = null, atOnce = false;

const narrow = matchMedia("(max-width: 36rem)");
const quiet = matchMedia("(prefers-reduced-motion: reduce)").matches;
const wishes = {
  pace: () => (atOnce || quiet ? 0 : Number($("pace").value)), replay: () => Number($("pace").value) || 200,
  prompt: () => $("show-prompt").checked,
};

/** Tells a problem of the whole page; asks for the key where that is what is missing. */
function tell(error) {
  const missing = error?.status === 401;
  $("key").hidden = !missing;
  if (missing && !$("key").contains(document.activeElement)) $("key-value").focus();
  $("problem").textContent = error ? line(error) : "";
  $("problem").hidden = !error;
}

const line = (error) => (error.status ? `${error.status}: ${error.message}` : error.message);

async function open() {
  try {
    const [listed, models] = await Promise.all([getJson("v1/rules"), getJson("v1/models")]);
    rules = listed;
    introduce(models.data[0]);
    tell(null);
  } catch (error) {
    tell(error);
    return;
  }
  if (!rules.chat) $("form").value = "text";
  $("form").disabled = !rules.chat;
  $("max-tokens").value ||= Math.min(rules.max_new_tokens, 64);
  const offered = SETTINGS.map((name) => rules.settings.find((one) => one.name === name));
  sampling = new Fields($("sampling"), offered, change);
  if (!panels.length) addPanel(rules.policy);
}

function introduce(model) {
  const { family, precision, engine } = model.dawn;
  $("model").textContent = [model.id, family, precision, engine, `up to ${model.max_model_len} tokens`].join(" \u00b7 ");
  document.title = `${model.id} \u00b7 dawn-serve`;
}

function addPanel(name) {
  const root = $("panel").content.firstElementChild.cloneNode(true);
  root.setAttribute("aria-label", panels.length ? "second rule" : "rule");
  root.querySelector(".tuning").open = !narrow.matches;
  $("panels").append(root);
  panels.push({ root, rule: new Rule(root, rules, name, change), panel: new Panel(root, wishes) });
}

function compare() {
  const wanted = $("compare").checked && rules ? 2 : 1;
  const known = rules ? rules.policies.map((one) => one.name) : [];
  if (wanted > panels.length && panels.length) {
    const other = panels[0].rule.select.value === OTHER ? rules.policy : OTHER;
    addPanel(known.includes(other) ? other : known[0]);
  }
  while (panels.length > wanted) panels.pop().root.remove();
  $("panels").classList.toggle("two", panels.length > 1);
  change();
}

/** Something that answers depend on is another: they are made anew, if that is wanted and one was made. */
function change() {
  clearTimeout(later);
  if ($("again").checked && panels.some(({ panel }) => panel.asked)) later = setTimeout(() => run(true), SETTLED);
}

function bodyOf(rule) {
  const prompt = $("prompt").value, body = { ...rule.body(), ...sampling.values() };
  if ($("max-tokens").value) body.max_tokens = Number($("max-tokens").value);
  if ($("form").value === "text") return ["v1/completions", { prompt, ...body }];
  return ["v1/chat/completions", { messages: [{ role: "user", content: prompt }], ...body }];
}

/** @param now Whether steps are shown as they come, as when a setting was moved. */
async function run(now = false) {
  clearTimeout(later);
  if (!rules) return;
  if (!$("prompt").value.trim()) {
    tell(new Error("there is no prompt; write one above"));
    $("prompt").focus();
    return;
  }
  tell(null);
  aborted?.abort();
  const own = aborted = new AbortController();
  atOnce = now;
  $("stop").disabled = false;
  $("status").textContent = "running";
  if (!now && narrow.matches) panels[0].root.querySelector(".facts").scrollIntoView({ block: "start" });
  await Promise.all(panels.map((one) => answer(one, own.signal)));
  if (aborted !== own) return; // another run has begun since
  aborted = null;
  $("stop").disabled = true;
  $("status").textContent = panels.map(({ rule, panel }) => `${rule.select.value}: ${panel.summary()}`).join("; ");
}

async function answer({ rule, panel }, signal) {
  const [path, body] = bodyOf(rule);
  panel.ask(rules.end_tokens, curl(path, body));
  try {
    for await (const [name, data] of events(path, body, signal)) if (!signal.aborted) panel.take(name, data);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Refusal && error.status === 401) tell(error);
    panel.say(line(error));
  } finally {
    if (!signal.aborted || aborted === null) panel.finish();
  }
}

function curl(path, body) {
  const text = JSON.stringify(body).replaceAll("'", "'\\''");
  return `curl --no-buffer '${new URL(path, location.href)}?events=graph' -d '${text}'`;
}

function stop() {
  clearTimeout(later);
  const running = aborted;
  aborted = null;
  running?.abort();
  $("stop").disabled = true;
  if (running) $("status").textContent = "stopped";
}

$("ask").addEventListener("submit", (event) => { event.preventDefault(); run(); });
$("stop").addEventListener("click", stop);
$("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  run();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target !== $("prompt")) run();
});
$("compare").addEventListener("change", compare);
for (const name of ["max-tokens", "form"]) $(name).addEventListener("change", change);
$("show-prompt").addEventListener("change", () => panels.forEach(({ panel }) => panel.layOut()));
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey($("key-value").value);
  open();
});
open();
