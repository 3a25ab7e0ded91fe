// Rewards over candidates: every one, the best so far, the mean, what is noise.

const MANY = 2000; // points, from which on they are drawn small
const NOISE_WIDTH = 1.96 * Math.SQRT2; // standard deviations by which two single trainings differ by chance, 95 %

function isWhole(run, trial) {
  return run.isScored(trial) && run.fate(trial) !== "s";
}

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

function meanLength(run) {
  return Math.max(10, Math.round(run.size / 40));
}

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
    id: `${id}${run.index}`,
    name: run.name,
    type: "scatter",
    data: points,
    large: points.length > MANY,
    symbolSize: points.length > MANY ? 3 : 6,
    itemStyle: { color: runColour(run), opacity: points.length > MANY ? 0.35 : 0.5 },
    ...more,
  };
}

function noiseBand(run, best, isLabelled) {
  if (!run.noise || !best.length) return null;
  const top = best.at(-1)[1];
  return {
    silent: true,
    itemStyle: { color: runColour(run), opacity: 0.13 },
    label: { show: isLabelled, position: "insideTopLeft", color: css("--muted"), formatter: "noise" },
    data: [[{ yAxis: top - NOISE_WIDTH * run.noise.noise_sd }, { yAxis: top }]],
  };
}

function rewardsPanel(runs) {
  const trialsOf = (run, chosen) =>
    [...Array(run.size).keys()].filter((trial) => run.isScored(trial) && chosen(trial));
  const scored = runs.map((run) => trialsOf(run, (trial) => run.fate(trial) !== "s"));
  const stopped = runs.map((run) => trialsOf(run, (trial) => run.fate(trial) === "s"));
  const failed = runs.flatMap((run) => [...run.reasons.keys()].map((trial) => [run, trial]));
  const rewards = runs.flatMap((run, i) => [...scored[i], ...stopped[i]].map((trial) => run.reward(trial)));
  const low = rewards.reduce((a, b) => Math.min(a, b), Infinity);
  const high = rewards.reduce((a, b) => Math.max(a, b), -Infinity);
  const floor = rewards.length ? low - 0.06 * (high - low || Math.abs(high) || 1) : 0;
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
    yAxis: upright(
      runs.every((run) => run.reward_metric === runs[0].reward_metric)
        ? `reward, ${runs[0].reward_metric}`
        : "reward",
      { min: floor, axisLabel: { color: css("--muted"), showMinLabel: false, formatter: short } },
    ),
    tooltip: {
      formatter: (point) => {
        const [run, trial] = trialAt(point);
        const reason = run.reasons.get(trial);
        return tip(
          `${run.name}, trial ${trial}`,
          reason ? `failed: ${reason}` : `${FATES[run.fate(trial)]}, reward ${fixed(run.reward(trial))}`,
        );
      },
    },
    series: [
      ...runs.map((run, i) =>
        scatter(
          run,
          "c",
          scored[i].map((trial) => [trial, run.reward(trial)]),
        ),
      ),
      ...runs.map((run, i) =>
        scatter(
          run,
          "s",
          stopped[i].map((trial) => [trial, run.reward(trial)]),
          { symbol: "emptyCircle" },
        ),
      ),
      ...runs.flatMap((run, i) => [
        {
          id: `m${run.index}`,
          name: run.name,
          type: "line",
          data: lines[i][1],
          showSymbol: false,
          silent: true,
          z: 4,
          lineStyle: { color: runColour(run), width: 2, type: [5, 4] },
          itemStyle: { color: runColour(run) },
        },
        {
          id: `b${run.index}`,
          name: run.name,
          type: "line",
          step: "end",
          data: lines[i][0],
          showSymbol: false,
          silent: true,
          z: 5,
          lineStyle: { color: runColour(run), width: 2.5 },
          itemStyle: { color: runColour(run) },
          markArea: noiseBand(run, lines[i][0], runs.length === 1),
        },
      ]),
      {
        id: "failed",
        name: "failed",
        type: "scatter",
        symbol: "triangle",
        symbolSize: 7,
        data: failed.map(([, trial]) => [trial, floor]),
        itemStyle: { color: css("--warn"), opacity: 0.7 },
      },
    ],
  });
  const noise = runs
    .filter((run) => run.noise)
    .map((run) => {
      const best = runningBest(run).at(-1)?.[1];
      const inside = [...Array(run.size).keys()].filter(
        (trial) => isWhole(run, trial) && run.reward(trial) >= best - NOISE_WIDTH * run.noise.noise_sd,
      );
      return el(
        "p",
        { class: "hint" },
        `${run.name}: by the study ${run.noise.noise_run} the reward varies by ${fixed(run.noise.noise_sd)} (standard deviation) between seeds; ${inside.length} candidates are within the band and cannot be told from the best by one training each.`,
      );
    });
  const mean = [...new Set(runs.map(meanLength))].join(" or ");
  panel(
    "rewards",
    "Reward of every candidate",
    `Dots are candidates, the solid line is the best so far, the dashed one the mean of the last ${mean}; ${stopped.some((some) => some.length) ? "rings stopped at a rung, " : ""}${failed.length ? "triangles below failed" : "none failed"}. ${noise.length ? "The band below the best is noise." : "Without a variance study there is no band of noise (--noise)."} A click on a dot shows its network.`,
    ...noise,
    plot({ build, onPick: (point) => showDetail(...trialAt(point)), label: "reward of every candidate" })
      .place,
  ).classList.add("wide");
}
