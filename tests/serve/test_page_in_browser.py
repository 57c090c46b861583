"""The page in a browser: what is on screen is what the server says, and a console stays empty."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chromium import BROWSER, MISSING, Page, browsing
from dawn_runtime import Decoder
from dawn_serve.edges import Bounds
from dawn_serve.jobs import Order
from support.gate import PATIENCE, GatedEngine
from support.serving import Running, serving

pytestmark = pytest.mark.skipif(BROWSER is None, reason=MISSING)

PROMPT = "There are 3 bags of 3 books in the house of Yara. Oscar brings 7 books. How many now?"
OPTIONS = {"tau_high": 1, "tau_edge": 0.04}
BODY: dict[str, Any] = {
    "policy": "dawn",
    "options": OPTIONS,
    "max_tokens": 40,
    "messages": [{"role": "user", "content": PROMPT}],
}
ENDED = "document.querySelector('#stop').disabled && !document.querySelector('[aria-busy]')"
RAN = f"{ENDED} && document.querySelector('.facts b')"
ENDED_BY = "document.querySelector('[data-fact=ended-by]')"
END = "\N{LEFT TACK}"


@pytest.fixture(scope="module")
def served(exact: Decoder) -> Iterator[Running]:
    """A server of the rule with a graph; the artifact's own need not have one."""
    with serving(exact, defaults={"policy": "dawn"}) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browsing() as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """A tab as it is at the beginning of a visit, whose console has to stay empty."""
    browser.size(1180, 860)
    browser.scheme("light")
    browser.problems.clear()
    yield browser
    assert browser.problems == []
    browser.open("about:blank")


def visit(page: Page, running: Running) -> None:
    page.open(f"{running.url}/")
    page.until("document.querySelector('.policy')")


def asked_for(page: Page, **options: float) -> None:
    """Fills the form in, with steps that are shown as they come."""
    page.set("#prompt", PROMPT)
    page.set("#max-tokens", str(BODY["max_tokens"]))
    page.set("#pace", "0")
    for name, value in options.items():
        page.set(f"[data-option={name}]", str(value))


def told(running: Running, **changes: Any) -> list[dict[str, Any]]:
    reply = running.ask("/v1/chat/completions?events=graph", {**BODY, **changes})
    return [data for _, data in reply.events]


def facts(page: Page, panel: int = 1) -> dict[str, str]:
    within = f"#panels > :nth-child({panel}) .facts b"
    names = page.run(f"[...document.querySelectorAll({within!r})].map((one) => one.dataset.fact)")
    return dict(zip(names, page.texts(within), strict=True))


def shown(page: Page) -> list[tuple[int, str, str | None, str]]:
    """Position, text, commit step and kinds of every token on screen."""
    script = (
        "[...document.querySelectorAll('.text span')].map((one) => [Number(one.dataset.position),"
        " one.textContent, one.dataset.step ?? null, one.className])"
    )
    return [tuple(one) for one in page.run(script)]


