// What the file holds: the runs as Python wrote them, and the networks behind their candidates.

const FIRST_CODE = 48; // a choice is one character, "0" the first
const ID_LENGTH = 12;
const FATES = {
  p: "not done",
  c: "completed",
  s: "stopped at a rung",
  d: "duplicate",
  f: "failed",
  i: "infeasible",
};
// What networks cost: as an axis says it, in which unit, and how that reads behind a number.
const COSTS = {
  num_multiply_adds: { label: "multiply-adds, millions", unit: 1e6, short: " M multiply-adds" },
  num_parameters: { label: "parameters, millions", unit: 1e6, short: " M parameters" },
  latency_ms: { label: "latency, ms", unit: 1, short: " ms" },
};

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

class Run {
  constructor(data, index) {
    Object.assign(this, data);
    this.index = index;
    this.isEmpty = !data.candidates;
    this.size = this.isEmpty ? 0 : data.candidates.fates.length;
    if (this.isEmpty) return;
    this.reasons = new Map(
      this.failures.flatMap(({ reason, trials }) => trials.map((trial) => [trial, reason])),
    );
    this.reranked = new Map(
      (this.finalists?.rows ?? []).filter((row) => row.trial !== null).map((row) => [row.trial, row]),
    );
  }

  fate(trial) {
    return this.candidates.fates[trial];
  }

  reward(trial) {
    return this.candidates.rewards[trial];
  }

  // The reward's metric, without what a cost target makes of it.
  score(trial) {
    return this.metric(this.reward_metric, trial) ?? this.reward(trial);
  }

  archId(trial) {
    return this.candidates.arch_ids.slice(ID_LENGTH * trial, ID_LENGTH * (trial + 1));
  }

  metric(name, trial) {
    return this.candidates.metrics[name]?.[trial] ?? null;
  }

  // Whether it has a reward of its own: of a whole training, or of one that ended at a rung.
  isScored(trial) {
    return this.reward(trial) !== null && "csd".includes(this.fate(trial));
  }

  // Blocks after the stem, as the space decodes the candidate's choices.
  blocks(trial) {
    const { tokens, choices } = this.candidates;
    const { decisions, types } = choices;
    const blocks = choices.blocks.map(({ level, is_output }) => ({ level, type: 0, parents: [], is_output }));
    const start = trial * decisions.length;
    decisions.forEach(([block, field, values], place) => {
      const value = values[tokens.charCodeAt(start + place) - FIRST_CODE];
      if (field === "parents") blocks[block].parents.push(value);
      else blocks[block][field] += value;
    });
    for (const block of blocks) {
      block.parents.sort((a, b) => a - b);
      block.block_type = types[block.type];
    }
    return blocks;
  }

  // What `spinesearch spec show` reads.
  spec(trial) {
    const { stem } = this.candidates.choices;
    return {
      schema_version: 2,
      name: `${this.name}-trial-${trial}`,
      arch_id: this.archId(trial),
      stem,
      blocks: this.blocks(trial).map(({ level, block_type, parents, is_output }, place) => ({
        id: stem.length + place,
        level,
        block_type,
        parents,
        is_output,
      })),
      provenance: {
        run: this.name,
        trial,
        seed: this.seed,
        ...(this.reward(trial) === null ? {} : { reward: { value: this.reward(trial), ...this.noise } }),
      },
    };
  }

  // The network as nodes and edges, as `spinesearch.results.drawing.graph` has it.
  graph(trial) {
    const { stem } = this.candidates.choices;
    const nodes = [
      ...stem.map((block, i) => ({ ...block, parents: i ? [i - 1] : [], is_output: false })),
      ...this.blocks(trial),
    ];
    // An output also takes every earlier feature of its own size and width that nothing has read so far.
    const isUnread = nodes.map(() => true);
    for (const [i, node] of nodes.entries()) {
      if (i >= stem.length)
        node.parents.forEach((parent) => {
          isUnread[parent] = false;
        });
      node.implicit = !node.is_output
        ? []
        : [...nodes.keys()].filter(
            (j) =>
              j < i &&
              isUnread[j] &&
              nodes[j].level === node.level &&
              nodes[j].block_type === node.block_type,
          );
      node.implicit.forEach((j) => {
        isUnread[j] = false;
      });
    }
    for (const node of nodes) node.isDead = !node.is_output;
    for (let i = nodes.length - 1; i >= 0; i -= 1) {
      if (!nodes[i].isDead)
        [...nodes[i].parents, ...nodes[i].implicit].forEach((j) => {
          nodes[j].isDead = false;
        });
    }
    const edges = nodes.flatMap((node, target) => [
      ...node.parents.map((source) => ({ source, target, kind: node.isDead ? "dead" : "plain" })),
      ...node.implicit.map((source) => ({ source, target, kind: "implicit" })),
    ]);
    return { nodes, edges };
  }
}
