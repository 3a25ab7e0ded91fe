// What the searches found: rewards over candidates and costs, the best, the finalists, every candidate.

const MANY = 2000; // points, from which on they are drawn small
const NOISE_WIDTH = 1.96 * Math.SQRT2; // standard deviations by which two single trainings differ by chance, 95 %

function isWhole(run, trial) { return run.isScored(trial) && run.fate(trial) !== "s"; }

// Of whole trainings: the candidates at which the best so far rose, and the last one.
function runningBest(run) {
  const points = [];
  let best = -Infinity;
  let last = 0;
  for (let trial = 0; trial < run.size; trial += 1) {
    if (!isWhole(run, trial)) continue;
    last = trial;
    if (run.reward(trial) > best) {
      best = run.reward(trial);
      points.push([trial, best]);
    }
  }
  if (points.length) points.push([last, best]);
  return points;
}

function meanLength(run) { return Math.max(10, Math.round(run.size / 40)); }

function runningMean(run) {
  const length = meanLength(run);
  const points = [];
  const recent = [];
  let sum = 0;
  for (let trial = 0; trial < run.size; trial += 1) {
    if (!isWhole(run, trial)) continue;
    recent.push(run.reward(trial));
    sum += run.reward(trial);
    if (recent.length > length) sum -= recent.shift();
    if (recent.length >= Math.min(length, 10)) points.push([trial, sum / recent.length]);
  }
  return points;
}

function scatter(run, id, points, more = {}) {
  return {
    id: `${id}${run.index}`, name: run.name, type: "scatter", data: points, large: points.length > MANY,
    symbolSize: points.length > MANY ? 3 : 6, itemStyle: { color: runColour(run), opacity: points.length > MANY ? 0.35 : 0.5 }, ...more,
  };
}

function noiseBand(run, best, isLabelled) {
  if (!run.noise || !best.length) return null;
  const top = best.at(-1)[1];
  return {
    silent: true, itemStyle: { color: runColour(run), opacity: 0.13 },
    label: { show: isLabelled, position: "insideTopLeft", color: css("--muted"), formatter: "noise" },
    data: [[{ yAxis: top - NOISE_WIDTH * run.noise.noise_sd }, { yAxis: top }]],
  };
}