def waits(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_numbers_on_screen_are_those_of_the_json(page: Page, served: Running) -> None:
    visit(page, served)
    asked_for(page, **OPTIONS)
    page.click("#run")
    page.until(RAN)
    begin, *steps, end = told(served)
    how, found = end["dawn"], facts(page)
    assert found["forwards"] == str(how["forwards"]) == str(len(steps))
    assert found["tokens"] == str(how["tokens_decided"]) == str(end["usage"]["completion_tokens"])
    assert found["tokens-a-forward"] == f"{how['tokens_decided'] / how['forwards']:.2f}"
    assert found["positions-fed"] == str(how["rows_fed"])
    assert found["ended-by"] == end["finish_reason"]
    assert found["tokens-a-second"] != "0"
    assert page.run("document.querySelector('.slider').max") == str(len(steps))
    assert page.run("document.querySelector('.answer').textContent") == end["text"]
    sent = page.text(".request")
    assert json.loads(sent.partition(" -d '")[2].rstrip("'")) == BODY
    assert begin["positions"] == [one[0] for one in shown(page)]


def test_every_step_shows_its_tokens_in_their_order_and_its_graph(
    page: Page, served: Running
) -> None:
    visit(page, served)
    asked_for(page, **OPTIONS)
    page.click("#run")
    page.until(RAN)
    begin, *steps, _ = told(served)
    texts, state = dict(begin["texts"]), dict[int, tuple[str, str]]()
    ends = {str(token) for token in served.ask("/v1/rules").json["end_tokens"]}
    seen = {"edges": 0, "because": 0, "waits": 0}
    assert len(steps) > 1
    for number, step in enumerate(steps, 1):
        page.set(".slider", str(number))
        texts |= step["texts"]
        for one in step["commits"]:
            text = END if str(one["token"]) in ends else texts[str(one["token"])]
            state[one["position"]] = (text.replace("\n", "\u21b5\n"), str(number))
        kinds = {position: kind.split() for position, _, _, kind in shown(page)}
        found = {position: (text, at) for position, text, at, _ in shown(page) if at}
        assert found == state
        for one in step["commits"]:
            assert {"new", one["reason"]} <= set(kinds[one["position"]])
        assert {p for p, kind in kinds.items() if "new" in kind} == {
            one["position"] for one in step["commits"]
        }
        assert {p for p, kind in kinds.items() if "wait" in kind} == {
            one[0] for one in step.get("waits", [])
        }
        assert f"step {number} of {len(steps)}" in page.text(".step")
        assert f"{step['edge_count']} dependenc" in page.text(".step")
        drawn = page.run(
            "[...document.querySelectorAll('.graph path')].map((one) => [one.classList[0],"
            " Number(one.dataset.from), Number(one.dataset.to)])"
        )
        there = set(begin["positions"])
        for kind, expected in {
            "because": [
                [one["position"], one["because"]] for one in step["commits"] if "because" in one
            ],
            "wait": step.get("waits", []),
        }.items():
            got = [pair for name, *pair in drawn if name == kind]
            assert sorted(got) == sorted(pair for pair in expected if set(pair) <= there)
            seen["because" if kind == "because" else "waits"] += len(got)
        edges = [pair for name, *pair in drawn if name == "edge"]
        assert {tuple(one) for one in edges} <= {(i, j) for i, j, _ in step["edges"]}
        seen["edges"] += len(edges)
    assert min(seen["edges"], seen["waits"]) > 0
    colours = page.run(
        "[...document.querySelectorAll('.text span[data-step]')].map((one) => [one.dataset.step,"
        " getComputedStyle(one).backgroundColor])"
    )
    assert len({tuple(one) for one in colours}) == len(steps), "a colour for each step"
    assert len({colour for _, colour in colours}) == len(steps)
    page.click(".first")
    assert not any(at for _, _, at, _ in shown(page))
    page.click(".on")
    assert page.text(".step").startswith("step 1 of")


def test_what_is_pointed_at_tells_its_confidence_and_why(page: Page, served: Running) -> None:
    visit(page, served)
    asked_for(page, **OPTIONS)
    page.click("#run")
    page.until(RAN)
    _, *steps, _ = told(served)
    page.set(".slider", "1")
    one = steps[0]["commits"][0]
    page.hover(f".text [data-position='{one['position']}']")
    page.until("!document.querySelector('.tip').hidden")
    tip = page.text(".tip")
    assert f"position {one['position']}" in tip
    assert f"step 1: {100 * one['confidence']:.1f} %, {one['reason']}" in tip
    position, other = steps[0]["waits"][0]
    page.hover(f".text [data-position='{position}']")
    page.until(f"document.querySelector('.tip').textContent.includes('position {position}')")
    tip = page.text(".tip")
    percent = dict(map(tuple, steps[0]["confidence"]))[position]
    assert f"predicted at {percent} %" in tip
    assert f"had to wait for position {other}" in tip
    on = page.run("[...document.querySelectorAll('.graph path.on')].map((one) => one.dataset.from)")
    assert str(position) in on


def test_two_rules_answer_one_prompt_side_by_side(page: Page, served: Running) -> None:
    visit(page, served)
    asked_for(page)
    page.click("#compare")
    page.until("document.querySelectorAll('.panel').length === 2")
    page.set("#panels > :nth-child(2) .policy", "one-per-step")
    page.click("#run")
    page.until(f"{RAN} && document.querySelectorAll('.facts').length === 2")
    plain = {name: value for name, value in BODY.items() if name != "options"}
    for panel, policy in enumerate(("dawn", "one-per-step"), 1):
        end = served.ask("/v1/chat/completions?events=graph", {**plain, "policy": policy}).events[
            -1
        ][1]
        assert facts(page, panel)["forwards"] == str(end["dawn"]["forwards"])
        assert facts(page, panel)["tokens"] == str(end["dawn"]["tokens_decided"])
    assert "one-per-step: " in page.text("#status")
    boxes = page.run("[...document.querySelectorAll('.stage')].map((one) => one.offsetTop)")
    assert boxes[0] == boxes[1], "they stand beside each other"
    page.click("#compare")
    page.until("document.querySelectorAll('.panel').length === 1")


def test_a_threshold_that_is_moved_is_seen_at_once(page: Page, served: Running) -> None:
    visit(page, served)
    page.set(".policy", "threshold")
    asked_for(page)
    page.click("#run")
    page.until(RAN)
    plain = {name: value for name, value in BODY.items() if name != "options"}
    usual = served.ask("/v1/chat/completions", {**plain, "policy": "threshold"}).json["dawn"][0]
    forwards = str(usual["forwards"])
    assert facts(page)["forwards"] == forwards
    page.set("[data-option=threshold]", "1")
    page.until(f"{RAN} && document.querySelector('[data-fact=forwards]').textContent > 20")
    (_, *steps, _) = told(served, policy="threshold", options={"threshold": 1})
    page.until(f"document.querySelector('.slider').value === '{len(steps)}'")
    assert facts(page)["forwards"] == str(len(steps))
    page.click(".reset")
    page.until(f"{RAN} && document.querySelector('[data-fact=forwards]').textContent < 20")
    assert facts(page)["forwards"] == forwards
    page.click("#again")
    page.set("[data-option=threshold]", "1")
    time.sleep(0.6)
    assert facts(page)["forwards"] == forwards, "it was switched off"


def test_a_change_that_is_refused_leaves_the_answer_there(page: Page, served: Running) -> None:
    visit(page, served)
    asked_for(page)
    page.click("#run")
    page.until(RAN)
    before, status = shown(page), page.text("#status")
    page.set("[data-option=tau_high]", "2")
    page.until("!document.querySelector('.panel .problem').hidden")
    page.until(ENDED)
    assert page.text(".panel .problem").startswith("400: policy 'dawn': tau_high is 2; expected")
    assert shown(page) == before
    assert status.startswith("dawn: stop, ")
    assert page.text("#status") == "dawn: not answered"
    page.set("[data-option=tau_high]", "1")
    page.until("document.querySelector('.panel .problem').hidden")
    page.until(f"{ENDED} && document.querySelector('#status').textContent.startsWith('dawn: stop')")
    page.problems.clear()  # browsers tell every status of 400 and above


def test_all_of_it_is_done_with_keys_alone(page: Page, served: Running) -> None:
    visit(page, served)

    def reach(selector: str) -> None:
        for _ in range(60):
            if page.run(f"document.activeElement.matches({selector!r})"):
                return
            page.press("Tab")
        raise AssertionError(f"{selector} is not reached")

    reach("#prompt")
    page.write("Sort ascending: 47 61 56 21")
    page.press("Enter", shift=True)
    assert page.run("document.querySelector('#prompt').value").endswith("21\n")
    page.set("#pace", "0")
    page.press("Enter")
    page.until(f"{RAN} && document.querySelector('.answer').textContent")
    turn = {"role": "user", "content": "Sort ascending: 47 61 56 21\n"}
    body = {
        "messages": [turn],
        "max_tokens": int(page.run("document.querySelector('#max-tokens').value")),
    }
    answer = served.ask("/v1/chat/completions", body).json["choices"][0]["message"]["content"]
    assert page.text(".answer") == answer
    reach(".slider")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.run(outline) != "none"
    for _ in range(int(page.run("document.activeElement.value"))):
        page.press("ArrowLeft")
    page.until("document.querySelector('.step').textContent.startsWith('before the first')")
    reach(".text")
    assert page.run(outline) != "none"
    page.press("ArrowDown")
    assert page.text(".step").startswith("step 1 of")
    page.press("ArrowRight")
    page.until("!document.querySelector('.tip').hidden")
    first = page.text(".tip")
    page.press("ArrowRight")
    assert page.text(".tip") != first
    reach(".raw summary")
    page.press("Enter")
    assert page.run("document.querySelector('.raw').open")


def test_stop_frees_the_place_within_a_step(page: Page, gated: Running, gate: GatedEngine) -> None:
    visit(page, gated)
    page.set("#prompt", "a")
    page.set(".policy", "one-per-step")
    page.set("#max-tokens", "12")
    page.set("#pace", "0")
    gate.shut()
    page.click("#run")
    gate.let(2)
    page.until("document.querySelector('[data-fact=forwards]')?.textContent === '2'")
    gate.wait()  # the third run is under way
    assert not page.run("document.querySelector('#stop').disabled")
    page.click("#stop")
    waits(lambda: any(line["status"] == 499 for line in gated.lines))
    gate.let(1)
    waits(lambda: gated.service.scheduler.running == 0)
    assert gate.runs == 3
    page.until(ENDED)
    assert page.text("#status") == "stopped"
    assert facts(page)["ended-by"] == "being stopped"
    assert facts(page)["forwards"] == "2"
    gate.open()
    page.run("document.activeElement.blur()")
    page.click("#run")
    page.until(f"{RAN} && {ENDED_BY}.textContent !== '\u2026'")
    turn = {"role": "user", "content": "a"}
    body = {"messages": [turn], "policy": "one-per-step", "max_tokens": 12}
    reply = gated.ask("/v1/chat/completions", body).json
    assert facts(page)["forwards"] == str(reply["dawn"][0]["forwards"])
    assert reply["dawn"][0]["forwards"] > 2


def test_live_numbers_grow_while_it_runs(page: Page, gated: Running, gate: GatedEngine) -> None:
    visit(page, gated)
    page.set("#prompt", "a")
    page.set(".policy", "one-per-step")
    page.set("#max-tokens", "6")
    gate.shut()
    page.click("#run")
    for step in range(1, 4):
        gate.let(1)
        page.until(f"document.querySelector('[data-fact=forwards]')?.textContent === '{step}'")
        assert facts(page)["ended-by"] == "\u2026"
        assert float(facts(page)["seconds"]) >= 0
    gate.open()
    page.until(f"{RAN} && {ENDED_BY}.textContent !== '\u2026'")
    page.until("document.querySelector('.play').textContent === 'play'")
    assert page.run("document.querySelector('.slider').value") == "6", "at its pace, all are shown"


def test_what_the_server_refuses_is_one_line(
    browser: Page, decoder: Decoder, gate: GatedEngine
) -> None:
    bounds = Bounds(max_batch_size=1, max_queued_requests=0)
    with serving(decoder, bounds, api_key="open sesame") as running:
        browser.size(1180, 860)
        browser.open(f"{running.url}/")
        browser.until("!document.querySelector('#key').hidden")
        assert browser.text("#problem").startswith("401: ")
        assert browser.run("document.activeElement.id") == "key-value"
        browser.write("wrong")
        browser.press("Enter")
        browser.until("document.querySelector('#problem').textContent.includes('not this server')")
        browser.set("#key-value", "open sesame")
        browser.press("Enter")
        browser.until("document.querySelector('.policy')")
        assert browser.run("document.querySelector('#key').hidden")
        assert browser.run("document.querySelector('#problem').hidden")
        assert "sesame" not in browser.run("document.cookie + location.href")
        browser.set("#prompt", "")
        browser.click("#run")
        browser.until("document.querySelector('#problem').textContent.startsWith('there is no')")
        browser.set("#prompt", "a")
        browser.set("#pace", "0")
        gate.shut()
        (job,) = running.service.scheduler.submit([Order(decoder.prepare("a", max_new_tokens=4))])
        browser.click("#run")
        browser.until("document.querySelector('.panel .problem').textContent.startsWith('429: ')")
        assert "there may be room in" in browser.text(".panel .problem")
        gate.open()
        job.done.result(PATIENCE)
        browser.set("#max-tokens", "100000")
        browser.click("#run")
        browser.until("document.querySelector('.panel .problem').textContent.startsWith('400: ')")
        line = browser.text(".panel .problem")
        assert "ask for at most" in line
        browser.set("#max-tokens", "8")
        running.service.scheduler.drain(PATIENCE)
        browser.click("#run")
        browser.until("document.querySelector('.panel .problem').textContent.startsWith('503: ')")
        assert "\n" not in browser.text(".panel .problem")
    browser.click("#run")
    browser.until("document.querySelector('.panel .problem').textContent.includes('not answer')")
    assert not browser.run("document.querySelector('.panel').classList.contains('ran')")
    browser.open("about:blank")


def test_a_stream_is_read_whatever_pieces_it_comes_in(page: Page, gated: Running) -> None:
    visit(page, gated)
    told = 'event: begin\\ndata: {"text": "a\u2028b"}\\n\\n' + "event: end\\ndata: {}\\n\\n"
    read = """(async (text, size) => {
      const { events } = await import("./page/api.js"), real = window.fetch, found = [];
      const bytes = new TextEncoder().encode(text);
      const body = new ReadableStream({ start(sink) {
        for (let n = 0; n < bytes.length; n += size) sink.enqueue(bytes.slice(n, n + size));
        sink.close();
      } });
      window.fetch = async () => new Response(body);
      try {
        for await (const one of events("x", {}, new AbortController().signal)) found.push(one);
      } catch (error) { found.push(error.message); } finally { window.fetch = real; }
      return found;
    })"""
    for size in (1, 7, 1000):
        assert page.run(f"{read}('{told}', {size})") == [
            ["begin", {"text": "a\u2028b"}],
            ["end", {}],
        ]
    begin, broken = page.run(f"{read}('{told}'.slice(0, -3), 5)")
    assert begin[0] == "begin"
    assert broken.startswith("the connection broke off before the answer was whole")


def test_text_of_a_model_is_text(page: Page, gated: Running) -> None:
    visit(page, gated)
    page.set("#prompt", "<img src=x onerror=alert(1)><b>bold</b>")
    page.set("#max-tokens", "4")
    page.set("#pace", "0")
    page.run("document.querySelector('#more').open = true")
    page.click("#show-prompt")
    page.click("#run")
    page.until(RAN)
    assert "<img src=x onerror=alert(1)><b>bold</b>" in page.text(".text")
    assert page.run("document.querySelectorAll('.text :not(span), .text span *').length") == 0


CONTRASTS = """(() => {
  const channel = (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [0.2126 * r, 0.7152 * g, 0.0722 * b].map((one, n) =>
    [0.2126, 0.7152, 0.0722][n] * channel(one / [0.2126, 0.7152, 0.0722][n] / 255))
    .reduce((a, b) => a + b);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((one, n) => one * a + under[n] * (1 - a));
  const behind = (one) => {
    const above = one.parentElement ? behind(one.parentElement) : [255, 255, 255];
    return over(numbers(getComputedStyle(one).backgroundColor), above);
  };
  const found = {};
  for (const selector of ["h1", "label", "#model", ".step", ".facts", ".facts b", ".legend",
    "#run", ".text [data-step]:not(.tail)", ".tip", "summary", "a", ".soft"]) {
    for (const one of document.querySelectorAll(selector)) {
      const ground = behind(one), ink = over(numbers(getComputedStyle(one).color), ground);
      const [high, low] = [light(ink), light(ground)].sort((a, b) => b - a);
      found[selector] = Math.min(found[selector] ?? 21, (high + 0.05) / (low + 0.05));
    }
  }
  return found;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_can_be_read(scheme: str, page: Page, served: Running) -> None:
    page.scheme(scheme)
    visit(page, served)
    asked_for(page, **OPTIONS)
    page.click("#run")
    page.until(RAN)
    page.hover(".text .new")
    page.until("!document.querySelector('.tip').hidden")
    contrasts = page.run(CONTRASTS)
    assert {name: value for name, value in contrasts.items() if value < 4.5} == {}
    dark = page.run("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    assert dark == (scheme == "dark")


def test_a_phone_has_room_for_it(page: Page, served: Running, tmp_path: Path) -> None:
    page.size(390, 844, phone=True)
    visit(page, served)
    asked_for(page, **OPTIONS)
    page.click("#compare")
    page.click("#run")
    page.until(f"{RAN} && document.querySelectorAll('.facts').length === 2")
    for opened in ("false", "true"):
        page.run(f"document.querySelectorAll('details').forEach((one) => one.open = {opened})")
        assert page.run("document.documentElement.scrollWidth") <= 390
        wide = page.run(
            "[...document.querySelectorAll('body *')].filter((one) => !one.closest('svg')"
            " && one.getBoundingClientRect().right > 391)"
            ".map((one) => one.outerHTML.slice(0, 80))"
        )
        assert wide == []
    small = page.run(
        "[...document.querySelectorAll('button')].filter((one) => one.offsetHeight"
        " && one.offsetHeight < 24).map((one) => one.textContent)"
    )
    assert small == [], "a finger finds every button"
