// One architecture: its picture, its blocks, its spec on the clipboard.

const SYMBOLS = { bottleneck: "rect", residual: "diamond", mbconv: "roundRect" };
const LEVEL_FILLS = {}; // as in the drawings, from the page's data
let shown = null; // the plot of the open panel

function figures(run, trial) {
  const reranked = run.reranked.get(trial);
  const parts = [`reward ${fixed(run.reward(trial))}`];
  if (reranked && reranked.score !== null) {
    parts.push(
      `ranked again ${fixed(reranked.score)}${reranked.error === null ? "" : ` ± ${fixed(reranked.error)}`}`,
    );
  }
  if (run.metric("ap", trial) !== null) parts.push(`AP ${(100 * run.metric("ap", trial)).toFixed(1)}`);
  for (const cost of run.costs) {
    const value = run.metric(cost, trial);
    if (value !== null) parts.push(costText(cost, value) + COSTS[cost].short);
  }
  return parts.join(" · ");
}

function copyButton(run, trial) {
  const button = el("button", { type: "button", class: "copy" }, "copy spec");
  button.addEventListener("click", async () => {
    const text = `${JSON.stringify(run.spec(trial), null, 1)}\n`;
    button.textContent = (await toClipboard(text)) ? "copied" : "copying failed";
    setTimeout(() => {
      button.textContent = "copy spec";
    }, 1500);
  });
  return button;
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // a page from http:// has no clipboard of this kind
    const area = el("textarea", { style: "position:fixed;opacity:0" });
    area.value = text;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone;
  }
}

// The picture that Python drew, if it is one of the best, or one by the plotting library.
function picture(run, trial) {
  const drawing = run.drawings[trial];
  if (!drawing) return null;
  const svg = new DOMParser().parseFromString(drawing, "image/svg+xml").documentElement;
  return el("div", { class: "drawing" }, document.importNode(svg, true));
}

function graphOption(run, trial) {
  const { nodes, edges } = run.graph(trial);
  const levels = nodes.map((node) => node.level);
  const lowest = Math.min(...levels);
  const rows = Array.from({ length: Math.max(...levels) - lowest + 1 }, (_, i) => `L${lowest + i}`);
  const muted = css("--muted");
  const hidden = { show: false };
  return {
    grid: { left: 40, right: 20, top: 24, bottom: 10 },
    xAxis: { type: "value", min: -0.6, max: nodes.length - 0.4, show: false },
    yAxis: axis("", {
      type: "category",
      data: rows,
      inverse: true,
      axisTick: hidden,
      axisLine: hidden,
      splitLine: { show: true, lineStyle: { color: css("--line") } },
    }),
    tooltip: {
      formatter: ({ dataType, data }) =>
        dataType === "node"
          ? tip(data.title)
          : tip(`${data.source} to ${data.target}${data.kind === "plain" ? "" : `, ${data.kind}`}`),
    },
    series: [
      {
        type: "graph",
        coordinateSystem: "cartesian2d",
        layout: "none",
        edgeSymbol: ["none", "arrow"],
        edgeSymbolSize: [0, 6],
        label: { show: true, color: "#14181d", fontSize: 11, formatter: ({ data }) => data.id },
        data: nodes.map((node, i) => ({
          id: String(i),
          name: String(i),
          value: [i, node.level - lowest],
          symbol: SYMBOLS[node.block_type],
          symbolSize: Math.max(16, Math.min(26, 380 / nodes.length)),
          title: `block ${i}: level ${node.level} ${node.block_type}${node.is_output ? `, output P${node.level}` : ""}${node.isDead ? ", no output depends on it" : ""}`,
          itemStyle: {
            color: node.isDead ? css("--card") : LEVEL_FILLS[node.level],
            borderColor: node.is_output ? css("--ink") : muted,
            borderWidth: node.is_output ? 2.5 : 1,
            borderType: node.isDead ? "dashed" : "solid",
          },
          label: node.isDead ? { color: muted } : {},
        })),
        links: edges.map(({ source, target, kind }) => ({
          source: String(source),
          target: String(target),
          kind,
          lineStyle: {
            color: kind === "plain" ? LEVEL_FILLS[nodes[source].level] : muted,
            width: 1.5,
            opacity: 0.9,
            type: { plain: "solid", implicit: "dashed", dead: "dotted" }[kind],
            curveness: nodes[source].level === nodes[target].level ? 0.3 : 0.15,
          },
        })),
      },
    ],
  };
}

function blockTable(run, trial) {
  const { nodes } = run.graph(trial);
  const number = "number";
  return table(
    [
      { name: "block", value: (i) => i, kind: number },
      { name: "level", value: (i) => nodes[i].level, kind: number },
      { name: "type", value: (i) => nodes[i].block_type },
      { name: "reads", value: (i) => nodes[i].parents.join(", ") },
      { name: "adds as it is", value: (i) => nodes[i].implicit.join(", ") },
      { name: "output", value: (i) => (nodes[i].is_output ? `P${nodes[i].level}` : "") },
    ],
    [...nodes.keys()],
    { pageSize: nodes.length },
  ).element;
}

function closeDetail() {
  const place = document.getElementById("detail");
  place.hidden = true;
  if (shown) {
    plots.splice(plots.indexOf(shown), 1);
    shown.chart?.dispose();
    shown = null;
  }
}

function showDetail(run, trial) {
  closeDetail();
  const place = document.getElementById("detail");
  let drawing = picture(run, trial);
  if (!drawing) {
    shown = plot({ build: () => graphOption(run, trial), low: true, label: `network of trial ${trial}` });
    drawing = el("div", { class: "drawing" }, shown.place);
    shown.place.style.minWidth = "560px";
  }
  const reason = run.reasons.get(trial);
  place.replaceChildren(
    el(
      "div",
      { class: "head" },
      el("h2", {}, dot(run), `${run.name}, trial ${trial}`),
      el("button", { type: "button", onclick: closeDetail, "aria-label": "close" }, "✕"),
    ),
    el(
      "p",
      { class: "muted" },
      `${FATES[run.fate(trial)]}${reason ? `: ${reason}` : ""} · ${run.archId(trial)}`,
    ),
    el("p", {}, figures(run, trial)),
    drawing,
    el("div", { class: "bar" }, copyButton(run, trial)),
    el("details", {}, el("summary", {}, "blocks"), blockTable(run, trial)),
  );
  place.hidden = false;
  place.scrollTop = 0;
  shown?.show();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeDetail();
});