function rewardsPanel(runs) {
  const trialsOf = (run, chosen) => [...Array(run.size).keys()].filter((trial) => run.isScored(trial) && chosen(trial));
  const scored = runs.map((run) => trialsOf(run, (trial) => run.fate(trial) !== "s"));
  const stopped = runs.map((run) => trialsOf(run, (trial) => run.fate(trial) === "s"));
  const failed = runs.flatMap((run) => [...run.reasons.keys()].map((trial) => [run, trial]));
  const rewards = runs.flatMap((run, i) => [...scored[i], ...stopped[i]].map((trial) => run.reward(trial)));
  const low = rewards.reduce((a, b) => Math.min(a, b), Infinity);
  const high = rewards.reduce((a, b) => Math.max(a, b), -Infinity);
  const floor = low - 0.06 * (high - low || Math.abs(high) || 1);
  const lines = runs.map((run) => [runningBest(run), runningMean(run)]);
  const trialAt = ({ seriesId, dataIndex }) => {
    if (seriesId === "failed") return failed[dataIndex];
    const place = runs.findIndex((run) => seriesId.slice(1) === String(run.index));
    return [runs[place], (seriesId[0] === "c" ? scored : stopped)[place][dataIndex]];
  };
  const build = () => ({
    legend: runLegend(runs),
    toolbox: toolbox(),
    xAxis: axis("candidate", { min: 0, scale: false }),
    yAxis: upright(runs.every((run) => run.reward_metric === runs[0].reward_metric) ? `reward, ${runs[0].reward_metric}` : "reward", { min: floor, axisLabel: { color: css("--muted"), showMinLabel: false, formatter: short } }),
    tooltip: {
      formatter: (point) => {
        const [run, trial] = trialAt(point);
        const reason = run.reasons.get(trial);
        return tip(`${run.name}, trial ${trial}`, reason ? `failed: ${reason}` : `${FATES[run.fate(trial)]}, reward ${fixed(run.reward(trial))}`);
      },
    },
    series: [
      ...runs.map((run, i) => scatter(run, "c", scored[i].map((trial) => [trial, run.reward(trial)]))),
      ...runs.map((run, i) => scatter(run, "s", stopped[i].map((trial) => [trial, run.reward(trial)]), { symbol: "emptyCircle" })),
      ...runs.flatMap((run, i) => [
        { id: `m${run.index}`, name: run.name, type: "line", data: lines[i][1], showSymbol: false, silent: true, z: 4, lineStyle: { color: runColour(run), width: 2, type: [5, 4] }, itemStyle: { color: runColour(run) } },
        { id: `b${run.index}`, name: run.name, type: "line", step: "end", data: lines[i][0], showSymbol: false, silent: true, z: 5, lineStyle: { color: runColour(run), width: 2.5 }, itemStyle: { color: runColour(run) }, markArea: noiseBand(run, lines[i][0], runs.length === 1) },
      ]),
      { id: "failed", name: "failed", type: "scatter", symbol: "triangle", symbolSize: 7, data: failed.map(([, trial]) => [trial, floor]), itemStyle: { color: css("--warn"), opacity: 0.7 } },
    ],
  });
  const noise = runs.filter((run) => run.noise).map((run) => {
    const best = runningBest(run).at(-1)?.[1];
    const inside = [...Array(run.size).keys()].filter((trial) => isWhole(run, trial) && run.reward(trial) >= best - NOISE_WIDTH * run.noise.noise_sd);
    return el("p", { class: "hint" }, `${run.name}: by the study ${run.noise.noise_run} the reward varies by ${fixed(run.noise.noise_sd)} (standard deviation) between seeds; ${inside.length} candidates are within the band and cannot be told from the best by one training each.`);
  });
  const mean = [...new Set(runs.map(meanLength))].join(" or ");
  panel("rewards", "Reward of every candidate",
    `Dots are candidates, the solid line is the best so far, the dashed one the mean of the last ${mean}; ${stopped.some((some) => some.length) ? "rings stopped at a rung, " : ""}${failed.length ? "triangles below failed" : "none failed"}. ${noise.length ? "The band below the best is noise." : "Without a variance study there is no band of noise (--noise)."} A click on a dot shows its network.`,
    ...noise, plot({ build, onPick: (point) => showDetail(...trialAt(point)), label: "reward of every candidate" }).place).classList.add("wide");
}

