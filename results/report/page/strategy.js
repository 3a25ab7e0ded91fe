// What a strategy has learnt: what it proposes early and late, what it logs, what it predicted.

const NUM_SLICES = 10;

// Shares by slice of the candidates: of levels by position, of links by level pair, of types.
function learnt(run) {
  const { stem, types } = run.candidates.choices;
  const numSlices = Math.max(1, Math.min(NUM_SLICES, Math.floor(run.size / 8)));
  const slices = [];
  for (let slice = 0; slice < numSlices; slice += 1) {
    const first = Math.floor((slice * run.size) / numSlices);
    const end = Math.floor(((slice + 1) * run.size) / numSlices);
    const counts = { first, end, levels: new Map(), links: new Map(), types: types.map(() => 0) };
    const add = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
    let numLinks = 0;
    let numBlocks = 0;
    for (let trial = first; trial < end; trial += 1) {
      const blocks = run.blocks(trial);
      const level = (i) => (i < stem.length ? stem[i] : blocks[i - stem.length]).level;
      blocks.forEach((block, place) => {
        add(counts.levels, `${stem.length + place} ${block.level}`);
        counts.types[block.type] += 1;
        numBlocks += 1;
        for (const parent of block.parents) {
          add(counts.links, `${level(parent)} ${block.level}`);
          numLinks += 1;
        }
      });
    }
    counts.levels.forEach((count, key) => counts.levels.set(key, count / (end - first)));
    counts.links.forEach((count, key) => counts.links.set(key, count / numLinks));
    counts.types = counts.types.map((count) => count / numBlocks);
    slices.push(counts);
  }
  return slices;
}

function span({ first, end }) { return `candidates ${first.toLocaleString("en")} to ${(end - 1).toLocaleString("en")}`; }

function heatmap({ shares, rows, columns, most, names, sentence }) {
  const category = (name, data, inverse) => axis(name, { type: "category", data, inverse, axisTick: { show: false }, splitLine: { show: false } });
  const isWide = innerWidth >= 1000;
  return {
    grid: { left: 8, right: 12, top: 24, bottom: 26, containLabel: true },
    xAxis: category(names[0], columns.map(String), false),
    yAxis: { ...category("", rows.map((row) => `L${row}`), true), name: names[1], nameLocation: "start", nameGap: 8 },
    visualMap: { show: false, min: 0, max: most, inRange: { color: SHADES[scheme()] } },
    tooltip: { formatter: ({ value: [x, y, share] }) => tip(sentence(columns[x], rows[y]), `${(100 * share).toFixed(1)} %`) },
    series: [{
      type: "heatmap", itemStyle: { borderWidth: 1, borderColor: css("--card") },
      label: { show: isWide, fontSize: 10, formatter: ({ value: [, , share] }) => (share >= 0.005 ? Math.round(100 * share) : "") },
      data: rows.flatMap((row, y) => columns.map((column, x) => [x, y, shares.get(`${column} ${row}`) ?? 0])),
    }],
  };
}

function strategyOf(run) {
  const slices = learnt(run);
  const { stem, blocks } = run.candidates.choices;
  const state = { slice: slices.length - 1 };
  const levels = [...new Set(slices.flatMap((slice) => [...slice.levels.keys()].map((key) => Number(key.split(" ")[1]))))].sort();
  const sources = [...new Set([...levels, ...stem.map((block) => block.level)])].sort();
  const places = blocks.map((_, i) => stem.length + i);
  const most = (name) => Math.max(...slices.flatMap((slice) => [...slice[name].values()]));
  const headings = [];
  const pair = (name, option) => [() => 0, () => state.slice].map((which) => {
    const heading = el("h3");
    headings.push([heading, which]);
    const one = plot({ build: () => option(slices[which()][name], most(name)), low: true, label: `${name} of ${run.name}` });
    return [one, el("div", {}, heading, one.place)];
  });
  const levelMaps = pair("levels", (shares, max) => heatmap({
    shares, most: max, rows: levels, columns: places, names: ["block", "level"], sentence: (block, level) => `block ${block} at level ${level}`,
  }));
  const linkMaps = pair("links", (shares, max) => heatmap({
    shares, most: max, rows: levels, columns: sources, names: ["from level", "to level"], sentence: (from, to) => `links from level ${from} to level ${to}`,
  }));
  const describe = () => headings.forEach(([heading, which], i) => { heading.textContent = `${i < 2 ? "levels by position" : "links by level pair"}, ${span(slices[which()])}`; });
  describe();
  const slider = el("input", { type: "range", min: 0, max: slices.length - 1, value: state.slice, "aria-label": "part of the search on the right" });
  slider.addEventListener("input", () => {
    state.slice = Number(slider.value);
    describe();
    [levelMaps[1][0], linkMaps[1][0]].forEach((one) => one.redraw());
  });
  return el("div", {},
    slices.length > 1 ? el("div", { class: "bar" }, el("label", {}, "compare the first part (left) with a later one (right): ", slider)) : null,
    el("div", { class: "columns" }, ...[...levelMaps, ...linkMaps].map(([, element]) => element), typesPlot(run, slices), logPlot(run), predictionPlot(run)));
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
      name: type, type: "line", symbolSize: 5, lineStyle: { color: RUN_COLOURS[scheme()][i], width: 2 }, itemStyle: { color: RUN_COLOURS[scheme()][i] },
      data: slices.map((slice) => [(slice.first + slice.end - 1) / 2, 100 * slice.types[i]]),
    })),
  });
  return el("div", {}, el("h3", {}, "types over time"), plot({ build, low: true, label: `types of ${run.name}` }).place);
}

