// What a strategy proposes early and late: levels by position, links by pair of levels, types.

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

function span({ first, end }) {
  return `candidates ${first.toLocaleString("en")} to ${(end - 1).toLocaleString("en")}`;
}

function heatmap({ shares, rows, columns, most, names, sentence }) {
  const category = (name, data, inverse) =>
    axis(name, { type: "category", data, inverse, axisTick: { show: false }, splitLine: { show: false } });
  const isWide = innerWidth >= 1000;
  return {
    grid: { left: 8, right: 12, top: 24, bottom: 26, containLabel: true },
    xAxis: category(names[0], columns.map(String), false),
    yAxis: {
      ...category(
        "",
        rows.map((row) => `L${row}`),
        true,
      ),
      name: names[1],
      nameLocation: "start",
      nameGap: 8,
    },
    visualMap: { show: false, min: 0, max: most, inRange: { color: SHADES[scheme()] } },
    tooltip: {
      formatter: ({ value: [x, y, share] }) =>
        tip(sentence(columns[x], rows[y]), `${(100 * share).toFixed(1)} %`),
    },
    series: [
      {
        type: "heatmap",
        itemStyle: { borderWidth: 1, borderColor: css("--card") },
        label: {
          show: isWide,
          fontSize: 10,
          formatter: ({ value: [, , share] }) => (share >= 0.005 ? Math.round(100 * share) : ""),
        },
        data: rows.flatMap((row, y) =>
          columns.map((column, x) => [x, y, shares.get(`${column} ${row}`) ?? 0]),
        ),
      },
    ],
  };
}
