// The page: its head, and the panels in order.

const BEGIN = performance.now();

function head(data, runs) {
  const card = (run) =>
    el(
      "article",
      {},
      el("h2", {}, dot(run), run.name),
      run.isEmpty
        ? null
        : el(
            "p",
            { class: "best" },
            fixed(runningBest(run).at(-1)?.[1]),
            el("span", { class: "muted" }, ` best ${run.reward_metric}`),
          ),
      el("p", { class: "hint" }, [run.state, run.status].filter(Boolean).join("; ")),
    );
  document
    .getElementById("top")
    .append(
      el("h1", {}, runs.map((run) => run.name).join(", ")),
      el("p", { class: "muted" }, `spinesearch ${data.version}, ${data.made}`),
      ...runs.flatMap((run) => run.notes.map((note) => el("p", { class: "note" }, `${run.name}: ${note}`))),
      el("div", { class: "runs" }, ...runs.map(card)),
      el("nav", { "aria-label": "panels" }),
    );
}

function links() {
  document
    .querySelector("nav")
    .append(
      ...[...document.querySelectorAll("main > section[id]")].map((section) =>
        el("a", { href: `#${section.id}` }, section.querySelector("h2").textContent),
      ),
    );
}

async function begin() {
  const data = await unpack(document.getElementById("data").textContent);
  Object.assign(LEVEL_FILLS, data.level_fills);
  const runs = data.runs.map((run, index) => new Run(run, index));
  const withCandidates = runs.filter((run) => run.size);
  head(data, runs);
  if (withCandidates.length) {
    for (const make of [
      rewardsPanel,
      costsPanel,
      bestPanel,
      finalistsPanel,
      strategyPanel,
      rungsPanel,
      coveragePanel,
      workPanel,
      failuresPanel,
      candidatesPanel,
    ]) {
      make(withCandidates);
    }
    links();
  }
  document
    .getElementById("main")
    .append(
      el(
        "footer",
        { class: "wide" },
        `Plots by Apache ECharts ${echarts.version}, Apache License 2.0. This file is complete: it loads nothing.`,
      ),
    );
  window.report = { runs, milliseconds: performance.now() - BEGIN };
}

begin().catch((error) => {
  console.error(error);
  const line = `This report cannot be drawn here (${error}). It needs Chrome or Edge 80, Firefox 113, Safari 16.4, or newer.`;
  document.getElementById("main").prepend(el("p", { class: "note" }, line));
});
