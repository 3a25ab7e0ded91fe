// What the searches found: the best, the finalists, every candidate.

function bestPanel(runs) {
  const cards = runs.flatMap((run) =>
    run.best.map((trial, rank) => {
      const costs = Object.entries(run.fronts)
        .filter(([, front]) => front.recommended === trial)
        .map(([cost]) => COSTS[cost].label.split(",")[0]);
      return el(
        "article",
        {},
        el(
          "h3",
          {},
          dot(run),
          `${rank + 1}. ${run.name}, trial ${trial}${costs.length ? ` (recommended by ${costs.join(" and ")})` : ""}`,
        ),
        el("p", { class: "hint" }, figures(run, trial)),
        picture(run, trial),
        el(
          "div",
          { class: "bar" },
          copyButton(run, trial),
          el("button", { type: "button", onclick: () => showDetail(run, trial) }, "details"),
        ),
      );
    }),
  );
  if (!cards.length) return;
  panel(
    "best",
    "The best architectures",
    "Finalists first, then by reward. Blocks from left to right in their order, fine levels above; a double outline is an output. The button copies a spec that spinesearch spec, train and export read.",
    el("div", { class: "gallery" }, ...cards),
  ).classList.add("wide");
}

function finalistsPanel(runs) {
  const parts = runs
    .filter((run) => run.finalists)
    .map((run) => {
      const rows = run.finalists.rows.filter((row) => row.score !== null);
      const name = (row) => row.baseline || `trial ${row.trial}`;
      const build = () => ({
        grid: { left: 8, right: 24, top: 10, bottom: 30, containLabel: true },
        xAxis: axis(run.finalists.metric, {
          axisLabel: { color: css("--muted"), formatter: short, hideOverlap: true },
        }),
        yAxis: axis("", {
          type: "category",
          inverse: true,
          data: rows.map((row) => `${name(row)}${row.is_tied ? " ~" : ""}`),
          axisLabel: { color: css("--ink"), interval: 0 },
        }),
        tooltip: {
          formatter: ({ dataIndex, seriesIndex, value }) => {
            if (seriesIndex) return tip(`one training: ${fixed(value[0])}`);
            const row = rows[dataIndex];
            return tip(
              name(row),
              `score ${fixed(row.score)}${row.error === null ? "" : ` ± ${fixed(row.error)}`}`,
              row.is_tied ? "cannot be distinguished from the best" : "",
            );
          },
        },
        series: [
          // A box without width but for its middle is an error bar.
          {
            type: "boxplot",
            boxWidth: [7, 16],
            itemStyle: { borderColor: runColour(run), borderWidth: 2 },
            data: rows.map((row) => [
              row.score - (row.error ?? 0),
              row.score,
              row.score,
              row.score,
              row.score + (row.error ?? 0),
            ]),
          },
          {
            type: "scatter",
            symbolSize: 5,
            data: rows.flatMap((row, i) => row.values.map((value) => [value, i])),
            itemStyle: { color: css("--muted"), opacity: 0.7 },
          },
        ],
      });
      const one = plot({
        build,
        label: `finalists of ${run.name}`,
        onPick: ({ dataIndex, seriesIndex }) => {
          if (!seriesIndex && rows[dataIndex].trial !== null) showDetail(run, rows[dataIndex].trial);
        },
      });
      one.place.style.height = `${70 + 30 * rows.length}px`;
      return el(
        "div",
        {},
        el("h3", {}, dot(run), `${run.name}: ${run.finalists.setting}`),
        one.place,
        ...run.finalists.notes.map((note) => el("p", { class: "hint" }, note)),
      );
    });
  if (!parts.length) return;
  panel(
    "finalists",
    "Finalists",
    "The best candidates trained longer with seeds of their own, beside the baselines. Bars are one standard error over the seeds, dots the single trainings; what has a ~ cannot be distinguished from the best.",
    el("div", { class: parts.length > 1 ? "columns" : "" }, ...parts),
  ).classList.add("wide");
}

function candidatesPanel(runs) {
  const rows = runs.flatMap((run) => [...Array(run.size).keys()].map((trial) => [run, trial]));
  const metrics = [...new Set(runs.flatMap((run) => Object.keys(run.candidates.metrics)))];
  const number = "number";
  const columns = [
    ...(runs.length > 1
      ? [
          {
            name: "run",
            value: ([run]) => run.name,
            text: (value, [run]) => el("span", { class: "run" }, dot(run), value),
          },
        ]
      : []),
    { name: "trial", kind: number, value: ([, trial]) => trial },
    {
      name: "reward",
      kind: number,
      value: ([run, trial]) => run.reward(trial),
      text: (value) => fixed(value),
    },
    ...metrics.map((metric) => ({
      name: COSTS[metric] ? COSTS[metric].label.replace(", millions", ", M") : metric.replaceAll("_", " "),
      kind: number,
      value: ([run, trial]) => run.metric(metric, trial),
      text: (value) => (COSTS[metric] ? costText(metric, value) : fixed(value)),
    })),
    { name: "generation", kind: number, value: ([run, trial]) => run.candidates.generations[trial] },
    {
      name: "seconds",
      kind: number,
      value: ([run, trial]) => run.candidates.seconds[trial],
      text: (value) => (value ? value.toFixed(1) : "-"),
    },
    { name: "fate", value: ([run, trial]) => FATES[run.fate(trial)] },
    { name: "arch_id", kind: "mono", value: ([run, trial]) => run.archId(trial) },
  ];
  const one = table(columns, rows, {
    onPick: (row) => showDetail(...row),
    sortBy: columns.findIndex(({ name }) => name === "reward"),
  });
  const search = el("input", {
    type: "search",
    placeholder: "trial or arch_id",
    "aria-label": "find a trial or an arch_id",
  });
  search.addEventListener("input", () => {
    const word = search.value.trim().toLowerCase();
    one.show(
      rows.filter(([run, trial]) => !word || String(trial) === word || run.archId(trial).startsWith(word)),
    );
  });
  panel(
    "candidates",
    "Every candidate",
    "A click on a heading sorts, a click on a row shows the network.",
    el("div", { class: "bar" }, search),
    one.element,
  ).classList.add("wide");
}
