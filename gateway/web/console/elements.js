// Elements. The page never turns text into HTML: h() and s() make every element.

import { again, memory } from "./place.js";
import { t } from "./words.js";

// Make an element: h("a", { href: "#x", onclick: f }, "text", another). false and null are left out.
export function h(tag, attributes = {}, ...children) {
  return dressed(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

const isThere = (value) => value !== false && value !== null && value !== undefined && value !== "";

function dressed(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat(9).filter(isThere));
  return element;
}

let lastId = 0;
export const newId = () => `e${++lastId}`;

// Say above the view what happened, also to screen readers; it stays until the next thing happens.
// action is [words, function] of a button beside it.
export function announce(words, kind = "good", action = null) {
  const line = document.getElementById("status");
  line.className = `notice ${kind}`;
  line.replaceChildren(...[words, action && button(...action, "small")].filter(isThere));
  if (words) line.scrollIntoView({ block: "nearest" });
}

export const button = (text, onclick, kind = "", attributes = {}) =>
  h("button", { type: "button", class: kind, onclick, ...attributes }, text);
export const link = (text, hash, kind = null) => h("a", { href: hash, class: kind }, text);
export const title = (text) => h("h1", { tabindex: -1 }, text);
export const notice = (text, kind) => h("p", { class: `notice ${kind}` }, text);
export const quiet = (...children) => h("p", { class: "quiet" }, ...children);
export const hint = (text) => h("p", { class: "hint" }, text);
export const pill = ([words, kind]) => h("span", { class: `pill ${kind}` }, words);
export const card = (name, ...children) => {
  const id = newId();
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, name), children);
};
export const facts = (pairs) => h("dl", { class: "facts" },
  pairs.filter(([, value]) => isThere(value)).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

// What stands in place of a view or a list that could not be drawn.
export const failure = (words) => h("div", { class: "card failure" }, title(t("failed")),
  h("p", { class: "problem", role: "alert" }, words), button(t("again"), () => again(), "primary"));

// A bar of what is used of a limit.
export function bar(used, max, words, label) {
  const kind = used >= max ? "full" : used >= 0.8 * max ? "high" : "";
  return h("div", { class: `bar-of ${kind}` }, h("progress", { max, value: Math.min(used, max), "aria-label": label }), quiet(words));
}

// Links to the pages of a list of `total`; hashFor(page) is the address of a page.
export function pager(page, size, count, total, hashFor) {
  const to = (target, words, isPossible) => (isPossible ? link(words, hashFor(target), "button")
    : h("span", { class: "button", "aria-disabled": "true" }, words));
  const first = page * size;
  return total > size && h("nav", { class: "pager", "aria-label": t("paging") },
    to(page - 1, t("previous"), page > 0),
    h("span", { class: "quiet" }, t("range", { first: first + 1, last: first + count, total })),
    to(page + 1, t("next"), first + count < total));
}

// A button that copies a text and says on itself that it did.
export function copyButton(what, text, label = t("copy")) {
  const element = button(label, async () => {
    if (!await copy(text())) return announce(t("copy_failed"), "warning");
    element.textContent = t("copied");
    document.getElementById("spoken").textContent = t("copied");
    setTimeout(() => { element.textContent = label; document.getElementById("spoken").textContent = ""; }, 2000);
    return undefined;
  }, "small", { "aria-label": `${label}: ${what}` });
  return element;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // on a page without TLS there is no clipboard
    const area = h("textarea", { class: "off-screen", readonly: true }, text);
    const before = document.activeElement;
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    before?.focus();
    return isCopied;
  }
}

// Tabs: a row of buttons and one panel; the arrow keys move between the buttons.
export function tabs(label, entries) {
  const id = newId();
  const panel = h("div", { role: "tabpanel", id, class: "panel" });
  const list = h("div", { role: "tablist", "aria-label": label, class: "tabs" }, entries.map(([name], n) =>
    button(name, () => choose(n), "", { role: "tab", id: `${id}-${n}`, "aria-controls": id })));
  const all = [...list.children];
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (all.indexOf(document.activeElement) + step + all.length) % all.length;
    choose(next);
    all[next].focus();
  });
  function choose(chosen) {
    memory.tab = chosen;
    all.forEach((tab, n) => {
      tab.setAttribute("aria-selected", n === chosen);
      tab.tabIndex = n === chosen ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", all[chosen].id);
    panel.replaceChildren(...[entries[chosen][1]()].flat(9).filter(isThere));
  }
  choose(Math.min(memory.tab ?? 0, entries.length - 1));
  return [list, panel];
}

// Return a text as a person sees and types it: without what is invisible, its blanks in a row as one.
export const seen = (text) => text.replace(/[\p{C}\p{DI}\u2800]/gu, "").replace(/\s+/g, " ").trim().normalize();
