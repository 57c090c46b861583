// Requests to the server, and the stream of events. All addresses are relative to the page.

const KEY = "dawn-serve-key";

/** What the server, or the way to it, said no with: a status (0 if there was none) and a line. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const keepKey = (key) => sessionStorage.setItem(KEY, key);

function headers(more) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...more, authorization: `Bearer ${key}` } : more;
}

/** Asks, and throws a `Refusal` unless the answer is a good one; an `AbortError` if it was given up. */
async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "the server does not answer; is it still running?");
  }
  if (!response.ok) throw new Refusal(response.status, await reason(response));
  return response;
}

async function reason(response) {
  let message = response.statusText || "no reason given";
  try {
    message = (await response.json()).error.message;
  } catch { /* something between us and the server has answered */ }
  const wait = response.headers.get("retry-after");
  return wait ? `${message}; there may be room in ${wait} s` : message;
}

export async function getJson(path) {
  return (await ask(path, { headers: headers({}) })).json();
}

/** Sends a request and gives its events one by one, as [name, data]. */
export async function* events(path, body, signal) {
  const response = await ask(`${path}?events=graph`, {
    method: "POST", body: JSON.stringify(body), signal, headers: headers({ "content-type": "application/json" }),
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", ended = false;
  while (!ended) {
    const blocks = (text + await more(reader, signal)).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const [head, data] = block.split("\ndata: "), name = head.replace("event: ", ""), told = JSON.parse(data);
      if (name === "error") throw new Refusal(0, told.error.message);
      ended = name === "end";
      yield [name, told];
    }
  }
}

async function more(reader, signal) {
  let found = { done: true };
  try {
    found = await reader.read();
  } catch (error) {
    if (signal.aborted) throw error;
  }
  if (found.done) throw new Refusal(0, "the connection broke off before the answer was whole; run it again");
  return found.value;
}
