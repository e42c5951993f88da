// The console of gateway: a page that calls nothing but the API, by relative addresses, so that it
// works below a prefix.
//
//   words.js      both languages            api.js       asks the API; the session; lists
//   store.js      what the browser keeps    place.js     the address, and going elsewhere
//   elements.js   makes elements            forms.js     forms, dialogs, refusals in words
//   chart.js      the picture of usage      views/       one function a view
//
// A view returns {title, nodes}, and may wait for the API. What it throws is caught here.

import { may, Refusal, SERVICE, session } from "./api.js";
import { announce, button, failure, h, quiet } from "./elements.js";
import { refusalWords } from "./forms.js";
import { memory, takePending } from "./place.js";
import { keep } from "./store.js";
import { currentLanguage, speak, t } from "./words.js";
import { account, logOut } from "./views/account.js";
import { forgot, register, signIn } from "./views/entrance.js";
import { project } from "./views/project.js";
import { projects } from "./views/projects.js";
import { users } from "./views/users.js";

const ENTRANCE = new Map([["sign-in", signIn], ["register", register], ["forgot", forgot]]);
const VIEWS = new Map([["projects", projects], ["project", project], ["account", account], ["users", users]]);
const NUMBERS = ["id", "page", "user"]; // parameters in the address; the others are texts
const main = document.getElementById("main");
let turn = 0; // of two views that wait, the later one is shown
let drawnAt = 0;

// Return the view that the address names, its function and its parameters.
function route() {
  const [name, query] = location.hash.slice(1).split("?");
  const views = session() ? VIEWS : ENTRANCE;
  if (!views.has(name)) {
    if (VIEWS.has(name)) keep("wanted", location.hash);
    history.replaceState(null, "", session() ? "#projects" : "#sign-in");
    return route();
  }
  const params = [...new URLSearchParams(query)].map(([key, value]) => [key, NUMBERS.includes(key) ? Number(value) || 0 : value]);
  return { name, view: views.get(name), params: Object.fromEntries(params) };
}

function open() {
  Object.keys(memory).forEach((key) => delete memory[key]);
  draw(true);
}

// Draw the view of the address. A new one gets the focus; the same one, drawn anew, keeps it.
async function draw(isNew) {
  const mine = ++turn;
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  const pending = takePending();
  if (isNew || pending) announce(...(pending ?? [""]));
  try {
    const { name, view, params } = route();
    document.documentElement.lang = t("tag");
    drawTop(name);
    if (isNew) main.replaceChildren(quiet(t("loading")));
    const made = await view(params);
    if (mine !== turn) return;
    const before = document.activeElement;
    const focused = isNew ? "" : nameOf(before);
    main.replaceChildren(...made.nodes.filter(Boolean));
    document.title = `${made.title} · ${SERVICE.service}`;
    const same = focused && [...main.querySelectorAll("a, button, input, summary, [tabindex]")].find((control) => nameOf(control) === focused);
    (same || main.querySelector("h1")).focus({ preventScroll: !isNew });
    if (same?.type === "search") { // what was typed while the list was on its way stays
      same.value = before.value;
      same.setSelectionRange(before.selectionStart, before.selectionEnd);
    }
    drawnAt = Date.now();
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

const nameOf = (control) => control.getAttribute("aria-label") ?? (control.name || control.textContent);

// Say that the view could not be drawn, or that a part of the page broke, with a way to try again.
function fail(error) {
  if (!(error instanceof Refusal)) console.warn(error);
  main.replaceChildren(failure(error instanceof Refusal ? refusalWords(error) : t("broken")));
  main.querySelector("h1").focus();
}

function drawTop(name) {
  const page = (view, words) => h("a", { href: `#${view}`, "aria-current": name === view ? "page" : null }, words);
  document.getElementById("top").replaceChildren(
    h("a", { class: "brand", href: "#projects" }, h("img", { src: "console/icon.svg", alt: "", width: 28, height: 28 }),
      h("span", {}, SERVICE.service)),
    h("nav", { "aria-label": t("nav") }, session() && [page("projects", t("projects")), may("UserManage") && page("users", t("users")), page("account", t("account"))],
      h("a", { href: "docs" }, t("api"))),
    h("div", { class: "tools" },
      button(t("other"), switchLanguage, "plain", { id: "language", lang: t("other_tag") }),
      session() && button(t("log_out"), logOut, "plain")));
}

// Show the same view in the other language, with what has been typed.
async function switchLanguage() {
  const typed = [...main.querySelectorAll("input")].map(({ name, value }) => [name, value]);
  speak(currentLanguage() === "en" ? "zh" : "en");
  announce("");
  await draw(false);
  const inputs = [...main.querySelectorAll("input")];
  typed.forEach(([name, value], n) => { if (inputs[n]?.name === name) inputs[n].value = value; });
  document.getElementById("language").focus();
}

// Who comes back to the page sees what is true now, unless something is being typed.
function refresh() {
  const isQuiet = getSelection().isCollapsed && !document.querySelector("dialog") && ![...main.querySelectorAll("input")].some((input) => input.value && input.type !== "search");
  if (document.visibilityState === "visible" && session() && isQuiet && Date.now() - drawnAt > 1000) {
    memory.all = null;
    draw(false);
  }
}

addEventListener("hashchange", open);
addEventListener("again", () => draw(false));
addEventListener("error", ({ error }) => { if (error) fail(error); });
addEventListener("unhandledrejection", ({ reason }) => fail(reason));
document.addEventListener("visibilitychange", refresh);
addEventListener("focus", () => setTimeout(refresh, 300)); // not between the two halves of a click
open();
