// What the panels are made of: elements, and plots that are drawn once they come into view.

const SCHEME = matchMedia("(prefers-color-scheme: dark)");
const RUN_COLOURS = {
  light: ["#2563c9", "#c2540a", "#12805c", "#a23b8f", "#7a6a00", "#5a4fcf", "#b3261e", "#0d7f91"],
  dark: ["#6ea8ff", "#ff9d5c", "#4fd1a5", "#e88bd6", "#d8c64a", "#a99bff", "#ff8a80", "#5fd3e6"],
};
const SHADES = {
  light: ["#f3f6fb", "#9cc3ee", "#2b62b0", "#12305c"],
  dark: ["#171c23", "#1f4e7a", "#3d8fd1", "#b9e0ff"],
};

function scheme() {
  return SCHEME.matches ? "dark" : "light";
}

function runColour(run) {
  return RUN_COLOURS[scheme()][run.index % RUN_COLOURS.light.length];
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Text from the data only ever becomes a text node.
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

function dot(run) {
  return el("span", { class: "dot", style: `background:${runColour(run)}` });
}

function fixed(value, digits = 4) {
  return value === null || value === undefined ? "-" : value.toFixed(digits);
}

function short(value) {
  if (value === null || value === undefined) return "-";
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
}

function costValue(name, value) {
  return value === null || value === undefined ? null : value / COSTS[name].unit;
}

function panel(id, title, hint, ...children) {
  const section = el(
    "section",
    { id },
    el("h2", {}, title),
    hint ? el("p", { class: "hint" }, hint) : null,
    ...children,
  );
  document.getElementById("main").append(section);
  return section;
}

// Costs of one kind have as many digits.
function costText(name, value) {
  const scaled = costValue(name, value);
  if (scaled === null) return "-";
  return scaled.toFixed(scaled < 10 ? 3 : 1);
}

function select(label, entries, onChange) {
  const box = el(
    "select",
    { "aria-label": label },
    ...entries.map(([value, text]) => el("option", { value }, text)),
  );
  box.addEventListener("change", () => onChange(box.value));
  return el("label", {}, `${label} `, box);
}

// Plots ----------

const plots = [];

// A plot whose option `build` returns; `onPick` receives what a click on it means to ECharts.
function plot({ build, onPick, low = false, label }) {
  const place = el("div", { class: low ? "plot low" : "plot", role: "img", "aria-label": label });
  const one = { place, chart: null };
  one.redraw = () => {
    if (one.chart) one.chart.setOption(withDefaults(build()), true);
  };
  one.show = () => {
    if (one.chart) return;
    one.chart = echarts.init(place);
    if (onPick) one.chart.on("click", onPick);
    one.redraw();
    new ResizeObserver(() => {
      if (!one.chart.isDisposed()) one.chart.resize();
    }).observe(place);
  };
  plots.push(one);
  whenSeen(place, one.show);
  return one;
}

// Do something once an element is about to come into view.
function whenSeen(element, act) {
  const observer = new IntersectionObserver(
    (entries) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        observer.disconnect();
        act();
      }
    },
    { rootMargin: "200px" },
  );
  observer.observe(element);
}

SCHEME.addEventListener("change", () => plots.forEach((one) => one.redraw()));

function withDefaults(option) {
  const ink = css("--ink");
  const tooltip = {
    confine: true,
    backgroundColor: css("--card"),
    borderColor: css("--line"),
    textStyle: { color: ink, fontSize: 13 },
  };
  return {
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: ink },
    grid: { left: 8, right: 18, top: option.legend ? 54 : 30, bottom: 26, containLabel: true },
    ...option,
    ...(option.legend
      ? {
          legend: {
            type: "scroll",
            icon: "circle",
            top: 0,
            left: 0,
            right: option.toolbox ? 110 : 0,
            itemStyle: { opacity: 1 },
            textStyle: { color: ink },
            pageTextStyle: { color: ink },
            ...option.legend,
          },
        }
      : {}),
    tooltip: { ...tooltip, ...option.tooltip },
  };
}

function axis(name, more = {}) {
  const muted = css("--muted");
  return {
    type: "value",
    name,
    nameLocation: "middle",
    nameGap: 26,
    scale: true,
    nameTextStyle: { color: muted },
    axisLabel: { color: muted, hideOverlap: true },
    axisLine: { lineStyle: { color: css("--line") } },
    splitLine: { lineStyle: { color: css("--line") } },
    ...more,
  };
}

// On a narrow screen an axis's name along it would take the plot's room.
function upright(name, more = {}) {
  return axis(name, {
    nameLocation: "end",
    nameGap: 8,
    nameTextStyle: { color: css("--muted"), align: "left" },
    ...more,
  });
}

function runLegend(runs) {
  return runs.length > 1 ? { data: runs.map((run) => run.name) } : undefined;
}

// Boxes are for mice: a narrow screen has no room for the buttons either.
function toolbox() {
  return innerWidth < 600
    ? null
    : {
        right: 4,
        top: 0,
        itemSize: 14,
        iconStyle: { borderColor: css("--muted") },
        feature: {
          dataZoom: { title: { zoom: "zoom into a box", back: "undo" } },
          restore: { title: "all" },
          saveAsImage: { title: "save as PNG" },
        },
      };
}

function tip(...lines) {
  return el("div", {}, ...lines.filter(Boolean).map((line) => el("div", {}, line)));
}
