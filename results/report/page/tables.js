// Tables that a click on a heading sorts.

const PAGE_SIZE = 20;

// A table that a click on a heading sorts. `columns`: {name, value(row), text(value, row), kind}; rows are anything.
function table(columns, rows, { onPick, pageSize = PAGE_SIZE, sortBy = null, falling = true } = {}) {
  const state = { page: 0, sortBy, falling, rows };
  const head = el("tr");
  const body = el("tbody");
  const pages = el("div", { class: "bar" });
  const sorted = () => {
    if (state.sortBy === null) return state.rows;
    const { value } = columns[state.sortBy];
    const sign = state.falling ? -1 : 1;
    const missing = (v) => v === null || v === undefined || v === "";
    return state.rows
      .map((row) => [value(row), row])
      .sort(([a], [b]) => {
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
      })
      .map(([, row]) => row);
  };
  const draw = () => {
    head.replaceChildren(
      ...columns.map((column, place) => {
        const isSorted = state.sortBy === place;
        const mark = isSorted ? (state.falling ? " ▾" : " ▴") : "";
        const pick = () => {
          state.falling = isSorted ? !state.falling : column.kind === "number";
          state.sortBy = place;
          state.page = 0;
          draw();
        };
        return el(
          "th",
          {
            class: column.kind ?? "",
            scope: "col",
            "aria-sort": isSorted ? (state.falling ? "descending" : "ascending") : "none",
          },
          el("button", { type: "button", onclick: pick }, column.name + mark),
        );
      }),
    );
    const all = sorted();
    const first = state.page * pageSize;
    body.replaceChildren(
      ...all.slice(first, first + pageSize).map((row) =>
        el(
          "tr",
          onPick
            ? {
                class: "pick",
                tabindex: 0,
                onclick: () => onPick(row),
                onkeydown: ({ key }) => {
                  if (key === "Enter") onPick(row);
                },
              }
            : {},
          ...columns.map((column) => {
            const value = column.value(row);
            const text = column.text ? column.text(value, row) : (value ?? "-");
            return el("td", { class: column.kind ?? "" }, text instanceof Node ? text : String(text));
          }),
        ),
      ),
    );
    const last = Math.max(0, Math.ceil(all.length / pageSize) - 1);
    const turn = (text, page) =>
      el(
        "button",
        {
          type: "button",
          disabled: page < 0 || page > last,
          onclick: () => {
            state.page = page;
            draw();
          },
        },
        text,
      );
    pages.replaceChildren(
      ...(last
        ? [
            turn("previous", state.page - 1),
            turn("next", state.page + 1),
            el(
              "span",
              { class: "muted" },
              `${(first + 1).toLocaleString("en")} to ${Math.min(first + pageSize, all.length).toLocaleString("en")} of ${all.length.toLocaleString("en")}`,
            ),
          ]
        : []),
    );
  };
  draw();
  const element = el(
    "div",
    {},
    el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), body)),
    pages,
  );
  return {
    element,
    show: (chosen) => {
      state.rows = chosen;
      state.page = 0;
      draw();
    },
  };
}
