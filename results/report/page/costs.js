// Scores against costs: Pareto fronts, what is recommended, baselines, finalists.

function costTrait(run, trials, series) {
  return { run, trials, series: { ...scatter(run, "", series.data), ...series } };
}

// Of the search: every whole training, the front, the recommended one, and where the baselines' costs are.
function searchTraits(run, cost) {
  const colour = runColour(run);
  const at = (trial) => [costValue(cost, run.metric(cost, trial)), run.score(trial)];
  const trials = [...Array(run.size).keys()].filter(
    (trial) => isWhole(run, trial) && run.metric(cost, trial) !== null,
  );
  const baselines = (run.finalists?.rows ?? []).filter((row) => row.baseline && cost in row.costs);
  const traits = [
    costTrait(run, trials, {
      id: `c${run.index}`,
      data: trials.map(at),
      markLine: {
        silent: true,
        symbol: "none",
        lineStyle: { color: colour, type: "dotted" },
        label: { color: css("--muted"), formatter: ({ name }) => name, position: "insideStartBottom" },
        data: baselines.map((row) => ({ name: row.baseline, xAxis: costValue(cost, row.costs[cost]) })),
      },
    }),
  ];
  const front = run.fronts[cost];
  if (!front) return traits;
  return [
    ...traits,
    costTrait(run, front.trials, {
      id: `f${run.index}`,
      type: "line",
      step: "end",
      data: front.trials.map(at),
      symbolSize: 7,
      z: 4,
      lineStyle: { color: colour, width: 2 },
      itemStyle: { color: colour },
    }),
    costTrait(run, [front.recommended], {
      id: `r${run.index}`,
      data: [at(front.recommended)],
      symbol: "diamond",
      symbolSize: 20,
      z: 6,
      itemStyle: { color: colour, borderColor: css("--card"), borderWidth: 2 },
      label: { show: true, position: "left", formatter: "recommended", color: css("--ink"), fontWeight: 600 },
      labelLayout: { hideOverlap: true },
    }),
  ];
}

// Of the re-ranking: candidates, and baselines beside them.
function finalistTraits(run, cost) {
  const rows = (run.finalists?.rows ?? []).filter((row) => row.score !== null && cost in row.costs);
  const hollow = { color: css("--card"), borderColor: runColour(run), borderWidth: 2 };
  const trait = (id, chosen, more) =>
    costTrait(
      run,
      chosen.map((row) => row.trial),
      {
        id: `${id}${run.index}`,
        data: chosen.map((row) => ({
          name: row.baseline || `trial ${row.trial}`,
          value: [costValue(cost, row.costs[cost]), row.score],
        })),
        label: { show: true, position: "right", color: css("--ink"), formatter: ({ name }) => name },
        labelLayout: { hideOverlap: true },
        ...more,
      },
    );
  return [
    trait(
      "t",
      rows.filter((row) => row.trial !== null),
      { symbolSize: 10, itemStyle: { color: runColour(run) } },
    ),
    trait(
      "b",
      rows.filter((row) => row.trial === null),
      { symbol: "diamond", symbolSize: 14, itemStyle: hollow },
    ),
  ];
}

function costsPanel(runs) {
  const costs = [...new Set(runs.flatMap((run) => run.costs))];
  if (!costs.length) return;
  const hasFinalists = runs.some((run) => run.finalists);
  const metrics = new Set(runs.map((run) => run.reward_metric));
  const state = { cost: costs[0], view: "search" };
  let traits = [];
  const build = () => {
    traits = runs.flatMap((run) =>
      (state.view === "search" ? searchTraits : finalistTraits)(run, state.cost),
    );
    const labels = { color: css("--muted"), formatter: short, hideOverlap: true };
    const score = metrics.size === 1 ? [...metrics][0] : "score";
    return {
      legend: runLegend(runs),
      toolbox: toolbox(),
      xAxis: axis(COSTS[state.cost].label, { axisLabel: labels }),
      yAxis: upright(state.view === "search" ? score : "score, ranked again", { axisLabel: labels }),
      tooltip: {
        formatter: ({ seriesIndex, dataIndex, name, value }) => {
          const { run, trials } = traits[seriesIndex];
          const what = trials[dataIndex] === null ? name : `trial ${trials[dataIndex]}`;
          return tip(
            `${run.name}, ${what}`,
            `${short(value[0])} (${COSTS[state.cost].label})`,
            `score ${fixed(value[1])}`,
          );
        },
      },
      series: traits.map(({ series }) => series),
    };
  };
  const one = plot({
    build,
    label: "reward against cost",
    onPick: ({ seriesIndex, dataIndex }) => {
      const { run, trials } = traits[seriesIndex];
      if (trials[dataIndex] !== null) showDetail(run, trials[dataIndex]);
    },
  });
  const devices = [...new Set(runs.map((run) => run.latency_device).filter(Boolean))];
  const chooser = (key, entries) =>
    select(key, entries, (value) => {
      state[key] = value;
      one.redraw();
    });
  panel(
    "costs",
    "Reward against cost",
    `The line is the Pareto front: no candidate is at once as cheap and better. The diamond is recommended if twice the cost has to bring 5 % more. ${hasFinalists ? "Dotted lines are the costs of the baselines, whose scores are of longer trainings: choose the view ranked again." : "Baselines appear once the best are ranked again (spinesearch rerank)."}${devices.length ? ` Latencies are of ${devices.join(" and ")}.` : ""}`,
    el(
      "div",
      { class: "bar" },
      chooser(
        "cost",
        costs.map((cost) => [cost, COSTS[cost].label]),
      ),
      hasFinalists
        ? chooser("view", [
            ["search", "the search"],
            ["finalists", "ranked again"],
          ])
        : null,
    ),
    one.place,
  ).classList.add("wide");
}