function costsPanel(runs) {
  const costs = [...new Set(runs.flatMap((run) => run.costs))].filter((cost) => runs.some((run) => run.candidates.metrics[cost]));
  if (!costs.length) return;
  const state = { cost: costs[0], view: "search" };
  const hasFinalists = runs.some((run) => run.finalists);
  const x = (value) => costValue(state.cost, value);
  let places = {};
  const points = () => {
    places = {};
    const series = [];
    const add = (id, run, trials, rows, more) => {
      places[id] = trials.map((trial) => [run, trial]);
      series.push(scatter(run, "", rows, { id, ...more }));
    };
    for (const run of runs) {
      const colour = runColour(run);
      if (state.view === "finalists") {
        const rows = (run.finalists?.rows ?? []).filter((row) => row.score !== null && row.costs[state.cost] !== undefined);
        for (const [id, chosen, more] of [
          ["candidates", rows.filter((row) => !row.baseline), { symbolSize: 10 }],
          ["baselines", rows.filter((row) => row.baseline), { symbol: "diamond", symbolSize: 14, itemStyle: { color: css("--card"), borderColor: colour, borderWidth: 2 } }],
        ]) {
          add(`${id}${run.index}`, run, chosen.map((row) => row.trial), chosen.map((row) => ({ name: row.baseline || `trial ${row.trial}`, value: [x(row.costs[state.cost]), row.score] })), {
            label: { show: true, position: "right", color: css("--ink"), formatter: ({ name }) => name }, labelLayout: { hideOverlap: true }, ...more,
          });
        }
        continue;
      }
      const column = run.candidates.metrics[state.cost] ?? [];
      const trials = [...Array(run.size).keys()].filter((trial) => isWhole(run, trial) && column[trial] != null);
      add(`c${run.index}`, run, trials, trials.map((trial) => [x(column[trial]), run.reward(trial)]), {
        markLine: {
          symbol: "none", lineStyle: { color: colour, type: "dotted" }, label: { color: css("--muted"), formatter: ({ name }) => name, position: "insideStartBottom" },
          data: (run.finalists?.rows ?? []).filter((row) => row.baseline && row.costs[state.cost] !== undefined)
            .map((row) => ({ name: row.baseline, xAxis: x(row.costs[state.cost]) })),
          silent: true,
        },
      });
      const front = run.fronts[state.cost];
      if (!front) continue;
      const place = (trial) => [x(column[trial]), run.reward(trial)];
      const onFront = front.trials.filter((trial) => run.reward(trial) !== null);
      places[`f${run.index}`] = onFront.map((trial) => [run, trial]);
      series.push({ id: `f${run.index}`, name: run.name, type: "line", step: "end", data: onFront.map(place), symbolSize: 7, z: 4, lineStyle: { color: colour, width: 2 }, itemStyle: { color: colour } });
      add(`r${run.index}`, run, [front.recommended], [place(front.recommended)], {
        symbol: "diamond", symbolSize: 20, z: 6, itemStyle: { color: colour, borderColor: css("--card"), borderWidth: 2 },
        label: { show: true, position: "top", formatter: "recommended", color: css("--ink"), fontWeight: 600 },
        labelLayout: { hideOverlap: true },
      });
    }
    return series;
  };
  const build = () => ({
    legend: runLegend(runs),
    toolbox: toolbox(),
    xAxis: axis(costLabel(state.cost), { axisLabel: { color: css("--muted"), formatter: short, hideOverlap: true } }),
    yAxis: upright(state.view === "search" ? "reward" : "score, ranked again", { axisLabel: { color: css("--muted"), formatter: short } }),
    tooltip: {
      formatter: ({ seriesId, dataIndex, name, value }) => {
        const [run, trial] = places[seriesId][dataIndex];
        return tip(`${run.name}, ${trial === null ? name : `trial ${trial}`}`, `${short(value[0])} (${costLabel(state.cost)})`, `${state.view === "search" ? "reward" : "score"} ${fixed(value[1])}`);
      },
    },
    series: points(),
  });
  const one = plot({
    build, label: "reward against cost",
    onPick: ({ seriesId, dataIndex }) => { const [run, trial] = places[seriesId]?.[dataIndex] ?? []; if (run && trial !== null) showDetail(run, trial); },
  });
  const change = (key) => (value) => { state[key] = value; one.redraw(); };
  panel("costs", "Reward against cost",
    `The line is the Pareto front: no candidate is at once as cheap and better. The diamond is recommended if twice the cost has to bring 5 % more. ${hasFinalists ? "Dotted lines are the costs of the baselines, whose scores are of longer trainings: see them under ranked again." : "Baselines appear once the best are ranked again (spinesearch rerank)."}`,
    el("div", { class: "bar" },
      select("cost", costs.map((cost) => [cost, costLabel(cost)]), change("cost")),
      hasFinalists ? select("scores", [["search", "of the search"], ["finalists", "ranked again"]], change("view")) : null),
    one.place).classList.add("wide");
}

function bestPanel(runs) {
  const cards = runs.flatMap((run) => run.best.map((trial, rank) => {
    const costs = Object.entries(run.fronts).filter(([, front]) => front.recommended === trial).map(([cost]) => costLabel(cost).split(",")[0]);
    return el("article", {},
      el("h3", {}, dot(run), `${rank + 1}. ${run.name}, trial ${trial}${costs.length ? ` (recommended by ${costs.join(" and ")})` : ""}`),
      el("p", { class: "hint" }, figures(run, trial)), picture(run, trial),
      el("div", { class: "bar" }, copyButton(run, trial), el("button", { type: "button", onclick: () => showDetail(run, trial) }, "details")));
  }));
  if (!cards.length) return;
  panel("best", "The best architectures",
    "Finalists first, then by reward. Blocks from left to right in their order, fine levels above; a double outline is an output. The button copies a spec that spinesearch spec, train and export read.",
    el("div", { class: "gallery" }, ...cards)).classList.add("wide");
}

