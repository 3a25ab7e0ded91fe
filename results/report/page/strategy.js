// What a strategy has learnt: its proposals over time, its log, its predictions.

function strategyOf(run) {
  const slices = learnt(run);
  const { stem, blocks } = run.candidates.choices;
  const state = { slice: slices.length - 1 };
  const levels = [
    ...new Set(slices.flatMap((slice) => [...slice.levels.keys()].map((key) => Number(key.split(" ")[1])))),
  ].sort();
  const sources = [...new Set([...levels, ...stem.map((block) => block.level)])].sort();
  const places = blocks.map((_, i) => stem.length + i);
  const most = (name) => Math.max(...slices.flatMap((slice) => [...slice[name].values()]));
  const headings = [];
  const pair = (name, option) =>
    [() => 0, () => state.slice].map((which) => {
      const heading = el("h3");
      headings.push([heading, which]);
      const one = plot({
        build: () => option(slices[which()][name], most(name)),
        low: true,
        label: `${name} of ${run.name}`,
      });
      return [one, el("div", {}, heading, one.place)];
    });
  const levelMaps = pair("levels", (shares, max) =>
    heatmap({
      shares,
      most: max,
      rows: levels,
      columns: places,
      names: ["block", "level"],
      sentence: (block, level) => `block ${block} at level ${level}`,
    }),
  );
  const linkMaps = pair("links", (shares, max) =>
    heatmap({
      shares,
      most: max,
      rows: levels,
      columns: sources,
      names: ["from level", "to level"],
      sentence: (from, to) => `links from level ${from} to level ${to}`,
    }),
  );
  const describe = () =>
    headings.forEach(([heading, which], i) => {
      heading.textContent = `${i < 2 ? "levels by position" : "links by level pair"}, ${span(slices[which()])}`;
    });
  describe();
  const slider = el("input", {
    type: "range",
    min: 0,
    max: slices.length - 1,
    value: state.slice,
    "aria-label": "part of the search on the right",
  });
  slider.addEventListener("input", () => {
    state.slice = Number(slider.value);
    describe();
    [levelMaps[1][0], linkMaps[1][0]].forEach((one) => one.redraw());
  });
  return el(
    "div",
    {},
    slices.length > 1
      ? el(
          "div",
          { class: "bar" },
          el("label", {}, "compare the first part (left) with a later one (right): ", slider),
        )
      : null,
    el(
      "div",
      { class: "columns" },
      ...[...levelMaps, ...linkMaps].map(([, element]) => element),
      typesPlot(run, slices),
      logPlot(run),
      predictionPlot(run),
    ),
  );
}

function typesPlot(run, slices) {
  const { types } = run.candidates.choices;
  if (types.length < 2) return null;
  const build = () => ({
    legend: { data: types },
    xAxis: axis("candidate", { scale: false }),
    yAxis: upright("share of blocks, %", { min: 0, max: 100 }),
    tooltip: { trigger: "axis", valueFormatter: (value) => `${value.toFixed(1)} %` },
    series: types.map((type, i) => ({
      name: type,
      type: "line",
      symbolSize: 5,
      lineStyle: { color: RUN_COLOURS[scheme()][i], width: 2 },
      itemStyle: { color: RUN_COLOURS[scheme()][i] },
      data: slices.map((slice) => [(slice.first + slice.end - 1) / 2, 100 * slice.types[i]]),
    })),
  });
  return el(
    "div",
    {},
    el("h3", {}, "types over time"),
    plot({ build, low: true, label: `types of ${run.name}` }).place,
  );
}

function logPlot(run) {
  const names = Object.keys(run.updates).filter((name) => run.updates[name].some((value) => value !== null));
  if (!names.length) return null;
  const state = { name: names.find((name) => name.includes("entropy")) ?? names[0] };
  const build = () => ({
    xAxis: axis("update", { scale: false }),
    yAxis: upright(state.name, { axisLabel: { color: css("--muted"), formatter: short } }),
    tooltip: { trigger: "axis", valueFormatter: short },
    series: [
      {
        name: state.name,
        type: "line",
        showSymbol: run.updates[state.name].length < 30,
        data: run.updates[state.name].map((value, i) => [i, value]),
        lineStyle: { color: runColour(run), width: 1.5 },
        itemStyle: { color: runColour(run) },
      },
    ],
  });
  const one = plot({ build, low: true, label: `log of ${run.name}` });
  const pick = select(
    "what it logs",
    names.map((name) => [name, name]),
    (name) => {
      state.name = name;
      one.redraw();
    },
  );
  pick.querySelector("select").value = state.name;
  return el("div", {}, el("h3", {}, "the strategy's own log"), el("div", { class: "bar" }, pick), one.place);
}