function logPlot(run) {
  const names = Object.keys(run.updates).filter((name) => run.updates[name].some((value) => value !== null));
  if (!names.length) return null;
  const state = { name: names.find((name) => name.includes("entropy")) ?? names[0] };
  const build = () => ({
    xAxis: axis("update", { scale: false }),
    yAxis: upright(state.name, { axisLabel: { color: css("--muted"), formatter: short } }),
    tooltip: { trigger: "axis", valueFormatter: short },
    series: [{ name: state.name, type: "line", showSymbol: run.updates[state.name].length < 30, data: run.updates[state.name].map((value, i) => [i, value]), lineStyle: { color: runColour(run), width: 1.5 }, itemStyle: { color: runColour(run) } }],
  });
  const one = plot({ build, low: true, label: `log of ${run.name}` });
  const pick = select("what it logs", names.map((name) => [name, name]), (name) => { state.name = name; one.redraw(); });
  pick.querySelector("select").value = state.name;
  return el("div", {}, el("h3", {}, "the strategy's own log"), el("div", { class: "bar" }, pick), one.place);
}

function predictionPlot(run) {
  if (!run.prediction) return null;
  const { predictions } = run.candidates;
  const trials = [...Array(run.size).keys()].filter((trial) => predictions[trial] !== null && isWhole(run, trial));
  const quarters = ["first", "second", "third", "last"];
  const parts = quarters.map((_, i) => trials.slice(Math.floor((i * trials.length) / 4), Math.floor(((i + 1) * trials.length) / 4)));
  const values = trials.flatMap((trial) => [predictions[trial], run.reward(trial)]);
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const colours = () => [...SHADES[scheme()].slice(1), RUN_COLOURS[scheme()][1]];
  const build = () => ({
    legend: { data: quarters },
    xAxis: axis("predicted", { min: low, max: high, axisLabel: { color: css("--muted"), formatter: short, hideOverlap: true, showMinLabel: false, showMaxLabel: false } }),
    yAxis: upright("observed", { min: low, max: high, axisLabel: { color: css("--muted"), formatter: short, showMinLabel: false, showMaxLabel: false } }),
    tooltip: { formatter: ({ seriesIndex, dataIndex, value }) => tip(`trial ${parts[seriesIndex]?.[dataIndex]}`, `predicted ${fixed(value[0])}, observed ${fixed(value[1])}`) },
    series: [
      ...quarters.map((name, i) => scatter(run, `q${i}`, parts[i].map((trial) => [predictions[trial], run.reward(trial)]), { name, itemStyle: { color: colours()[i], opacity: 0.6 } })),
      { type: "line", data: [[low, low], [high, high]], showSymbol: false, silent: true, lineStyle: { color: css("--muted"), type: "dashed", width: 1 }, tooltip: { show: false } },
    ],
  });
  const { count, error, correlation } = run.prediction;
  const one = plot({ build, low: true, label: `predictions of ${run.name}`, onPick: ({ seriesIndex, dataIndex }) => { if (parts[seriesIndex]) showDetail(run, parts[seriesIndex][dataIndex]); } });
  return el("div", {}, el("h3", {}, "predicted against observed, by quarters of the search"),
    el("p", { class: "hint" }, `${count.toLocaleString("en")} predictions made before the training: root mean squared error ${fixed(error)}${correlation === null ? "" : `, correlation ${correlation.toFixed(2)}`}. What stands on the dashed line came as predicted.`), one.place);
}

function strategyPanel(runs) {
  const place = el("div");
  const shownRuns = new Map();
  const show = (index) => {
    const run = runs[index];
    if (!shownRuns.has(run)) shownRuns.set(run, strategyOf(run));
    place.replaceChildren(shownRuns.get(run));
  };
  const first = Math.max(0, runs.findIndex((run) => run.controller !== "random"));
  const pick = select("run", runs.map((run, i) => [i, `${run.name} (${run.controller})`]), show);
  pick.querySelector("select").value = first;
  const section = panel("strategy", "What the strategy has learnt",
    "Shares of what was proposed, in per cent. A strategy that learns moves away from where it began; random search stays.",
    runs.length > 1 ? el("div", { class: "bar" }, pick) : null, place);
  section.classList.add("wide");
  whenSeen(section, () => show(first));
}