function finalistsPanel(runs) {
  const parts = runs.filter((run) => run.finalists).map((run) => {
    const rows = run.finalists.rows.filter((row) => row.score !== null);
    const name = (row) => row.baseline || `trial ${row.trial}`;
    const build = () => ({
      grid: { left: 8, right: 24, top: 10, bottom: 30, containLabel: true },
      xAxis: axis(run.finalists.metric, { axisLabel: { color: css("--muted"), formatter: short, hideOverlap: true } }),
      yAxis: axis("", { type: "category", inverse: true, data: rows.map((row) => `${name(row)}${row.is_tied ? " ~" : ""}`), axisLabel: { color: css("--ink"), interval: 0 } }),
      tooltip: {
        formatter: ({ dataIndex, seriesIndex, value }) => {
          if (seriesIndex) return tip(`one training: ${fixed(value[0])}`);
          const row = rows[dataIndex];
          return tip(name(row), `score ${fixed(row.score)}${row.error === null ? "" : ` ± ${fixed(row.error)}`}`, row.is_tied ? "cannot be distinguished from the best" : "");
        },
      },
      series: [
        // A box without width but for its middle is an error bar.
        {
          type: "boxplot", boxWidth: [7, 16], itemStyle: { borderColor: runColour(run), borderWidth: 2 },
          data: rows.map((row) => [row.score - (row.error ?? 0), row.score, row.score, row.score, row.score + (row.error ?? 0)]),
        },
        { type: "scatter", symbolSize: 5, data: rows.flatMap((row, i) => row.values.map((value) => [value, i])), itemStyle: { color: css("--muted"), opacity: 0.7 } },
      ],
    });
    const one = plot({ build, label: `finalists of ${run.name}`, onPick: ({ dataIndex, seriesIndex }) => { if (!seriesIndex && rows[dataIndex].trial !== null) showDetail(run, rows[dataIndex].trial); } });
    one.place.style.height = `${70 + 30 * rows.length}px`;
    return el("div", {}, el("h3", {}, dot(run), `${run.name}: ${run.finalists.setting}`), one.place, ...run.finalists.notes.map((note) => el("p", { class: "hint" }, note)));
  });
  if (!parts.length) return;
  panel("finalists", "Finalists",
    "The best candidates trained longer with seeds of their own, beside the baselines. Bars are one standard error over the seeds, dots the single trainings; what has a ~ cannot be distinguished from the best.",
    el("div", { class: parts.length > 1 ? "columns" : "" }, ...parts)).classList.add("wide");
}

function candidatesPanel(runs) {
  const rows = runs.flatMap((run) => [...Array(run.size).keys()].map((trial) => [run, trial]));
  const metrics = [...new Set(runs.flatMap((run) => Object.keys(run.candidates.metrics)))];
  const number = "number";
  const columns = [
    ...(runs.length > 1 ? [{ name: "run", value: ([run]) => run.name, text: (value, [run]) => el("span", { class: "run" }, dot(run), value) }] : []),
    { name: "trial", kind: number, value: ([, trial]) => trial },
    { name: "reward", kind: number, value: ([run, trial]) => run.reward(trial), text: (value) => fixed(value) },
    ...metrics.map((metric) => ({
      name: COST_UNITS[metric] ? costLabel(metric).replace(", millions", ", M") : metric.replaceAll("_", " "), kind: number,
      value: ([run, trial]) => run.metric(metric, trial), text: (value) => (metric.startsWith("ap") ? fixed(value) : costText(metric, value)),
    })),
    { name: "generation", kind: number, value: ([run, trial]) => run.candidates.generations[trial] },
    { name: "seconds", kind: number, value: ([run, trial]) => run.candidates.seconds[trial], text: (value) => (value ? value.toFixed(1) : "-") },
    { name: "fate", value: ([run, trial]) => FATES[run.fate(trial)] },
    { name: "arch_id", kind: "mono", value: ([run, trial]) => run.archId(trial) },
  ];
  const one = table(columns, rows, { onPick: (row) => showDetail(...row), sortBy: columns.findIndex(({ name }) => name === "reward") });
  const search = el("input", { type: "search", placeholder: "trial or arch_id", "aria-label": "find a trial or an arch_id" });
  search.addEventListener("input", () => {
    const word = search.value.trim().toLowerCase();
    one.show(rows.filter(([run, trial]) => !word || String(trial) === word || run.archId(trial).startsWith(word)));
  });
  panel("candidates", "Every candidate", "A click on a heading sorts, a click on a row shows the network.", el("div", { class: "bar" }, search), one.element).classList.add("wide");
}