function predictionPlot(run) {
  if (!run.prediction) return null;
  const { predictions } = run.candidates;
  const trials = [...Array(run.size).keys()].filter(
    (trial) => predictions[trial] !== null && isWhole(run, trial),
  );
  const quarters = ["first", "second", "third", "last"];
  const parts = quarters.map((_, i) =>
    trials.slice(Math.floor((i * trials.length) / 4), Math.floor(((i + 1) * trials.length) / 4)),
  );
  const values = trials.flatMap((trial) => [predictions[trial], run.reward(trial)]);
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const colours = () => [...SHADES[scheme()].slice(1), RUN_COLOURS[scheme()][1]];
  const build = () => ({
    legend: { data: quarters },
    xAxis: axis("predicted", {
      min: low,
      max: high,
      axisLabel: {
        color: css("--muted"),
        formatter: short,
        hideOverlap: true,
        showMinLabel: false,
        showMaxLabel: false,
      },
    }),
    yAxis: upright("observed", {
      min: low,
      max: high,
      axisLabel: { color: css("--muted"), formatter: short, showMinLabel: false, showMaxLabel: false },
    }),
    tooltip: {
      formatter: ({ seriesIndex, dataIndex, value }) =>
        tip(
          `trial ${parts[seriesIndex]?.[dataIndex]}`,
          `predicted ${fixed(value[0])}, observed ${fixed(value[1])}`,
        ),
    },
    series: [
      ...quarters.map((name, i) =>
        scatter(
          run,
          `q${i}`,
          parts[i].map((trial) => [predictions[trial], run.reward(trial)]),
          { name, itemStyle: { color: colours()[i], opacity: 0.6 } },
        ),
      ),
      {
        type: "line",
        data: [
          [low, low],
          [high, high],
        ],
        showSymbol: false,
        silent: true,
        lineStyle: { color: css("--muted"), type: "dashed", width: 1 },
        tooltip: { show: false },
      },
    ],
  });
  const { count, error, correlation } = run.prediction;
  const one = plot({
    build,
    low: true,
    label: `predictions of ${run.name}`,
    onPick: ({ seriesIndex, dataIndex }) => {
      if (parts[seriesIndex]) showDetail(run, parts[seriesIndex][dataIndex]);
    },
  });
  return el(
    "div",
    {},
    el("h3", {}, "predicted against observed, by quarters of the search"),
    el(
      "p",
      { class: "hint" },
      `${count.toLocaleString("en")} predictions made before the training: root mean squared error ${fixed(error)}${correlation === null ? "" : `, correlation ${correlation.toFixed(2)}`}. What stands on the dashed line came as predicted.`,
    ),
    one.place,
  );
}

function strategyPanel(runs) {
  const place = el("div");
  const shownRuns = new Map();
  const show = (index) => {
    const run = runs[index];
    if (!shownRuns.has(run)) shownRuns.set(run, strategyOf(run));
    place.replaceChildren(shownRuns.get(run));
  };
  const first = Math.max(
    0,
    runs.findIndex((run) => run.controller !== "random"),
  );
  const pick = select(
    "run",
    runs.map((run, i) => [i, `${run.name} (${run.controller})`]),
    show,
  );
  pick.querySelector("select").value = first;
  const section = panel(
    "strategy",
    "What the strategy has learnt",
    "Shares of what was proposed, in per cent. A strategy that learns moves away from where it began; random search stays.",
    runs.length > 1 ? el("div", { class: "bar" }, pick) : null,
    place,
  );
  section.classList.add("wide");
  whenSeen(section, () => show(first));
}
