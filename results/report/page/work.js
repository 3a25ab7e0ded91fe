// What the searches took: rungs, outputs that are trained, failures, workers, hours.

function rungsPanel(runs) {
  const parts = runs
    .filter((run) => run.rungs.length)
    .map((run) => {
      const fates = [
        ["trained", "--accent"],
        ["stopped", "--muted"],
        ["failed", "--warn"],
      ];
      const build = () => ({
        legend: { data: fates.map(([name]) => name) },
        xAxis: axis("", { type: "category", data: run.rungs.map((row) => row.length) }),
        yAxis: upright("candidates", { min: 0 }),
        tooltip: { trigger: "axis" },
        series: fates.map(([name, colour]) => ({
          name,
          type: "bar",
          data: run.rungs.map((row) => row[name] ?? 0),
          itemStyle: { color: css(colour) },
        })),
      });
      const number = (name, text = short) => ({ name, kind: "number", value: (row) => row[name], text });
      return el(
        "div",
        {},
        el("h3", {}, dot(run), run.name),
        el(
          "div",
          { class: "columns" },
          plot({ build, low: true, label: `rungs of ${run.name}` }).place,
          table(
            [
              { name: "length", value: (row) => row.length },
              ...["trained", "duplicate", "failed", "stopped"].map((name) => number(name)),
              number("mean", (value) => fixed(value)),
              number("best", (value) => fixed(value)),
              number("hours", (value) => fixed(value, 2)),
            ],
            run.rungs,
          ).element,
        ),
      );
    });
  if (!parts.length) return;
  panel(
    "rungs",
    "Rungs",
    "Candidates are trained in parts; at each rung those of a generation that look worst stop.",
    ...parts,
  ).classList.add("wide");
}

function coveragePanel(runs) {
  const known = runs.filter((run) => run.coverage);
  if (!known.length) return;
  const sizes = [...new Set(known.map((run) => run.coverage.target_image_size))].join(" or ");
  const outputs = known[0].coverage.positives.map((_, i) => `P${3 + i}`);
  const build = () => ({
    legend: runLegend(known),
    xAxis: axis("", { type: "category", data: outputs }),
    yAxis: upright("positive anchors, %", { min: 0 }),
    tooltip: { trigger: "axis", valueFormatter: (value) => `${value.toFixed(1)} %` },
    series: known.flatMap((run) => [
      {
        name: run.name,
        type: "bar",
        data: run.coverage.positives.map((share) => 100 * share),
        itemStyle: { color: runColour(run) },
      },
      {
        name: run.name,
        type: "bar",
        data: run.coverage.target_positives.map((share) => 100 * share),
        itemStyle: { color: runColour(run), opacity: 0.35 },
      },
    ]),
  });
  const unseen = known
    .filter((run) => run.coverage.unseen.length)
    .map((run) =>
      el(
        "p",
        { class: "note" },
        `${run.name}: ${run.coverage.unseen.map((level) => `P${level}`).join(", ")} hardly trained, so the search does not see what an architecture does there.`,
      ),
    );
  panel(
    "coverage",
    "Coverage of the outputs",
    `Each output's share of the positive anchors under the search's setting, and, paler, at ${sizes} px, where what is found is to be trained. An output without any leaves an architecture's choices about it out of its reward.`,
    ...unseen,
    plot({ build, low: true, label: "coverage of the outputs" }).place,
  );
}

function failuresPanel(runs) {
  const reasons = runs.flatMap((run) => run.failures.map((row) => ({ run, ...row })));
  const lostRows = runs.flatMap((run) => run.lost.newest.map((row) => ({ run, ...row })));
  const numLost = runs.reduce((sum, run) => sum + run.lost.count, 0);
  const ofRun =
    runs.length > 1
      ? [
          {
            name: "run",
            value: (row) => row.run.name,
            text: (value, row) => el("span", { class: "run" }, dot(row.run), value),
          },
        ]
      : [];
  const text = "text";
  const number = "number";
  panel(
    "failures",
    "Failures and lost attempts",
    "A candidate that fails is the network's fault and has the reward of a failure; an attempt whose worker was lost is not, and is repeated.",
    el("h3", {}, reasons.length ? "why candidates failed" : "no candidate failed"),
    reasons.length
      ? table(
          [
            ...ofRun,
            { name: "candidates", kind: number, value: (row) => row.trials.length },
            { name: "first", kind: number, value: (row) => row.trials[0] },
            { name: "reason", kind: text, value: (row) => row.reason },
          ],
          reasons,
          { onPick: (row) => showDetail(row.run, row.trials[0]), pageSize: 8, sortBy: ofRun.length },
        ).element
      : null,
    el(
      "h3",
      {},
      numLost
        ? `${numLost} attempts lost with their workers${numLost > lostRows.length ? `, the newest ${lostRows.length}` : ""}`
        : "no attempt was lost",
    ),
    numLost
      ? table(
          [
            ...ofRun,
            { name: "trial", kind: number, value: (row) => row.trial },
            { name: "attempt", kind: number, value: (row) => row.attempt },
            { name: "node", value: (row) => row.node },
            { name: "worker", value: (row) => row.worker },
            { name: "seconds", kind: number, value: (row) => row.seconds, text: (value) => fixed(value, 0) },
            { name: "reason", kind: text, value: (row) => row.reason },
          ],
          lostRows,
          { pageSize: 8 },
        ).element
      : null,
  ).classList.add("wide");
}

function workPanel(runs) {
  const worked = runs.filter((run) => run.work);
  if (!worked.length) return;
  const build = () => ({
    legend: runLegend(worked),
    xAxis: axis("hours since the first training", { scale: false }),
    yAxis: upright("busy workers", { min: 0 }),
    tooltip: { trigger: "axis", valueFormatter: (value) => fixed(value, 1) },
    series: worked.map((run) => ({
      name: run.name,
      type: "line",
      step: "middle",
      showSymbol: false,
      areaStyle: { color: runColour(run), opacity: 0.15 },
      lineStyle: { color: runColour(run), width: 1.5 },
      itemStyle: { color: runColour(run) },
      data: run.work.busy.map((busy, i) => [(i * run.work.step) / 3600, busy]),
    })),
  });
  const sum = (run) => Object.values(run.work.hours).reduce((a, b) => a + b, 0);
  const kinds = [...new Set(worked.flatMap((run) => Object.keys(run.work.hours)))];
  const hours = (name, value) => ({ name, kind: "number", value, text: (v) => fixed(v ?? null, 2) });
  const price = el("input", {
    type: "number",
    min: 0,
    step: "any",
    "aria-label": "price of a worker's hour",
  });
  const total = el("strong");
  price.addEventListener("input", () => {
    const each = Number(price.value);
    total.textContent =
      each > 0 ? `= ${(each * worked.reduce((all, run) => all + sum(run), 0)).toFixed(2)}` : "";
  });
  panel(
    "work",
    "Workers and hours",
    "How many workers were training at a time, and the hours that these add up to. Elapsed is from the first beginning to the last end; active without the time in which nobody worked.",
    plot({ build, low: true, label: "workers over time" }).place,
    table(
      [
        {
          name: "run",
          value: (run) => run.name,
          text: (value, run) => el("span", { class: "run" }, dot(run), value),
        },
        ...kinds.map((kind) => hours(`${kind}, h`, (run) => run.work.hours[kind])),
        hours("all, h", sum),
        hours("elapsed, h", (run) => run.work.elapsed_hours),
        hours("active, h", (run) => run.work.active_hours),
      ],
      worked,
    ).element,
    el("div", { class: "bar" }, el("label", {}, "price of a worker's hour ", price), total),
  );
}
