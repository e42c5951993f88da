// The picture of usage, and the same as a table.

import { h, s } from "./elements.js";
import { memory } from "./place.js";
import { dayName, number, t } from "./words.js";

const HEIGHT = 220;
const EDGE = { top: 16, right: 8, bottom: 28, left: 46 };

// Return the smallest of 2, 4, 6, 10, 20, 40 ... that is not below a value, so half of it is whole.
function scaleTop(value) {
  const power = 10 ** Math.max(0, Math.floor(Math.log10(value)));
  return [2, 4, 6, 10, 20].map((step) => step * power).find((top) => top >= value);
}

// A picture of requests by day. As a slider it tells its days to those who cannot see it, too.
export function usageChart(days, max) {
  const words = (n) => t("on_day", {
    day: dayName(days[n].day, { weekday: "short", month: "short", day: "numeric" }), n: days[n].requests,
  });
  const readout = h("p", { class: "readout" });
  const slider = h("div", {
    class: "chart", role: "slider", tabindex: 0, "aria-label": t("chart"), "aria-orientation": "horizontal",
    "aria-valuemin": 0, "aria-valuemax": days.length - 1,
    onkeydown: (event) => {
      const to = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, ArrowDown: chosen - 1, ArrowUp: chosen + 1,
        Home: 0, End: days.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(Math.max(0, Math.min(days.length - 1, to)));
    },
    onpointermove: point, onpointerdown: point,
  });
  const top = scaleTop(Math.max(2, ...days.map((day) => day.requests)));
  let chosen = memory.day ?? days.length - 1;
  let drawnWidth = 0;

  const plotWidth = () => drawnWidth - EDGE.left - EDGE.right;
  const y = (value) => EDGE.top + (HEIGHT - EDGE.top - EDGE.bottom) * (1 - value / top);

  function point(event) {
    const x = event.clientX - slider.getBoundingClientRect().left - EDGE.left;
    const n = Math.floor((x / plotWidth()) * days.length);
    if (n >= 0 && n < days.length) choose(n);
  }

  function choose(n) {
    chosen = n;
    memory.day = n;
    slider.setAttribute("aria-valuenow", n);
    slider.setAttribute("aria-valuetext", words(n));
    readout.textContent = words(n);
    slider.querySelectorAll(".bar").forEach((bar, at) => bar.classList.toggle("chosen", at === n));
  }

  function draw() {
    const slot = plotWidth() / days.length;
    const right = drawnWidth - EDGE.right;
    const every = Math.ceil(days.length / Math.max(2, Math.floor(plotWidth() / 90)));
    const line = (value, kind) => s("line", { class: kind, x1: EDGE.left, x2: right, y1: y(value), y2: y(value) });
    slider.replaceChildren(s("svg", { width: drawnWidth, height: HEIGHT, "aria-hidden": "true" },
      [0, top / 2, top].map((value) => [line(value, "grid"),
        s("text", { class: "tick", x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value))]),
      days.map(({ requests }, n) => s("rect", {
        class: requests ? "bar" : "bar zero", x: EDGE.left + slot * (n + 0.15), width: slot * 0.7,
        y: requests ? Math.min(y(requests), y(0) - 2) : y(0) - 2,
        height: requests ? Math.max(2, y(0) - y(requests)) : 2, rx: Math.min(3, slot * 0.2),
      })),
      max > 0 && max <= top && [line(max, "limit"),
        s("text", { class: "tick", x: right, y: y(max) - 5, "text-anchor": "end" }, t("limit_line"))],
      days.map(({ day }, n) => (days.length - 1 - n) % every === 0 && s("text", {
        class: "tick", x: n === days.length - 1 ? right : EDGE.left + slot * (n + 0.5), y: HEIGHT - 8,
        "text-anchor": n === days.length - 1 ? "end" : "middle",
      }, n === days.length - 1 ? t("today") : dayName(day, { month: "short", day: "numeric" })))));
    choose(chosen);
  }

  const observer = new ResizeObserver(([{ contentRect }]) => {
    if (!slider.isConnected) return observer.disconnect();
    const width = Math.floor(contentRect.width);
    if (width === drawnWidth || width < 100) return undefined;
    drawnWidth = width;
    return draw();
  });
  observer.observe(slider);
  choose(chosen);
  return h("div", {}, readout, slider, h("p", { class: "hint" }, t("chart_hint")));
}

export const usageTable = (days) => h("details", { open: memory.isTable, ontoggle: ({ target }) => { memory.isTable = target.open; } }, h("summary", {}, t("as_table")),
  h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("day")), h("th", { scope: "col", class: "number" }, t("requests")))),
    h("tbody", {}, [...days].reverse().map(({ day, requests }) =>
      h("tr", {}, h("th", { scope: "row" }, dayName(day, { dateStyle: "medium" })), h("td", { class: "number" }, number(requests)))))));
