// What depends on what, drawn over the text: one curve for each edge, a dot at what is depended on.

const SVG = "http://www.w3.org/2000/svg";

/** Edges that are drawn of a step, the strongest; the others where somebody points at their token. */
export const MOST = 64;

/** Lines of a step: what waits, what was induced, and the rule's graph, the strongest last and on top. */
export function edgesOf(step) {
  const told = [];
  for (const { position, because } of step.commits) if (because !== undefined) told.push([position, because, "because"]);
  for (const [position, by] of step.waits || []) told.push([position, by, "wait"]);
  const special = new Set(told.map(([from, to]) => `${from} ${to}`));
  const edges = (step.edges || []).filter(([from, to]) => !special.has(`${from} ${to}`));
  const most = edges.length ? edges[0][2] : 1;
  const plain = edges.map(([from, to, weight]) => [from, to, "edge", weight / most]);
  return [...plain.reverse(), ...told.map(([from, to, kind]) => [from, to, kind, 1])];
}

/** Draws edges between spans; what has no span on screen is left out. */
export function drawGraph(svg, stage, spans, edges, at) {
  svg.replaceChildren();
  const frame = stage.getBoundingClientRect();
  svg.setAttribute("width", frame.width);
  svg.setAttribute("height", frame.height);
  const plain = edges.filter(([, , kind]) => kind === "edge").length;
  const faint = Math.max(plain - MOST, 0); // the weakest come first
  edges.forEach(([from, to, kind, weight], number) => {
    const here = place(spans.get(from), frame), there = place(spans.get(to), frame);
    const touched = from === at || to === at;
    if (!here || !there || (number < faint && !touched)) return;
    const path = document.createElementNS(SVG, "path"), dot = document.createElementNS(SVG, "circle");
    path.setAttribute("d", curve(here, there));
    path.setAttribute("stroke-width", (0.6 + 0.6 * weight).toFixed(2));
    dot.setAttribute("cx", there.x.toFixed(1));
    dot.setAttribute("cy", there.y.toFixed(1));
    dot.setAttribute("r", 1.8);
    for (const one of [path, dot]) {
      one.setAttribute("class", touched ? `${kind} on` : kind);
      one.style.setProperty("--weight", (0.15 + 0.4 * weight).toFixed(3));
    }
    path.dataset.from = from;
    path.dataset.to = to;
    svg.append(path, dot);
  });
  svg.classList.toggle("pointed", edges.some(([from, to]) => from === at || to === at));
}

/** The middle of the upper edge of a token. */
function place(span, frame) {
  const box = span?.getClientRects()[0];
  return box && box.width ? { x: box.x + box.width / 2 - frame.x, y: box.y - frame.y + 1 } : null;
}

/** An arc above a line, or an S from line to line. */
function curve(here, there) {
  const [x1, y1, x2, y2] = [here.x, here.y, there.x, there.y].map((value) => Number(value.toFixed(1)));
  const rise = Math.min(8 + Math.abs(x2 - x1) * 0.12, 30);
  if (Math.abs(y2 - y1) < 6) return `M${x1} ${y1}C${x1} ${y1 - rise} ${x2} ${y2 - rise} ${x2} ${y2}`;
  const middle = (y1 + y2) / 2;
  return `M${x1} ${y1}C${x1} ${Math.min(y1 - 10, middle)} ${x2} ${Math.min(y2 - 10, middle)} ${x2} ${y2}`;
}
